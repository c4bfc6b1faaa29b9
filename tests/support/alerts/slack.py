"""Slack, after docs.slack.dev: incoming webhooks, chat.postMessage, chat.update, and the three steps of an upload."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from aiohttp import web

from tests.support.alerts.api import FakeApi, NotTaken, need_only, need_text

TOKEN = "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcBrzbqgy"
CHANNEL = "C0123456789"
HOOK = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
MESSAGE = {
    "channel", "text", "blocks", "attachments", "thread_ts", "unfurl_links", "unfurl_media", "client_msg_id", "metadata",
    "mrkdwn", "username", "icon_emoji", "reply_broadcast", "parse", "link_names",
}  # fmt: skip
UPDATE = {*MESSAGE, "ts"}
_ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")


@dataclass
class SlackApi(FakeApi):
    """Messages by their ``ts``; *scopes* are those of the token, *errors* what methods answer next; *heeds_ids*: no id twice."""

    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    heeds_ids: bool = True
    scopes: set[str] = field(default_factory=lambda: {"chat:write", "files:write"})

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        if request.path.startswith("/services/"):
            return self._hook(request, body)
        if request.path.startswith("/upload/"):
            return self._uploaded(request, body)
        method = request.path.removeprefix("/api/")
        try:
            return web.json_response({"ok": True, **self._call(method, request, body)})
        except NotTaken as error:
            self.refused.append(f"{method}: {error}")
            return web.json_response({"ok": False, "error": error.answer["message"]})

    def _call(self, method: str, request: web.Request, body: bytes) -> dict[str, Any]:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise NotTaken(200, "invalid_auth")
        if method in self.errors:
            raise NotTaken(200, self.errors[method])
        if method == "files.getUploadURLExternal":
            return self._place(request, body)
        if request.headers.get("content-type") != "application/json; charset=utf-8":
            raise NotTaken(200, "invalid_post_type")
        said = json.loads(body)
        match method:
            case "auth.test":
                need_only("auth.test", said, set())
                return {"user": "guardian", "team": "Shop", "url": "https://shop.slack.com/"}
            case "chat.postMessage":
                return self._post(said)
            case "chat.update":
                return self._update(said)
            case "files.completeUploadExternal":
                return self._complete(said)
        raise NotTaken(200, "unknown_method")

    def _post(self, said: dict[str, Any]) -> dict[str, Any]:
        check_message(said, MESSAGE)
        if said.get("channel") != CHANNEL:
            raise NotTaken(200, "channel_not_found")
        if "thread_ts" in said and said["thread_ts"] not in self.messages:
            raise NotTaken(200, "thread_not_found")
        if own := said.get("client_msg_id"):
            UUID(own)
        for ts, known in self.messages.items():
            if self.heeds_ids and own and known.get("client_msg_id") == own:
                return {"channel": CHANNEL, "ts": ts}
        ts = f"1700000000.{len(self.messages) + 1:06d}"
        self.messages[ts] = said
        return {"channel": CHANNEL, "ts": ts, "message": said}

    def _update(self, said: dict[str, Any]) -> dict[str, Any]:
        check_message(said, UPDATE)
        if said.get("ts") not in self.messages:
            raise NotTaken(200, "message_not_found")
        self.messages[said["ts"]] = {**self.messages[said["ts"]], **said}
        return {"channel": CHANNEL, "ts": said["ts"]}

    def _place(self, request: web.Request, body: bytes) -> dict[str, Any]:
        if request.content_type != "application/x-www-form-urlencoded":
            raise NotTaken(200, "invalid_arguments")
        if "files:write" not in self.scopes:
            raise NotTaken(200, "missing_scope")
        given = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if not given.get("filename") or int(given.get("length", "0")) <= 0:
            raise NotTaken(200, "invalid_arguments")
        number = f"F{len(self.uploads):09d}"
        self.uploads[number] = {"length": int(given["length"]), "bytes": b""}
        return {"file_id": number, "upload_url": f"{self.url}/upload/{number}"}

    def _uploaded(self, request: web.Request, body: bytes) -> web.Response:
        upload = self.uploads[request.path.rpartition("/")[2]]
        if "authorization" in request.headers:
            raise NotTaken(400, "the token is not for this address")
        if len(body) != upload["length"]:
            raise NotTaken(400, "another length was announced")
        upload["bytes"] = body
        return web.Response(text=f"OK - {len(body)}")

    def _complete(self, said: dict[str, Any]) -> dict[str, Any]:
        need_only("upload", said, {"files", "channel_id", "thread_ts", "initial_comment"})
        if said.get("channel_id") != CHANNEL or any(not self.uploads[one["id"]]["bytes"] for one in said["files"]):
            raise NotTaken(200, "file_not_found")
        self.shown.append(said)
        return {"files": said["files"]}

    def _hook(self, request: web.Request, body: bytes) -> web.Response:
        if request.path != HOOK:
            raise NotTaken(404, "no_service", "no_service")
        if request.content_type != "application/json":
            raise NotTaken(400, "invalid_payload", "invalid_payload")
        said = json.loads(body)
        check_message(said, MESSAGE - {"channel", "thread_ts", "client_msg_id"})
        self.messages[f"hook.{len(self.messages)}"] = said
        return web.Response(text="ok")


def check_message(said: Any, known: set[str]) -> None:
    """Refuse what Slack calls ``invalid_blocks``, ``no_text`` or too long, and markup that nobody wrote."""
    need_only("message", said, known)
    if not said.get("text") and not said.get("blocks"):
        raise NotTaken(400, "no_text")
    need_text("text", said["text"], 40_000)
    check_markup(said["text"])
    for attachment in said.get("attachments", ()):
        need_only("attachment", attachment, {"color", "blocks", "fallback"})
        check_blocks(attachment.get("blocks", []))
    check_blocks(said.get("blocks", []))


def check_blocks(blocks: list[dict[str, Any]]) -> None:
    if len(blocks) > 50:
        raise NotTaken(400, "invalid_blocks: more than 50")
    for block in blocks:
        match block["type"]:
            case "section":
                need_only("section", block, {"type", "text", "fields", "accessory", "block_id"})
                check_text(block["text"], 3_000)
            case "context":
                if not 1 <= len(block["elements"]) <= 10:
                    raise NotTaken(400, "invalid_blocks: context")
                for element in block["elements"]:
                    check_text(element, 3_000)
            case other:
                raise NotTaken(400, f"invalid_blocks: {other}")


def check_text(text: dict[str, Any], longest: int) -> None:
    need_only("text", text, {"type", "text", "verbatim", "emoji"})
    need_text("text", text["text"], longest, least=1)
    if text["type"] == "mrkdwn":
        check_markup(text["text"])


def check_markup(text: str) -> None:
    """Only links may stand in angle brackets, and only the three entities after an ampersand."""
    without_links = re.sub(r"<https?://[^<>|\s]+\|[^<>|]*>", "", text)
    if "<" in without_links or ">" in without_links or _ENTITY.search(text):
        raise NotTaken(400, f"markup that nobody wrote: {text[:80]!r}")
