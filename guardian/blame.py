"""
Which flag a harm is of, asked before it is acted on: ours, or another one under which the same requests ran.

Two accounts answer (``guardian.company``), and both may be looked at all the time. Harm is *explained* by another
flag's variation while that is evident whatever ours is, ours is not evident beside it, and it accounts for most of the
difference. Only then an action is withheld. Where the question is open it waits a second at most, and where it has no
answer it does not wait at all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from guardian.company import WITHOUT, Companion, Suspect, Table, cell, total
from guardian.conditions import Absolute
from guardian.decisions import Verdict, WithFlag
from guardian.explain import shared_with
from guardian.names import Millis
from guardian.policy import Action, Policy
from guardian.standing import Held
from guardian.state import RolloutState
from guardian.testimony import Testimony

PATIENCE_MS = 1_000
"""For so long an action may wait for an answer."""
ENOUGH = 20
"""Requests of each of two kinds without which nothing tells them apart."""
MOST = 0.5
"""The part of the difference that a variation must account for, to explain it."""
TOGETHER = 0.1
"""Harm without the other's variation, as a part of that with it, up to which it is only of both together."""
NOTABLE_LIFT = 1.1
"""A variation that our variation has hardly more of than control accounts for nothing."""


class Blame(NamedTuple):
    """
    What was found: an action is withheld because another flag ``explains`` it, or may wait, as it ``is_open``.

    ``reason`` is what there is to say, ``told`` the numbers; neither where no other flag could be behind it.
    """

    explains: bool = False
    is_open: bool = False
    reason: str = ""
    told: tuple[WithFlag, ...] = ()


NOBODY = Blame()


def blame(state: RolloutState, policy: Policy, variation: str, held: Held, said: Testimony) -> Blame:
    """Return whose a harm in the failures among all requests is, before a pause or anything stricter."""
    if held.line is not None or held.guardrail.then < Action.PAUSE or not state.company:
        return NOBODY
    found = [
        looked
        for flag, companion in sorted(state.company.items())
        for name, suspect in sorted(companion.suspects.items())
        if (looked := _Look(variation, policy.control, flag, name, companion, suspect).told(held, said)) is not None
    ]
    if not found:
        return NOBODY
    foremost = min(found, key=lambda one: (_ORDER.index(one.verdict), -one.log_e))
    told = tuple([foremost, *(one for one in found if one is not foremost)][:_TOLD_MAX])
    reason = shared_with(foremost, variation, policy.control)
    return Blame(foremost.verdict == "explains", foremost.verdict == "open", reason, told)


def is_over(asked_ms: Millis, now_ms: Millis) -> bool:
    """Say whether an action has waited since ``asked_ms`` (0: it does not wait) for as long as it may."""
    return asked_ms > 0 and now_ms - asked_ms >= PATIENCE_MS


_ORDER: tuple[Verdict, ...] = ("explains", "open", "inseparable", "together", "besides", "not_behind")
"""Verdicts, the one first that decides what is done."""
_TOLD_MAX = 3


class _Look(NamedTuple):
    """Our variation and control, and a variation of another flag."""

    variation: str
    control: str
    flag: str
    name: str
    companion: Companion
    suspect: Suspect

    def told(self, held: Held, said: Testimony) -> WithFlag | None:
        """Return what is to be said of it; None where it cannot have to do with this harm."""
        verdict = self._verdict(held, said)
        if verdict is None:
            return None
        table = self.suspect.since or self.companion.recent
        with_t, with_c, but_t, but_c = self._four(table)
        own = self.companion.own.get(self.variation)
        return WithFlag(
            flag=self.flag, variation=self.name, verdict=verdict,
            n=round(with_t[0]), events=round(with_t[1]), n_control=round(with_c[0]), events_control=round(with_c[1]),
            n_without=round(but_t[0]), events_without=round(but_t[1]),
            n_control_without=round(but_c[0]), events_control_without=round(but_c[1]),
            log_e=round(self.suspect.account.log_e(), 6), log_e_own=round(own.log_e(), 6) if own is not None else 0.0,
        )  # fmt: skip

    def _verdict(self, held: Held, said: Testimony) -> Verdict | None:
        account, own = self.suspect.account, self.companion.own.get(self.variation)
        is_own = own is not None and own.is_evident()
        if account.is_evident() and is_own:
            return "together" if self._is_together() else ("besides" if self._could(held, said) else None)
        if account.is_evident() and self._explains(held):
            return "explains"
        if not self._could(held, said):
            return None
        if is_own:
            return "not_behind"
        return "open" if self._is_tellable() else "inseparable"

    def _four(self, table: Table) -> tuple[tuple[float, float], ...]:
        """Return the sums of our variation and of control under the other's variation, then those without it."""
        with_it = [cell(table, ours, self.name) for ours in (self.variation, self.control)]
        others = [[name for name in table.get(ours, {}) if name != self.name] for ours in (self.variation, self.control)]
        without = [total(table, ours, names) for ours, names in zip((self.variation, self.control), others, strict=True)]
        return (*with_it, *without)

    def _explains(self, held: Held) -> bool:
        """Say whether the difference is mostly gone among requests that the other flag treats alike."""
        table, bound = self.suspect.since, held.guardrail.when.bound
        if isinstance(bound, Absolute):
            n, x = self._four(table)[2]
            return n >= ENOUGH and x / n <= bound.value
        names = sorted({name for row in table.values() for name in row})
        raw = _difference([(total(table, self.variation, names), total(table, self.control, names))])
        alike = _difference([(cell(table, self.variation, name), cell(table, self.control, name)) for name in names])
        return raw is not None and alike is not None and raw > 0.0 and alike <= (1.0 - MOST) * raw

    def _could(self, held: Held, said: Testimony) -> bool:
        """
        Say whether it may account for most of the harm: no variation makes ours look worse by more than ours has more of it.

        That is Cornfield's inequality (1959); by who runs under what of late, which does not depend on how requests end.
        """
        with_t, with_c, but_t, but_c = self._four(self.companion.recent)
        n_t, n_c = with_t[0] + but_t[0], with_c[0] + but_c[0]
        if n_t < 1.0 or n_c < 1.0:
            return False
        share_t, share_c = with_t[0] / n_t, (with_c[0] + 1.0) / (n_c + 1.0)
        seen, bound = said.evidence, held.guardrail.when.bound
        if isinstance(bound, Absolute):
            return share_t >= seen.value - bound.value
        base = max(seen.events_control, 1) / max(seen.n_control, 1)
        return share_t / share_c >= max(NOTABLE_LIFT, math.sqrt(max(seen.value, 0.0) / base))

    def _is_tellable(self) -> bool:
        """Say whether some variation of ours ran both under it and under another one of its flag."""
        table = self.companion.recent
        others = [name for name in self.companion.names() if name not in (self.name, WITHOUT)]
        return any(
            min(cell(table, ours, self.name)[0], total(table, ours, others)[0]) >= ENOUGH
            for ours in (self.variation, self.control)
        )

    def _is_together(self) -> bool:
        with_t, with_c, but_t, but_c = self._four(self.suspect.since)
        if min(one[0] for one in (with_t, with_c, but_t, but_c)) < ENOUGH:
            return False
        under, without = _difference([(with_t, with_c)]), _difference([(but_t, but_c)])
        return under is not None and without is not None and without <= TOGETHER * under


def _difference(parts: list[tuple[tuple[float, float], tuple[float, float]]]) -> float | None:
    """Return the difference of the rates of two arms, over parts with weights of Mantel and Haenszel; None without any."""
    weighted, weights = 0.0, 0.0
    for (n_t, x_t), (n_c, x_c) in parts:
        if n_t > 0.0 and n_c > 0.0:
            weight = n_t * n_c / (n_t + n_c)
            weighted += weight * (x_t / n_t - x_c / n_c)
            weights += weight
    return weighted / weights if weights > 0.0 else None
