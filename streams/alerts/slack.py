"""Slack: an incoming webhook posts message after message; a bot holds each incident together in a thread."""

from __future__ import annotations

from typing import ClassVar

import aiohttp

from streams.alerts.base import Channel, ChannelMemory, Refused, Report
from streams.alerts.http import encoded, exchange, reach
from streams.alerts.slack_bot import API_URL, SlackBot
from streams.alerts.slack_message import message, wants
from streams.web import checked_url

_CURES = {
    "invalid_token": "the address is not valid any more; make a new incoming webhook",
    "no_service": "the incoming webhook was removed; make a new one",
    "no_team": "the workspace is not there any more; make an incoming webhook in another",
    "channel_not_found": "its channel was deleted; make an incoming webhook for another",
    "channel_is_archived": "its channel is archived; open it again, or make an incoming webhook for another",
    "action_prohibited": "an administrator has forbidden it to post",
    "posting_to_general_channel_denied": "it may not post to the general channel",
}


def slack(
    session: aiohttp.ClientSession,
    memory: ChannelMemory,
    *,
    webhook_url: str = "",
    token: str = "",
    channel: str = "",
    url: str = API_URL,
    upload_chart: bool = True,
) -> Channel:
    """
    Return the bot where there is a *token*, else the incoming webhook.

    Raises:
        ValueError: an address that is none, or a token without a channel.
    """
    if token:
        return SlackBot(session, memory, token=token, channel=channel, url=url, upload_chart=upload_chart)
    return SlackHook(session, webhook_url=webhook_url)


class SlackHook:
    """
    A message for all that is there to be read, in the channel that the address belongs to.

    Raises:
        ValueError: an address that is none; it is not shown, as it is the secret.
    """

    max_age_s: ClassVar[float] = 86_400.0

    def __init__(self, session: aiohttp.ClientSession, *, webhook_url: str) -> None:
        self.name = "slack"
        self._session = session
        self._url = checked_url("alerts.slack.webhook_url", webhook_url)

    def wants(self, notice: Report) -> bool:
        """All that is there to be read."""
        return wants(notice)

    async def notify(self, notice: Report) -> None:
        """Post the message; see ``Channel.notify``."""
        try:
            await exchange(self._session, "POST", self._url, encoded(message(notice)), {}, quoted=_reason)
        except Refused as refusal:
            reason = next((word for word in _CURES if word in str(refusal)), "")
            raise Refused(f"{refusal}; {_CURES[reason]}" if reason else str(refusal)) from None


    async def probe(self) -> str:
        """Connect; whether the webhook is still there shows with the first message alone. See ``Probed.probe``."""
        return await reach(self._url)


def _reason(said: str) -> str:
    """Slack's one word for what is wrong, and nothing else that may be answered there."""
    return said if len(said) < 60 and said.replace("_", "").isalpha() and said.isascii() else ""
