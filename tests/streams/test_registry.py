"""Flags that nobody wrote a policy for: noticed, given the default, at most so many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import ROLLOUT_TYPE, RolloutView
from guardian.journal import NOTICED, PolicyEntry, Summary, decode, encode
from guardian.policy import Policy, policy_hash
from guardian.summaries import Arm, FlagSums, Tick
from streams.admin import ensure_topics
from streams.apps.cli import app
from streams.cloudevents import from_event
from streams.judge import run_judge
from streams.outlet import open_outlet
from streams.policies import load_default, read_default
from streams.registry import SEEN, Registry
from streams.settings import Settings
from streams.status import Status
from tests.support.courses import serves
from tests.support.movers import MemoryOutlet
from tests.support.processes import Killable, reader
from tests.support.traffic import T0_MS

JOURNAL = "guardian.journal.v1"
DEFAULT = "owner: platform\nmode: shadow\nguardrails:\n  - {when: error_rate > 2x control, then: kill}\n"


class World:
    """A registry, a bank that saw flags so often, and what stands in the journal."""

    def __init__(self, folder: Path, **options: Any) -> None:
        path = folder / "default.yaml"
        path.write_text(DEFAULT)
        self.bank, self.outlet = Bank(JudgeConfig()), MemoryOutlet()
        self.default, self.options = load_default(path), options
        self.restart()

    def restart(self) -> None:
        self.registry = Registry(self.default, self.outlet, JOURNAL, **self.options)

    async def notice(self, **seen: int) -> list[str]:
        """Notice once, after flags were seen so often; returns what was logged."""
        self.bank.unwatched |= {f"production|{flag}": times for flag, times in seen.items()}
        with capture_logs() as said:
            await self.registry.notice([self.bank])
        return [str(one["event"]) for one in said]

    def written(self) -> list[PolicyEntry]:
        found = [decode(one.value or b"") for one in self.outlet.on(JOURNAL)]
        return [entry for entry in found if isinstance(entry, PolicyEntry)]

    def read(self) -> None:
        """The bank reads all that stands in the journal."""
        for at, entry in enumerate(self.written()):
            self.bank.apply(at, entry)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_flag_is_noticed_once_it_was_seen_often(world):
    """A flag that was seen a hundred times gets the default policy under its own name; one that was seen less does not."""
    await world.notice(cart=SEEN, slip=SEEN - 1)
    await world.notice(cart=SEEN + 1)
    [entry] = world.written()
    policy = Policy.from_document(entry.document)

    assert ("production|cart", NOTICED, policy_hash(policy)) == (entry.key, entry.by, entry.hash)
    assert ("cart", "production", "platform", "shadow") == (policy.flag, policy.environment, policy.owner, policy.mode)
    assert ["error_rate > 2x control"] == [one.when.text for one in policy.guardrails]
    world.read()
    assert ({"production|cart"}, {"production|slip": SEEN - 1}) == (world.bank.rollouts.keys(), world.bank.unwatched)


async def test_a_flag_that_a_store_divides_is_noticed_before_anybody_comes(world):
    """A flag of which a store gives people two variations has the default policy at once; one with a policy keeps its own."""
    for offset, key in enumerate(("production|cart", "production|paid")):
        told = serves(0.0, 0.1)
        told.key = key
        world.bank.apply(offset, told)
    own = Policy.from_document(world.default.to_document() | {"flag": "paid", "environment": "production", "owner": "shop"})
    world.bank.apply(2, PolicyEntry(at_ms=T0_MS, key=own.key, hash=policy_hash(own), document=own.to_document()))
    await world.notice()
    await world.notice()

    assert ["production|cart"] == [entry.key for entry in world.written()]


async def test_a_repeat_says_the_same(world):
    """Two workers that notice one flag write the same entry, but for its time."""
    await world.notice(cart=SEEN)
    world.restart()
    await world.notice(cart=SEEN)
    first, second = world.written()

    assert (first.key, first.hash, first.document) == (second.key, second.hash, second.document)


async def test_what_kafka_did_not_take_is_written_later(world):
    """A flag whose policy could not be published is noticed again."""
    world.outlet.refuses = lambda topic, key: True
    assert ["rollout_not_noticed"] == await world.notice(cart=SEEN)
    world.outlet.refuses = lambda topic, key: False
    await world.notice(cart=SEEN)

    assert ["production|cart"] == [entry.key for entry in world.written()]


async def test_there_is_room_for_so_many(tmp_path):
    """Beyond its number nothing is taken in, what was noticed before a restart included; that is said once."""
    world = World(tmp_path, most=3)
    await world.notice(a=SEEN, b=SEEN)
    world.read()
    world.restart()

    assert ["rollout_noticed", "registry_full"] == await world.notice(c=SEEN, d=SEEN)
    assert [] == await world.notice(e=SEEN)
    assert ["production|a", "production|b", "production|c"] == [entry.key for entry in world.written()]


async def test_a_name_that_is_none_is_said_and_left_out(world):
    """A flag whose name no policy can have is told of once, and keeps nobody else out."""
    world.bank.unwatched = {"production|two words": SEEN}
    assert {"rollout_not_noticed", "rollout_noticed"} == set(await world.notice(cart=SEEN))
    assert [] == await world.notice()


async def judge(status: Status, settings: Settings) -> None:
    await run_judge(settings, status)


@pytest.mark.timeout(120)
async def test_a_judge_that_hears_of_a_flag_shows_its_rollout(kafka, tmp_path):
    """A real judge that reads a hundred summaries of an unknown flag shows it as a rollout under the default policy."""
    path = tmp_path / "default.yaml"
    path.write_text(DEFAULT)
    settings = kafka.settings(policies_default=str(path))
    await ensure_topics(settings)
    arms = {name: Arm(exposures=1, outcomes=1) for name in ("control", "treatment")}
    with Killable(judge, tmp_path / "judge.log", settings) as process:
        async with open_outlet(settings, "test", Status("test")) as outlet, reader(settings, settings.topics.rollouts) as shown:
            for at_ms in range(1_000_000, 1_000_000 + SEEN * 200, 200):
                flags = [FlagSums(key="production|cart", ticks=[Tick(start_ms=at_ms, arms=arms)])]
                entry = Summary(source="a/0", at_ms=at_ms, passed_ms=at_ms, flags=flags)
                await outlet.send(settings.topics.journal, "production|cart", encode(entry))
            await process.ready()
            [value, *_] = await shown.until(lambda values: values, 30, "the rollout is shown")

    view = from_event(value, RolloutView, type=ROLLOUT_TYPE)
    assert ("production|cart", "platform", "shadow") == (view.key, view.owner, view.mode)


def test_a_default_policy_names_no_flag(tmp_path):
    """A default policy is read as any other, but without a flag and an environment: each problem with its line."""
    path = tmp_path / "default.yaml"
    path.write_text("flag: cart\nguardrails:\n  - {when: error_rate > 5%, then: klil}\n")
    problems = [(one.line, one.field) for one in read_default(path).problems]

    assert [(1, "flag"), (3, "guardrails[0].then")] == problems
    path.write_text(DEFAULT + "---\n" + DEFAULT)
    assert ["this rollout is defined at"] == [one.right[:26] for one in read_default(path).problems]


def test_check_reads_the_default_policy_too(tmp_path):
    """``guardian check --default`` lints it, and ``guardian check`` alone lints all that the settings name."""
    path, config, policies = tmp_path / "default.yaml", tmp_path / "guardian.yaml", tmp_path / "policies"
    policies.mkdir()
    (policies / "a.yaml").write_text("flag: checkout-v2\nenvironment: production\n" + DEFAULT)
    path.write_text(DEFAULT)
    config.write_text(json.dumps({"policies": [str(policies)], "policies_default": str(path)}))
    fine = CliRunner().invoke(app, ["check", "--config", str(config)])
    path.write_text(DEFAULT.replace("kill", "klil"))
    by_settings = CliRunner().invoke(app, ["check", "--config", str(config)])
    by_name = CliRunner().invoke(app, ["check", "--default", str(path)])

    assert (0, True) == (fine.exit_code, "2 files, 0 problems" in fine.stdout), fine.output
    for said in (by_settings, by_name):
        assert (1, True) == (said.exit_code, f"{path}:4: guardrails[0].then: 'klil'" in said.stdout)
