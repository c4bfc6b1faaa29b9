"""What stores that lay the guardian's decisions over a flagd document share. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardian.flagdoc import (
    SAME_SHARE,
    Document,
    Flag,
    Overlay,
    conditions_of,
    flag_problems,
    inlined,
    misfits,
    overlaid,
    overlay_version,
    ring_splits,
    weights,
    without,
)
from guardian.numerals import percent
from guardian.orders import overtaken_by
from guardian.overlays import after, decided, edited
from guardian.ports import Applied, ApplyStatus, CommandKind, FlagCommand, FlagState, UnknownFlag

Answer = tuple[ApplyStatus, str]


_ALREADY: dict[CommandKind, str] = {
    "kill": "the variation is killed",
    "kill_flag": "the flag is killed",
    "set_share": "the variation has this share",
    "step_back": "the variation has no more than this share",
    "pause": "the share stays where it is: only a later command or a person's edit moves it",
    "hold": "the share stays where it is: only a later command or a person's edit moves it",
    "resume": "nothing of it is killed",
}


def read_state(document: Document, environment: str, flag_key: str, overlay: Overlay | None) -> FlagState:
    """
    A flag as *document* serves it; *overlay* is the record known for it.

    Raises:
        UnknownFlag: the document has no such flag.
    """
    flag = document["flags"].get(flag_key)
    if flag is None:
        raise UnknownFlag(f"flag {flag_key!r} is not in the flag document")
    evaluators = document.get("$evaluators")
    written_out, conditions = inlined(flag, evaluators), conditions_of(evaluators or {}, evaluators)
    is_off = bool(overlay and overlay.get("off") and overlay_version(flag) >= overlay["version"])
    return FlagState(
        flag_key=flag_key,
        environment=environment,
        enabled=flag["state"] == "ENABLED" and not is_off,
        variations=tuple(flag["variants"]),
        weights=weights(written_out, conditions),
        version=str((flag.get("metadata") or {}).get("version", "0")),
        rings=_rings(written_out, conditions),
    )


def _rings(flag: Flag, conditions: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The shares of each ring that is served apart from everybody; empty for others."""
    found: dict[str, dict[str, float]] = {ring: {} for ring in conditions}
    for ring, split in ring_splits(flag.get("targeting"), conditions):
        if ring and not found[ring]:
            found[ring] = {name: split.get(name, 0.0) for name in flag["variants"]}
    return found


def other_environment(served: str, asked: str) -> str:
    """What a store says to who asks for an environment that it does not serve."""
    return f"this store serves environment {served!r}, not {asked!r}"


def holds(flag: Flag, command: FlagCommand, overlay: Overlay, evaluators: Mapping[str, Any] | None = None) -> bool:
    """Whether a flag (shared rules written out), served under a record, does what the command wants, as far as it shows."""
    if command.kind == "kill":
        return without(flag, command.variation, command.control) == flag
    if command.kind == "kill_flag" and not overlay.get("off"):
        return all(without(flag, name, control) == flag for name, control in (overlay.get("killed") or {}).items())
    if command.kind == "kill_flag":
        return not flag.get("targeting") and flag.get("defaultVariant") == command.control
    if command.kind == "set_share":
        return _holds_share(flag, command, conditions_of(command.rings, evaluators))
    if command.kind == "step_back" and not overlay.get("off"):
        return _holds_least(flag, command, conditions_of(command.rings, evaluators))
    return True


def _holds_share(flag: Flag, command: FlagCommand, conditions: Mapping[str, Any]) -> bool:
    own, asked = _splits_of(flag, command.variation, conditions), _asked(command)
    # A ring that gets what everybody gets is in no split of its own.
    apart = {ring for ring, share in asked.items() if not ring or abs(share - asked[""]) > SAME_SHARE}
    met = all(abs(share - asked[ring]) <= SAME_SHARE for ring, share in own)
    return met and apart <= {ring for ring, _ in own}


def _holds_least(flag: Flag, command: FlagCommand, conditions: Mapping[str, Any]) -> bool:
    own, asked = _splits_of(flag, command.variation, conditions), _asked(command)
    return bool(own) and all(share <= asked[ring] + SAME_SHARE for ring, share in own)


def _splits_of(flag: Flag, variation: str, conditions: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The shares of a variation in every split that has it, each with the ring that it is for."""
    found = ring_splits(flag.get("targeting"), conditions)
    return [(ring, split[variation]) for ring, split in found if variation in split]


def _asked(command: FlagCommand) -> dict[str, float]:
    return {"": command.share or 0.0, **command.rings}


def unknown(command: FlagCommand, why: str) -> Applied:
    """The answer of a store that does not have the flag: it cannot do anything to it, and there is no share to hold."""
    return Applied("already" if command.kind == "hold" else "failed", "", why, None)


def done(known: Overlay | None, published: Overlay, command: FlagCommand) -> Answer | None:
    """The answer where a record was published for its numbers alone: nothing was to be done; else ``None``."""
    before = known or Overlay(flag_key=command.flag_key, environment=command.environment, version=0)
    is_again = before.get("command_id") == command.command_id  # what it did then is not known here
    return ("already", _ALREADY[command.kind]) if not is_again and decided(before) == decided(published) else None


def plan(document: Document, overlay: Overlay | None, command: FlagCommand, changed_at_ms: int) -> Applied | Overlay:
    """
    What a command asks for: the record to publish, or the answer where nothing is to be published.

    *document* is what is served, *overlay* the newest record of the flag, at least as new as what is served.
    """
    try:
        state = read_state(document, command.environment, command.flag_key, overlay)
    except UnknownFlag as error:
        return unknown(command, str(error))
    evaluators = document.get("$evaluators") or {}
    flag = inlined(document["flags"][command.flag_key], evaluators)
    known = overlay or Overlay(flag_key=command.flag_key, environment=command.environment, version=0)
    if command.command_id == known.get("command_id"):
        wanted = known  # published, and perhaps not served yet: the same record again does no harm
        answer = _answer_before(flag, known, command)
    else:
        answer = _answer_before(flag, known, command) or _unfit(state, command)
        found = None if answer else edited(flag, known, command)
        if found is not None:
            return Applied("conflict", state.version, _edit(command, found), state, share=found)
        wanted = after(flag, known, command, max(known["version"], overlay_version(flag)) + 1, changed_at_ms)
    if answer is None:
        answer = _answer_to(flag, known, wanted, command, evaluators)
        if answer is None:
            return wanted
    status, detail = answer
    return Applied(status, state.version, detail, state)


_NEEDS_CONTROL = frozenset({"kill", "kill_flag", "set_share", "step_back"})


def record_problems(record: Any) -> list[str]:
    """Everything that keeps a record of the flag-state topic from being laid over a document."""
    if not isinstance(record, Mapping):
        return [f"flag-state record: {record!r} is not an object"]
    place = f"flag-state record {record.get('environment')}|{record.get('flag_key')}"
    problems = [
        f"{place}: {name}: {record.get(name)!r} is not a text"
        for name in ("flag_key", "environment")
        if not isinstance(record.get(name), str) or not record.get(name)
    ]
    version, killed, shares = record.get("version"), record.get("killed") or {}, record.get("shares") or {}
    seen, orders = record.get("seen") or {}, record.get("orders") or {}
    if type(version) is not int or version < 1:
        problems.append(f"{place}: version: {version!r} is not a whole number from 1")
    if not isinstance(killed, Mapping) or not all(isinstance(name, str) for name in (*killed, *killed.values())):
        problems.append(f"{place}: killed: {killed!r} does not name a control for each killed variation")
    if not isinstance(shares, Mapping) or not all(_is_share(share) for share in shares.values()):
        problems.append(f"{place}: shares: {shares!r} is not a share from 0 to 1 for each variation")
    if not isinstance(seen, Mapping) or not all(_is_share(share) for share in seen.values()):
        problems.append(f"{place}: seen: {seen!r} is not a share from 0 to 1 for each variation")
    if not isinstance(orders, Mapping) or not all(isinstance(by, Mapping) for by in orders.values()):
        problems.append(f"{place}: orders: {orders!r} does not hold numbers by kind of change and variation")
    rings = record.get("rings") or {}
    given = rings.values() if isinstance(rings, Mapping) else [rings]
    if not all(isinstance(shares, Mapping) and all(_is_share(share) for share in shares.values()) for shares in given):
        problems.append(f"{place}: rings: {rings!r} is not a share from 0 to 1 for each variation of each ring")
    if not isinstance(record.get("off", False), bool):
        problems.append(f"{place}: off: {record.get('off')!r} is not true or false")
    return problems


def _is_share(share: object) -> bool:
    return isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1


def _answer_before(flag: Flag, known: Overlay, command: FlagCommand) -> Answer | None:
    """The answer that is clear from what is known, before anything is planned."""
    variants, killed = flag["variants"], known.get("killed") or {}
    is_served = overlay_version(flag) >= known["version"]
    if command.command_id in known.get("recent_command_ids", ()):
        if is_served or command.command_id != known.get("command_id"):
            return "already", "this command was applied before"
        return None
    newer = overtaken_by(known.get("orders") or {}, command)
    if newer >= 0:
        return "superseded", f"decision {newer} about the same is newer and stands: what came before it is over"
    for name in filter(None, (command.variation, command.control)):
        if name not in variants:
            return (
                "failed",
                f"{name!r} is not a variant of flag {command.flag_key!r}; it has {', '.join(variants)}",
            )
    if command.kind in _NEEDS_CONTROL and command.control in killed:
        return "conflict", f"{command.control!r} is killed itself and cannot take over; resume it first"
    if command.kind == "set_share" and (known.get("off") or command.variation in killed):
        stopped = "the flag" if known.get("off") else repr(command.variation)
        return "conflict", f"{stopped} is killed, and a share does not bring it back; resume it first"
    return None


def _unfit(state: FlagState, command: FlagCommand) -> Answer | None:
    is_computed = not state.weights or (command.variation not in ("", *state.weights))
    if command.kind == "pause" and is_computed:
        return "failed", f"rules compute the share of {command.variation!r}, so it cannot be held where it is"
    return None


def _edit(command: FlagCommand, found: float) -> str:
    was = "" if command.from_share is None else f", not the {percent(command.from_share, exact=True)} that it was decided on"
    return f"people have set the share of {command.variation!r} to {percent(found, exact=True)}{was}"


def _answer_to(
    flag: Flag, known: Overlay, wanted: Overlay, command: FlagCommand, evaluators: Mapping[str, Any]
) -> Answer | None:
    """The answer where *wanted* is so already, or cannot be; ``None`` where it is to be published."""
    is_known = decided(known) == decided(wanted) and (known.get("orders") or {}) == (wanted.get("orders") or {})
    if is_known and overlay_version(flag) == known["version"]:
        return "already", _ALREADY[command.kind]
    trial = overlaid(flag, wanted, evaluators)
    problems = misfits(flag, wanted, evaluators) or flag_problems(f"flags.{command.flag_key}", trial, {})
    if problems:
        return "failed", "; ".join(problems)
    if not holds(trial, command, wanted, evaluators):
        rings = "".join(f", {share} of {ring}" for ring, share in command.rings.items())
        return "failed", (
            f"{command.variation!r} cannot get a share of {command.share}{rings}: shares are moved between it and "
            f"{command.control!r}, in splits with fixed weights; now they are {weights(flag) or 'computed'}"
        )
    return None
