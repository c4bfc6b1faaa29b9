"""Taking mature ticks, and late ones, into the windows that literal rules read."""

from __future__ import annotations

from guardian.aggregate import anchor, condensed
from guardian.lines import Line, Lines
from guardian.names import Millis
from guardian.population import Waiting
from guardian.state import RolloutState
from guardian.tally import Tally
from guardian.window import Window, Windows, window_of


def take_tick(state: RolloutState, lines: Lines, end_ms: Millis, tick: Waiting) -> None:
    """Take a mature tick into every window that reads it, and note since when a variation is heard of."""
    if state.windows.from_ms < 0:
        state.windows.from_ms = tick.start_ms
    for variation in tick.arms:
        watch = state.variations.get(variation)
        if watch is not None and watch.first_ms < 0:
            watch.first_ms = tick.start_ms
    for key, arms in tick.lines.items():
        for variation, tally in arms.items():
            join(state, lines, key, end_ms, variation, tally)


def join(state: RolloutState, lines: Lines, key: str, end_ms: Millis, variation: str, tally: Tally) -> None:
    """Take what a tick that ends at ``end_ms`` brought of the line ``key`` into every window that reads it."""
    found = lines.resolve(key)
    if found is None or state.windows.from_ms < 0:
        return
    line, segment = found
    rulers = line.rulers(segment)
    if not rulers:
        return
    kept = condensed(line, tally)
    for name in dict.fromkeys(window_name(state, key, at) for at in rulers):
        window = state.windows.held.get(name)
        if window is None:
            window = state.windows.held[name] = _begin(state, key, name, rulers)
        window.add(end_ms, variation, kept)


def window_name(state: RolloutState, key: str, at: int) -> str:
    """Return the name of the window over the line ``key`` that a guardrail reads; several may read the same."""
    when = state.policy.guardrails[at].when
    return f"{key}|{when.for_s:g}|{anchor(when)}"


def read_by(state: RolloutState, lines: Lines, name: str, window: Window) -> tuple[Line, str, list[int]] | None:
    """Return the line, the segment and the guardrails that read a window; None where none does (any more)."""
    found = lines.resolve(window.line)
    if found is None:
        return None
    line, segment = found
    rulers = [at for at in line.rulers(segment) if window_name(state, window.line, at) == name]
    return (line, segment, rulers) if rulers else None


def renew(state: RolloutState) -> None:
    """New terms: windows that a guardrail still reads stay as they are, new ones begin with the next tick."""
    kept = {name: one for name, one in state.windows.held.items() if read_by(state, state.lines, name, one)}
    state.windows = Windows(held=kept)


def _begin(state: RolloutState, key: str, name: str, rulers: tuple[int, ...]) -> Window:
    at = next(at for at in rulers if window_name(state, key, at) == name)
    when = state.policy.guardrails[at].when
    assert when.for_s is not None
    return window_of(key, when.for_s, state.windows.from_ms, anchor(when))
