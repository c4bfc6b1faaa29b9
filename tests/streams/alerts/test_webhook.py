from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Oracle
from standardwebhooks import WebhookVerificationError

from guardian.decisions import DECISION_TYPE, Decision
from streams.alerts.base import Refused, Unreachable
from streams.alerts.webhook import Webhook, payload, webhook_id
from streams.webhooks import signature
from tests.streams.alerts.notices import answered, decided

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass
class Receiver:
    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(({key.lower(): value for key, value in request.headers.items()}, await request.read()))
        return web.Response(status=self.status, headers=self.headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hooks/s3cr3t-path", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/s3cr3t-path"
    yield receiver
    await runner.cleanup()


async def test_the_standard_library_verifies_it(session, receiver):
    """
    A receiver's own Standard Webhooks library verifies the call and reads the decision as it was published.
    """
    notice = decided()
    await Webhook(session, url=receiver.url, secret=SECRET).notify(notice)

    ((headers, body),) = receiver.got
    said = Oracle(SECRET).verify(body, headers)

    assert (DECISION_TYPE, notice.at, notice.text) == (said["type"], said["timestamp"], said["text"])
    assert notice.data == Decision.model_validate(said["data"])
    assert "application/json" == headers["content-type"]


async def test_a_changed_body_is_found_out(session, receiver):
    """
    A body changed on its way does not verify.
    """
    await Webhook(session, url=receiver.url, secret=SECRET).notify(decided())
    ((headers, body),) = receiver.got

    with pytest.raises(WebhookVerificationError):
        Oracle(SECRET).verify(body.replace(b"kill", b"hold"), headers)


async def test_a_repeat_is_known_by_its_id(session, receiver):
    """
    A repeat carries the same id, with a signature of its own time; another notice carries another id.
    """
    clock = iter([1_800_000_000.0, 1_800_000_090.0, 1_800_000_091.0])
    to = Webhook(session, url=receiver.url, secret=SECRET, now=lambda: next(clock))
    first = decided()
    await to.notify(first)
    await to.notify(first)
    await to.notify(answered("applied"))
    ids = [headers["webhook-id"] for headers, _ in receiver.got]

    assert ids[0] == ids[1] != ids[2]
    assert ["1800000000", "1800000090"] == [headers["webhook-timestamp"] for headers, _ in receiver.got[:2]]


@given(key=st.binary(min_size=24, max_size=64), named=st.uuids(), body=st.text())
def test_every_signature_is_the_librarys(key, named, body):
    """
    For any key, id and body the signature is the one that the standard library makes.
    """
    from datetime import UTC, datetime

    sent_at = datetime(2026, 11, 21, 1, 0, 3, tzinfo=UTC)
    theirs = Oracle(base64.b64encode(key).decode()).sign(str(named), sent_at, body)

    assert theirs == signature(key, str(named), str(int(sent_at.timestamp())), body.encode())


@given(flag=st.text(min_size=1, max_size=300))
def test_ids_and_bodies_are_fit_to_send(flag):
    """
    Whatever a flag is called, its id is fit for a header and its body is JSON.
    """
    notice = decided(flag=flag)

    assert webhook_id(notice).isascii()
    assert len(webhook_id(notice)) == 36
    assert flag == json.loads(payload(notice))["data"]["flag_key"]


@pytest.mark.parametrize(("status", "error"), [(429, Unreachable), (502, Unreachable), (400, Refused), (410, Refused)])
async def test_what_an_answer_means(session, receiver, status, error):
    """
    Too many and illness are worth another try, a refusal is not; neither text quotes the address.
    """
    receiver.status = status

    with pytest.raises(error, match=rf"HTTP {status} from 127\.0\.0\.1") as failed:
        await Webhook(session, url=receiver.url, secret=SECRET).notify(decided())

    assert "s3cr3t" not in str(failed.value)


async def test_a_redirect_is_not_followed(session, receiver):
    """
    A notice goes where the settings say: a redirect is a refusal.
    """
    receiver.status, receiver.headers = 307, {"location": receiver.url}

    with pytest.raises(Refused):
        await Webhook(session, url=receiver.url, secret=SECRET).notify(decided())

    assert 1 == len(receiver.got)


async def test_nobody_there_is_worth_another_try(session):
    """
    An address where nobody answers is worth another try, and is not quoted.
    """
    with pytest.raises(Unreachable, match=r"at 127\.0\.0\.1") as failed:
        await Webhook(session, url="http://127.0.0.1:9/s3cr3t", secret=SECRET).notify(decided())

    assert "s3cr3t" not in str(failed.value)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_"), "whsec_!" + "a" * 40]
)
async def test_a_secret_that_cannot_be_right_is_refused_at_the_start(session, secret):
    """
    A secret of the wrong form is an error at the start that says the right form and not the secret.
    """
    with pytest.raises(ValueError, match=r"alerts\.webhook\.secret: write whsec_ and 24 to 64") as failed:
        Webhook(session, url="https://example.com/hook", secret=secret)

    assert not secret or secret not in str(failed.value).replace("whsec_ and", "")


@pytest.mark.parametrize("url", ["", "example.com/s3cr3t", "ftp://example.com/s3cr3t", "http://[s3cr3t"])
async def test_an_address_that_cannot_be_right_is_refused_at_the_start(session, url):
    """
    An address that is none is an error at the start that names the setting and not the address.
    """
    with pytest.raises(ValueError, match=r"alerts\.webhook\.url: is no address") as failed:
        Webhook(session, url=url, secret=SECRET)

    assert "s3cr3t" not in str(failed.value)
