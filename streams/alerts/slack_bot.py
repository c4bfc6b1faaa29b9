"""Slack by a bot's token: an incident's first message opens a thread, the rest replies there and colours the first."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any, ClassVar

import aiohttp
import structlog
from yarl import URL

from guardian.decisions import Decision
from streams.alerts.base import ChannelError, ChannelMemory, Refused, Report, Unreachable
from streams.alerts.http import decoded, encoded, exchange
from streams.alerts.memory import Notes
from streams.alerts.slack_message import message, wants
from streams.alerts.words import hidden, one_line
from streams.web import checked_url

API_URL = "https://slack.com/api"
_IDENTITY = uuid.UUID("5f0c1a52-6c67-4c1b-9a53-1d1df8a4a9f4")
_MAY_PASS = frozenset({"ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"})
_CURES = {
    "invalid_auth": "see whether alerts.slack.token is the bot's token (xoxb-…)",
    "not_authed": "alerts.slack.token is not a token",
    "token_revoked": "install the app again, and give alerts.slack.token the new token",
    "token_expired": "install the app again, and give alerts.slack.token the new token",
    "account_inactive": "the app was removed from the workspace; install it again",
    "not_in_channel": "invite the bot: /invite @its-name in the channel of alerts.slack.channel",
    "channel_not_found": "see alerts.slack.channel; a private one must have invited the bot",
    "is_archived": "the channel is archived; open it again, or name another as alerts.slack.channel",
    "missing_scope": "give the app the scope chat:write (files:write too for charts), and install it again",
    "no_permission": "the bot may not post there; see the channel's posting rights",
    "restricted_action": "the workspace lets only some post there; allow the app",
}

log = structlog.get_logger()


class SlackBot:
    """
    Messages in one channel, by the API that can answer and change them.

    Raises:
        ValueError: an address that is none, a token that is not one line, or no channel. No secret is shown.
    """

    max_age_s: ClassVar[float] = 86_400.0

    def __init__(
        self,
        session: aiohttp.ClientSession,
        memory: ChannelMemory,
        *,
        token: str,
        channel: str,
        url: str = API_URL,
        upload_chart: bool = True,
    ) -> None:
        if one_line(token) != token:
            raise ValueError("alerts.slack.token: is more than one line; write a bot's token, xoxb-…")
        if not channel:
            raise ValueError("alerts.slack.channel: is empty; write the id of a channel, such as C0123456789")
        self.name = "slack"
        self._session = session
        self._notes = Notes(memory, self.name)
        self._channel = channel
        self._api = checked_url("alerts.slack.url", url)
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json; charset=utf-8"}
        self._quoted = hidden(token)
        self._uploads = upload_chart

    def wants(self, notice: Report) -> bool:
        """All that is there to be read."""
        return wants(notice)

    async def notify(self, notice: Report) -> None:
        """Open a thread or reply in it, then show the chart; see ``Channel.notify``."""
        first = self._notes.of(notice)
        said = {**message(notice), "client_msg_id": str(uuid.uuid5(_IDENTITY, notice.notice_id))}
        if first.get("notice_id") == notice.notice_id:
            return  # it was sent, and nobody lived to say so
        opens = not first
        if first:
            await self._colour(notice, first)
            await self._ask("chat.postMessage", {"channel": first["channel"], "thread_ts": first["ts"], **said})
        else:
            sent = await self._ask("chat.postMessage", {"channel": self._channel, **said})
            first = {"channel": str(sent.get("channel", self._channel)), "ts": str(sent.get("ts", ""))}
            await self._notes.keep(notice, **first, notice_id=notice.notice_id)
        # Each notice of an incident has the chart of its decision: once in a thread is enough.
        if notice.chart and self._uploads and (opens or (notice.kind == "news" and isinstance(notice.data, Decision))):
            await self._show(notice, first)

    async def probe(self) -> str:
        """Ask Slack whose token it is; see ``Probed.probe``."""
        answer = await self._ask("auth.test", {})
        return one_line(self._quoted(f"the token is that of {answer.get('user', '?')} in {answer.get('team', '?')}"))[:200]

    async def _colour(self, notice: Report, first: dict[str, str]) -> None:
        """Let the first message say how it stands now. Were it gone, the reply would still tell."""
        try:
            await self._ask("chat.update", {"channel": first["channel"], "ts": first["ts"], **message(replace(notice, body=""))})
        except Refused as refusal:
            log.info("slack_message_not_changed", why=str(refusal), notice_id=notice.notice_id)

    async def _show(self, notice: Report, first: dict[str, str]) -> None:
        """Upload the chart into the thread. It comes after the words, and without it they still stand."""
        try:
            asked = {"filename": "chart.png", "length": str(len(notice.chart))}
            place = await self._ask("files.getUploadURLExternal", asked)
            target = checked_url("upload_url", str(place.get("upload_url")))
            await exchange(self._session, "POST", target, notice.chart, {"content-type": "application/octet-stream"})
            done = {
                "files": [{"id": place["file_id"], "title": one_line(notice.title)[:200] or "Rates"}],
                "channel_id": first["channel"],
                "thread_ts": first["ts"],
            }
            await self._ask("files.completeUploadExternal", done)
        except (ChannelError, ValueError, KeyError) as error:
            log.info("slack_chart_not_shown", why=self._quoted(str(error)), notice_id=notice.notice_id)

    async def _ask(self, method: str, given: dict[str, Any]) -> dict[str, Any]:
        """
        Call a method of the API.

        Raises:
            Unreachable: no answer, or Slack asks to come back.
            Refused: Slack says no; the text has its reason and what to do.
        """
        headers, body = self._headers, encoded(given)
        if method == "files.getUploadURLExternal":  # the one that takes no JSON
            headers = {**headers, "content-type": "application/x-www-form-urlencoded"}
            body = str(URL().with_query(given).raw_query_string).encode()
        url = self._api / method
        said = await exchange(self._session, "POST", url, body, headers, quoted=self._quoted)
        answer = decoded(said, url)
        if not isinstance(answer, dict):
            raise Refused(f"{url.host} answers, but not as Slack's API; see alerts.slack.url")
        if answer.get("ok") is True:
            return answer
        reason = self._quoted(str(answer.get("error", "unknown_error")))[:100]
        if reason in _MAY_PASS:
            raise Unreachable(f"{reason} from {url.host}")
        cure = f"; {_CURES[reason]}" if reason in _CURES else ""
        raise Refused(f"{reason} from {url.host} ({method}){cure}")
