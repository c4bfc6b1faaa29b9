"""
What the guardian decided and what people wrote, told apart in a store that keeps one share for each variation.

The record that is kept beside a flag says what the guardian left there. Where something else is served people have changed
it, and what is served then is what they wrote. Only what is still stopped keeps what it had, for when it is taken up again.
Values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from guardian.flagdoc import FINEST_TOTAL, SAME_SHARE, Document, Overlay, is_edited, overlaid
from guardian.ports import FlagState
from streams.stores.base import read_state
from streams.stores.shares.flag import FORM, Change, Kept, Seen, Shares

Places = Mapping[str, frozenset[str]]
"""Variations by ring; ``""`` is everybody."""


@dataclass(frozen=True, slots=True)
class Layers:
    """
    A flag taken apart: the shares that people have *written*, and the record *known* that lies over them.

    *moved* are the shares that people have changed since the guardian wrote the flag; *theirs* those of rings that are
    people's, whenever they have set them.
    """

    seen: Seen
    written: Mapping[str, float]
    known: Overlay
    moved: Places
    theirs: Places

    @property
    def document(self) -> Document:
        """The flag as it is served, as a document to plan on."""
        return _composed(self.seen, self.written, self.known)


def state_of(seen: Seen, environment: str, flag_key: str) -> FlagState:
    """The flag as it is served."""
    return FlagState(
        flag_key=flag_key,
        environment=environment,
        enabled=seen.enabled and not _is_off(seen, seen.known.get("control", "")),
        variations=tuple(seen.shares),
        weights=seen.shares,
        version=seen.version,
        rings=seen.rings,
    )


def layers(seen: Seen, control: str) -> Layers:
    """Take a flag apart; *control* gets the rest where the record names nobody that the flag has."""
    known = _fitting(seen, control)
    control = known.get("control") or control
    before = _served(seen, seen.written, known)
    moved = _differing(seen, before.weights, before.rings, control)
    rings = {ring: seen.theirs.get(ring, frozenset()) | moved.get(ring, frozenset()) for ring in seen.rings}
    theirs = {ring: names for ring, names in rings.items() if names}
    killed, is_off = _killed_still(seen, known, control), _is_off(seen, control)
    if not moved and (killed, is_off) == ((known.get("killed") or {}), bool(known.get("off"))):
        return Layers(seen, seen.written, known, moved, theirs)
    hidden = [name for name in seen.shares if name != control] if is_off else list(killed)
    written = _written_now(seen, known, hidden, control)
    taken = {**known, "killed": killed, "off": is_off, "shares": None, "seen": {}}
    taken["rings"] = _rings_now(seen, known, hidden, control)
    return Layers(seen, written, cast("Overlay", taken), moved, theirs)


def moved_between(earlier: Seen, now: Seen, control: str) -> Places:
    """The shares that people have changed between two looks at a flag; none where the guardian has, too."""
    return {} if earlier.known != now.known else _differing(now, earlier.shares, earlier.rings, control)


def change(given: Layers, wanted: Overlay, theirs: Places, mark: str) -> Change:
    """
    What the flag becomes under the record *wanted*.

    *theirs* are the shares of rings that stay people's; by *mark* the change is known from every other one.
    """
    seen, control = given.seen, wanted["control"]
    state = _served(seen, given.written, wanted)
    rings = {ring: _exact(shares, seen.rings[ring], control) if shares else {} for ring, shares in state.rings.items()}
    own = {ring: sorted(names) for ring, names in theirs.items() if names}
    kept = Kept(FORM, dict(wanted), dict(given.written), own, mark)
    return Change(_exact(state.weights, seen.shares, control), rings, kept)


def _fitting(seen: Seen, control: str) -> Overlay:
    """The record without what people have taken out of the store since: variations, controls, rings."""
    known, names = seen.known, seen.shares
    by = known.get("control", control)
    fitting = {
        "control": by if by in names else control,
        "killed": {name: by if by in names else control for name, by in (known.get("killed") or {}).items() if name in names},
        "rings": {ring: held for ring, held in (known.get("rings") or {}).items() if ring in seen.rings},
    }
    return cast("Overlay", {**known, **fitting})


def _composed(seen: Seen, written: Mapping[str, float], record: Overlay) -> Document:
    """The flag with a record laid over what people wrote; a ring is a shared rule of its name."""
    names, key = list(seen.shares), record["flag_key"]
    control = record.get("control", "")
    first = control if control in names else names[0]
    weights = {name: round(written.get(name, 0.0) * FINEST_TOTAL) for name in names if name != first}
    weights[first] = max(FINEST_TOTAL - sum(weights.values()), 0)
    flag = {
        "state": "ENABLED",
        "variants": {name: name for name in names},
        "defaultVariant": first,
        "targeting": {"fractional": [{"var": "targetingKey"}, *([name, weights[name]] for name in names)]},
    }
    evaluators = {ring: {"in": [ring, {"var": "rings"}]} for ring in seen.rings}
    return {"flags": {key: overlaid(flag, record, evaluators)}, "$evaluators": evaluators}


def _served(seen: Seen, written: Mapping[str, float], record: Overlay) -> FlagState:
    return read_state(_composed(seen, written, record), record["environment"], record["flag_key"], record)


def _differing(
    now: Seen, shares: Mapping[str, float], rings: Mapping[str, Mapping[str, float]], control: str
) -> dict[str, frozenset[str]]:
    """The variations whose shares are not these, by ring; control has the rest, and a ring that has none of its own has none."""
    found = {}
    for ring in ("", *now.rings):
        if ring and not now.rings[ring] and not rings.get(ring):
            continue
        before = rings.get(ring) or shares
        names = {name for name in now.shares if abs(now.share_of(ring, name) - before.get(name, 0.0)) > SAME_SHARE}
        if names - {control}:
            found[ring] = frozenset(names - {control})
    return found


def _is_off(seen: Seen, control: str) -> bool:
    """Whether the flag is killed whole, and still is so."""
    return bool(seen.known.get("off")) and not any(seen.is_served(name) for name in seen.shares if name != control)


def _killed_still(seen: Seen, known: Overlay, control: str) -> dict[str, str]:
    """Who is killed, and served to nobody; of a flag killed whole of which one was taken up again, all others."""
    killed = dict(known.get("killed") or {})
    if known.get("off") and not _is_off(seen, control):
        killed |= {name: control for name in seen.shares if name != control and name not in killed}
    return {name: by for name, by in killed.items() if not seen.is_served(name)}


def _written_now(seen: Seen, known: Overlay, hidden: list[str], control: str) -> Shares:
    """What is served, as what people wrote; *hidden* variations keep what they had, as far as control has it."""
    written, shares = dict(seen.shares), known.get("shares") or {}
    for name in hidden:
        is_ours = name in shares and not is_edited(seen.written, known, name)
        had = min(shares[name] if is_ours else seen.written.get(name, 0.0), written[control])
        written[name], written[control] = had, written[control] - had
    return written


def _rings_now(seen: Seen, known: Overlay, hidden: list[str], control: str) -> dict[str, Shares]:
    """The shares of rings as they are served; *hidden* variations keep what they had there."""
    found, before = {}, known.get("rings") or {}
    for ring, shares in seen.rings.items():
        own = {name: share for name, share in shares.items() if name != control and name not in hidden}
        had = before.get(ring, {})
        kept = {name: had[name] for name in hidden if name in had and not is_edited(seen.written, known, name)}
        if own or kept:
            found[ring] = {**own, **kept}
    return found


def _exact(shares: Mapping[str, float], before: Mapping[str, float], control: str) -> Shares:
    """Shares as they were where they are the same, and together exactly 1."""
    kept = {
        name: old if (old := before.get(name)) is not None and abs(old - share) <= SAME_SHARE else share
        for name, share in shares.items()
        if name != control
    }
    return {name: kept[name] if name != control else round(max(1.0 - sum(kept.values()), 0.0), 9) for name in shares}
