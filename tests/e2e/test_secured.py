"""
A guardian in a Kafka that lets nobody in without a name, over TLS, each processor with its own rights and no others.

One broker, and one installation that has killed a harmful variation, for all of these tests.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from confluent_kafka import Producer

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from streams.access import NotGranted, check_access
from streams.admin import ensure_topics
from streams.apps.doctor import kafka as doctor
from streams.changelog import changelog_topic
from streams.cloudevents import from_event, to_event
from streams.observing.transactions import Transactions
from streams.rights import Right, rights_of
from streams.settings import Settings, load_settings
from tests.kafka.authority import Authority
from tests.kafka.secure import SecureKafka, grant, revoke
from tests.support.movers import decision
from tests.support.secured import PROCESSES, USERS, Pager, Secured, unit

TOPICS = Settings().topics
ALL = [*TOPICS.own, *TOPICS.inputs, changelog_topic(Settings())]
NAMES = [f"guardian-{name}" for name in PROCESSES]
DENIED = confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED
TRIED = "guardian-tried"
"""The name under which rights are tried one by one."""

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Started with the rights of the table alone, shown a variation that always fails, and seen to kill it."""
    folder = tmp_path_factory.mktemp("secured")
    kafka, pager = SecureKafka(folder / "kafka", [*NAMES, TRIED, "service", "rival", "auditor"]), Pager()
    with kafka.running() as admin:
        one = Secured(folder, kafka, admin, pager)
        asyncio.run(ensure_topics(one.settings("admin"), inputs=True))
        one.grant_all()
        with one.running():
            one.until(one.is_ready, "all are ready", within_s=100)
            producer, number = Producer(kafka.librdkafka("service")), 0
            deadline_s = time.monotonic() + 60
            while not any(page["event_action"] == "trigger" for page in pager.pages):
                assert time.monotonic() < deadline_s, "\n".join(one.said().values())
                one.serve(producer, number)
                number += 1
                time.sleep(0.004)
            producer.flush()
            one.until(lambda: receipts(one), "the kill has its receipt")
            yield one
    pager.close()


def decisions(secured: Secured) -> list[Decision]:
    return [from_event(one.value(), Decision, type=DECISION_TYPE) for one in secured.records(TOPICS.decisions)]


def receipts(secured: Secured) -> list[Receipt]:
    return [from_event(one.value(), Receipt, type=RECEIPT_TYPE) for one in secured.records(TOPICS.receipts)]


def test_a_kill_goes_all_the_way_with_these_rights_alone(secured):
    """
    With nothing but the rights of the table, by password and by certificate, harm is found, killed, and told to people;
    what was written is signed, and the chain from evidence to receipt holds, as an auditor sees who may only read.
    """
    keys = secured.settings("auditor").signing.keys
    killed = [from_event(one.value(), Decision, keys=keys) for one in secured.records(TOPICS.decisions)]
    verified = secured.command("verify", "--recompute", user="auditor")

    assert ["kill"] == [one.action for one in killed]
    assert "applied" in [one.status for one in receipts(secured)]
    assert (0, "") == (verified.returncode, verified.stderr), verified.stdout
    assert "the chain holds" in verified.stdout
    assert "signatures were not checked" not in verified.stdout


def test_no_secret_is_told_anywhere(secured):
    """
    Passwords, keys and the salt are in no log, no topic, no command line, no answer over HTTP, no page; and no id of a
    user is in any topic of the guardian's own.
    """
    seen = {f"log of {name}": said for name, said in secured.said().items()}
    seen |= {f"{path} of judge": secured.asked("judge", path) for path in ("/readyz", "/metrics", "/healthz")}
    for path in ("/", "/api/rollouts", "/api/decisions", "/api/policies"):
        seen[f"the API's {path}"] = secured.asked("page", path)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            seen[str(process)] = process.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended
    for topic in ALL:
        for record in secured.records(topic):
            parts = (record.key(), record.value(), *(value for _, value in record.headers() or ()))
            where = f"{topic}/{record.partition()}/{record.offset()}"
            seen[where] = b"\n".join(part or b"" for part in parts).decode(errors="replace")
    # The pager must be told its own key, as its way of saying who is calling.
    for number, page in enumerate(secured.pager.pages):
        assert secured.routing_key == page["routing_key"]
        seen[f"page {number}"] = json.dumps({name: value for name, value in page.items() if name != "routing_key"})

    assert len(seen) > 100
    assert any("decided" in text for text in seen.values())
    assert [] == [(where, secret) for where, text in seen.items() for secret in secured.secrets if secret in text]
    own = [where for where in seen if where.startswith((*TOPICS.own, changelog_topic(Settings())))]
    assert [] == [where for where in own for number in range(USERS) if unit(number) in seen[where]]


@pytest.mark.parametrize("user", ["rival", "service"])
def test_who_is_not_the_guardian_writes_nothing_of_its_own(secured, user):
    """
    Neither a stranger with a password nor a service that may send events can write a decision, an entry of the journal,
    or anything else in the guardian's topics.
    """
    refused: dict[str, Any] = {}
    producer = Producer({**secured.kafka.librdkafka(user), "log_level": 0})
    for topic in (*TOPICS.own, changelog_topic(Settings())):
        producer.produce(topic, b"{}", on_delivery=lambda error, message: refused.update({message.topic(): error}))
    producer.flush(30)

    assert {*TOPICS.own, changelog_topic(Settings())} == refused.keys()
    assert {DENIED} == {error and error.code() for error in refused.values()}


def test_a_forged_decision_does_nothing_and_wakes_somebody(secured):
    """
    Where somebody gets the right to write decisions after all, a decision that the guardian has not signed changes no flag:
    it is a dead letter, it pages, and ``guardian verify`` names it and exits with 1.
    """
    right = Right("Write", "topic", TOPICS.decisions)
    grant(secured.admin, "rival", [right])
    forged = decision(1, flag="rival-feature", explanation="a rival's feature must go")
    event = to_event(DECISION_TYPE, forged, id=forged.decision_id, time=forged.decided_at, source="/guardian/judge")
    before = len(secured.records(TOPICS.flag_state)), len(secured.pager.pages)
    try:
        _deliver(secured, event)
        secured.until(lambda: len(secured.pager.pages) > before[1], "somebody is woken")
        secured.until(lambda: secured.records(TOPICS.dead_letters), "it is a dead letter")
    finally:
        revoke(secured.admin, "rival", right)
    verified = secured.command("verify", user="auditor")

    page, letter = secured.pager.pages[-1], secured.records(TOPICS.dead_letters)[-1]
    assert "critical" == page["payload"]["severity"]
    assert "signature: is missing" in page["payload"]["summary"]
    assert dict(letter.headers())["guardian_reason"].startswith(b"signature: is missing")
    assert before[0] == len(secured.records(TOPICS.flag_state))
    assert not any("rival-feature" in one.decision_id for one in receipts(secured))
    assert 1 == verified.returncode, verified.stdout
    assert f"BROKEN {TOPICS.decisions}/" in verified.stdout
    assert "signature: is missing" in verified.stdout


def _deliver(secured: Secured, event: bytes) -> None:
    """Write as the rival; a new right may take a moment."""

    def is_taken() -> bool:
        taken: list[bool] = []
        producer = Producer({**secured.kafka.librdkafka("rival"), "log_level": 0})
        producer.produce(
            TOPICS.decisions, event, key="production|rival-feature", on_delivery=lambda error, _: taken.append(error is None)
        )
        producer.flush(10)
        return taken == [True]

    secured.until(is_taken, "the forged decision is written")


# ---------------------------------------------------------------------------- what is missing


@pytest.mark.parametrize("processor", ["store", "observe", "judge", "act", "report", "api"])
async def test_every_right_that_is_missing_is_named(secured, processor):
    """
    A processor that lacks some of its rights does not begin: it names each operation and where, and names nothing that
    it has.
    """
    settings = secured.settings(TRIED)
    needed = [right for right in rights_of(processor, settings) if right.kind != "transactional-id"]
    # Half of them: of each topic some operation, and all of the group's.
    lacking = [right for right in needed if right.operation in ("Read", "Write")]
    given = [right for right in needed if right not in lacking]
    grant(secured.admin, TRIED, given)
    try:
        told = await _until_only(settings, processor, lacking)
        grant(secured.admin, TRIED, lacking)
        assert await _until_only(settings, processor, []) == ""
    finally:
        for right in needed:
            revoke(secured.admin, TRIED, right)

    assert f"not granted to {TRIED}" in told
    assert f"(for {processor})" in told


async def _until_only(settings: Settings, processor: str, lacking: list[Right]) -> str:
    """What is said once it names these rights and no others; new rights take a moment to be known."""
    deadline_s = time.monotonic() + 20
    while True:
        try:
            await check_access(settings, [processor], lambda why: None)
            told = ""
        except NotGranted as error:
            told = str(error)
        if sorted(map(str, lacking)) == sorted(part.split(" (for ")[0].split(": ")[-1] for part in told.split("; ")[:-1]):
            return told
        assert time.monotonic() < deadline_s, f"{lacking}\n{told}"
        await asyncio.sleep(0.2)


def test_a_guardian_without_a_right_ends_and_says_which(secured):
    """``guardian run`` without the right to write receipts ends with 1, and its last words are topic and operation."""
    settings = secured.settings(TRIED)
    given = [right for right in rights_of("act", settings) if right != Right("Write", "topic", TOPICS.receipts)]
    grant(secured.admin, TRIED, given)
    try:
        ended = secured.command("run", "--only", "act", user=TRIED)
    finally:
        for right in given:
            revoke(secured.admin, TRIED, right)

    assert 1 == ended.returncode
    assert f"Write on topic {TOPICS.receipts} (for act)" in ended.stdout + ended.stderr


async def test_a_transactional_id_that_is_not_granted_is_named(secured):
    """Of transactional ids Kafka tells nothing beforehand: observe is told when it begins to write, and by which id."""
    settings = secured.settings(TRIED)
    source = TopicPartition(TOPICS.outcomes[0], 0)
    transactions = Transactions(settings, "guardian-observe", source)

    with pytest.raises(KafkaError, match=f"Transactional.*{transactions.transactional_id}"):
        await transactions.start()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("password", "invalid credentials"), ("authority", "certificate verify failed")],
)
async def test_who_is_not_let_in_is_told_why(secured, tmp_path, wrong, said):
    """
    With a wrong password, or where the broker's certificate is of an authority that is not trusted, the guardian waits
    and says which of both it is; the password is not shown.
    """
    changes: dict[str, str] = {}
    environment = secured.environment("service")
    if wrong == "password":
        environment["GUARDIAN_KAFKA__SECURITY__PASSWORD"] = "not-the-password"
    else:
        changes["GUARDIAN_KAFKA__SECURITY__CA_FILE"] = str(Authority(tmp_path, "other").file)
    settings = load_settings(secured.config("service"), environment | changes)
    told: list[str] = []
    heard = asyncio.Event()

    def tell(why: str) -> None:
        told.append(why)
        heard.set()

    asking = asyncio.ensure_future(check_access(settings, ["api"], tell))
    async with asyncio.timeout(30):
        await heard.wait()
    asking.cancel()

    (found,) = await doctor.look(settings, ["api"])

    assert said in told[0] and said in found.found
    assert "not-the-password" not in told[0] + str(found)
    assert {"password": "password_file", "authority": "ca_file"}[wrong] in found.cure


async def test_a_doctor_names_each_right_that_is_missing(secured):
    """
    Under a name without rights every right of the processors that are asked for is an error, with the command that grants it.
    """
    settings = secured.settings(TRIED)
    found = [one for one in await doctor.look(settings, ["api"]) if one.level == "error"]
    of_topics = [right for right in rights_of("api", settings) if right.kind != "transactional-id"]

    assert {f"not granted: {right} (for api)" for right in of_topics} == {one.found for one in found}
    assert all("`guardian acls`" in one.cure for one in found)


async def test_a_doctor_finds_nothing_wrong_with_the_rights_of_the_table(secured):
    """Under the name of a processor, with its rights alone, there is no error in Kafka."""
    settings = secured.settings("guardian-judge")

    assert [] == [one for one in await doctor.look(settings, ["judge"]) if one.level == "error"]
