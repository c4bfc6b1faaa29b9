"""All channels by the name of their settings: ``alerts.slack`` makes a ``slack``. A new one is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from streams.alerts.alertmanager import Alertmanager
from streams.alerts.apprise import Apprise
from streams.alerts.base import Channel, ChannelMemory
from streams.alerts.email import Email
from streams.alerts.grafana import Grafana
from streams.alerts.opsgenie import Opsgenie
from streams.alerts.pagerduty import PagerDuty
from streams.alerts.slack import slack
from streams.alerts.webhook import Webhook


@dataclass(frozen=True, slots=True)
class Tools:
    """What channels work with."""

    session: aiohttp.ClientSession
    memory: ChannelMemory


Options = Mapping[str, Any]
"""What the settings say of a channel, by the names of its own parameters."""

CHANNELS: Mapping[str, Callable[[Tools, Options], Channel]] = {
    "pagerduty": lambda tools, given: PagerDuty(tools.session, **given),
    "alertmanager": lambda tools, given: Alertmanager(tools.session, tools.memory, **given),
    "opsgenie": lambda tools, given: Opsgenie(tools.session, **given),
    "slack": lambda tools, given: slack(tools.session, tools.memory, **given),
    "email": lambda tools, given: Email(tools.memory, **given),
    "grafana": lambda tools, given: Grafana(tools.session, **given),
    "webhook": lambda tools, given: Webhook(tools.session, **given),
    "apprise": lambda _, given: Apprise(**given),
}
