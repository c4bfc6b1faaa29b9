"""Shares that no policy names: the document says them, the guardian is told, and the traffic is held against them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType

from demo.ports import free_ports
from guardian.decisions import DECISION_TYPE, ROLLOUT_TYPE, Decision, RolloutView
from streams.cloudevents import from_event
from streams.settings import Settings
from tests.streams.stores.support import connect, treated
from tests.support.installation import Written, written
from tests.support.movers import until
from tests.support.processes import producer
from tests.support.started import children, command, end_process
from tests.support.users import Users

EDITED, WRONG = "search", "checkout"
WORKERS = ("store", "observe", "judge", "act")
MANY = 100_000
"""So many users that most are new."""
AFTER = 1_000
"""Requests of the treatment after the edit: at 200 a second, longer than clients are given to see it."""


def write_document(folder: Path, treatment: int) -> None:
    """Both flags with 90/10, the one that people edit with as many percent for its treatment."""
    by_unit = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}
    flag = {"state": "ENABLED", "variants": {"control": "old", "treatment": "new"}, "defaultVariant": "control"}
    rules = {
        name: {"fractional": [by_unit, ["control", 100 - share], ["treatment", share]]}
        for name, share in ((EDITED, treatment), (WRONG, 10))
    }
    fresh = folder / "flags.json.new"
    fresh.write_text(json.dumps({"flags": {name: flag | {"targeting": rule} for name, rule in rules.items()}}))
    fresh.replace(folder / "flags.json")


@contextmanager
def guardian(folder: Path, store: int, health: int) -> Iterator[Path]:
    """``guardian run --embedded`` on flags whose policies name no share; what it says goes to the file."""
    write_document(folder, 10)
    ratio = [{"when": "sample_ratio off", "then": "pause"}]
    policies = [{"flag": name, "environment": "production", "owner": "shop", "guardrails": ratio} for name in (EDITED, WRONG)]
    (folder / "policies.yaml").write_text("\n---\n".join(map(json.dumps, policies)))
    settings = Settings.model_validate({"kafka": {"embedded": True}, "observe": {"workers": 1}})
    started = command(settings, folder, "guardian", ",".join(WORKERS), store=store, health=health)
    said = folder / "said"
    with said.open("wb") as out, subprocess.Popen(started, stdout=out, stderr=out) as process:
        try:
            yield said
        finally:
            end_process(process)
            print(said.read_text())


async def halved(folder: Path) -> OpenFeatureClient:
    """The official provider on a copy of the document in which somebody has given every treatment a half."""
    copy = folder / "halved.json"
    copy.write_text((folder / "flags.json").read_text().replace("90]", "50]").replace("10]", "50]"))
    provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(copy))
    await asyncio.to_thread(api.set_provider_and_wait, provider, "halved")
    return api.get_client("halved")


@asynccontextmanager
async def broker(said: Path, health: int) -> AsyncIterator[tuple[Settings, Written]]:
    """Settings for the broker that the guardian has started, and what it writes there, once all are ready."""
    found = await until(
        lambda: re.search(r"embedded_broker_started\s+bootstrap=(\S+)", said.read_text()), within_s=60, what="a broker"
    )
    settings = Settings.model_validate({"kafka": {"bootstrap": found[1], "embedded": True}})

    def are_ready() -> bool:
        known = children(health)
        return set(known) == set(WORKERS) and all(known[name]["ready"] for name in WORKERS)

    await until(are_ready, within_s=60, what="all are ready")
    async with written(settings, settings.topics.rollouts, settings.topics.decisions) as records:
        yield settings, records


def decisions(records: Written, settings: Settings, flag: str) -> list[Decision]:
    return [from_event(value, Decision, type=DECISION_TYPE) for value in records.of(settings.topics.decisions, flag)]


def starts(records: Written, settings: Settings, flag: str) -> tuple[int, int]:
    """Starts of control and treatment in the standing epoch, as the newest view of the rollout has them."""
    values = records.of(settings.topics.rollouts, flag)
    arms = {one.variation: one.n for one in from_event(values[-1], RolloutView, type=ROLLOUT_TYPE).arms} if values else {}
    return arms.get("control", 0), arms.get("treatment", 0)


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_split_that_is_not_the_documents_is_found_and_a_persons_edit_is_not(tmp_path: Path):
    """
    Two flags with 90/10 in the document, and policies that name no share. Somebody edits one to 50/50, and its clients follow:
    nothing is said. A service puts half of its users into the other one's treatment: that is paused, with 10 % as its bound.
    """
    store, health = free_ports(2)
    with guardian(tmp_path, store, health) as said:
        async with broker(said, health) as (settings, records), producer(settings, linger_ms=5) as producing:
            following, wrong = await connect(store), await halved(tmp_path)
            edited = Users(settings, producing, following, EDITED, users=MANY)
            mistaken = Users(settings, producing, wrong, WRONG, users=MANY)
            async with edited.busy():
                await records.until(lambda: min(starts(records, settings, EDITED)) >= 50, "the edited flag is watched")
                write_document(tmp_path, 50)
                await until(lambda: treated(following, EDITED) > 400, what="its clients follow the edit")

                def is_new_epoch() -> bool:
                    control, treatment = starts(records, settings, EDITED)
                    return 0.4 < treatment / max(control + treatment, 1) < 0.6 and treatment >= AFTER

                await records.until(is_new_epoch, "it has had its new share for long")
                async with mistaken.busy():
                    await records.until(lambda: decisions(records, settings, WRONG), "the wrong split is found")

        [found] = decisions(records, settings, WRONG)
        assert ("pause", "treatment", "sample_ratio off") == (found.action, found.variant, found.guardrail)
        assert found.evidence is not None
        assert found.evidence.bound == pytest.approx(0.1)
        assert 0.4 < found.evidence.value < 0.6
        assert [] == decisions(records, settings, EDITED)
