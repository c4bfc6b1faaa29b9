"""A store more is one file and one line: the one of docs/hacking.md, as it stands there, at a server that is strict."""

from __future__ import annotations

import itertools
import re
import sys
import types
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from guardian.errors import ConfigError
from guardian.ports import Applied, CommandKind, FlagCommand, UnknownFlag
from streams.settings import load_settings
from streams.stores import kinds
from streams.stores.http import open_session
from streams.stores.shares.store import SharesStore

PAGE = Path(__file__).parents[3] / "docs" / "hacking.md"
NAME = "shelf_of_the_page"
TOKEN = "t0ken-of-the-shelf"
_numbers = itertools.count(1)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page's file as a module, and its one line."""
    [code] = [one for one in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "KIND = " in one]
    module = types.ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    monkeypatch.setattr("streams.stores.kinds.KINDS", {**kinds.KINDS, "shelf": NAME})
    monkeypatch.setattr("streams.settings.stores.KINDS", {**kinds.KINDS, "shelf": NAME})
    return module


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Its address and its flags."""
    flags: dict[str, Any] = {"checkout": {"version": 7, "percent": {"control": 90.0, "treatment": 10.0}, "note": ""}}

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        flag = flags.get(request.match_info["flag"])
        if flag is None:
            return web.Response(status=404)
        if request.method == "PUT":
            asked = await request.json()
            if asked["version"] != flag["version"]:
                return web.Response(status=409)
            flag.update(percent=asked["percent"], note=asked["note"], version=flag["version"] + 1)
        return web.json_response(flag)

    app = web.Application()
    app.router.add_route("*", "/flags/{flag}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", flags
    finally:
        await runner.cleanup()


def settings_of(tmp_path: Path, url: str) -> Any:
    path = tmp_path / "guardian.yaml"
    path.write_text(f"stores: {{web: {{kind: shelf, url: '{url}'}}}}\n")
    return load_settings(path, {"GUARDIAN_STORES__WEB__TOKEN": TOKEN})


async def apply(section: Any, kind: CommandKind, share: float | None = None, **fields: Any) -> Applied:
    name = f"production|checkout|treatment|{next(_numbers)}"
    command = FlagCommand(name, name, "checkout", "production", kind, "treatment", "control", share)
    made = kinds.kind_of("shelf").backend
    assert made is not None
    async with open_session() as session:
        return await SharesStore(made(section, session)).apply(replace(command, **fields))


async def test_it_is_killed_resumed_and_moved(shelf, server, tmp_path):
    """By one file and one line a rollout is killed in the store, taken up again, moved, and people's changes stand against it."""
    url, flags = server
    web_store = settings_of(tmp_path, url).targets["web"]
    flag = flags["checkout"]

    assert "applied" == (await apply(web_store, "kill")).status
    assert {"control": 100.0, "treatment": 0.0} == flag["percent"]
    assert "applied" == (await apply(web_store, "resume")).status
    assert {"control": 90.0, "treatment": 10.0} == flag["percent"]
    assert "applied" == (await apply(web_store, "set_share", 0.12345)).status
    assert {"control": 87.66, "treatment": 12.34} == flag["percent"]
    flag.update(percent={"control": 50.0, "treatment": 50.0}, version=flag["version"] + 1)
    assert "conflict" == (await apply(web_store, "set_share", 0.3, from_share=0.1234)).status
    async with open_session() as session:
        with pytest.raises(UnknownFlag, match="flag 'nowhere'"):
            await shelf.ShelfBackend(web_store, session).read("nowhere")


def test_what_is_wrong_with_its_settings_is_told_at_its_place(shelf, tmp_path):
    """The errors that every store's settings have, it has too: a field that is misspelt, a secret that is missing."""
    path = tmp_path / "guardian.yaml"
    path.write_text("stores: {web: {kind: shelf, ulr: 'http://x'}}\n")

    with pytest.raises(ConfigError) as wrong:
        load_settings(path, {})

    told = {problem.field: problem.right for problem in wrong.value.problems}
    assert told["stores.web.ulr"] == "is not known here; did you mean url?"
    cure = "is missing; name a file that holds it under token_file, or set GUARDIAN_STORES__WEB__TOKEN"
    assert cure == told["stores.web.token"]


def test_every_store_is_a_file_or_a_folder_and_a_line():
    """Nothing outside of a store's own place names it, but for its line, and the guardian's own server."""
    root = Path(kinds.__file__).parents[1]
    own = {"flagd", "webhook"}  # the ones that settings had before there were several
    for kind in set(kinds.KINDS) - own:
        places = [root / "stores" / kind, root / "stores" / f"{kind}.py"]
        naming = [
            path.relative_to(root).as_posix()
            for path in root.rglob("*.py")
            if f"stores.{kind}" in path.read_text() and not any(place == path or place in path.parents for place in places)
        ]
        assert ["stores/kinds.py"] == naming, kind
