"""A flag as a store of shares serves it, a change to it, and what the guardian keeps beside it. Values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec

from guardian.errors import GuardianError
from guardian.flagdoc import SAME_SHARE, Overlay
from streams.stores.base import record_problems

Shares = dict[str, float]
FORM = 1
"""Of what the guardian keeps beside a flag."""
ADDS_UP = 1e-4
"""How far from 1 the shares of a flag may add up: stores round."""
_CURE = "give back what the guardian sent, or null to have all it decided forgotten"


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


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A flag as it was read, with the *etag* that it had then: a text that is another one after every change of it.

    *shares* and each of *rings* that is served apart hold every variation; the others of *rings* are empty. *known* is the
    record of what was decided; its version is 0 where there is none. *mark* is that of the guardian's last change. *raw* is
    the flag as the store has it, for a backend that sends it back changed. Shares of this flag are multiples of *finest*,
    where it is not 0; else of what the store says for all. *lost* says, for people, what the guardian's last change has
    overwritten that it had not read; empty for nothing, ``None`` where the store cannot tell. *singled_out* are the
    variations that are served beside all shares, by rules that are no rings, lists of users, or what is served where nothing
    else is.
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
    raw: Any = None
    finest: float = 0.0
    lost: str | None = None
    singled_out: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        """The version of the flag, as the store counts."""
        return self.etag.strip('"')

    def share_of(self, ring: str, variation: str) -> float:
        """The share of a variation that is served in a ring, or (of ``""``) to everybody."""
        return (self.rings.get(ring) or self.shares).get(variation, 0.0)

    def is_served(self, variation: str) -> bool:
        """Whether anybody gets the variation."""
        by_share = any(self.share_of(ring, variation) > SAME_SHARE for ring in ("", *self.rings))
        return by_share or variation in self.singled_out


def seen(
    environment: str,
    flag_key: str,
    *,
    etag: str,
    shares: Shares,
    kept: Kept | None,
    enabled: bool = True,
    rings: Mapping[str, Shares] | None = None,
    changed_by: str = "",
    raw: Any = None,
    finest: float = 0.0,
    lost: str | None = None,
    singled_out: frozenset[str] = frozenset(),
) -> Seen:
    """
    A flag as a store has told it; *kept* is what the guardian keeps beside it, ``None`` before its first change.

    Raises:
        Malformed: shares that cannot be, or a record that the guardian has not written.
    """
    _check_shares("shares", shares, shares)
    rings = rings or {}
    for ring, own in rings.items():
        if own:
            _check_shares(f"rings.{ring}", own, shares)
    bare = Seen(
        etag=etag,
        enabled=enabled,
        shares=shares,
        rings={ring: own and {name: own.get(name, 0.0) for name in shares} for ring, own in rings.items()},
        changed_by=changed_by,
        known=Overlay(flag_key=flag_key, environment=environment, version=0),
        written=shares,
        theirs={},
        raw=raw,
        finest=finest,
        lost=lost,
        singled_out=singled_out,
    )
    return remembered(bare, kept, environment, flag_key)


def remembered(found: Seen, kept: Kept | None, environment: str, flag_key: str) -> Seen:
    """
    The flag that was *found*, with what the guardian keeps beside it; ``None`` is nothing.

    Raises:
        Malformed: a record that the guardian has not written.
    """
    kept = kept or Kept(FORM, {}, dict(found.shares))
    theirs = {ring: frozenset(names) for ring, names in kept.theirs.items()}
    known = _record(kept, environment, flag_key)
    return replace(found, known=known, written=kept.written, theirs=theirs, mark=kept.mark)


def kept_in(text: str | bytes | None) -> Kept | None:
    """
    What the guardian had kept in a text of the store's; ``None`` where it is empty.

    Raises:
        Malformed: it is something else.
    """
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=Kept)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"guardian: {error}; {_CURE}") from None


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
        raise Malformed(f"guardian: {'; '.join(problems)}; {_CURE}")
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

    @property
    def stopped(self) -> dict[str, str]:
        """The variations that nobody may get, each with the one that its users get."""
        if self.record.get("off"):
            control = self.record["control"]
            return {name: control for name in self.shares if name != control}
        return {name: by for name, by in (self.record.get("killed") or {}).items() if name in self.shares}

    def seen(self) -> Seen:
        """The flag as it reads where the change was made."""
        return Seen("", True, self.shares, self.rings, "", self.record, {}, {})

    def is_met(self, found: Seen, within: float = SAME_SHARE) -> bool:
        """Whether the store serves these shares, but for what it rounds (*within*), and what is stopped to nobody."""
        if found.singled_out & self.stopped.keys():
            return False
        own, places, names = self.seen(), {"", *self.rings, *found.rings}, {*self.shares, *found.shares}
        return all(abs(own.share_of(at, name) - found.share_of(at, name)) <= within for at in places for name in names)
