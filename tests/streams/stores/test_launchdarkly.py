"""LaunchDarkly: what a kill takes, what it leaves, and each trap of its API, against a strict stand-in for that."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from guardian.ports import CommandKind, FlagCommand, StoreError, StoreUnavailable, UnknownFlag
from tests.support.stores.launchdarkly import SEMANTIC, LaunchDarkly, a_flag
from tests.support.stores.opened import opened
from tests.support.stores.vendor import Fault

_numbers = itertools.count(1)
CONTROL, TREATMENT = "id-of-control-checkout-v2", "id-of-treatment-checkout-v2"
IN_SPAIN = [{"attribute": "country", "op": "in", "values": ["ES"], "negate": False, "contextKind": "user", "_id": "c1"}]
IN_BETA = [{"attribute": "", "op": "segmentMatch", "values": ["beta"], "negate": False, "_id": "c2"}]
HALF = {"variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}], "contextKind": "device"}


def command(kind: CommandKind, share: float | None = None, **fields: Any) -> FlagCommand:
    name = f"production|checkout-v2|treatment|{next(_numbers)}"
    given: dict[str, Any] = {"variation": "treatment", "control": "control", "share": share, **fields}
    return FlagCommand(name, name, "checkout-v2", "production", kind, **given)


def once(done: Callable[[], None]) -> Callable[[], None]:
    """What happens before the first change, and before no other."""
    left = [done]
    return lambda: left.pop()() if left else None


def weights(served: dict[str, Any]) -> list[int]:
    return [one["weight"] for one in sorted(served["rollout"]["variations"], key=lambda one: one["variation"])]


async def test_a_kill_takes_the_variation_from_wherever_it_is_served():
    """Fallthrough, splits and fixed answers of rules, users one by one, and the answer of a flag that is off: all get control."""
    rules = [
        {"_id": "r1", "clauses": IN_SPAIN, "variation": 1, "description": "Spain first", "trackEvents": True},
        {"_id": "r2", "clauses": IN_SPAIN, "rollout": HALF, "trackEvents": False},
        {"_id": "r3", "clauses": IN_SPAIN, "variation": 0, "trackEvents": False},
    ]
    targets = [{"values": ["ann", "bob"], "variation": 1}, {"values": ["cy"], "variation": 0}]
    kinds = [{"values": [], "variation": 1, "contextKind": "user"}, {"values": ["acme"], "variation": 1, "contextKind": "org"}]
    vendor = LaunchDarkly(a_flag(rules=rules, targets=targets, contextTargets=kinds, offVariation=1))
    async with opened(vendor) as store:
        killed = await store.apply(command("kill"))
        again = await store.apply(command("kill"))

    config = vendor.config()
    assert ("applied", "already") == (killed.status, again.status)
    assert [100_000, 0] == weights(config["fallthrough"])
    assert ({**rules[0], "variation": 0}, rules[2]) == (config["rules"][0], config["rules"][2])
    assert (100_000, "device") == (weights(config["rules"][1])[0], config["rules"][1]["rollout"]["contextKind"])
    assert {("user", "ann", 0), ("user", "bob", 0), ("user", "cy", 0), ("org", "acme", 0)} == {
        (target.get("contextKind", "user"), value, target["variation"])
        for target in (*config["targets"], *config["contextTargets"])
        for value in target["values"]
    }
    assert 0 == config["offVariation"]
    assert "rules and lists of users that served 'treatment' serve 'control' from now on" in killed.detail


async def test_what_a_kill_has_nothing_to_do_with_stays():
    """Prerequisites, other environments, other flags, rules that serve something else and names of rules stay as they are."""
    rules = [{"_id": "r1", "clauses": IN_SPAIN, "variation": 0, "description": "safe", "trackEvents": True}]
    needs = [{"key": "new-search", "variation": 0}]
    vendor = LaunchDarkly(a_flag(rules=rules, prerequisites=needs), a_flag("new-search"))
    before = vendor.flags["checkout-v2"]["environments"]["staging"]
    async with opened(vendor) as store:
        await store.apply(command("kill"))

    assert (rules, needs) == (vendor.config()["rules"], vendor.config()["prerequisites"])
    assert before == vendor.flags["checkout-v2"]["environments"]["staging"]
    assert a_flag("new-search") == vendor.flags["new-search"]


async def test_a_rule_that_people_add_for_what_is_killed_takes_it_up_again():
    """A killed variation that a new rule serves is alive; the next kill takes it from there as well."""
    vendor = LaunchDarkly()
    async with opened(vendor) as store:
        await store.apply(command("kill"))
        vendor.edit(rules=[{"_id": "r1", "clauses": IN_SPAIN, "variation": 1, "trackEvents": False}])
        again = await store.apply(command("kill"))

    assert ("applied", 0) == (again.status, vendor.config()["rules"][0]["variation"])


async def test_a_kill_is_done_when_rules_are():
    """Where nobody gets the variation but by a rule, a kill that was not made does not pass for one; it is made the next time."""
    rule = {"_id": "r1", "clauses": IN_SPAIN, "variation": 1, "trackEvents": False}
    vendor = LaunchDarkly(a_flag(fallthrough={"variation": 0}, rules=[rule]))
    vendor.faults = [Fault("503", method="PATCH")]
    kill = command("kill")
    async with opened(vendor) as store:
        with pytest.raises(StoreUnavailable):
            await store.apply(kill)
        assert "applied" == (await store.apply(kill)).status

    assert 0 == vendor.config()["rules"][0]["variation"]


async def test_a_change_is_made_only_to_what_was_read():
    """Each patch tests the version of the environment: a person's change between is seen, and decided on anew."""
    vendor = LaunchDarkly()
    vendor.before_change = once(lambda: vendor.edit(trackEvents=True))
    async with opened(vendor) as store:
        answer = await store.apply(command("set_share", 0.2))

    assert ("applied", True, [80_000, 20_000]) == (
        answer.status, vendor.config()["trackEvents"], weights(vendor.config()["fallthrough"])
    )  # fmt: skip
    assert {"op": "test", "path": "/environments/production/version", "value": 2} == vendor.changes[0].body["patch"][0]


async def test_a_share_that_people_set_meanwhile_is_not_overwritten():
    """An advance that meets a person's share, set after it was read, is a conflict that names it."""
    vendor = LaunchDarkly()
    half = {"rollout": HALF}
    vendor.before_change = once(lambda: vendor.edit(fallthrough=half))
    async with opened(vendor) as store:
        answer = await store.apply(command("set_share", 0.2, from_share=0.1))

    assert ("conflict", [50_000, 50_000]) == (answer.status, weights(vendor.config()["fallthrough"]))
    assert "people have set the share of 'treatment' to 50 %" in answer.detail


async def test_where_versions_cannot_be_tested_only_what_stops_harm_is_done():
    """If patches with a test are refused, a kill is made by ids and without one; an advance fails and says why."""
    rules = [{"_id": "r1", "clauses": IN_SPAIN, "variation": 1, "trackEvents": False}, {"_id": "r2", "clauses": IN_BETA,
        "rollout": HALF, "trackEvents": False}]  # fmt: skip
    vendor = LaunchDarkly(a_flag(rules=rules, targets=[{"values": ["ann"], "variation": 1}], offVariation=1))
    vendor.tests = False
    async with opened(vendor) as store:
        late = await store.apply(command("set_share", 0.2, from_share=0.1, rings={"beta": 0.5}))
        killed = await store.apply(command("kill"))

    assert ("failed", "applied") == (late.status, killed.status)
    assert "HTTP 400" in late.detail and "invalid_patch" in late.detail
    assert [SEMANTIC] == [came.headers["Content-Type"] for came in vendor.changes]
    config = vendor.config()
    assert ([100_000, 0], 0, 0) == (weights(config["fallthrough"]), config["rules"][0]["variation"], config["offVariation"])
    assert ["ann"] == [key for target in config["targets"] if target["variation"] == 0 for key in target["values"]]
    assert 0 == len([1 for target in config["targets"] if target["variation"] == 1 and target["values"]])


async def test_a_change_says_which_decision_it_is():
    """The comment, which stands in the audit log, names the guardian, what was done and the decision."""
    vendor = LaunchDarkly()
    made = command("kill")
    async with opened(vendor) as store:
        await store.apply(made)

    assert f"Rollout Guardian: kill treatment ({made.decision_id})" == vendor.changes[0].body["comment"]


async def test_approval_fails_with_the_role_that_helps():
    """Where changes need an approval, a kill fails for good and says which action the role of the token needs."""
    vendor = LaunchDarkly()
    vendor.needs_approval = True
    async with opened(vendor) as store:
        answer = await store.apply(command("kill"))

    assert ("failed", []) == (answer.status, vendor.changes)
    assert "need an approval" in answer.detail and "bypassRequiredApproval" in answer.detail


async def test_a_token_that_may_only_read():
    """A role without the right to change flags is told apart from anything that would pass by itself."""
    vendor = LaunchDarkly()
    vendor.may_only_read = True
    async with opened(vendor) as store:
        answer = await store.apply(command("kill"))

    assert "failed" == answer.status
    assert "HTTP 403" in answer.detail and "whose role may read the flag and change its rules" in answer.detail


async def test_what_people_have_scheduled_stops_no_kill():
    """A scheduled change that a patch would break stops an advance, which says so, and never a kill."""
    vendor = LaunchDarkly()
    vendor.has_schedule = True
    async with opened(vendor) as store:
        late = await store.apply(command("set_share", 0.2, from_share=0.1))
        killed = await store.apply(command("kill"))

    assert ("failed", "applied") == (late.status, killed.status)
    assert "pending scheduled change" in late.detail


async def test_an_experiment_of_theirs_is_not_spoilt():
    """Shares under a running experiment of LaunchDarkly's are left alone; a kill goes through."""
    split = {**HALF, "experimentAllocation": {"defaultVariation": 0, "canReshuffle": True}}
    vendor = LaunchDarkly(a_flag(fallthrough={"rollout": split}))
    async with opened(vendor) as store:
        late = await store.apply(command("set_share", 0.6, from_share=0.5))
        killed = await store.apply(command("kill"))

    assert ("failed", "applied") == (late.status, killed.status)
    assert "stop the experiment there" in late.detail


async def test_an_archived_flag_says_what_to_do_and_a_deprecated_one_is_killed():
    """An archived flag is served to nobody, and restored by people; a deprecated one is still served, and killed."""
    old, older = a_flag(), a_flag("new-search")
    old["deprecated"], older["archived"] = True, True
    async with opened(LaunchDarkly(old, older)) as store:
        assert "applied" == (await store.apply(command("kill"))).status
        with pytest.raises(StoreError, match="is archived in LaunchDarkly and is served to nobody: restore it there"):
            await store.read("production", "new-search")


async def test_an_environment_that_the_token_may_not_see():
    """A flag that comes without the environment asked for is unknown there, and the setting is named."""
    vendor = LaunchDarkly()
    async with opened(vendor, environment_key="prod") as store:
        with pytest.raises(UnknownFlag, match="see environment_key of this store"):
            await store.read("production", "checkout-v2")


@pytest.mark.parametrize(
    ("named_by", "names"), [("name", ("control", "treatment")), ("value", ("old", "new")), ("index", ("0", "1"))]
)
async def test_variations_are_called_as_services_call_them(named_by: str, names: tuple[str, str]):
    """By their name, their value or their place: as the setting says, so that events and the store mean the same."""
    async with opened(LaunchDarkly(), named_by=named_by) as store:
        assert names == (await store.read("production", "checkout-v2")).variations
        answer = await store.apply(command("kill", variation=names[1], control=names[0]))

    assert answer.state is not None
    assert ("applied", 0.0) == (answer.status, answer.state.weights[names[1]])


async def test_values_that_are_no_texts_and_names_that_are_given_twice():
    """Without a name a variation is called by its value as JSON; two of one name are refused with what helps."""
    flag, twice = a_flag(), a_flag("new-search")
    flag["variations"] = [{"_id": "a", "value": False}, {"_id": "b", "value": {"page": 1}}]
    twice["variations"] = [{"_id": "a", "value": 1, "name": "same"}, {"_id": "b", "value": 2, "name": "same"}]
    async with opened(LaunchDarkly(flag, twice)) as store:
        assert ("false", '{"page":1}') == (await store.read("production", "checkout-v2")).variations
        with pytest.raises(StoreError, match="two variations of flag 'new-search' are called 'same': .* or set named_by"):
            await store.read("production", "new-search")


async def test_a_fixed_answer_becomes_a_split_of_the_context_that_settings_name():
    """Where everybody got one variation there is no split yet: it is made by the key of the kind of context in the settings."""
    vendor = LaunchDarkly(a_flag(fallthrough={"variation": 0}))
    async with opened(vendor, context_kind="device") as store:
        assert "applied" == (await store.apply(command("set_share", 0.1, from_share=0.0))).status

    assert ("device", [90_000, 10_000]) == (
        vendor.config()["fallthrough"]["rollout"]["contextKind"], weights(vendor.config()["fallthrough"])
    )  # fmt: skip


async def test_who_is_where_stays_there():
    """A split keeps by what it divides: the attribute, the kind of context and the seed are not touched."""
    known = {"variations": HALF["variations"], "bucketBy": "account", "contextKind": "org", "seed": 61}
    vendor = LaunchDarkly(a_flag(fallthrough={"rollout": known}))
    async with opened(vendor) as store:
        await store.apply(command("kill"))
        await store.apply(command("resume", 0.5))

    split = vendor.config()["fallthrough"]["rollout"]
    assert ("account", "org", 61, [50_000, 50_000]) == (
        split["bucketBy"], split["contextKind"], split["seed"], weights({"rollout": split})
    )  # fmt: skip


async def test_rings_are_rules_for_one_segment_and_no_others():
    """A ring gets a rule of its own, after people's, before those of later rings; it goes when the ring gets what all get."""
    people = {"_id": "r1", "clauses": IN_SPAIN, "variation": 0, "trackEvents": False}
    vendor = LaunchDarkly(a_flag(rules=[people]))
    async with opened(vendor) as store:
        await store.apply(command("set_share", 0.1, from_share=0.1, rings={"beta": 0.5}))
        await store.apply(command("set_share", 0.1, from_share=0.1, rings={"employees": 1.0, "beta": 0.5}))
        order = [rule["clauses"][0]["values"] for rule in vendor.config()["rules"]]
        await store.apply(command("set_share", 0.2, from_share=0.1))

    assert [["ES"], ["employees"], ["beta"]] == order
    assert [people] == vendor.config()["rules"]


async def test_a_rule_that_is_for_more_than_a_segment_is_no_ring():
    """A segment together with another condition, negated, or of no ring, stays people's rule, whatever is advanced."""
    rules = [
        {"_id": "r1", "clauses": IN_BETA + IN_SPAIN, "variation": 1, "trackEvents": False},
        {"_id": "r2", "clauses": [{**IN_BETA[0], "negate": True}], "variation": 1, "trackEvents": False},
        {"_id": "r3", "clauses": [{**IN_BETA[0], "values": ["partners"]}], "variation": 1, "trackEvents": False},
    ]
    vendor = LaunchDarkly(a_flag(rules=rules))
    async with opened(vendor) as store:
        assert {"employees": {}, "beta": {}} == (await store.read("production", "checkout-v2")).rings
        await store.apply(command("set_share", 0.2, from_share=0.1))

    assert rules == vendor.config()["rules"]


async def test_a_thousandth_of_a_percent_is_the_finest_share():
    """Shares are rounded to what weights can hold, and add up."""
    vendor = LaunchDarkly()
    async with opened(vendor) as store:
        assert "applied" == (await store.apply(command("set_share", 1 / 3, from_share=0.1))).status

    assert [66_667, 33_333] == weights(vendor.config()["fallthrough"])
