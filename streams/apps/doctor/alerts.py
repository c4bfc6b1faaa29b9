"""Channels of alerts: is each reached, and does it know the guardian; nobody is told anything."""

from __future__ import annotations

import aiohttp
from yarl import URL

from streams.alerts.base import Probed, Refused, Unreachable
from streams.alerts.http import reach
from streams.alerts.memory import ShortMemory
from streams.alerts.table import CHANNELS, Tools
from streams.apps.doctor.checks import checked, together
from streams.findings import Finding
from streams.settings import Settings


async def look(settings: Settings) -> list[Finding]:
    """All about who is told."""
    used = [name for name in CHANNELS if getattr(settings.alerts, name).is_set]
    async with aiohttp.ClientSession() as session:
        tools = Tools(session, ShortMemory())
        found = await together(*(checked(f"alerts.{name}", _channel(name, settings, tools)) for name in used))
    if not used:
        cure = "give one of them what it needs, such as alerts.pagerduty.routing_key_file: docs/alerts.md"
        found.append(Finding("warning", "alerts", "no channel has settings: nobody is told of anything", cure))
    for setting, names in settings.alerts.named_channels.items():
        for name in names:
            if name not in used:
                cure = f"write alerts.{name}, or name another channel: report does not start so"
                found.append(Finding("error", setting, f"names {name}, which has no settings", cure))
    return [*found, *await _heartbeat(settings, is_told=bool(used))]


async def _channel(name: str, settings: Settings, tools: Tools) -> list[Finding]:
    about = f"alerts.{name}"
    try:
        channel = CHANNELS[name](tools, getattr(settings.alerts, name).options())
    except ValueError as error:  # names the setting, and not its value
        return [Finding("error", about, str(error))]
    if not isinstance(channel, Probed):
        return [Finding("ok", about, "not tried: it can be reached by a notice alone")]
    return await _tried(about, channel)


async def _tried(about: str, channel: Probed) -> list[Finding]:
    try:
        return [Finding("ok", about, await channel.probe())]
    except Unreachable as error:
        return [Finding("error", about, str(error), f"see the address under {about}; is it up, and may this machine reach it?")]
    except Refused as error:
        return [Finding("error", about, str(error), f"see {about} in the settings")]


async def _heartbeat(settings: Settings, *, is_told: bool) -> list[Finding]:
    about, url = "alerts.heartbeat", settings.alerts.heartbeat.url
    if not url:
        cure = "write alerts.heartbeat.url, so that somebody notices when the guardian itself is silent"
        return [Finding("warning", about, "there is none", cure)] if is_told else []
    return await checked(about, _tried(about, _Address(URL(url))))


class _Address:
    """An address that is not called: a call would say that all is well."""

    def __init__(self, url: URL) -> None:
        self._url = url

    async def probe(self) -> str:
        """See `streams.alerts.base.Probed.probe`."""
        return await reach(self._url)
