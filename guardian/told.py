"""A store told what it serves: the shares are known from then on, and a change of them is one of people's or our own."""

from __future__ import annotations

from guardian.intake import known_change
from guardian.journal import ReceiptEntry
from guardian.names import Millis
from guardian.population import MOVED, MOVES
from guardian.served import STORES_MAX, Known, Serves, Shares, agreed
from guardian.silence import await_again
from guardian.state import RolloutState

CHANGES_MAX = 16
"""Ids of changes remembered: a repeat is no second change."""
THEIRS = "people changed the shares"
LEARNED = "the store told what it serves"
"""Why epochs begin."""
_OWN = MOVES - {MOVED}


def take_serves(state: RolloutState, entry: ReceiptEntry, serves: Serves, now_ms: Millis) -> None:
    """
    Take what a store serves from now on; what it said before, come late, says nothing.

    A change without another decision in it is people's: an epoch begins, with the budget of a step. Our own has an epoch of
    its own, from the receipt on; until then either may be in force. An older decision may be carried out after a newer one.
    """
    held = state.served.get(entry.store)
    known = Known(entry.at_ms, serves, entry.propagation_ms)
    if held is not None and (known.at_ms < held.at_ms or known == Known(known.at_ms, held.serves, held.propagation_ms)):
        return
    before = agreed(state.served)
    _remember(state, entry.store, known)
    state.to_show = True
    epoch, now = state.population.now, agreed(state.served)
    if epoch is None:
        return
    if held is not None and serves.order not in (0, held.serves.order):
        _take_own(state, now, now_ms)
    elif held is None:
        state.population.open(now_ms, LEARNED, served=[now])
    elif now != before:
        _take_theirs(state, entry.change, before, now_ms)


def is_new_change(state: RolloutState, change: str) -> bool:
    """Say whether a change with this id was not told of before, and remember it; one without an id is always new."""
    if change and change in state.changes:
        return False
    if change:
        state.changes = [*state.changes, change][-CHANGES_MAX:]
    return True


def _remember(state: RolloutState, store: str, known: Known) -> None:
    others = {name: one for name, one in state.served.items() if name != store}
    state.served = {**dict([*others.items()][-(STORES_MAX - 1) :]), store: known}


def _take_own(state: RolloutState, now: Shares, now_ms: Millis) -> None:
    epoch = state.population.epochs[-1]
    if epoch.served:
        state.population.may_serve(now)
    elif epoch.why in _OWN:
        epoch.served = [now]  # the store's receipt was here first
    else:
        state.population.open(now_ms, LEARNED, served=[now])


def _take_theirs(state: RolloutState, change: str, before: Shares, now_ms: Millis) -> None:
    now = agreed(state.served)
    if is_new_change(state, change):
        known_change(state, state.policy, now_ms, THEIRS)
    else:
        state.population.epochs[-1].served = [now]
    for name in [name for name, share in now.items() if share and before.get(name) == 0.0]:
        state.heard.pop(name, None)
        await_again(state, name, now_ms)
