"""What stores that lay the guardian's decisions over a flagd document share. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guardian.flagdoc import (
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
from guardian.names import sequence_of
from guardian.ports import Applied, ApplyStatus, CommandKind, FlagCommand, FlagState, UnknownFlag

Answer = tuple[ApplyStatus, str]

REMEMBERED_COMMANDS = 32
"""A command delivered again after so many others is taken for a new one."""
SAME_SHARE = 1e-5
"""Weights are whole numbers, so a share is met to within the finest total (guardian.flagdoc)."""

_ALREADY: dict[CommandKind, str] = {
    "kill": "the variation is killed",
    "kill_flag": "the flag is killed",
    "set_share": "the variation has this share",
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


def holds(flag: Flag, command: FlagCommand, evaluators: Mapping[str, Any] | None = None) -> bool:
    """Whether a served flag (shared rules written out) does what the command wants, as far as it shows."""
    if command.kind == "kill":
        return without(flag, command.variation, command.control) == flag
    if command.kind == "kill_flag":
        return not flag.get("targeting") and flag.get("defaultVariant") == command.control
    if command.kind == "set_share":
        return _holds_share(flag, command, conditions_of(command.rings, evaluators))
    return True


def _holds_share(flag: Flag, command: FlagCommand, conditions: Mapping[str, Any]) -> bool:
    own = [
        (ring, split[command.variation])
        for ring, split in ring_splits(flag.get("targeting"), conditions)
        if command.variation in split
    ]
    asked = {"": command.share or 0.0, **command.rings}
    # A ring that gets what everybody gets is in no split of its own.
    apart = {ring for ring, share in asked.items() if not ring or abs(share - asked[""]) > SAME_SHARE}
    met = all(abs(share - asked[ring]) <= SAME_SHARE for ring, share in own)
    return met and apart <= {ring for ring, _ in own}


def plan(document: Document, overlay: Overlay | None, command: FlagCommand, changed_at_ms: int) -> Applied | Overlay:
    """
    What a command asks for: the record to publish, or the answer where nothing is to be published.

    *document* is what is served, *overlay* the newest record of the flag, at least as new as what is served.
    """
    try:
        state = read_state(document, command.environment, command.flag_key, overlay)
    except UnknownFlag as error:
        return Applied("failed", "", str(error), None)
    evaluators = document.get("$evaluators") or {}
    flag = inlined(document["flags"][command.flag_key], evaluators)
    known = overlay or Overlay(flag_key=command.flag_key, environment=command.environment, version=0)
    answer = _answer_before(flag, known, command) or (_pause(state, command) if command.kind == "pause" else None)
    if answer is None:
        version = max(known["version"], overlay_version(flag)) + 1
        wanted = _next(known, command, version, changed_at_ms, flag["variants"])
        if command.command_id == known.get("command_id"):
            wanted = known  # published and not served yet: the same record again does no harm
        answer = _answer_to(flag, known, wanted, command, evaluators)
        if answer is None:
            return wanted
    status, detail = answer
    return Applied(status, state.version, detail, state)


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
    if type(version) is not int or version < 1:
        problems.append(f"{place}: version: {version!r} is not a whole number from 1")
    if not isinstance(killed, Mapping) or not all(isinstance(name, str) for name in (*killed, *killed.values())):
        problems.append(f"{place}: killed: {killed!r} does not name a control for each killed variation")
    if not isinstance(shares, Mapping) or not all(_is_share(share) for share in shares.values()):
        problems.append(f"{place}: shares: {shares!r} is not a share from 0 to 1 for each variation")
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
    if command.kind in ("resume", "set_share") and _is_outdated(known, command):
        # Read again after a crash, it would give back what was taken since.
        return "already", f"a decision newer than {command.decision_id} stands, up to {known['decision_id']}: it is over"
    for name in filter(None, (command.variation, command.control)):
        if name not in variants:
            return (
                "failed",
                f"{name!r} is not a variant of flag {command.flag_key!r}; it has {', '.join(variants)}",
            )
    if command.kind != "resume" and command.control in killed:
        return "conflict", f"{command.control!r} is killed itself and cannot take over; resume it first"
    if command.kind == "set_share" and (known.get("off") or command.variation in killed):
        stopped = "the flag" if known.get("off") else repr(command.variation)
        return "conflict", f"{stopped} is killed, and a share does not bring it back; resume it first"
    return None


def _is_outdated(known: Overlay, command: FlagCommand) -> bool:
    """Whether a newer decision stands, of the same variation or of the whole flag; others may have overtaken it."""
    newest, own = known.get("newest") or {}, sequence_of(command.decision_id)
    about = newest if not command.variation else {"", command.variation}
    return -1 < own < max((newest.get(name, -1) for name in about), default=-1)


def _answer_to(
    flag: Flag, known: Overlay, wanted: Overlay, command: FlagCommand, evaluators: Mapping[str, Any]
) -> Answer | None:
    """The answer where *wanted* is so already, or cannot be; ``None`` where it is to be published."""
    if _decided(known) == _decided(wanted) and overlay_version(flag) == known["version"]:
        return "already", _ALREADY[command.kind]
    trial = overlaid(flag, wanted, evaluators)
    problems = misfits(flag, wanted, evaluators) or flag_problems(f"flags.{command.flag_key}", trial, {})
    if problems:
        return "failed", "; ".join(problems)
    if not holds(trial, command, evaluators):
        rings = "".join(f", {share} of {ring}" for ring, share in command.rings.items())
        return "failed", (
            f"{command.variation!r} cannot get a share of {command.share}{rings}: shares are moved between it and "
            f"{command.control!r}, in splits with fixed weights; now they are {weights(flag) or 'computed'}"
        )
    return None


def _pause(state: FlagState, command: FlagCommand) -> Answer:
    share = state.weights.get(command.variation)
    if share is None:
        return "failed", f"rules compute the share of {command.variation!r}, so it cannot be held where it is"
    return "already", f"the share stays at {share:.4g}: only a command or a person's edit moves it"


def _next(
    known: Overlay, command: FlagCommand, version: int, changed_at_ms: int, variants: Iterable[str]
) -> Overlay:
    killed, shares, rings, off = _decided(known)
    own = "" if command.kind == "kill_flag" else command.variation
    if command.kind == "kill":
        killed = {**killed, command.variation: command.control}
    elif command.kind == "kill_flag":
        off = True
    elif command.kind == "resume":
        if off and command.variation:  # the flag was killed whole: only one of its variations comes back
            killed = {name: command.control for name in variants if name != command.control} | killed
        off, back = False, command.variation or None
        killed = {name: control for name, control in killed.items() if back not in (None, name)}
    if command.share is not None and command.kind in ("set_share", "resume"):
        shares = {**shares, command.variation: command.share}
        rings = _ringed(rings, command)
    return Overlay(
        flag_key=command.flag_key,
        environment=command.environment,
        version=version,
        killed=killed,
        shares=shares or None,
        rings=rings,
        off=off,
        control=command.control,
        decision_id=command.decision_id,
        newest={**(known.get("newest") or {}), own: sequence_of(command.decision_id)},
        command_id=command.command_id,
        changed_at_ms=changed_at_ms,
        recent_command_ids=[*known.get("recent_command_ids", ()), command.command_id][-REMEMBERED_COMMANDS:],
    )


def _ringed(rings: dict[str, dict[str, float]], command: FlagCommand) -> dict[str, dict[str, float]]:
    """The shares of rings with those of a command in place of what its variation had."""
    own = command.variation
    others = {ring: {name: share for name, share in held.items() if name != own} for ring, held in rings.items()}
    asked = {ring: {**others.get(ring, {}), own: share} for ring, share in command.rings.items()}
    return {ring: held for ring, held in {**others, **asked}.items() if held}


def _decided(overlay: Overlay) -> tuple[dict[str, str], dict[str, float], dict[str, dict[str, float]], bool]:
    killed, shares, rings = overlay.get("killed"), overlay.get("shares"), overlay.get("rings")
    return killed or {}, shares or {}, rings or {}, bool(overlay.get("off"))
