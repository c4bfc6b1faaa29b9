"""The commands for people on call, against the API as it is served, and against a whole guardian."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner, Result

from demo.ports import free_ports
from guardian.decisions import GuardrailView, ProofView, PropagationView, ServiceSeen
from guardian.journal import Override, PolicyEntry
from streams.apps.cli import app
from tests.support.cluster import Cluster
from tests.support.page import now_ms, page, read_journal, until
from tests.support.published import decision, receipt, rfc3339, rollout
from tests.support.running import Guardian

ROOT = Path(__file__).parents[3]
KEY = "production|checkout-v2"
WHY = ("--reason", "the cart is empty", "--by", "ada")


async def guardian(*arguments: str, url: str, env: dict[str, str] | None = None) -> Result:
    """The command as it is typed, while the API goes on in this loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--api", url], env=env)


def typed(*arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    """The command as a process."""
    return subprocess.Popen([sys.executable, "-m", "streams.apps.cli", *arguments], cwd=ROOT, **streams)


async def served(url: str, path: str) -> None:
    async with aiohttp.ClientSession(url) as http, asyncio.timeout(30.0):
        while True:
            async with http.get(f"/api/{path}") as answer:
                if answer.status == 200 and await answer.json():
                    return
            await asyncio.sleep(0.02)


async def test_status_is_a_line_a_rollout(publish, url):
    """Each line says status, share, the nearest guardrail's evidence and what the rollout waits for; columns are even."""
    await publish.rollout(rollout(at_ms=now_ms()))
    rows = (GuardrailView(guardrail="csat < 4", variation="b", action="pause", log_e=None, log_threshold=2.0),)
    await publish.rollout(rollout("search", at_ms=now_ms(), status="killed", share=None, guardrails=rows))
    await served(url, "rollouts/production%7Csearch")
    said = await guardian("status", url=url)

    first, second = said.stdout.splitlines()
    assert (0, "") == (said.exit_code, said.stderr)
    assert first.split("  ")[0] == KEY
    for part in ("running", "10 %", "“error_rate > 1.2x control” on treatment 6.7× of 992×", "waits for stage 3 of 4"):
        assert part in first
    assert "no evidence yet" in second
    assert second.endswith("waits for a person: guardian resume")
    assert first.index("waits for") == second.index("waits for")


async def test_status_says_how_fast_stores_are_and_who_still_serves_what_was_killed(publish, url):
    """Under the rollouts a line a store; of one rollout which services still serve it, and how fast its store is by service."""
    row = {"store": "flagd", "count": 12, "median_ms": 80, "p95_ms": 900, "longest_ms": 2_100}
    seen = (ServiceSeen(service="checkout-api", total=214, last_at="2026-11-21T01:00:09.000Z"),)
    proof = ProofView(variation="b", decision_id="1", store="flagd", applied_at="2026-11-21T01:00:00.000Z", services=seen)
    learned = (PropagationView(**row), PropagationView(**row, service="search-api"))
    await publish.rollout(rollout(at_ms=now_ms(), status="killed", proofs=(proof,), propagation=learned))
    await served(url, "propagation")
    every, one = await guardian("status", url=url), await guardian("status", KEY, url=url)

    assert "flagd: to the last exposure after a kill 80 ms in the median" in every.stdout.splitlines()[-1]
    assert "checkout-api has served it since (214 exposures, the last at 01:00:09)." in one.stdout
    assert "search-api under flagd: to the last exposure after a kill" in one.stdout


async def test_status_says_which_policies_are_refused(embedded_kafka, tmp_path):
    """What is wrong in the policy files as they are now stands under the rollouts, by file and line."""
    (tmp_path / "broken.yaml").write_text("flag: a\nenvironment: production\nguardrails: [{when: csat < 4, then: klil}]\n")
    settings = Cluster(embedded_kafka, embedded=True).settings(api={"port": 0}, policies=[str(tmp_path)])
    async with page(settings) as url:
        said = await guardian("status", url=url)

    assert f"not in force: {tmp_path}/broken.yaml:3: guardrails[0].then: 'klil': did you mean kill?" in said.stdout


async def test_status_of_one_rollout_has_its_details(publish, url):
    """With a key, or a flag that is in one environment alone: why, the arms, each guardrail, the newest decisions."""
    of = decision(at_ms=now_ms())
    await publish.rollout(rollout(at_ms=now_ms()))
    await publish.decision(of)
    await served(url, "decisions")
    by_key, by_flag = await guardian("status", KEY, url=url), await guardian("status", "checkout-v2", url=url)
    as_json = json.loads((await guardian("status", KEY, "--json", url=url)).stdout)

    assert by_key.stdout == by_flag.stdout
    for part in ("Nothing has happened to checkout-v2", "treatment: 311 requests, 4 failed (1.3 %)", of.explanation,
                 "stage 2 of 4, enforce, owned by team-checkout"):  # fmt: skip
        assert part in by_key.stdout
    assert (KEY, "running") == (as_json["key"], as_json["status"])


async def test_status_looks_back_on_kills_that_were_not_carried_out(publish, url):
    """In shadow mode it says how many kills were right and wrong, and what became of each; so does ``explain``."""
    plain = {"variation": "treatment", "guardrail": "error_rate > 5%", "decided_at": rfc3339(now_ms() - 60_000)}
    of = decision(at_ms=now_ms() - 60_000, mode="shadow")
    seen = [{"decision_id": of.decision_id, "seen": "confirmed", **plain}, {"decision_id": "2", "seen": "contradicted", **plain}]
    await publish.decision(of)
    await publish.rollout(rollout(at_ms=now_ms(), mode="shadow", hindsight=seen))
    await served(url, "rollouts/production%7Ccheckout-v2")
    await served(url, "decisions")
    said = (await guardian("status", KEY, url=url)).stdout
    explained = (await guardian("explain", of.decision_id, url=url)).stdout

    assert explained.startswith(f"{of.explanation} Confirmed: what started after “error_rate > 5%”")
    assert "kills that were not carried out: 1 confirmed, 1 contradicted" in said
    assert "Confirmed: what started after “error_rate > 5%” would have killed treatment breaks it as well" in said
    assert "Contradicted: what started after “error_rate > 5%” would have killed treatment shows that it is not so" in said


async def test_names_that_are_unknown_or_ambiguous_say_what_would_be_right(publish, url):
    """Every command that takes a name says which rollouts are near it, or in which environments it is; exit code 2."""
    none = await guardian("status", "checkout", url=url)
    await publish.rollout(rollout(at_ms=now_ms()))
    await publish.rollout(rollout("two", at_ms=now_ms()))
    await publish.rollout(rollout("two", at_ms=now_ms(), key="staging|two", environment="staging"))
    await served(url, "rollouts/staging%7Ctwo")

    assert (2, True) == (none.exit_code, "no rollout is known yet" in none.stderr)
    for command in (("status", "chekout"), ("explain", "chekout"), ("kill", "chekout", *WHY), ("watch", "chekout")):
        said = await guardian(*command, url=url)
        assert (2, True) == (said.exit_code, f"did you mean '{KEY}'?" in said.stderr), said.output
    said = await guardian("pause", "production|chekout-v2", *WHY, url=url)
    assert (2, True) == (said.exit_code, f"did you mean '{KEY}'?" in said.stderr), said.output
    said = await guardian("status", "two", url=url)
    assert (2, True) == (said.exit_code, "'production|two' or 'staging|two'" in said.stderr)


async def test_explain_says_a_sentence_a_paragraph_or_the_record(publish, url):
    """A decision is explained by its own sentence; at length with what it rests on and its receipts; or as its record."""
    of = decision(at_ms=now_ms())
    await publish.rollout(rollout(at_ms=now_ms()))
    await publish.decision(of)
    await publish.receipt(receipt(of, "applied"))
    await served(url, "decisions")
    async with asyncio.timeout(20.0):
        while not (record := json.loads((await guardian("explain", of.decision_id, "--json", url=url)).stdout))["receipts"]:
            pass
    short = await guardian("explain", of.decision_id, url=url)
    full = await guardian("explain", of.decision_id, "--long", url=url)
    why = await guardian("explain", KEY, url=url)

    assert of.explanation + "\n" == short.stdout
    assert full.stdout.startswith(of.explanation)
    assert "was applied by flagd as version 17, 41 ms after it was decided." in full.stdout
    assert "under policy sha256:5df6." in full.stdout
    assert (of.decision_id, "applied") == (record["decision_id"], record["receipts"][0]["status"])
    assert why.stdout.startswith("Nothing has happened to checkout-v2 in production: ")


async def test_why_nothing_happened_is_told_at_length(publish, url):
    """At length, every closed gate is named and what each guardrail reads; in one sentence, the first three gates."""
    waits = tuple(f"it waits for reason {number}" for number in "ABCDE")
    row = GuardrailView(
        guardrail="error_rate > 1.2x control", variation="treatment", action="kill", log_e=1.0, log_threshold=7.0,
        kind="error_rate", value=0.012, value_control=0.011,
    )  # fmt: skip
    await publish.rollout(rollout(at_ms=now_ms(), waits=waits, guardrails=(row,)))
    await served(url, "rollouts")
    short = (await guardian("explain", KEY, url=url)).stdout
    full = (await guardian("explain", KEY, "--long", url=url)).stdout

    assert [True, True, True, False, False] == [wait in short for wait in waits]
    assert [1] * 5 == [full.count(wait) for wait in waits]
    assert "“error_rate > 1.2x control” reads 1.2 %" in full


@pytest.mark.parametrize("action", ["kill", "pause", "resume", "changed"])
async def test_a_wish_stands_in_the_journal(given, publish, url, action):
    """What a person wants is written with name and reason; $USER is the name where none is given."""
    await publish.rollout(rollout(at_ms=now_ms()))
    await served(url, "rollouts")
    more = () if action == "changed" else ("--no-wait",)
    said = await guardian(action, KEY, "--reason", "it is late", *more, url=url, env={"USER": "grace"})
    ((_, key, entry),) = await read_journal(given, 1)

    assert (0, KEY) == (said.exit_code, key), said.output
    assert isinstance(entry, Override)
    assert (action, "grace", "it is late") == (entry.action, entry.by, entry.reason)
    assert f"taken: {action} {KEY}" in said.stdout


async def test_what_a_wish_lacks_is_said(publish, url):
    """Without a reason, a name, or a variation that is there, nothing is written, and the exit code is 2."""
    await publish.rollout(rollout(at_ms=now_ms()))
    await served(url, "rollouts")
    for arguments, right in (
        ((), "--reason TEXT is missing"),
        (("--reason", "late"), "--by NAME is missing, and $USER is empty"),
        (("blue", *WHY), "'blue' is not in this rollout; write treatment"),
        (("--reason", "a\nb", "--by", "ada"), "reason: "),
    ):
        said = await guardian("kill", KEY, *arguments, url=url, env={"USER": ""})
        assert (2, True) == (said.exit_code, right in said.stderr), said.output


async def test_a_wish_that_is_not_carried_out_is_no_success(given, publish, url):
    """Where judge is silent, the store does not answer, or it refuses, the command says which, and exits with 1."""
    await publish.rollout(rollout(at_ms=now_ms()))
    await served(url, "rollouts")
    silent = await guardian("kill", KEY, *WHY, "--wait", "0.2", url=url)
    assert (1, True) == (silent.exit_code, "not decided within" in silent.stdout), silent.output

    async def kill(at: int, status: str) -> Result:
        asked = asyncio.create_task(guardian("kill", KEY, *WHY, "--wait", "3", url=url))
        *_, (_, _, entry) = await read_journal(given, at)
        assert isinstance(entry, Override)
        of = decision(at, at_ms=now_ms(), caused_by=entry.id)
        await publish.decision(of)
        if status:
            await publish.receipt(receipt(of, status))
        return await asked

    unanswered, refused, done = await kill(2, ""), await kill(3, "conflict"), await kill(4, "applied")
    assert (1, True) == (unanswered.exit_code, "No flag store has answered within" in unanswered.stdout)
    assert (1, True) == (refused.exit_code, "as another change stands against it" in refused.stdout)
    assert 0 == done.exit_code
    assert f"killed {KEY} treatment: served as version 17 after " in done.stdout


@contextmanager
def stub(answers: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives set answers; and what it was sent."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, answers[self.path])

        def do_POST(self) -> None:
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self._answer(202, {"id": "1"})

        def _answer(self, code: int, content: Any) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


async def test_an_approval_names_its_group():
    """``approve`` sends the action with its group, name and reason to the rollout's address."""
    with stub({}) as (url, got):
        said = await guardian("approve", KEY, "--group", "data-team", *WHY, url=url)

    [(path, content)] = got
    assert (0, "/api/rollouts/production%7Ccheckout-v2/override") == (said.exit_code, path)
    assert content.pop("id")
    assert content == {"action": "approve", "group": "data-team", "by": "ada", "reason": "the cart is empty"}


async def test_an_api_that_does_not_answer_is_named(tmp_path):
    """Where nobody answers, or somebody else, the exit code is 4 and the text says where was looked; no traceback."""
    [port] = free_ports(1)
    nobody = f"http://127.0.0.1:{port}"
    for command in (("status",), ("watch",), ("explain", KEY), ("kill", KEY, *WHY)):
        said = await guardian(*command, url=nobody)
        assert (4, True) == (said.exit_code, f"no API at {nobody}: Connection refused" in said.stderr), said.output
    with stub({"/api/rollouts": b"<html>"}) as (other, _):
        said = await guardian("status", url=other)
        assert (4, True) == (said.exit_code, "not as the guardian's API does" in said.stderr), said.output
    config = tmp_path / "guardian.yaml"
    config.write_text(f"api: {{host: 0.0.0.0, port: {port}}}")
    said = CliRunner().invoke(app, ["status", "--config", str(config)])
    assert (4, True) == (said.exit_code, nobody in said.stderr)
    said = await guardian("status", url="localhost:8080")
    assert (2, True) == (said.exit_code, "write --api http://127.0.0.1:8080" in said.stderr)


async def test_watch_prints_what_changed(publish, url, tmp_path):
    """Without a terminal each change of a rollout is one line with its time; Ctrl-C ends it with exit code 0."""
    await publish.rollout(rollout(at_ms=now_ms()))
    await served(url, "rollouts")
    path = tmp_path / "said"
    with path.open("wb") as said, typed("watch", "--every", "0.1", "--api", url, stdout=said, stderr=said) as process:
        await until(lambda: "running" in path.read_text(), "the first line")
        await publish.rollout(rollout(at_ms=now_ms() + 1, status="paused"))
        await until(lambda: "paused" in path.read_text(), "the change")
        process.send_signal(signal.SIGINT)
        code = await asyncio.to_thread(process.wait, 10)

    first, second = path.read_text().splitlines()
    assert 0 == code
    assert f"Z {KEY}  running" in first
    assert f"Z {KEY}  paused" in second


async def test_watch_shows_the_newest_in_place_of_what_was():
    """At a terminal the status is written over the one before; an API that goes away is said, and waited for."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    seen = bytearray()

    def shown() -> str:
        with contextlib.suppress(BlockingIOError):
            seen.extend(os.read(ours, 65_536))
        return seen.decode(errors="replace").rpartition("\x1b[H\x1b[J")[2]

    with stub({"/api/rollouts": [rollout(at_ms=now_ms()).model_dump(mode="json")]}) as (other, _):
        process = typed("watch", "--every", "0.1", "--api", other, stdin=theirs, stdout=theirs, stderr=theirs)
        await until(lambda: f"{KEY}  running" in shown(), "the status")
    try:
        await until(lambda: f"no API at {other}" in shown() and KEY not in shown(), "it says that nobody answers")
        process.send_signal(signal.SIGINT)
        assert 0 == await asyncio.to_thread(process.wait, 10)
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)


async def test_a_terminal_is_asked_for_the_reason(given, publish, url):
    """Who types at a terminal is asked why, and what was typed is the reason."""
    await publish.rollout(rollout(at_ms=now_ms()))
    await served(url, "rollouts")
    ours, theirs = pty.openpty()
    command = ("kill", KEY, "--no-wait", "--by", "ada", "--api", url)
    with typed(*command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.write(ours, b"nobody can pay\n")
        ((_, _, entry),) = await read_journal(given, 1)
        code = await asyncio.to_thread(process.wait, 10)
    os.close(ours)
    os.close(theirs)

    assert isinstance(entry, Override)
    assert (0, "nobody can pay") == (code, entry.reason)


@pytest.mark.timeout(150)
async def test_a_kill_by_hand_is_served(tmp_path):
    """
    On a whole guardian a kill by hand returns once the flag store serves it, and says which version and how soon; a
    resume takes it back, and as JSON both are told with their records.
    """
    api, flagd = free_ports(2)
    settings = {"api": {"port": api}, "flagd": {"port": flagd, "document": str(ROOT / "config" / "flags.json")}}
    url = f"http://127.0.0.1:{api}"
    with Guardian(tmp_path, "--embedded", "--only", "store,judge,act,api", settings=settings) as running:
        await running.until(lambda _, said: all(said["children"][name]["ready"] for name in ("store", "act", "api")), "ready")
        await served(url, "rollouts")
        said = await guardian("kill", "checkout-v2", "treatment", *WHY, "--wait", "30", url=url)
        told = await guardian("status", "checkout-v2", url=url)
        async with asyncio.timeout(20.0):
            while "killed" not in (line := (await guardian("status", url=url)).stdout):
                pass
        back = await guardian("resume", "checkout-v2", "treatment", *WHY, "--wait", "30", "--json", url=url)

    record = json.loads(back.stdout)
    assert ("resume", "resume", "applied") == (record["action"], record["decision"]["action"], record["receipt"]["status"])
    assert 0 == said.exit_code, said.output + running.said.read_text()
    assert said.stdout.startswith(f"killed {KEY} treatment: served as version ")
    assert "the cart is empty" in told.stdout
    assert "waits for a person: guardian resume" in line


async def test_apply_sends_policies_that_are_all_right(given, url, tmp_path):
    """
    ``guardian apply`` sends the policies of files once all are right; before, it tells every problem, and sends nothing.
    """
    good, wrong = tmp_path / "good.yaml", tmp_path / "wrong.yaml"
    good.write_text("flag: new-cart\nenvironment: production\nguardrails: [{when: error_rate > 5%, then: kill}]\n")
    wrong.write_text("flag: other\nenvironment: production\nguardrails: [{when: error_rate > 5, then: kill}]\n")
    refused = await guardian("apply", str(tmp_path), "--by", "ada", url=url)
    wrong.unlink()
    taken = await guardian("apply", str(tmp_path), "--by", "ada", url=url)
    ((_, key, entry),) = await read_journal(given, 1)

    assert (2, True) == (refused.exit_code, refused.stderr.startswith(f"{wrong}:3: guardrails[0].when"))
    assert (0, True) == (taken.exit_code, "taken: production|new-cart, sha256:" in taken.stdout)
    assert "production|new-cart" == key
    assert isinstance(entry, PolicyEntry)
