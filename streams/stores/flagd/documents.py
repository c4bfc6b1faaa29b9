"""The document that is served: the file that people edit, with the guardian's overlays laid over it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import structlog

from guardian.flagdoc import (
    Document,
    Overlay,
    compose,
    flag_problems,
    misfits,
    overlaid,
    unstamped,
    validate,
)
from streams.stores.base import record_problems

log = structlog.get_logger(__name__)


def parse(raw: bytes) -> Any:
    """
    JSON as every client reads it: UTF-8, no key twice, no NaN.

    Raises:
        ValueError: it is none; the text says where.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
        if twice is not None:
            raise ValueError(f"{twice!r} is written twice in one object; clients would keep either")
        return dict(pairs)

    def not_json(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=not_json)


class Documents:
    """
    One environment's base document, the overlays, and what they make together. For one event loop.

    A base that has problems never replaces a good one, nor does one that an overlay in force does not fit. An
    overlay that does not fit its flag is left out, loudly, and holds up no other. So what is served is always
    a valid document.

    Raises:
        ValueError: the first base document has problems; the text holds each of them.
    """

    def __init__(self, base: bytes, *, environment: str = "production") -> None:
        self.environment = environment
        self.revision = 0
        self.malformed = 0
        """How many records could not be read as overlays."""
        self._base: Document = {"flags": {}}
        self._overlays: dict[str, Overlay] = {}
        self._left_out: dict[str, Overlay] = {}
        self._refused: list[str] = []
        self._document: Document = self._base
        self._text = ("", -1)
        self._wakes: list[Callable[[], None]] = []
        if problems := self.edit(base):
            raise ValueError("\n".join(problems))

    @property
    def problems(self) -> list[str]:
        """What keeps the newest edit, or a decision, from being served; empty if nothing does."""
        left_out = (self._misfit(overlay, self._base) for overlay in self._left_out.values())
        return [*self._refused, *(problem for problems in left_out for problem in problems)]

    @property
    def document(self) -> Document:
        """What is served, to be read only."""
        return self._document

    @property
    def text(self) -> str:
        """What is served, as JSON; written out once a revision, when somebody first asks."""
        if self._text[1] != self.revision:
            written = json.dumps(self._document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            self._text = (written, self.revision)
        return self._text[0]

    @property
    def flag_set_id(self) -> str:
        """The ``flagSetId`` that people gave the document, or nothing."""
        return str(self._base.get("metadata", {}).get("flagSetId", ""))

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake* whenever ``revision`` has grown; call what is returned to end that."""
        self._wakes.append(wake)
        return lambda: self._wakes.remove(wake)

    def edit(self, raw: bytes) -> list[str]:
        """Take what people wrote; or return and log what is wrong with it, while the old one stays."""
        try:
            base = parse(raw)
            self._refused = validate(base) or [
                problem for overlay in self._overlays.values() for problem in self._misfit(overlay, base)
            ]
        except ValueError as error:
            self._refused = [f"the document: {error}"]
        except RecursionError:
            self._refused = ["the document: it is nested too deeply"]
        if self._refused:
            log.error("flag document refused", problems=self._refused, environment=self.environment)
            return self._refused
        self._base = unstamped(base)
        for key, overlay in list(self._left_out.items()):
            if not self._misfit(overlay, self._base):
                self._overlays[key] = self._left_out.pop(key)
        self._serve(compose(self._base, self._overlays.values()))
        return []

    def apply_overlay(self, record: dict[str, Any]) -> bool:
        """
        Take a record of the flag-state topic, and say whether it was news.

        It is none, and changes nothing, if it is another environment's, not newer than the one known for its
        flag, or malformed (which is logged and counted).
        """
        problems = record_problems(record)
        if problems:
            self.malformed += 1
            log.error("flag-state record refused", problems=problems)
            return False
        overlay = cast("Overlay", record)
        key = overlay["flag_key"]
        known = self._left_out.get(key) or self._overlays.get(key)
        if overlay["environment"] != self.environment or (known and known["version"] >= overlay["version"]):
            return False
        problems = self._misfit(overlay, self._base)
        if problems:
            self._left_out[key] = overlay
            log.error("decision NOT in force: it does not fit its flag", problems=problems)
            return True
        self._left_out.pop(key, None)
        self._overlays[key] = overlay
        if key in self._base["flags"]:
            served = overlaid(self._base["flags"][key], overlay, self._base.get("$evaluators"))
            self._serve({**self._document, "flags": {**self._document["flags"], key: served}})
        return True

    def _misfit(self, overlay: Overlay, base: Document) -> list[str]:
        flag = base["flags"].get(overlay["flag_key"])
        if flag is None:
            return []
        served = overlaid(flag, overlay, base.get("$evaluators"))
        return misfits(flag, overlay) or flag_problems(f"flags.{overlay['flag_key']}", served, {})

    def _serve(self, document: Document) -> None:
        self._document = document
        self.revision += 1
        for wake in list(self._wakes):
            wake()


async def follow(path: Path, documents: Documents, *, last: bytes, poll_s: float = 0.2) -> None:
    """
    Keep *documents* to the file at *path*, of which *last* is known, until cancelled.

    The content is compared, not the times: a file moved into place may be older than the one it replaces. A
    refusal is said once, not at every look.
    """
    unreadable = ""
    while True:
        await asyncio.sleep(poll_s)
        try:
            raw = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            if str(error) != unreadable:
                log.warning("flag document cannot be read; the last good one stays", error=str(error))
            unreadable = str(error)
            continue
        unreadable = ""
        if raw != last:
            last = raw
            if not documents.edit(raw):
                log.info("flag document taken", path=str(path), flags=len(documents.document["flags"]))
