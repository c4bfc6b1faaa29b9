"""
What a command makes of the record of a flag: who is killed, which shares are set, and what people had written then.

Commands may come late, twice and in any order (``guardian.orders``); people may write other shares at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from guardian.flagdoc import SAME_SHARE, Flag, Overlay, is_edited, written_weights
from guardian.orders import spared, taken
from guardian.ports import FlagCommand

Shares = dict[str, float]
Rings = dict[str, Shares]
"""By ring, the shares of variations that get another one there than from everybody."""

REMEMBERED_COMMANDS = 32
"""A command delivered again after so many others is taken for a new one."""


def after(flag: Flag, known: Overlay, command: FlagCommand, version: int, changed_at_ms: int) -> Overlay:
    """
    Return the record of a flag after a command that nothing has overtaken as a whole.

    What a newer version has written into the record beside what is known here stays in it.
    """
    killed, off = _killed(flag, known, command)
    shares, rings, seen = _shares(flag, known, command)
    unknown = {name: value for name, value in known.items() if name not in Overlay.__annotations__}
    made = Overlay(
        flag_key=command.flag_key,
        environment=command.environment,
        version=version,
        killed=killed,
        shares=shares or None,
        rings=rings,
        seen=seen,
        off=off,
        control=command.control,
        decision_id=command.decision_id,
        command_id=command.command_id,
        changed_at_ms=changed_at_ms,
        recent_command_ids=[*known.get("recent_command_ids", ()), command.command_id][-REMEMBERED_COMMANDS:],
        orders=taken(known.get("orders") or {}, command),
    )
    return cast("Overlay", {**unknown, **made})


def _killed(flag: Flag, known: Overlay, command: FlagCommand) -> tuple[dict[str, str], bool]:
    """Who is killed, and whether the whole flag is, after a command that nothing has overtaken as a whole."""
    killed, off = known.get("killed") or {}, bool(known.get("off"))
    others = [name for name in flag["variants"] if name != command.control]
    if command.kind == "kill":
        return {**killed, command.variation: command.control}, off
    kept = spared(known.get("orders") or {}, command, others) if command.kind in ("kill_flag", "resume") else []
    if command.kind == "kill_flag":
        if not kept:
            return killed, True
        return {**killed, **{name: command.control for name in others if name not in kept}}, off
    if command.kind == "resume" and not command.variation:
        return {name: control for name, control in killed.items() if name in kept}, False
    if command.kind == "resume":
        # One is taken up again: of a flag that is killed whole the others stay killed.
        killed = {**killed, **dict.fromkeys(others if off else (), command.control)}
        return {name: control for name, control in killed.items() if name != command.variation}, False
    return killed, off


def _shares(flag: Flag, known: Overlay, command: FlagCommand) -> tuple[Shares, Rings, Shares]:
    """The shares set, those of rings, and what people had written beneath them, after a command."""
    shares, rings, seen = known.get("shares") or {}, known.get("rings") or {}, known.get("seen") or {}
    if command.share is None or command.kind not in ("set_share", "step_back", "resume"):
        return shares, rings, seen
    name, written = command.variation, written_weights(flag)
    now = {**seen, **({name: written[name]} if name in written else {})}
    if command.kind != "step_back":
        return {**shares, name: command.share}, _ringed(rings, name, command.rings), now
    has, lowered = _underlying(flag, known, name), _lowered(flag, known, command)
    if has is not None and has <= command.share + SAME_SHARE:
        # Nothing to take from everybody; what was set once, beneath a person's edit, must not come back as more.
        shares = {one: min(share, command.share) if one == name else share for one, share in shares.items()}
        return shares, _ringed(rings, name, lowered), seen
    return {**shares, name: command.share}, _ringed(rings, name, lowered), now


def _lowered(flag: Flag, known: Overlay, command: FlagCommand) -> Shares:
    """What a step back leaves of the shares of rings: none gets more than it has, nor than it may have."""
    name, rings = command.variation, known.get("rings") or {}
    everybodys, written = _underlying(flag, known, name), written_weights(flag)
    own = {} if is_edited(written, known, name) else {ring: held[name] for ring, held in rings.items() if name in held}
    least = command.share or 0.0
    left = {}
    for ring, most in command.rings.items():
        has = own.get(ring, everybodys)
        if has is not None:
            left[ring] = min(has, most)
    return {ring: share for ring, share in left.items() if share > least}


def _ringed(rings: Rings, name: str, asked: Mapping[str, float]) -> Rings:
    """The shares of rings with those asked for a variation in place of what it had."""
    others = {ring: {one: share for one, share in held.items() if one != name} for ring, held in rings.items()}
    own = {ring: {**others.get(ring, {}), name: share} for ring, share in asked.items()}
    return {ring: held for ring, held in {**others, **own}.items() if held}


def edited(flag: Flag, known: Overlay, command: FlagCommand) -> float | None:
    """The share that people have set where a new one was decided on another; ``None`` where nobody has."""
    found = _underlying(flag, known, command.variation)
    if command.kind != "set_share" or found is None:
        return None
    expected = [(known.get("shares") or {}).get(command.variation), command.from_share]
    given = [share for share in expected if share is not None]
    return found if given and all(abs(found - share) > SAME_SHARE for share in given) else None


def decided(overlay: Overlay) -> tuple[dict[str, str], Shares, Rings, bool]:
    """Return what a record says of the flag: who is killed, which shares are set (those of rings apart), whether all is off."""
    return overlay.get("killed") or {}, overlay.get("shares") or {}, overlay.get("rings") or {}, bool(overlay.get("off"))


def _underlying(flag: Flag, known: Overlay, variation: str) -> float | None:
    """The share of a variation but for kills: as the guardian set it, or as people wrote it; ``None`` if computed."""
    written, shares = written_weights(flag), known.get("shares") or {}
    if variation in shares and not is_edited(written, known, variation):
        return shares[variation]
    return written.get(variation)
