"""Every channel at a strict server of its vendor's API, so that one suite can hold them to what they all promise."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp

from streams.alerts.base import Channel, ChannelMemory
from streams.alerts.table import CHANNELS, Tools
from tests.support.alerts import alertmanager, grafana, opsgenie, plain, slack, smtp
from tests.support.alerts.api import FakeApi, serving
from tests.support.pagerduty import events_api

PAGERDUTY_KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Case:
    """
    One channel and its server.

    *make* returns a new adapter, as a new process has it; *fail* lets the next requests fail, and *heal*
    no more; *texts* is what people can
    read there, one item for each thing that is shown apart; *is_open* says whether anything is; *refused* is why requests
    were not taken. *attempt* names what bounds an attempt. Some have nothing to *close*, give no *reason* for a failure,
    or know no *identity* by which a repeat is found out.
    """

    make: Callable[[ChannelMemory], Channel]
    fail: Callable[..., None]
    heal: Callable[[], None]
    texts: Callable[[], list[str]]
    refused: Callable[[], list[str]]
    secrets: tuple[str, ...]
    is_open: Callable[[], bool] = lambda: False
    attempt: str = "http"
    closes: bool = True
    reasons: bool = True
    identity: bool = True
    retry_after: bool = True


Open = Callable[[aiohttp.ClientSession, Path], AbstractAsyncContextManager[Case]]


def _made(session: aiohttp.ClientSession, name: str, **options: Any) -> Callable[[ChannelMemory], Channel]:
    return lambda memory: CHANNELS[name](Tools(session, memory), options)


@asynccontextmanager
async def pagerduty_case(session: aiohttp.ClientSession, _: Path) -> AsyncIterator[Case]:
    async with events_api() as api:
        yield Case(
            make=_made(session, "pagerduty", routing_key=PAGERDUTY_KEY, url=api.url),
            fail=api.fail,
            heal=api.faults.clear,
            texts=lambda: list(_by_key(api.accepted).values()),
            refused=lambda: [str(one) for one in api.refused],
            is_open=lambda: bool(api.open),
            secrets=(PAGERDUTY_KEY,),
        )


@asynccontextmanager
async def alertmanager_case(session: aiohttp.ClientSession, _: Path) -> AsyncIterator[Case]:
    api = alertmanager.AlertsApi()
    async with serving(api):
        yield Case(
            make=_made(session, "alertmanager", urls=(f"{api.url}/am",), token=alertmanager.TOKEN),
            is_open=lambda: bool(api.open),
            texts=lambda: [json.dumps(alert, ensure_ascii=False) for alert in api.alerts.values()],
            **_of(api, alertmanager.TOKEN),
        )


@asynccontextmanager
async def opsgenie_case(session: aiohttp.ClientSession, _: Path) -> AsyncIterator[Case]:
    api = opsgenie.OpsgenieApi()
    async with serving(api):
        yield Case(
            make=_made(session, "opsgenie", api_key=opsgenie.KEY, url=f"{api.url}/v2/alerts"),
            is_open=lambda: bool(api.open),
            texts=lambda: [json.dumps(one, ensure_ascii=False) for one in (*api.open.values(), *api.closed)],
            **_of(api, opsgenie.KEY),
        )


@asynccontextmanager
async def slack_bot_case(session: aiohttp.ClientSession, _: Path) -> AsyncIterator[Case]:
    api = slack.SlackApi()
    async with serving(api):
        yield Case(
            make=_made(session, "slack", token=slack.TOKEN, channel=slack.CHANNEL, url=f"{api.url}/api"),
            is_open=lambda: any(colour_of(one) != "#1a7f37" for one in api.messages.values() if "thread_ts" not in one),
            texts=lambda: [json.dumps(one, ensure_ascii=False) for one in api.messages.values()],
            **_of(api, slack.TOKEN),
        )


@asynccontextmanager
async def slack_hook_case(session: aiohttp.ClientSession, _: Path) -> AsyncIterator[Case]:
    api = slack.SlackApi()
    async with serving(api):
        yield Case(
            make=_made(session, "slack", webhook_url=f"{api.url}{slack.HOOK}"),
            texts=lambda: [json.dumps(one, ensure_ascii=False) for one in api.messages.values()],
            closes=False,
            identity=False,
            **_of(api, slack.HOOK.rpartition("/")[2]),
        )


@asynccontextmanager
async def email_case(_: aiohttp.ClientSession, folder: Path) -> AsyncIterator[Case]:
    async with smtp.mail_server(folder) as mail:
        options = {
            "host": "127.0.0.1", "port": mail.port, "ca_file": str(mail.ca_file), "username": smtp.USER,
            "password": smtp.PASSWORD, "sender": "guardian@example.com", "to": ("oncall@example.com",),
        }  # fmt: skip
        as_answers = {429: 451, 500: 452, 503: 421, 400: 554, 401: 535, 403: 550, 404: 550}

        def fail(*statuses: int, **_: str) -> None:
            mail.faults.extend(as_answers.get(status, status) for status in statuses)

        yield Case(
            make=lambda memory: CHANNELS["email"](Tools(None, memory), options),  # type: ignore[arg-type]
            fail=fail,
            # Mail servers and clients know a repeat by its Message-ID.
            texts=lambda: list({one["Message-ID"]: readable(one) for _, one in mail.taken}.values()),
            heal=mail.faults.clear,
            refused=list,
            secrets=(smtp.PASSWORD,),
            attempt="email",
            closes=False,
            retry_after=False,
        )


@asynccontextmanager
async def grafana_case(session: aiohttp.ClientSession, _: Path) -> AsyncIterator[Case]:
    api = grafana.GrafanaApi()
    async with serving(api):
        yield Case(
            make=_made(session, "grafana", url=f"{api.url}/grafana/", token=grafana.TOKEN),
            is_open=lambda: any(one["timeEnd"] == one["time"] for one in api.annotations.values()),
            texts=lambda: [json.dumps(one, ensure_ascii=False) for one in api.annotations.values()],
            **_of(api, grafana.TOKEN),
        )


@asynccontextmanager
async def webhook_case(session: aiohttp.ClientSession, _: Path) -> AsyncIterator[Case]:
    api = plain.WebhookApi()
    async with serving(api):
        yield Case(
            make=_made(session, "webhook", url=f"{api.url}{plain.PATH}", secret=plain.SECRET),
            texts=lambda: [json.dumps(one, ensure_ascii=False) for one in api.calls.values()],
            closes=False,
            **_of(api, plain.SECRET, "s3cr3t-path"),
        )


@asynccontextmanager
async def apprise_case(_: aiohttp.ClientSession, __: Path) -> AsyncIterator[Case]:
    api = plain.AppriseApi()
    async with serving(api):
        url = api.url.replace("http://", "json://someone:appr1se-s3cr3t@")
        yield Case(
            make=lambda memory: CHANNELS["apprise"](Tools(None, memory), {"urls": (url,)}),  # type: ignore[arg-type]
            texts=lambda: [json.dumps(one, ensure_ascii=False) for one in api.calls],
            attempt="apprise",
            closes=False,
            reasons=False,
            identity=False,
            retry_after=False,
            **_of(api, "appr1se-s3cr3t"),
        )


def _of(api: FakeApi, *secrets: str) -> dict[str, Any]:
    return {"fail": api.fail, "heal": api.faults.clear, "refused": lambda: api.refused, "secrets": secrets}


def _by_key(events: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What was said of each incident of PagerDuty, open or not."""
    keys = dict.fromkeys(event["dedup_key"] for event in events)
    return {key: json.dumps([one for one in events if one["dedup_key"] == key], ensure_ascii=False) for key in keys}


def colour_of(message: Mapping[str, Any]) -> str:
    """The colour of a Slack message."""
    return str(message["attachments"][0]["color"])


def readable(message: EmailMessage) -> str:
    """Subject and all texts of an e-mail."""
    texts = [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"]
    return "\n".join((str(message["Subject"]), *texts))


CASES: Mapping[str, Open] = {
    "pagerduty": pagerduty_case,
    "alertmanager": alertmanager_case,
    "opsgenie": opsgenie_case,
    "slack bot": slack_bot_case,
    "slack webhook": slack_hook_case,
    "email": email_case,
    "grafana": grafana_case,
    "webhook": webhook_case,
    "apprise": apprise_case,
}
