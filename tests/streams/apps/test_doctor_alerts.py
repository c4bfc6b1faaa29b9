"""The doctor at channels of alerts: each illness is found and named with its cure, and nobody is told anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from demo.ports import free_ports
from streams.apps.doctor import alerts
from streams.findings import Finding
from streams.settings import Settings
from tests.streams.apps.doctor_support import wrong
from tests.support.alerts import alertmanager, grafana, slack, smtp
from tests.support.alerts.api import serving

PAGERDUTY_KEY = "0123456789abcdef0123456789abcdef"


async def looked(**sections: Any) -> list[Finding]:
    """What is wrong with these channels, but for a heartbeat that is not there."""
    found = await alerts.look(Settings.model_validate({"alerts": sections}))
    return [one for one in wrong(found) if one.about != "alerts.heartbeat"]


@pytest.fixture
async def slack_api() -> AsyncIterator[slack.SlackApi]:
    api = slack.SlackApi()
    async with serving(api):
        yield api


def email(mail: smtp.MailServer, **fields: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1", "port": mail.port, "ca_file": str(mail.ca_file), "username": smtp.USER,
        "password": smtp.PASSWORD, "sender": "guardian@example.com", "to": ["oncall@example.com"], **fields,
    }  # fmt: skip


async def test_channels_that_are_well_are_ok_and_hear_nothing(slack_api, tmp_path: Path):
    """A bot's token, a mail server's login, Alertmanager and Grafana are tried; no message, alert or annotation comes of it."""
    alertmanagers, grafanas = alertmanager.AlertsApi(), grafana.GrafanaApi()
    async with smtp.mail_server(tmp_path) as mail, serving(alertmanagers), serving(grafanas):
        settings = Settings.model_validate({
            "alerts": {
                "slack": {"token": slack.TOKEN, "channel": slack.CHANNEL, "url": f"{slack_api.url}/api"},
                "email": email(mail),
                "alertmanager": {"urls": [f"{alertmanagers.url}/am"], "token": alertmanager.TOKEN},
                "grafana": {"url": f"{grafanas.url}/grafana", "token": grafana.TOKEN},
                "pagerduty": {"routing_key": PAGERDUTY_KEY, "url": f"{slack_api.url}/v2/enqueue"},
                "heartbeat": {"url": f"{slack_api.url}/beat"},
            }
        })  # fmt: skip
        requests = slack_api.requests
        found = await alerts.look(settings)

    assert [] == wrong(found) and 6 == len(found)
    assert ([], {}, [], {}) == (mail.taken, slack_api.messages, alertmanagers.open, grafanas.annotations)
    assert 1 == slack_api.requests - requests  # auth.test; PagerDuty and the heartbeat were connected to, and not called


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"password": "another-w0rd"}, "alerts.email.username and password"),
        ({"ca_file": ""}, "name its authority as alerts.email.ca_file"),
    ],
)
async def test_a_mail_server_that_refuses_names_its_cure(tmp_path: Path, fields, says):
    """A wrong password and a certificate that nobody trusts say which setting to mend; the password is not shown."""
    async with smtp.mail_server(tmp_path) as mail:
        (one,) = await looked(email=email(mail, **fields))

    assert ("error", "alerts.email") == (one.level, one.about)
    assert says in one.found and "w0rd" not in str(one)


async def test_a_closed_port_is_found(slack_api):
    """Where nobody listens for mail, or behind a webhook, the channel and its address are said."""
    (port,) = free_ports(1)
    closed = smtp.MailServer(port=port)
    mail, hook = await looked(
        email={**email(closed), "ca_file": ""}, slack={"webhook_url": f"http://127.0.0.1:{port}/services/s3cr3t"}
    )

    mail, hook = sorted((mail, hook), key=lambda one: one.about)
    for one, name in ((mail, "alerts.email"), (hook, "alerts.slack")):
        assert ("error", name) == (one.level, one.about)
        assert f"127.0.0.1:{port}" in one.found and f"see the address under {name}" in one.cure
    assert "s3cr3t" not in str((mail, hook))


async def test_a_token_that_slack_does_not_know_is_found(slack_api):
    """Slack's own word for it is told with what to do; the token is not."""
    (one,) = await looked(slack={"token": "xoxb-s3cr3t", "channel": "C0123456789", "url": f"{slack_api.url}/api"})

    assert "invalid_auth" in one.found and "see whether alerts.slack.token" in one.found and "s3cr3t" not in str(one)


async def test_a_name_that_is_none_is_found():
    """A host that the name service does not know is said, and nothing of the address behind it."""
    (one,) = await looked(webhook={"url": "http://alerts.invalid/s3cr3t", "secret": "whsec_" + "QUJD" * 8})

    assert "alerts.invalid: no such name" in one.found and "s3cr3t" not in str(one)


async def test_a_route_to_a_channel_without_settings_is_found(slack_api):
    """A route, the fallback or the stakeholders that name a channel without settings are found, each by its setting."""
    found = await looked(
        pagerduty={"routing_key": PAGERDUTY_KEY, "url": f"{slack_api.url}/v2/enqueue"},
        routes=[{"level": "page", "to": ["pagerduty", "email"]}],
        fallback=["webhook"],
    )

    assert ["alerts.routes[0].to", "alerts.fallback"] == [one.about for one in found]
    assert all("write alerts." in one.cure for one in found)


async def test_that_nobody_is_told_is_a_warning():
    """Without any channel it is said that nobody hears of a kill."""
    (one,) = await looked()

    assert "warning" == one.level and "nobody is told" in one.found
