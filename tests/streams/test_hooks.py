"""The port at which stores say that something has changed."""

from __future__ import annotations

import aiohttp
import pytest

from streams.hooks import hooks


async def test_a_hook_nudges_the_store_that_it_names_and_no_other():
    """Whatever the body holds, it is a hint to look, for the store in the path; others are named where there is no such store."""
    nudged: list[str] = []
    nudges = {"web": lambda: nudged.append("web"), "mobile": lambda: nudged.append("mobile")}
    async with hooks(nudges, host="127.0.0.1", port=0) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.post("/hooks/web", data=b'{"id": 1e999' * 1_000) as answer:
            assert 204 == answer.status
        async with session.post("/hooks/nowhere") as answer:
            said = (await answer.json())["error"]
            assert (404, "no store 'nowhere' is watched; there are: web, mobile") == (answer.status, said)
        async with session.get("/hooks/mobile") as answer:
            assert 405 == answer.status

    assert ["web"] == nudged


async def test_a_port_that_is_taken_is_named_with_its_setting():
    """Somebody else has it: the error says which setting to change."""
    async with hooks({}, host="127.0.0.1", port=0) as port:
        with pytest.raises(OSError, match=rf"act\.hook_port {port}: Address already in use"):
            async with hooks({}, host="127.0.0.1", port=port):
                pass
