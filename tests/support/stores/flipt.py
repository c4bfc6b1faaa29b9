"""
Flipt v2, as strict as the real one: whole resources of one environment in one repository, at the revision that is named.

Written from the source of flipt-io/flipt at f1905b6 (2026-08-22): ``rpc/v2/environments/environments.proto`` and
``rpc/flipt/core/core.proto`` for paths and fields, ``internal/server/environments/server.go`` and
``internal/storage/git/repository.go`` for revisions, ``internal/storage/environments/fs/flipt/flags.go`` and
``core/validation/flipt.cue`` for what is refused, ``internal/server/middleware/grpc/middleware.go`` for codes, and
``internal/server/evaluation/evaluation.go`` for who gets what.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

TOKEN = "a-client-token"
_FIELDS = {
    "@type", "key", "type", "name", "description", "enabled", "variants", "rules", "rollouts", "defaultVariant", "metadata",
}  # fmt: skip
_RULE, _DISTRIBUTION = {"segmentOperator", "segments", "distributions"}, {"variant", "rollout"}
_KEY = re.compile(r"[-_,A-Za-z0-9]+")


class Refused(Exception):
    """What Flipt does not do, with the status and the code of gRPC."""

    def __init__(self, status: int, code: int, why: str) -> None:
        self.status, self.code = status, code
        super().__init__(why)


def flag(key: str, /, **fields: Any) -> dict[str, Any]:
    """A flag of which a tenth of everybody gets the treatment, as its API shows it."""
    deals = [{"variant": "treatment", "rollout": 10.0}, {"variant": "control", "rollout": 90.0}]
    variants = [
        {"key": name, "name": name, "description": "", "attachment": {"shade": name}} for name in ("control", "treatment")
    ]
    rule = {"segmentOperator": "OR_SEGMENT_OPERATOR", "segments": ["everyone"], "distributions": deals}
    given = {"key": key, "type": "VARIANT_FLAG_TYPE", "name": key, "description": "the new one", "enabled": True}
    return {**given, "variants": variants, "rules": [rule], "rollouts": [], "defaultVariant": "control", **fields}


def segment(key: str, *constraints: Any) -> dict[str, Any]:
    """A group; without constraints it holds everybody."""
    return {"key": key, "matchType": "ALL_MATCH_TYPE", "name": key, "description": "", "constraints": list(constraints)}


class Flipt:
    """One with an environment and a namespace, both ``default``; ``before`` each change something may happen."""

    def __init__(self, flags: list[dict[str, Any]], segments: list[dict[str, Any]]) -> None:
        self.flags = {one["key"]: one for one in flags}
        self.segments = {one["key"]: one for one in segments}
        self.url = ""
        self.changes: list[dict[str, Any]] = []
        self.before: Callable[[], None] = lambda: None
        self._commits = 0

    @property
    def revision(self) -> str:
        """That of the whole environment: the hash of its newest commit."""
        return hashlib.sha1(str(self._commits).encode(), usedforsecurity=False).hexdigest()

    def edit(self, key: str, /, **fields: Any) -> None:
        """A person's change."""
        self.flags[key] = {**self.flags[key], **fields}
        self._commits += 1

    def users(self, key: str, variant: str, segments: tuple[str, ...] = ("everyone",), count: int = 1000) -> set[int]:
        """Which of so many users, all in these segments, get the variant."""
        return {user for user in range(count) if variant == self.evaluate(key, f"user-{user}", segments)}

    def evaluate(self, key: str, entity: str, segments: tuple[str, ...] = ("everyone",)) -> str | None:
        """What somebody in these segments gets."""
        given = self.flags[key]
        rules = given["rules"] if given["enabled"] else []
        rule = next((one for one in rules if set(one["segments"]) & set(segments)), None)
        dealt = [one for one in (rule or {}).get("distributions", ()) if one["rollout"] > 0]
        if not dealt:
            return given.get("defaultVariant")
        bucket, end, total = zlib.crc32(f"{key}{entity}".encode()) % 1000, 0.0, sum(one["rollout"] for one in dealt)
        for one in dealt:
            end += one["rollout"] / total * 1000
            if bucket < int(_float32(end)):
                return str(one["variant"])
        return str(dealt[-1]["variant"])

    # ------------------------------------------------------------------ requests

    async def handle(self, request: web.Request) -> web.Response:
        try:
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                raise Refused(401, 16, "request was not authenticated")
            place = request.match_info
            if place["environment"] != "default":
                raise Refused(404, 5, f'environment: "{place["environment"]}"')
            if place["namespace"] != "default":
                raise Refused(404, 5, f'namespace "{place["namespace"]}"')
            return web.json_response(await self._answer(request, place))
        except Refused as refused:
            return web.json_response({"code": refused.code, "message": str(refused), "details": []}, status=refused.status)

    async def _answer(self, request: web.Request, place: Mapping[str, str]) -> dict[str, Any]:
        if request.method == "PUT":
            return self._update(json.loads(await request.read()))
        of = self.flags if place["type"] == "flipt.core.Flag" else self.segments
        if "key" not in place:
            return {"resources": [self._resource(place["type"], one) for one in of.values()], "revision": self.revision}
        if place["key"] not in of:
            raise Refused(404, 5, f'getting flag default/{place["key"]}: flag default/{place["key"]} not found')
        return {"resource": self._resource(place["type"], of[place["key"]]), "revision": self.revision}

    def _resource(self, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {"namespaceKey": "default", "key": payload["key"], "payload": {"@type": kind, **payload}}

    def _update(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.before()
        if set(asked) - {"environmentKey", "namespaceKey", "key", "payload", "revision"}:
            raise Refused(400, 3, "unknown field")
        named = asked.get("revision", "")
        if named.strip("0") and named != self.revision:
            raise Refused(409, 10, f'expected head revision "{named}" has changed (now "{self.revision}")')
        key, payload = asked["key"], asked["payload"]
        if key not in self.flags:
            raise Refused(404, 5, f'update resource "flipt.core.Flag/default/{key}": not found')
        self._check(payload)
        for rule in payload["rules"]:
            for one in rule["distributions"]:
                one["rollout"] = _float32(one["rollout"])
        self.changes.append(payload)
        self.edit(key, **{name: value for name, value in payload.items() if name != "@type"})
        return {"resource": self._resource("flipt.core.Flag", self.flags[key]), "revision": self.revision}

    def _check(self, payload: dict[str, Any]) -> None:
        if payload.get("@type") not in ("flipt.core.Flag", "type.googleapis.com/flipt.core.Flag"):
            raise Refused(400, 3, "unexpected package type")
        if set(payload) - _FIELDS or not payload.get("name") or not _KEY.fullmatch(payload["key"]):
            raise Refused(400, 3, "unknown field, or no name")
        if any(value is None for value in (payload.get("metadata") or {}).values()):
            raise Refused(400, 3, "metadata: null")
        variants = {one["key"] for one in payload["variants"]}
        for number, rule in enumerate(payload["rules"], 1):
            if set(rule) - _RULE or not rule["segments"]:
                raise Refused(400, 3, f"rule {number}: unknown field, or no segments")
            if unknown := [one for one in rule["segments"] if one not in self.segments]:
                raise Refused(400, 3, f'flag default/{payload["key"]} rule {number} references unknown segment "{unknown[0]}"')
            for one in rule["distributions"]:
                if set(one) != _DISTRIBUTION or not 0 <= one["rollout"] <= 100 or one["variant"] not in variants:
                    raise Refused(400, 3, f"rule {number}: distributions")


def _float32(number: float) -> float:
    """A number as Flipt keeps it, and as it shows that: in the fewest digits."""
    kept: float = struct.unpack("f", struct.pack("f", number))[0]
    return next(short for digits in range(1, 10) if _is_same(short := float(f"{kept:.{digits}g}"), kept))


def _is_same(one: float, other: float) -> bool:
    return struct.pack("f", one) == struct.pack("f", other)


@asynccontextmanager
async def flipping(flags: list[dict[str, Any]], segments: list[dict[str, Any]]) -> AsyncIterator[Flipt]:
    """A Flipt on a local port."""
    flipt = Flipt(flags, segments)
    app = web.Application()
    resources = "/api/v2/environments/{environment}/namespaces/{namespace}/resources"
    app.router.add_put(resources, flipt.handle)
    app.router.add_get(resources + "/{type}", flipt.handle)
    app.router.add_get(resources + "/{type}/{key}", flipt.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        flipt.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield flipt
    finally:
        await runner.cleanup()
