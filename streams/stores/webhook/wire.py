"""What goes over the wire to a webhook store and back, and what can be wrong with it: docs/stores.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from guardian.errors import GuardianError
from guardian.flagdoc import SAME_SHARE, Overlay
from guardian.ports import FlagCommand
from streams.stores.base import record_problems

Shares = dict[str, float]
FORM = 1
"""Of what the guardian keeps beside a flag."""
ADDS_UP = 1e-4
"""How far from 1 the shares of a flag may add up: stores round."""


class Malformed(GuardianError):
    """An answer that does not say what it should; the text names the field and what would be right."""


class Kept(msgspec.Struct, frozen=True):
    """
    What the guardian keeps beside a flag: the store gives it back as it came, and need not understand it.

    *overlay* is what was decided (``guardian.flagdoc.Overlay``), *written* the shares that people had written beneath it,
    *theirs* the variations by ring whose shares people have set; *mark* is of this change alone.
    """

    form: int
    overlay: dict[str, Any]
    written: Shares
    theirs: dict[str, list[str]] = {}
    mark: str = ""


class Answer(msgspec.Struct, frozen=True):
    """A flag as the store serves it: the body of its answer."""

    flag: str
    environment: str
    shares: Shares
    enabled: bool = True
    rings: dict[str, Shares] = {}
    changed_by: str = ""
    guardian: Kept | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A flag as it was read, with the *etag* that it had then.

    *shares* and each of *rings* that is served apart hold every variation; the others of *rings* are empty. *known* is the
    record of what was decided; its version is 0 where there is none. *mark* is that of the guardian's last change.
    """

    etag: str
    enabled: bool
    shares: Mapping[str, float]
    rings: Mapping[str, Mapping[str, float]]
    changed_by: str
    known: Overlay
    written: Mapping[str, float]
    theirs: Mapping[str, frozenset[str]]
    mark: str = ""

    @property
    def version(self) -> str:
        """The version of the flag, as the store counts."""
        return self.etag.strip('"')

    def share_of(self, ring: str, variation: str) -> float:
        """The share of a variation that is served in a ring, or (of ``""``) to everybody."""
        return (self.rings.get(ring) or self.shares).get(variation, 0.0)

    def is_served(self, variation: str) -> bool:
        """Whether anybody gets the variation."""
        return any(self.share_of(ring, variation) > SAME_SHARE for ring in ("", *self.rings))


def seen(body: bytes, etag: str | None, environment: str, flag_key: str) -> Seen:
    """
    The flag that an answer holds.

    Raises:
        Malformed: it does not hold one.
    """
    if not etag or etag.startswith("W/") or len(etag) < 3 or etag[0] != '"' or etag[-1] != '"':
        raise Malformed(f'ETag: {etag!r}: answer a strong one, such as "7", that changes with every change of the flag')
    try:
        answer = msgspec.json.decode(body, type=Answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(str(error) or "it is nested too deeply") from None
    if (answer.environment, answer.flag) != (environment, flag_key):
        raise Malformed(
            f"flag {answer.flag!r} in {answer.environment!r}: asked for was {flag_key!r} in {environment!r}; is a cache between?"
        )
    _check_shares("shares", answer.shares, answer.shares)
    for ring, shares in answer.rings.items():
        if shares:
            _check_shares(f"rings.{ring}", shares, answer.shares)
    kept = answer.guardian or Kept(FORM, {}, dict(answer.shares))
    return Seen(
        etag=etag,
        enabled=answer.enabled,
        shares=answer.shares,
        rings={ring: shares and {name: shares.get(name, 0.0) for name in answer.shares} for ring, shares in answer.rings.items()},
        changed_by=answer.changed_by,
        known=_record(kept, environment, flag_key),
        written=kept.written,
        theirs={ring: frozenset(names) for ring, names in kept.theirs.items()},
        mark=kept.mark,
    )


def _check_shares(place: str, shares: Shares, variations: Shares) -> None:
    if not shares or "" in shares:
        raise Malformed(f"{place}: {shares!r}: name every variation, with its share from 0 to 1")
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise Malformed(f"{place}.{name}: {share!r} is not a share from 0 to 1")
        if name not in variations:
            raise Malformed(f"{place}.{name}: is no variation of the flag; there are: {', '.join(variations)}")
    if abs(sum(shares.values()) - 1.0) > ADDS_UP:
        raise Malformed(f"{place}: they add up to {sum(shares.values()):.6g}, not to 1")


def _record(kept: Kept, environment: str, flag_key: str) -> Overlay:
    if not kept.overlay:
        return Overlay(flag_key=flag_key, environment=environment, version=0)
    problems = record_problems(kept.overlay)
    if kept.form != FORM:
        problems.append(f"form: {kept.form!r} was written by another version of the guardian; this one reads {FORM}")
    if (kept.overlay.get("environment"), kept.overlay.get("flag_key")) != (environment, flag_key):
        problems.append(f"it is that of {kept.overlay.get('environment')}|{kept.overlay.get('flag_key')}")
    if problems:
        cure = "give back what the guardian sent, or null to have all it decided forgotten"
        raise Malformed(f"guardian: {'; '.join(problems)}; {cure}")
    return cast("Overlay", kept.overlay)


@dataclass(frozen=True, slots=True)
class Change:
    """What a flag is to be: everybody's *shares*, those of each ring (empty: everybody's), and what is kept beside them."""

    shares: Shares
    rings: dict[str, Shares]
    kept: Kept

    @property
    def record(self) -> Overlay:
        """The record of what was decided."""
        return cast("Overlay", self.kept.overlay)

    def seen(self) -> Seen:
        """The flag as it reads where the change was made."""
        return Seen("", True, self.shares, self.rings, "", self.record, {}, {})

    def is_met(self, found: Seen) -> bool:
        """Whether the store serves these shares."""
        own, places, names = self.seen(), {"", *self.rings, *found.rings}, {*self.shares, *found.shares}
        return all(abs(own.share_of(at, name) - found.share_of(at, name)) <= SAME_SHARE for at in places for name in names)

    def body(self, command: FlagCommand, etag: str) -> bytes:
        """The change as it is sent, with what led to it; *etag* is of the flag that it was made from."""
        return msgspec.json.encode(
            {
                "flag": command.flag_key,
                "environment": command.environment,
                "if_match": etag,
                "shares": self.shares,
                "rings": self.rings,
                "guardian": self.kept,
                "change": {
                    "command_id": command.command_id,
                    "decision_id": command.decision_id,
                    "order": command.order,
                    "kind": command.kind,
                    "variation": command.variation,
                    "control": command.control,
                    "share": command.share,
                    "rings": dict(command.rings),
                },
            }
        )
