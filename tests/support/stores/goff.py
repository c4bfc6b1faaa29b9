"""
A relay proxy of GO Feature Flag, as strict as the real one: it reads the configuration when it is told to, and serves by it.

Written from the source of thomaspoignant/go-feature-flag at 3c7c30d (2026-08-19): ``modules/core/flag/internal_flag.go``,
``rule.go`` and ``rule_validation.go`` for what is valid and who gets what, ``cmd/relayproxy/api/routes_admin.go`` and
``middleware/key_auth_extended.go`` for the refresh. Queries are not evaluated: nobody is in a rule here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

KEY = "an-administrators-key"
USERS_KEY = "a-users-key"
_FLAG = {
    "trackEvents", "disable", "version", "converter", "variations", "targeting", "bucketingKey", "defaultRule",
    "scheduledRollout", "experimentation", "metadata",
}  # fmt: skip
_RULE = {"name", "query", "variation", "percentage", "progressiveRollout", "disable"}


class _Loader(yaml.SafeLoader):
    """YAML as Go reads it: ``on`` and ``off`` are names."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, found) for tag, found in resolvers if tag != "tag:yaml.org,2002:bool" or first not in "yYnNoO"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Relay:
    """One that serves the *file*; ``url`` is where it answers, ``is_blind`` one whose retriever fails."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.url = ""
        self.is_blind = False
        self.refreshed: list[bool] = []
        self.flags: dict[str, Any] = {}
        assert self.refresh(), "the configuration is wrong"

    def refresh(self) -> bool:
        """Read the file; what is wrong is not served, and what was read before is."""
        if self.is_blind:
            return False
        try:
            flags = yaml.load(self._file.read_text(), _Loader)
            for key, flag in flags.items():
                _check(key, flag)
        except (AssertionError, yaml.YAMLError):
            return False
        self.flags = flags
        return True

    def users(self, flag: str, variation: str, count: int = 1000) -> set[int]:
        """Which of so many users get the variation."""
        return {user for user in range(count) if variation == self.evaluate(flag, f"user-{user}")}

    def evaluate(self, flag: str, key: str) -> str:
        """The variation of somebody whom no rule names; empty for what stands in the code of the service."""
        given = self.flags[flag]
        if given.get("disable"):
            return ""
        rule = given["defaultRule"]
        percentage = rule.get("percentage")
        if not percentage:
            return str(rule["variation"])
        bucket = _fnv1a(flag + key) % int(sum(percentage.values()) * 1000)
        end = 0.0
        for name in sorted(percentage, reverse=True):
            end += percentage[name] * 1000
            if int(end) > bucket:
                return str(name)
        raise AssertionError("impossible to find the variation")

    async def handle(self, request: web.Request) -> web.Response:
        key = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if key != KEY:
            raise web.HTTPUnauthorized
        if await request.read():
            raise web.HTTPBadRequest
        self.refreshed.append(self.refresh())
        return web.json_response({"refreshed": self.refreshed[-1]})


def _check(key: str, flag: dict[str, Any]) -> None:
    assert set(flag) <= _FLAG, key
    variations = flag["variations"]
    assert variations and len({type(value) for value in variations.values()}) == 1, key
    _check_rule(flag["defaultRule"], variations)
    names = [rule.get("name") for rule in flag.get("targeting", ())]
    assert len(set(filter(None, names))) == len([*filter(None, names)]), key
    for rule in flag.get("targeting", ()):
        assert rule.get("disable", False) in (True, False)
        if not rule.get("disable"):
            assert rule.get("query"), key
            _check_rule(rule, variations)


def _check_rule(rule: dict[str, Any], variations: dict[str, Any]) -> None:
    assert set(rule) <= _RULE
    assert {"percentage", "variation", "progressiveRollout"} & set(rule)
    percentage = rule.get("percentage")
    if percentage is not None:
        assert set(percentage) <= set(variations)
        assert all(type(share) in (int, float) for share in percentage.values())
        assert sum(percentage.values()) > 0
    elif "variation" in rule:
        assert rule["variation"] in variations


def _fnv1a(text: str) -> int:
    found = 0x811C9DC5
    for byte in text.encode():
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found


@asynccontextmanager
async def relaying(file: Path) -> AsyncIterator[Relay]:
    """A relay on a local port."""
    relay = Relay(file)
    app = web.Application()
    app.router.add_post("/admin/v1/retriever/refresh", relay.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        relay.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield relay
    finally:
        await runner.cleanup()
