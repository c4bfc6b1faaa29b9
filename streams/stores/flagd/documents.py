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
    Flag,
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


def checked(raw: bytes) -> Document:
    """
    A base document as people wrote it, if every client reads it alike and it has no problem.

    Raises:
        ValueError: it has; the text holds each problem, one a line.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"{twice!r} is written twice in one object; some clients keep one, some the other")
        return dict(pairs)

    def not_json(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=not_json)
        problems = validate(document)
    except ValueError as error:
        problems = [f"the document: {error}"]
    except RecursionError:
        problems = ["the document: it is nested too deeply"]
    if problems:
        raise ValueError("\n".join(problems))
    return unstamped(document)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


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
        self._overlays: dict[str, Overlay] = {}
        self._left_out: dict[str, Overlay] = {}
        self._refused: list[str] = []
        self._text = ("", -1)
        self._wakes: list[Callable[[], None]] = []
        self._base = self._document = checked(base)
        self._flags_written: dict[str, str] = {}

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
        """
        What is served, as JSON; written when somebody first asks for a revision.

        Flags are written one by one and kept, so that a kill among 10,000 flags does not write them all again.
        """
        if self._text[1] != self.revision:
            parts = {name: _written(part) for name, part in self._document.items() if name != "flags"}
            parts["flags"] = self._write_flags(self._document["flags"])
            fields = ",".join(f"{_written(name)}:{parts[name]}" for name in self._document)
            self._text = ("{" + fields + "}", self.revision)
        return self._text[0]

    @property
    def flag_set_id(self) -> str:
        """The ``flagSetId`` that people gave the document, or nothing."""
        return str(self._base.get("metadata", {}).get("flagSetId", ""))

    @property
    def evaluators(self) -> dict[str, Any]:
        """The shared rules that people wrote."""
        rules: dict[str, Any] = self._base.get("$evaluators", {})
        return rules

    def flag(self, key: str) -> tuple[Flag | None, Flag | None]:
        """A flag as people wrote it and as it is served, to be read only; neither where there is none."""
        return self._base["flags"].get(key), self._document["flags"].get(key)

    def overlay(self, key: str) -> Overlay | None:
        """What was decided about a flag, as far as it is served."""
        return self._overlays.get(key)

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake* whenever ``revision`` has grown; call what is returned to end that."""
        self._wakes.append(wake)
        return lambda: self._wakes.remove(wake)

    def edit(self, raw: bytes) -> list[str]:
        """Take what people wrote; or return and log what is wrong with it, while the old one stays."""
        try:
            return self.take(checked(raw))
        except ValueError as error:
            return self.refuse(str(error).splitlines())

    def take(self, base: Document) -> list[str]:
        """Take a base that was checked, unless a decision in force no longer fits it; see `edit`."""
        newest = {**self._overlays, **self._left_out}
        fitting = {key: overlay for key, overlay in newest.items() if not self._misfit(overlay, base)}
        in_force = {**self._overlays, **fitting}
        problems = [problem for overlay in in_force.values() for problem in self._misfit(overlay, base)]
        if problems:
            return self.refuse(problems)
        self._base, self._refused, self._overlays = base, [], in_force
        self._left_out = {key: overlay for key, overlay in self._left_out.items() if key not in fitting}
        self._flags_written.clear()
        self._serve(compose(base, in_force.values()))
        return []

    def refuse(self, problems: list[str]) -> list[str]:
        """Keep and log why the newest edit is not served."""
        log.error("flag document refused", problems=problems, environment=self.environment)
        self._refused = problems
        return problems

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
            self._flags_written.pop(key, None)
            self._serve({**self._document, "flags": {**self._document["flags"], key: served}})
        return True

    def _write_flags(self, flags: dict[str, Any]) -> str:
        for key in flags.keys() - self._flags_written.keys():
            self._flags_written[key] = f"{_written(key)}:{_written(flags[key])}"
        return "{" + ",".join(self._flags_written[key] for key in flags) + "}"

    def _misfit(self, overlay: Overlay, base: Document) -> list[str]:
        flag = base["flags"].get(overlay["flag_key"])
        if flag is None:
            return []
        served = overlaid(flag, overlay, base.get("$evaluators"))
        return misfits(flag, overlay, base.get("$evaluators")) or flag_problems(f"flags.{overlay['flag_key']}", served, {})

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
            try:  # in a thread: checking 10,000 flags takes a second, and a kill does not wait for that
                refused = documents.take(await asyncio.to_thread(checked, raw))
            except (ValueError, RecursionError) as error:
                refused = documents.refuse(str(error).splitlines())
            if not refused:
                log.info("flag document taken", path=str(path), flags=len(documents.document["flags"]))
