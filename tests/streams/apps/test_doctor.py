"""``guardian doctor`` as it is typed: what it prints, its exit codes, and that nothing in it fails or shows a secret."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from demo.ports import free_ports
from streams.apps.cli import app
from streams.apps.doctor import running
from streams.apps.doctor.checks import CHECK_S, checked
from streams.apps.doctor.told import secrets_of, without_secrets
from streams.findings import Finding
from streams.health import Health
from streams.settings import Settings
from streams.supervisor import Supervisor
from tests.support.cluster import Cluster
from tests.support.page import now_ms
from tests.support.published import rollout
from tests.support.stores import launchdarkly as ld
from tests.support.stores.vendor import Fault, serving

POLICY = """\
flag: checkout-v2
environment: production
guardrails:
  - {when: error_rate > 5%, then: kill}
"""
SECRET = "api-s3cr3t-of-somebody-else"


async def doctor(folder: Path, settings: dict[str, Any], *arguments: str, env: dict[str, str] | None = None) -> Result:
    """The command, on these settings and a policy in *folder*, while what it asks goes on in this loop."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "checkout.yaml").write_text(POLICY)
    (free,) = free_ports(1)
    given = {"policies": [str(folder / "policies")], "health": {"port": free}, **settings}
    (folder / "guardian.yaml").write_text(json.dumps(given))
    command = ["doctor", "--config", str(folder / "guardian.yaml"), *arguments]
    return await asyncio.to_thread(CliRunner().invoke, app, command, env=env)


async def test_a_guardian_that_is_well_is_zero(embedded_kafka, tmp_path: Path):
    """Warnings do not fail: topics that are not made yet, and nobody who is told, leave the exit code 0."""
    vendor = ld.LaunchDarkly()
    cluster = Cluster(embedded_kafka, embedded=False).settings()
    names = {"kafka": cluster.kafka.model_dump(include={"bootstrap", "group_prefix"}), "topics": cluster.topic_names.model_dump()}
    async with serving(vendor):
        web = {"kind": "launchdarkly", "url": vendor.url, "project": ld.PROJECT}
        said = await doctor(tmp_path, {**names, "stores": {"web": web}}, env={"GUARDIAN_STORES__WEB__TOKEN": ld.TOKEN})

    assert 0 == said.exit_code, said.output
    first, *_, last = said.stdout.splitlines()
    assert "ok       settings: can be used" == first
    assert ": 0 errors, " in last
    assert "warning  alerts: no channel has settings: nobody is told of anything" in said.stdout


async def test_errors_are_one_and_json_has_all_of_them(tmp_path: Path):
    """A Kafka that is not there and a wrong token: exit 1 in time, each in the JSON with its cure, and the token nowhere."""
    vendor, began_s = ld.LaunchDarkly(), time.monotonic()
    (closed,) = free_ports(1)
    async with serving(vendor):
        settings = {
            "kafka": {"bootstrap": f"127.0.0.1:{closed}"},
            "stores": {"web": {"kind": "launchdarkly", "url": vendor.url, "project": ld.PROJECT}},
        }
        said = await doctor(tmp_path, settings, "--json", env={"GUARDIAN_STORES__WEB__TOKEN": SECRET})
    found = json.loads(said.stdout)
    errors = {one["about"]: one for one in found["findings"] if one["level"] == "error"}

    assert (1, False) == (said.exit_code, found["ok"])
    assert {f"Kafka at 127.0.0.1:{closed}", "store web: flag 'checkout-v2'"} == set(errors)
    assert "kafka.bootstrap" in errors[f"Kafka at 127.0.0.1:{closed}"]["cure"]
    assert SECRET not in said.output
    assert time.monotonic() - began_s < 4 * CHECK_S


async def test_a_store_that_quotes_its_token_is_told_without(tmp_path: Path):
    """What a store or a proxy answers is shown, and the token that it quotes there is not."""
    vendor = ld.LaunchDarkly()
    vendor.faults = [Fault("418", times=100, body={"message": f"not with {SECRET}"})]
    async with serving(vendor):
        stores = {"web": {"kind": "launchdarkly", "url": vendor.url, "project": ld.PROJECT}}
        settings = {"kafka": {"embedded": True}, "stores": stores}
        said = await doctor(tmp_path, settings, env={"GUARDIAN_STORES__WEB__TOKEN": SECRET})

    assert 1 == said.exit_code
    assert "HTTP 418" in said.stdout and "not with …" in said.stdout and SECRET not in said.output


async def test_settings_that_cannot_be_used_are_the_finding(tmp_path: Path):
    """What is wrong in the settings is told by file and line, and nothing else is looked at."""
    said = await doctor(tmp_path, {"kafka": {"bootstrap": "nowhere"}, "act": {"deadline_s": "soon"}})

    assert 1 == said.exit_code
    assert 2 == said.stdout.count("error    settings: ") and "kafka.bootstrap" in said.stdout
    assert "2 findings: 2 errors, 0 warnings" == said.stdout.splitlines()[-1]


async def test_a_policy_that_cannot_be_read_is_a_finding(tmp_path: Path):
    """Its line and what would be right are told; the policies that can be read are looked for all the same."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "broken.yaml").write_text(POLICY.replace("kill", "klil").replace("v2", "v3"))
    said = await doctor(tmp_path, {"kafka": {"embedded": True}, "flagd": {"document": str(tmp_path / "none.json")}})

    assert "did you mean kill?" in said.stdout and "flagd.document" in said.stdout


async def test_whatever_happens_in_a_check_is_a_finding():
    """An error that nobody has thought of is told by its kind, as its text may hold a secret; what hangs is told in time."""

    async def fails() -> list[Finding]:
        raise RuntimeError("Bearer s3cr3t")

    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    (one,) = await checked("it", fails())
    (two,) = await checked("it", hangs(), within_s=0.01)

    assert ("error", "it") == (one.level, one.about) and "(RuntimeError)" in one.found and "s3cr3t" not in str(one)
    assert "no answer within 0.01 s" == two.found and two.cure


def test_no_secret_comes_through_whoever_quotes_it():
    """Every secret of the settings is taken out of what is printed, each address of Apprise's, and secrets in stores."""
    settings = Settings.model_validate({
        "alerts": {"apprise": {"urls": ["json://s3cr3t-one", "json://s3cr3t-two"]}},
        "stores": {"web": {"kind": "launchdarkly", "project": "shop", "token": SECRET}},
        "privacy": {"salt": "s3cr3t-salt-of-sixteen"},
    })  # fmt: skip
    quoting = [Finding("error", "it", f"said {secret}", f"look at {secret}") for secret in secrets_of(settings)]

    assert 5 <= len(quoting)
    assert "s3cr3t" not in str(without_secrets(quoting, settings))


async def test_what_a_guardian_here_says_of_itself_is_told():
    """Of a guardian that runs and is not ready, each process says why; of one that is, that it is."""
    said = Supervisor(["act", "judge"], None).readiness() | {"policies": {"problems": ["a.yaml:3: flag: is missing"]}}
    health = Health(lambda: said, host="127.0.0.1", port=0, metrics_directory="")
    await health.start()
    settings = Settings.model_validate({"health": {"port": health.port}})
    try:
        said["waiting_for"] = ""
        ill = await running.look(settings)
        for child in said["children"].values():
            child["ready"] = True
        said["policies"]["problems"] = []
        well = await running.look(settings)
        said["children"]["act"]["drift"] = {"production|checkout": "web serves b to 10 %, mobile to 0 %"}
        drift = running.drift_in(await running.readiness(settings))
    finally:
        await health.stop()

    assert ["process act", "process judge", "policies"] == [one.about for one in ill]
    assert ["ok"] == [one.level for one in well]
    assert {"production|checkout": "web serves b to 10 %, mobile to 0 %"} == drift


async def test_status_says_in_what_stores_differ(publish, url):
    """Under the rollouts, and of the one that is named, as the guardian of this machine says; nothing where none answers."""
    await publish.rollout(rollout(at_ms=now_ms()))
    drift = {"production|checkout-v2": "web serves b to 10 %, tv to 0 %"}
    said = {"ready": True, "children": {"act": {"ready": True, "drift": drift}}}
    health = Health(lambda: said, host="127.0.0.1", port=0, metrics_directory="")
    await health.start()
    environment = {"GUARDIAN_API__PORT": url.rpartition(":")[2], "GUARDIAN_HEALTH__PORT": str(health.port)}
    try:
        async with asyncio.timeout(30.0):
            while "checkout-v2" not in (every := await _status(environment)).stdout:
                await asyncio.sleep(0.02)
        one = await _status(environment, "checkout-v2")
    finally:
        await health.stop()
    none = await _status(environment)

    assert "stores differ: production|checkout-v2: web serves b to 10 %, tv to 0 %" in every.stdout
    assert "stores differ: web serves b to 10 %, tv to 0 %" == one.stdout.splitlines()[-1]
    assert (0, False) == (none.exit_code, "stores differ" in none.stdout)


async def _status(environment: dict[str, str], *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["status", *arguments], env=environment)


@pytest.mark.parametrize("answer", [None, {"children": None}, {"children": {}}])
async def test_a_guardian_without_news_of_drift_has_none(answer):
    """One that does not run, is of an older version, or is something else says nothing of stores that differ."""
    assert {} == running.drift_in(answer)
