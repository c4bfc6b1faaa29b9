"""Policy files that change while the guardian runs: what is published, what is refused, who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from demo.ports import free_ports
from guardian.policy import Policy
from streams.apps.reload import Reload
from streams.outlet import NotDelivered
from streams.policies import load_policies
from tests.support.running import Guardian

GUARDED = "flag: {flag}\nenvironment: production\nguardrails: [{{when: error_rate > {bound}%, then: kill}}]\n"


def policy(flag: str, bound: int = 5) -> str:
    return GUARDED.format(flag=flag, bound=bound)


class Folder:
    """A directory of policies that is followed, and what was published of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.published: list[str] = []
        (path / "a.yaml").write_text(policy("a"))
        (path / "b.yaml").write_text(policy("b"))
        self.reload = Reload([path], load_policies([path]))
        self.refuses = False

    async def publish(self, policies: Sequence[Policy]) -> None:
        if self.refuses:
            raise NotDelivered("Kafka is away")
        self.published += [f"{one.flag} {one.guardrails[0].when.text}" for one in policies]

    async def looks(self, number: int = 2) -> list[str]:
        """Look so often; returns what was logged, and of what."""
        with capture_logs() as said:
            for _ in range(number):
                await self.reload.look(self.publish)
        return [f"{one['log_level']} {one['event']} {one.get('rollout', one.get('reason', ''))}" for one in said]


@pytest.fixture
async def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    assert [] == await made.looks()
    return made


async def test_what_changed_is_published_and_nothing_else(folder):
    """A changed file and a new one are published once each; what says the same as before is not."""
    (folder.path / "a.yaml").write_text("# a comment\n" + policy("a"))
    (folder.path / "b.yaml").write_text(policy("b", 7))
    (folder.path / "c.yaml").write_text(policy("c"))
    said = await folder.looks(4)

    assert ["b error_rate > 7%", "c error_rate > 5%"] == folder.published
    assert ["info policies_reloaded "] == said


async def test_a_file_that_is_being_written_is_waited_for(folder):
    """A file is read once it has stood still from one look to the next, so that half of it is never a policy."""
    (folder.path / "a.yaml").write_text(policy("a", 8))
    await folder.looks(1)
    (folder.path / "a.yaml").write_text(policy("a", 10))
    await folder.looks(1)

    assert [] == folder.published
    await folder.looks(1)
    assert ["a error_rate > 10%"] == folder.published


async def test_a_broken_file_is_refused_whole_and_told_once(folder):
    """Of a file with a problem nothing is published, others go on; file and line are logged once, and shown until mended."""
    (folder.path / "a.yaml").write_text(policy("a", 9) + "---\n" + policy("d").replace("kill", "klil"))
    (folder.path / "b.yaml").write_text(policy("b", 7))
    said = await folder.looks(4)

    assert ["b error_rate > 7%"] == folder.published
    [told] = [line for line in said if line.startswith("error policy_refused")]
    assert f"{folder.path}/a.yaml:7: guardrails[0].then: 'klil': did you mean kill?" in told
    state = folder.reload.state()
    assert (False, 1, []) == (state["ok"], len(state["problems"]), state["gone"])

    (folder.path / "a.yaml").write_text(policy("a", 9))
    await folder.looks()
    assert "a error_rate > 9%" == folder.published[-1]
    assert {"ok": True, "problems": [], "gone": []} == folder.reload.state()


async def test_a_file_that_vanished_changes_nothing_but_the_log(folder):
    """A rollout whose file is gone goes on; that is warned of once, and shown until the file is back."""
    (folder.path / "a.yaml").rename(folder.path / "a.moved")
    assert ["warning policy_gone production|a"] == await folder.looks(4)
    assert (["production|a"], []) == (folder.reload.state()["gone"], folder.published)

    (folder.path / "a.moved").rename(folder.path / "another.yaml")
    assert [] == await folder.looks()
    assert ([], []) == (folder.reload.state()["gone"], folder.published)


async def test_what_kafka_did_not_take_is_published_later(folder):
    """A change that could not be published is not forgotten."""
    folder.refuses = True
    (folder.path / "a.yaml").write_text(policy("a", 9))
    with pytest.raises(NotDelivered):
        await folder.looks()
    folder.refuses = False
    await folder.looks()

    assert ["a error_rate > 9%"] == folder.published


@pytest.mark.timeout(150)
async def test_a_running_guardian_follows_its_files(tmp_path):
    """While it runs, a changed policy is in force within seconds; a broken one is on /readyz and /api/policies, by line."""
    api, flagd = free_ports(2)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "a.yaml").write_text(policy("a"))
    settings = {"api": {"port": api}, "flagd": {"port": flagd}, "policies": [str(policies)]}
    with Guardian(tmp_path, "--embedded", "--only", "judge,api", settings=settings) as running:
        await running.until(lambda _, said: said["children"]["api"]["ready"], "the API is ready")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{api}") as http:

            async def asked(path: str, condition):
                async with asyncio.timeout(30.0):
                    while True:
                        async with http.get(path) as answer:
                            if answer.status == 200 and condition(found := await answer.json()):
                                return found
                        await asyncio.sleep(0.1)

            before = await asked("/api/rollouts/production%7Ca", bool)
            (policies / "a.yaml").write_text(policy("a", 9))
            after = await asked("/api/rollouts/production%7Ca", lambda found: found["policy_hash"] != before["policy_hash"])
            (policies / "a.yaml").write_text(policy("a", 9).replace("kill", "klil"))
            ready = await running.until(lambda _, said: not said["policies"]["ok"] and said["policies"], "it is refused")
            shown = await asked("/api/policies", lambda found: not found["ok"])
            still = await asked("/api/rollouts/production%7Ca", bool)
            _, metrics = await running.get("/metrics")

    assert after["policy_hash"] == still["policy_hash"]
    assert shown["problems"] == ready["problems"]
    assert "a.yaml:3: guardrails[0].then: 'klil'" in ready["problems"][0]
    assert "guardian_policy_problems 1.0" in metrics
    assert "policy_refused" in running.said.read_text()
