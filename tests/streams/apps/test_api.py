from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from guardian.decisions import DECISION_TYPE
from guardian.journal import Beat, Override, PolicyEntry, encode
from guardian.policy import Policy, policy_hash
from streams.admin import ensure_topics
from streams.broker.embedded import EmbeddedBroker
from streams.cloudevents import to_event
from streams.keys import new_private, private_pem
from streams.outlet import Outlet
from streams.partitioning import partition_of
from streams.settings import Settings
from tests.support.cluster import Cluster
from tests.support.page import Hand, hand, now_ms, page, read_journal, until
from tests.support.published import decision, receipt, rollout

ROOT = Path(__file__).parents[3]
KEY = "production|checkout-v2"
PATH = "/api/rollouts/production%7Ccheckout-v2"
WISH = {"action": "kill", "by": "ada", "reason": "the cart is empty for everybody"}


@pytest.fixture
async def http(given: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    async with page(given) as url, aiohttp.ClientSession(url) as session:
        yield session


async def json_of(http: aiohttp.ClientSession, path: str):
    async with http.get(path) as answer:
        return await answer.json() if answer.status == 200 else answer.status


async def eventually(http: aiohttp.ClientSession, path: str, true):
    """Ask until the answer is as wanted."""
    async with asyncio.timeout(30.0):
        while not true(found := await json_of(http, path)):
            await asyncio.sleep(0.02)
    return found


class Listener:
    """An open stream of events: kind and data of each, without pings; ends when the stream does."""

    def __init__(self, http: aiohttp.ClientSession, last_id: str = "") -> None:
        self.told: list[tuple[str, Any]] = []
        self._http = http
        self._headers = {"last-event-id": last_id} if last_id else {}
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async with self._http.get("/api/events", headers=self._headers) as stream:
            kind = ""
            async for raw in stream.content:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                kind = value if name == "event" else kind
                if name == "data":
                    self.told.append((kind, json.loads(value)))

    async def first(self, number: int) -> list[tuple[str, Any]]:
        await until(lambda: len(self.told) >= number, f"{number} events; came: {self.told}")
        return self.told[:number]

    async def ended(self) -> None:
        await self._listening

    def close(self) -> None:
        self._listening.cancel()


async def test_what_was_published_before_is_served(kafka: Cluster):
    """
    The API is ready once everything that stood in Kafka is served: rollouts, decisions and their receipts.
    """
    given, of = kafka.settings(api={"port": 0}), decision(at_ms=now_ms())
    async with hand(given) as publish:
        await publish.rollout(rollout(at_ms=now_ms(), status="killed", explanation=of.explanation))
        await publish.decision(of)
        await publish.receipt(receipt(of, "applied"))

        async with page(given) as url, aiohttp.ClientSession(url) as http:
            (shown,) = await json_of(http, "/api/rollouts")
            (told,) = await json_of(http, "/api/decisions?limit=5")
            same = await json_of(http, "/api/decisions/production%7Ccheckout-v2%7Ctreatment%7C17")
            one = await json_of(http, PATH)
            lines = await json_of(http, f"{PATH}/history")
            page_open = Listener(http)
            await page_open.first(1)
            await publish.receipt(receipt(of, "effective", after_ms=5000))
            (_, (kind, news)) = await page_open.first(2)
            page_open.close()

    assert one == shown
    assert shown["why"] == f"checkout-v2 in production is killed: {of.explanation}"
    assert same == told
    assert [one["status"] for one in told["receipts"]] == ["applied"]
    assert len(lines["t"]) == 2
    assert (kind, news["status"]) == ("receipt", "effective")


async def test_only_what_is_signed_is_shown(embedded_kafka: str):
    """
    With a key, a decision that nobody has signed is not on the page; one that is signed is.
    """
    key = private_pem(new_private()).decode()
    given = Cluster(embedded_kafka, embedded=True).settings(api={"port": 0}, signing={"key": key})
    forged, true = decision(1, at_ms=now_ms()), decision(2, at_ms=now_ms())
    async with hand(given) as publish, page(given) as url, aiohttp.ClientSession(url) as http:
        await publish.decision(forged)
        event = to_event(
            DECISION_TYPE, true, id=true.decision_id, time=true.decided_at, source="/test", keys=given.signing.keys
        )
        await publish.raw(given.topics.decisions, KEY, event)
        shown = await eventually(http, "/api/decisions", lambda found: found)

    assert [true.decision_id] == [one["decision_id"] for one in shown]


async def test_only_what_is_committed_is_shown(real_cluster: Cluster):
    """
    What a processor wrote and took back, or has not decided to keep yet, is not shown.
    """
    given = real_cluster.settings(api={"port": 0})
    async with hand(given) as publish:
        producer = AIOKafkaProducer(**given.kafka.client_options(), transactional_id=given.kafka.group_prefix)
        await producer.start()
        await producer.begin_transaction()
        await Hand(Outlet(producer), given.topics).rollout(rollout("taken-back", at_ms=now_ms()))
        await producer.abort_transaction()
        await publish.rollout(rollout("kept", at_ms=now_ms()))
        async with page(given) as url, aiohttp.ClientSession(url) as http:
            shown = await json_of(http, "/api/rollouts")
        await producer.stop()

    assert [one["flag_key"] for one in shown] == ["kept"]


async def test_what_is_old_is_left_in_kafka(real_cluster: Cluster):
    """
    Decisions of before the last days are not read where newer ones follow; rollouts are, however old they are.
    """
    given, old_ms = real_cluster.settings(api={"port": 0}, partitions=1), now_ms() - 30 * 86_400_000
    async with hand(given) as publish:
        await publish.rollout(rollout(at_ms=old_ms))
        of = decision(1, at_ms=old_ms)
        event = to_event(DECISION_TYPE, of, id=of.decision_id, time=of.decided_at, source="/test")
        async with AIOKafkaProducer(**given.kafka.client_options()) as producer:
            await producer.send_and_wait(given.topics.decisions, event, timestamp_ms=old_ms)
        await publish.decision(decision(2, at_ms=now_ms()))
        async with page(given) as url, aiohttp.ClientSession(url) as http:
            assert [one["flag_key"] for one in await json_of(http, "/api/rollouts")] == ["checkout-v2"]
            assert [one["decision_id"][-1] for one in await json_of(http, "/api/decisions")] == ["2"]


async def test_what_happens_is_told_as_it_happens(http, publish):
    """
    Open pages are told of rollouts, decisions and receipts as they are published, and of deletions.
    """
    page_open = Listener(http)
    await page_open.first(1)
    of = decision(at_ms=now_ms())
    for number, publishing in enumerate(
        (
            publish.rollout(rollout(at_ms=now_ms())),
            publish.decision(of),
            publish.receipt(receipt(of, "applied")),
            publish.raw(publish.topics.rollouts, KEY, None),
        ),
        start=2,
    ):
        await publishing
        await page_open.first(number)
    told = page_open.told
    page_open.close()

    assert [kind for kind, _ in told] == ["hello", "rollout", "decision", "receipt", "gone"]
    assert told[2][1]["explanation"] == of.explanation
    assert told[3][1]["text"].endswith("41 ms after it was decided.")
    assert told[4][1] == {"key": KEY}


async def test_a_break_costs_nothing(http, publish):
    """
    A page that was away for a moment is told what it missed.
    """
    before = Listener(http)
    ((_, hello),) = await before.first(1)
    before.close()
    await publish.rollout(rollout(at_ms=now_ms()))
    await eventually(http, "/api/rollouts", bool)
    back = Listener(http, last_id=f"{hello['boot']}-0")
    told = await back.first(3)
    back.close()

    # What comes first in every process is that its feed is there.
    assert [kind for kind, _ in told] == ["hello", "feed", "rollout"]


async def test_what_cannot_be_read_is_passed_over(http, publish):
    """
    A record that is none of ours is counted and logged, and what comes after it is served.
    """
    for value in (b"no JSON", b'{"specversion":"1.0"}', b"\xff\xfe"):
        await publish.raw(publish.topics.rollouts, KEY, value)
        await publish.raw(publish.topics.decisions, KEY, value)
    await publish.rollout(rollout(at_ms=now_ms()))

    assert [one["key"] for one in await eventually(http, "/api/rollouts", bool)] == [KEY]


@pytest.mark.parametrize("flag", ["checkout-v2", "shop/cart", "blau & grün?", "a|b", "100%"])
async def test_a_wish_goes_to_the_rollouts_own_partition(given, publish, http, flag):
    """
    A person's kill is written into the journal, where judge reads this rollout, with who and why.
    """
    view = rollout(flag, at_ms=now_ms())
    await publish.rollout(view)
    path = f"/api/rollouts/{quote(view.key, safe='')}"
    await eventually(http, path, lambda found: found != 404)
    async with http.post(f"{path}/override", json=WISH) as answer:
        taken = await answer.json()
    ((partition, key, entry),) = await read_journal(given, 1)

    assert answer.status == 202
    assert (partition, key) == (partition_of(view.key, given.partitions), view.key)
    assert isinstance(entry, Override)
    assert abs(entry.at_ms - now_ms()) < 10_000
    assert (entry.key, entry.action, entry.variation) == (view.key, "kill", "treatment")
    assert (entry.by, entry.reason, entry.id) == ("ada", "the cart is empty for everybody", taken["id"])


@pytest.mark.parametrize(
    ("wish", "status", "says"),
    [
        ({"by": ""}, 422, "by"),
        ({"by": "   "}, 422, "by"),
        ({"reason": ""}, 422, "reason"),
        ({"reason": "a\nb"}, 422, "reason"),
        ({"action": "destroy"}, 422, "action"),
        ({"variation": "blue"}, 422, "'blue' is not in this rollout; write treatment"),
        ({"variation": "control"}, 422, "'control' is the control; to stop the rollout write treatment"),
        ({"unknown": 1}, 422, "unknown"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused(publish, http, wish, status, says):
    """
    A wish without a name, a reason or a fitting variation is refused, with what would be right.
    """
    await publish.rollout(rollout(at_ms=now_ms()))
    await eventually(http, PATH, lambda found: found != 404)
    async with http.post(f"{PATH}/override", json=WISH | wish) as answer:
        assert answer.status == status
        assert says in await answer.text()


async def test_a_group_approves_the_stage_that_stands(given, publish, http):
    """
    An approval reaches the journal with its group and the stage that stood; a group that is not asked is refused.
    """
    await publish.rollout(rollout(at_ms=now_ms(), approvals={"legal": ""}, waits=("waits for legal",)))
    await eventually(http, PATH, lambda found: found != 404)
    wish = {"action": "approve", "by": "grace", "reason": "reviewed", "group": "legal", "id": "wish-1"}
    wrong = [({"group": "friends"}, "write legal"), ({"group": ""}, "name the group"), ({"action": "pause"}, "name")]
    for changes, says in wrong:
        async with http.post(f"{PATH}/override", json=wish | changes) as answer:
            assert (422, True) == (answer.status, says in await answer.text())
    async with http.post(f"{PATH}/override", json=wish) as answer:
        assert answer.status == 202
    [(_, key, entry)] = await read_journal(given, 1)

    assert KEY == key
    assert isinstance(entry, Override)
    assert ("approve", "legal", 1, "grace") == (entry.action, entry.group, entry.stage, entry.by)
    assert "waits for legal" in (await json_of(http, PATH))["why"]


POLICY = """
flag: new-cart
environment: production
guardrails:
  - {when: error_rate > 1.2x control, then: kill}
"""


async def test_a_policy_may_come_through_the_api(given, http):
    """
    Policies that are sent stand in the journal, each where judge reads its rollout, whole and with who sent it.
    """
    other = POLICY.replace("new-cart", "search")
    async with http.post("/api/policies", params={"by": "ada"}, data=f"{POLICY}---{other}") as answer:
        taken = await answer.json()
    found = sorted(await read_journal(given, 2), key=lambda one: one[1])

    assert 202 == answer.status
    assert [one["key"] for one in taken] == [key for _, key, _ in found] == ["production|new-cart", "production|search"]
    for (partition, key, entry), told in zip(found, taken, strict=True):
        assert partition_of(key, given.partitions) == partition
        assert isinstance(entry, PolicyEntry)
        assert (told["hash"], "api: ada") == (entry.hash, entry.by)
        assert told["hash"] == policy_hash(Policy.from_document(entry.document))


async def test_a_wrong_policy_takes_none_along(publish, given, http):
    """
    With any problem none of the policies that were sent is written, and every problem is told with its line.
    """
    wrong = POLICY.replace("1.2x control", "1.2y control").replace("then: kill", "then: explode").replace("new-cart", "search")
    async with http.post("/api/policies", params={"by": "ada"}, data=f"{POLICY}---{wrong}") as answer:
        assert 422 == answer.status
        problems = (await answer.json())["detail"]
    await publish.raw(given.topics.journal, KEY, encode(Beat(source="s/0", at_ms=1, passed_ms=1)))
    ((_, _, entry),) = await read_journal(given, 1)

    assert all(problem.startswith("policy:10: guardrails[0].") for problem in problems)
    assert ["1.2y" in problems[0], "explode" in problems[1]] == [True, True]
    assert isinstance(entry, Beat)


@pytest.mark.parametrize(("data", "query"), [("", {"by": "ada"}), (POLICY, {}), (POLICY, {"by": " "}), ("a: [", {"by": "ada"})])
async def test_what_is_no_policy_is_refused(http, data, query):
    """
    An empty body, one that is no YAML, and a sender without a name are refused.
    """
    async with http.post("/api/policies", params=query, data=data) as answer:
        assert 422 == answer.status


async def test_a_flood_of_policies_is_refused_and_keeps_nobody_waiting(http):
    """
    A megabyte of names that no policy has: the first hundred are told, and how many more; what is larger than any policy is
    said to be; a body without end is not read on. Meanwhile the page is answered.
    """
    flood = POLICY + "".join(f"nonsense{number}: 1\n" for number in range(10_000))
    asked = asyncio.ensure_future(http.post("/api/policies", params={"by": "ada"}, data=flood.encode()))
    while not asked.done():
        async with asyncio.timeout(5.0), http.get("/api/feed") as answer:
            assert 200 == answer.status
    async with await asked as answer:
        problems = (await answer.json())["detail"]
    assert (422, 101) == (answer.status, len(problems))
    assert any("9,900 more things are wrong; mend these first" in problem for problem in problems)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"# nothing\n" * 10_000

    async with http.post("/api/policies", params={"by": "ada"}, data=io.BytesIO(b"# nothing\n" * 150_000)) as answer:
        assert (422, True) == (answer.status, "is larger than" in (await answer.json())["detail"][0])
    with contextlib.suppress(aiohttp.ClientError):  # it is answered while it is still being sent
        async with http.post("/api/policies", params={"by": "ada"}, data=endless()) as answer:
            assert (413, "more than 2,000,000 bytes are not read") == (answer.status, (await answer.json())["detail"])


async def test_a_wish_without_end_is_refused(http):
    """Whatever is sent where a few words are meant, no more than two megabytes of it are read."""
    async with http.post(f"/api/rollouts/{KEY}/override", data=io.BytesIO(b'{"reason": "' + b"x" * 3_000_000)) as answer:
        assert (413, "more than 2,000,000 bytes are not read") == (answer.status, (await answer.json())["detail"])


async def test_the_api_leaves_to_files_what_is_in_files(embedded_kafka, tmp_path):
    """
    A rollout whose policy is in a file is not given another one through the API: the refusal names the file.
    """
    file = tmp_path / "new-cart.yaml"
    file.write_text(POLICY)
    given = Cluster(embedded_kafka, embedded=True).settings(api={"port": 0}, policies=[str(tmp_path)])
    async with (
        page(given) as url,
        aiohttp.ClientSession(url) as http,
        http.post("/api/policies", params={"by": "ada"}, data=POLICY) as answer,
    ):
        assert (422, True) == (answer.status, f"its policy is in {file}" in await answer.text())


async def test_unknown_names_are_said_to_be_unknown(http):
    """
    A rollout or decision that is not there is a 404 that says how names are written.
    """
    async with http.post(f"{PATH}/override", json=WISH) as answer:
        assert (answer.status, "keys are written environment|flag" in await answer.text()) == (404, True)

    assert await json_of(http, PATH) == 404
    assert await json_of(http, "/api/decisions/nothing") == 404


async def test_no_other_site_speaks_for_a_person(publish, http):
    """
    A page of another site can neither send a wish nor reach the API under a name of its own.
    """
    await publish.rollout(rollout(at_ms=now_ms()))
    await eventually(http, PATH, lambda found: found != 404)
    foreign = {"origin": "https://evil.example.com"}
    async with http.post(f"{PATH}/override", json=WISH, headers=foreign) as answer:
        assert answer.status == 403
    async with http.post(f"{PATH}/override", data=json.dumps(WISH), headers={"content-type": "text/plain"}) as answer:
        assert answer.status == 422
    async with http.get("/api/rollouts", headers={"host": "evil.example.com"}) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    "path", ["/", "/assets/app.js", "/assets/style.css", "/favicon.ico", "/api/rollouts", "/nothing"]
)
async def test_every_answer_is_shielded(http, path):
    """
    Every answer forbids scripts of others, framing, and guessing of types; nothing live is kept by caches.
    """
    async with http.get(path) as answer:
        policy = answer.headers["content-security-policy"]

    assert "default-src 'none'; script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == (
        "no-cache" if path in ("/", "/assets/app.js", "/assets/style.css") else "no-store"
    )


async def test_metrics_are_served(http):
    """
    The process's own numbers are served in Prometheus' format.
    """
    async with http.get("/metrics") as answer:
        assert "guardian_api_pages" in await answer.text()


async def test_a_broker_that_is_gone_is_said_to_be_gone(monkeypatch):
    """
    While Kafka does not answer the page says that it shows the past, and a wish is refused rather than lost.
    """
    monkeypatch.setattr("streams.apps.feed.SILENT_S", 0.5)
    monkeypatch.setattr("streams.apps.feed.PROBE_S", 0.1)
    with EmbeddedBroker() as broker:
        serving = page(Cluster(broker.bootstrap, embedded=True).settings(api={"port": 0}))
        http = aiohttp.ClientSession(await serving.__aenter__())
    try:
        said = await eventually(http, "/api/feed", lambda found: not found["ok"])
        async with http.post(f"{PATH}/override", json=WISH) as answer:
            assert answer.status in (404, 503)
        assert "Kafka" in said["why"]
    finally:
        await http.close()
        await serving.__aexit__(None, None, None)


async def test_a_taken_port_is_an_error_that_names_it(given):
    """
    A port that cannot be had ends the start with an error that names setting and port.
    """
    async with page(given) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"api.host 127.0.0.1, api.port {port}: Address already in use"):
            async with page(given.model_copy(update={"api": given.api.model_copy(update={"port": port})})):
                pass


async def test_sigterm_ends_it_with_streams_open(given):
    """
    The process ends within the 5 s that all have after SIGTERM, though pages are open; their streams end properly, and
    nothing is logged.
    """
    await ensure_topics(given)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.serve", given.model_dump_json(by_alias=True), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        url = "?"
        while not url.startswith("http"):
            url = (await asyncio.wait_for(process.stdout.readline(), 30.0)).decode().strip()
        async with aiohttp.ClientSession(url) as http:
            pages = [Listener(http) for _ in range(3)]
            for one in pages:
                await one.first(1)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            complaints = await asyncio.wait_for(process.stderr.read(), 10.0)
            assert await asyncio.wait_for(process.wait(), 10.0) == 0
            took_s = time.monotonic() - began
            # An end that is not proper raises here.
            await asyncio.gather(*(one.ended() for one in pages))
    finally:
        if process.returncode is None:
            process.kill()

    assert took_s < 5.0
    assert complaints == b""
