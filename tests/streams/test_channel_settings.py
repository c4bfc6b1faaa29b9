"""The settings of channels: what each needs, and that what cannot be right is said at the start without any secret."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from guardian.errors import ConfigError
from streams.alerts.alertmanager import Alertmanager
from streams.alerts.apprise import Apprise
from streams.alerts.email import Email
from streams.alerts.grafana import Grafana
from streams.alerts.memory import ShortMemory
from streams.alerts.opsgenie import Opsgenie
from streams.alerts.pagerduty import PagerDuty
from streams.alerts.slack import slack
from streams.alerts.table import CHANNELS
from streams.alerts.webhook import Webhook
from streams.report import channels
from streams.settings import Settings, load_settings

ADAPTERS: dict[str, Any] = {
    "pagerduty": PagerDuty, "alertmanager": Alertmanager, "opsgenie": Opsgenie, "slack": slack, "email": Email,
    "grafana": Grafana, "webhook": Webhook, "apprise": Apprise,
}  # fmt: skip
EMAIL = {"host": "mail.example.com", "sender": "guardian@example.com", "to": ["a@example.com"]}
ALL = {
    "pagerduty": {"routing_key": "0123456789abcdef0123456789abcdef"},
    "alertmanager": {"urls": ["http://one:9093", "http://two:9093"]},
    "opsgenie": {"api_key": "key"},
    "slack": {"token": "xoxb-1", "channel": "C0123456789"},
    "email": {**EMAIL, "owners": {"team-checkout": ["b@example.com"]}},
    "grafana": {"url": "https://grafana.example.com", "token": "glsa_1"},
    "webhook": {"url": "https://example.com/hook", "secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="},
    "apprise": {"urls": "json://localhost xml://localhost"},
}


@pytest.mark.parametrize("name", CHANNELS)
def test_what_settings_say_is_what_the_adapter_takes(name):
    """
    Each setting of a channel is a parameter of its adapter, and has the adapter's own default.
    """
    section = getattr(Settings().alerts, name)
    given = inspect.signature(ADAPTERS[name]).parameters
    taken = {one.name: one.default for one in given.values() if one.kind is one.KEYWORD_ONLY and one.name != "now"}
    defaults = {key: value for key, value in taken.items() if value is not inspect.Parameter.empty and key != "owners"}

    assert taken.keys() == section.options().keys()
    assert defaults.items() <= section.options().items()


async def test_all_channels_can_be_used_at_once():
    """
    With every channel set, each is there, in the order of the table; with one, that one alone.
    """
    async with aiohttp.ClientSession() as session:
        every = channels(Settings.model_validate({"alerts": ALL}), session, ShortMemory())
        for name, section in ALL.items():
            (one,) = channels(Settings.model_validate({"alerts": {name: section}}), session, ShortMemory())
            assert name == one.name

    assert list(CHANNELS) == [channel.name for channel in every]


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ({"alertmanager": {"urls": ["s3cr3t"]}}, "is no address"),
        ({"opsgenie": {"url": "s3cr3t"}}, "is no address"),
        ({"slack": {"url": "s3cr3t"}}, "is no address"),
        ({"grafana": {"url": "https://g.example.com"}}, "url is given, but not token"),
        ({"email": {**EMAIL, "to": []}}, "host is given, but not to"),
        ({"email": {**EMAIL, "to": ["nobody"]}}, "no e-mail address"),
        ({"email": {**EMAIL, "sender": "a@b.example\r\nBcc: c@d.example"}}, "no e-mail address"),
        ({"email": {**EMAIL, "owners": {"team-a": ["Ada <a@b.example>"]}}}, "without a name"),
        ({"email": {**EMAIL, "username": "ada"}}, "username and password go together"),
        ({"email": {**EMAIL, "tls": "ssl"}}, "starttls"),
        ({"email": {**EMAIL, "host": "mail.example.com/x"}}, "host"),
        ({"slack": {"colour": "s3cr3t"}}, "colour"),
    ],
)
def test_what_cannot_be_right_is_said_at_the_start(tmp_path: Path, alerts: dict[str, Any], said: str):
    """
    A wrong setting of a channel is an error that names it and its line, says what would be right, and shows no address.
    """
    path = tmp_path / "guardian.yaml"
    path.write_text(yaml.safe_dump({"alerts": alerts}))

    with pytest.raises(ConfigError, match=said) as failed:
        load_settings(path, {})

    (name,) = alerts
    assert f"alerts.{name}" in str(failed.value)
    assert "s3cr3t" not in str(failed.value)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SLACK__TOKEN": "xoxb-s3cr3t"}, "token is given, but no channel"),
        ({"SLACK__WEBHOOK_URL": "s3cr3t"}, "is no address"),
        ({"SLACK__TOKEN": "xoxb-s3cr3t", "SLACK__CHANNEL": "C1", "SLACK__WEBHOOK_URL": "https://s3cr3t"}, "keep one"),
        ({"GRAFANA__TOKEN": "s3cr3t\ns3cr3t", "GRAFANA__URL": "https://g.example.com"}, "one word"),
        ({"EMAIL__TLS": "none", "EMAIL__PASSWORD": "s3cr3t"}, "in the clear"),
    ],
)
def test_secrets_that_cannot_be_right_are_not_shown(variables, said):
    """
    A secret that is wrong, or that is missing what it needs, is told of by its variable or section and never shown.
    """
    with pytest.raises(ConfigError, match=said) as failed:
        load_settings(None, {f"GUARDIAN_ALERTS__{name}": value for name, value in variables.items()})

    assert "s3cr3t" not in str(failed.value)


def test_lists_can_come_from_the_environment():
    """
    Replicas and recipients are written with commas in a variable; Apprise's addresses a line each in a file.
    """
    alerts = load_settings(
        None,
        {
            "GUARDIAN_ALERTS__ALERTMANAGER__URLS": "http://one:9093, http://two:9093",
            "GUARDIAN_ALERTS__EMAIL__TO": "a@example.com,b@example.com",
            "GUARDIAN_ALERTS__APPRISE__URLS": "json://one\nxml://two\n",
        },
    ).alerts

    assert ("http://one:9093", "http://two:9093") == alerts.alertmanager.urls
    assert ("a@example.com", "b@example.com") == alerts.email.to
    assert ["json://one", "xml://two"] == alerts.apprise.options()["urls"]


def test_no_secret_of_a_channel_is_shown():
    """
    The text of settings has none of the channels' secrets.
    """
    settings = Settings.model_validate({"alerts": ALL})
    shown = repr(settings) + settings.model_dump_json() + json.dumps(settings.model_dump(mode="json"))

    for secret in ("0123456789abcdef0123456789abcdef", "xoxb-1", "glsa_1", "whsec_MD", "xml://localhost"):
        assert secret not in shown
