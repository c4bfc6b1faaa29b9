"""The served document as a file: whole at every moment, valid, newer than before, and what the sync server says."""

# ruff: noqa: ASYNC240 - small files, in tests
from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType

from guardian.flagdoc import validate
from streams.admin import ensure_topics
from streams.status import Status
from streams.store import run_store
from streams.stores import replacing
from streams.stores.flagd import file as flag_file
from streams.stores.flagd.server import FlagdStoreServer
from tests.streams.stores.support import connect, eventually, kill_record, sample, treated, version, write
from tests.support.cluster import Cluster
from tests.support.page import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return tmp_path / "served" / "flags.json"


@pytest.fixture
async def server(base_path: Path, path: Path) -> AsyncIterator[FlagdStoreServer]:
    """Replaces that of the other tests: it keeps a file, too."""
    async with FlagdStoreServer(base_path, port=0, poll_s=0.02, file=path) as running:
        yield running
        await asyncio.to_thread(api.shutdown)


async def reader_of(path: Path, **options: object) -> OpenFeatureClient:
    """An OpenFeature client on the official provider that reads a file."""
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE, offline_flag_source_path=str(path), **{"deadline_ms": 20, **options}
    )
    domain = f"file-{id(provider)}"
    await asyncio.to_thread(api.set_provider_and_wait, provider, domain)
    return api.get_client(domain)


def says_the_same(server: FlagdStoreServer, path: Path) -> bool:
    return path.is_file() and path.read_text() == server.documents.text


async def test_the_official_provider_sees_a_kill_in_the_file(server: FlagdStoreServer, path: Path):
    """
    A provider in FILE mode, looking every 20 ms, has nobody in the killed variation, as one of the sync server.
    """
    await eventually(path.is_file)
    client, synced = await reader_of(path), await connect(server.sync.port)
    assert treated(client) == treated(synced) > 60

    server.apply_overlay(kill_record())
    await eventually(lambda: version(client) == version(synced) == "1+g1")

    assert 0 == treated(client) == treated(synced)
    assert "1" == version(client, "new-search")


async def test_the_file_says_what_the_sync_server_says(server: FlagdStoreServer, base_path: Path, path: Path):
    """
    At the start, after a kill, after a person's edit; a bad edit is in neither.
    """
    await eventually(lambda: says_the_same(server, path))

    server.apply_overlay(kill_record())
    await eventually(lambda: says_the_same(server, path) and '"1+g1"' in path.read_text())

    edited = sample()
    edited["flags"]["checkout-v2"]["metadata"]["version"] = "2"
    write(base_path, edited)
    await eventually(lambda: says_the_same(server, path) and '"2+g1"' in path.read_text())

    written = path.stat()
    write(base_path, '{"flags": {"checkout-v2": {}}}')
    await eventually(lambda: server.documents.problems)
    assert written == path.stat()


async def test_readers_never_see_half_a_document_nor_an_older_time(server: FlagdStoreServer, path: Path):
    """
    Whoever reads while 200 decisions come reads valid documents, whose times grow with their content, as floats too.
    """
    await eventually(path.is_file)
    seen: list[tuple[float, str]] = []
    is_done = threading.Event()

    def read() -> None:
        while not is_done.is_set():
            with path.open() as opened:
                text, at = opened.read(), os.fstat(opened.fileno()).st_mtime
            if not seen or seen[-1][1] != text:
                seen.append((at, text))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 201):
            server.apply_overlay(kill_record(number, killed={"treatment": "control"} if number % 2 else {}))
            await asyncio.sleep(0)
            if number % 10 == 0:
                await eventually(lambda: says_the_same(server, path))
    finally:
        is_done.set()
        reader.join()

    assert len(seen) > 20
    assert all(earlier[0] < later[0] for earlier, later in pairwise(seen))
    assert not any(validate(json.loads(text)) for _, text in seen)
    assert ["flags.json"] == [left.name for left in path.parent.iterdir()]


async def test_a_time_in_the_future_does_not_hide_a_kill(base_path: Path, path: Path):
    """
    Where the file that is there has a time in the future, as after a clock was set back, the next one is newer still.
    """
    write(path, sample())
    future_s = time.time() + 3600
    os.utime(path, (future_s, future_s))
    client = await reader_of(path)
    server = FlagdStoreServer(base_path, port=0, file=path)
    server.apply_overlay(kill_record())

    async with server:
        await eventually(lambda: version(client) == "1+g1")

    assert 0 == treated(client)
    await asyncio.to_thread(api.shutdown)


async def test_it_is_written_once_more(server: FlagdStoreServer, path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    A provider that took the time of a file that it had not read hears of the change all the same, a while later.
    """
    monkeypatch.setattr(flag_file, "AGAIN_S", 0.05)
    await eventually(path.is_file)
    server.apply_overlay(kill_record())
    await eventually(lambda: '"1+g1"' in path.read_text())
    written = path.stat()

    await eventually(lambda: path.stat().st_mtime > written.st_mtime)

    assert says_the_same(server, path)
    assert '"1+g1"' in path.read_text()


def test_another_hand_right_after_ours_is_told_from_ours(path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Who writes into the file in the moment after we did is found out: what we remember is what we wrote.
    """
    put_in_place = Path.replace

    def with_another(making: Path, target: Path) -> None:
        put_in_place(making, target)
        write(target, "theirs")

    monkeypatch.setattr(Path, "replace", with_another)

    ours = replacing.replace(path, b"ours")

    assert ours and ours != replacing.stamp_of(path)


async def test_rights_and_links_stay(base_path: Path, path: Path):
    """
    A file keeps its rights; a link stays a link, and what it leads to is replaced; a new file can be read by others.
    """
    real = path.with_name("real.json")
    real.write_text("{}")
    real.chmod(0o640)
    path.symlink_to(real)
    fresh = path.with_name("fresh.json")

    async with FlagdStoreServer(base_path, port=0, file=path) as server:
        await eventually(lambda: says_the_same(server, real))
    async with FlagdStoreServer(base_path, port=0, file=fresh) as server:
        await eventually(lambda: says_the_same(server, fresh))

    assert path.is_symlink()
    assert 0o640 == real.stat().st_mode & 0o777
    assert 0o644 == fresh.stat().st_mode & 0o777


async def test_what_others_do_to_the_file_is_undone(server: FlagdStoreServer, path: Path):
    """
    Somebody writes into the file, or removes it: soon it says again what the sync server says.
    """
    server.apply_overlay(kill_record())
    await eventually(lambda: says_the_same(server, path))

    write(path, sample())
    await eventually(lambda: says_the_same(server, path))
    path.unlink()
    await eventually(lambda: says_the_same(server, path))

    assert '"1+g1"' in path.read_text()


async def test_what_a_killed_writer_left_is_swept(base_path: Path, path: Path):
    """
    A half-written file beside it, left by a writer that was killed, is gone with the next change; a fresh one stays.
    """
    old, fresh = path.with_name(".flags.json.a.guardian"), path.with_name(".flags.json.b.guardian")
    for left in (old, fresh):
        left.write_text("{")
    os.utime(old, (1, 1))

    async with FlagdStoreServer(base_path, port=0, file=path) as server:
        await eventually(lambda: says_the_same(server, path))

    assert {path, fresh} == set(path.parent.iterdir())


async def test_a_file_that_cannot_be_written_stops_nothing_and_is_said(
    embedded_kafka: str, base_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
):
    """
    Without its directory the store serves all the same, is not ready and says why; with it, all is well.
    """
    missing = path.parent / "later" / "flags.json"
    flagd = {"document": str(base_path), "port": 0, "file": str(missing)}
    settings = Cluster(embedded_kafka, embedded=True).settings(flagd=flagd)
    await ensure_topics(settings)
    status = Status("store")
    running = asyncio.create_task(run_store(settings, status))
    try:
        await until(lambda: "not written" in status.why or running.done(), "the store says that it cannot")
        assert f"flagd.file {missing} is not written: No such file or directory" == status.why
        assert not status.is_ready
        client = await connect(int(status.numbers["target"].rpartition(":")[2]))
        assert treated(client)

        missing.parent.mkdir()
        await until(lambda: status.is_ready or running.done(), "the store is ready")
        assert not validate(json.loads(missing.read_text()))
    finally:
        await asyncio.to_thread(api.shutdown)
        running.cancel()
        await asyncio.wait({running})
