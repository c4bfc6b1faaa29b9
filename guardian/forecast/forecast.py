"""From policies to forecasts: which scenes are played, and what their runs say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy.special import betaincinv

from guardian.conditions import Silence
from guardian.forecast.assumed import DAY_S, GOOD_S, HORIZON_S, Assumed
from guardian.forecast.effects import harm_to, is_healthy, is_possible
from guardian.forecast.figures import (
    ControlFigures,
    Finding,
    Forecast,
    GuardrailForecast,
    Healthy,
    Onset,
    PolicyForecast,
    StageForecast,
)
from guardian.forecast.harm import Harm
from guardian.forecast.play import Tell, play
from guardian.forecast.rate_effects import multiples
from guardian.forecast.said import assumed_for, beyond, segments_note, silence_note, split_note
from guardian.forecast.scene import Phase, Played, Scene, Watched, watched_of
from guardian.lines import is_literal
from guardian.policy import Guardrail, Policy
from guardian.sequential.checks import Floats
from guardian.support import is_run

DAYS_A_YEAR = 365
DEFAULT_SHARE = 0.1
HEALTHY_FACTOR = 4
"""Healthy runs for each run of an effect: false alarms are rare."""
_ONSETS: tuple[tuple[Onset, float], ...] = (("start", 0.0), ("late", GOOD_S))


def forecast(
    policies: Sequence[Policy],
    assumed: Assumed,
    rng_of: Callable[[Policy], np.random.Generator],
    *,
    seed: int = 0,
    tell: Callable[[Policy, float], None] | None = None,
) -> Forecast:
    """
    Return what each policy would do; each draws from a generator of its own, so none changes another's numbers.

    ``seed`` is only written down. ``tell`` hears how much of a policy is done, from 0 to 1.
    """
    done, work = [], 0
    for policy in policies:
        found, stepped = forecast_policy(policy, assumed, rng_of(policy), partial(tell, policy) if tell else None)
        done.append(found)
        work += stepped
    return Forecast(
        requests_per_s=assumed.requests_per_s, error_rate=assumed.rate, latency_ms=assumed.latency_ms,
        control=_control(assumed), runs=max((one.runs for one in done), default=0), seed=seed, good_s=GOOD_S, horizon_s=HORIZON_S,
        false_kills_a_year=math.fsum(one.false_kills_a_year for one in done), policies=done, work=work,
    )  # fmt: skip


def _control(assumed: Assumed) -> ControlFigures:
    return ControlFigures(**{name: getattr(assumed, name) for name in ControlFigures.model_fields})


def allowed_a_year(policy: Policy) -> float:
    """Return the expected false kills that a policy's budget allows a rollout of one year: start, stages and days."""
    kills = policy.false_kills
    return kills.per_rollout + max(len(policy.stages) - 1, 0) * kills.per_step + DAYS_A_YEAR * kills.per_day


def forecast_policy(
    policy: Policy, assumed: Assumed, rng: np.random.Generator, tell: Tell | None = None
) -> tuple[PolicyForecast, int]:
    """Return what one policy would do, and the work it took."""
    phases, notes = _phases(policy, assumed)
    watched = watched_of(policy)
    able = [one for one in watched if one is not None and is_healthy(one, assumed) and is_possible(one, assumed)]
    errors = tuple(one for one in able if one.line is None)
    work = _Work(policy, assumed, phases, assumed.runs_of(len(able)), rng, tell)
    work.scenes = 3 * len(able) + (3 if errors else 0)
    pairs = zip(policy.guardrails, watched, strict=True)
    guardrails = [_guardrail(work, guardrail, one) for guardrail, one in pairs]
    whole = None
    if errors:
        whole = GuardrailForecast(
            when="", then=str(max(one.guardrail.then for one in errors)), notes=[], is_tested_live=True,
            findings=work.findings(errors, multiples(assumed.rate)),
        )  # fmt: skip
    healthy = work.healthy(able) if able else None
    work.tell(1.0)
    found = PolicyForecast(
        flag=policy.flag, environment=policy.environment, runs=work.runs, notes=notes,
        stages=[StageForecast(share=p.share, for_s=p.for_s if p.for_s < math.inf else None) for p in phases],
        false_kills_a_year=allowed_a_year(policy), guardrails=guardrails, whole=whole, healthy=healthy,
    )  # fmt: skip
    return found, work.done


def _phases(policy: Policy, assumed: Assumed) -> tuple[tuple[Phase, ...], list[str]]:
    """The stages to play, the traffic under test being divided evenly over the variations named."""
    variations = max(len(policy.variations), 1)
    notes = [f"{variations} variations share the traffic and the budget evenly; one is followed"] * (variations > 1)
    stages = [stage for stage in policy.stages if stage.users is None]
    if len(stages) < len(policy.stages):
        notes.append("rings are left out: what part of the traffic they are is not known")
    if assumed.share is not None or not stages:
        share = assumed.share if assumed.share is not None else DEFAULT_SHARE
        if assumed.share is None:
            notes.append(f"the policy has no stages of all traffic: a share of {share:.0%} is assumed (--share)")
        return (Phase(share / variations, 1.0 - share, math.inf),), notes
    if any(stage.share >= 1.0 for stage in stages):
        notes.append("at 100% no control is left and fixed bounds alone are tested: keep some of the traffic on control")
    if any(stage.until or stage.approval or stage.start for stage in stages) or policy.freeze or policy.hours:
        notes.append("until:, approval: and the calendar are taken for granted when the time of a stage is over")
    return tuple(
        Phase(stage.share / variations, 1.0 - stage.share, math.inf if stage.for_s is None else stage.for_s)
        for stage in stages
    ), notes


class _Work:
    """Scenes of one policy, one after the other; ``done`` counts what they took."""

    def __init__(
        self, policy: Policy, assumed: Assumed, phases: tuple[Phase, ...], runs: int, rng: np.random.Generator, tell: Tell | None
    ) -> None:
        self.policy, self.assumed, self.phases, self.runs = policy, assumed, phases, runs
        self.scenes, self.done = 1, 0
        self._rng, self._tell, self._played = rng, tell, 0

    def tell(self, part: float) -> None:
        """Say how much of the whole is done."""
        if self._tell is not None:
            self._tell(min(part, 1.0))

    def findings(self, guardrails: tuple[Watched, ...], harm: Harm) -> list[Finding]:
        """Play harm from the start and harm that begins late."""
        found = []
        for onset, onset_s in _ONSETS:
            played = self._play(guardrails, harm, onset_s, onset_s + HORIZON_S, self.runs)
            rows = np.split(np.arange(played.found_s.size), len(harm.effects))
            found += [_finding(harm, at, onset, played, row) for at, row in enumerate(rows)]
        return found

    def healthy(self, able: list[Watched]) -> Healthy:
        """Play without harm: guardrails on failures among all requests together, all others one by one."""
        runs = HEALTHY_FACTOR * self.runs
        until_s = min(math.fsum(p.for_s for p in self.phases if p.for_s < math.inf) or DAY_S, 2 * DAY_S)
        errors = tuple(one for one in able if one.line is None)
        groups = [*([errors] if errors else []), *((one,) for one in able if one.line is not None)]
        alarmed, paid = np.zeros(runs, dtype=bool), 0.0
        for group in groups:
            played = self._play(group, harm_to(group[0], self.assumed).first(), math.inf, until_s, runs)
            alarmed |= played.alarms > 0.0
            paid += float(played.paid.mean())
        low, high = interval(int(alarmed.sum()), runs)
        return Healthy(
            runs=runs, horizon_s=until_s, alarmed=int(alarmed.sum()), part=float(alarmed.mean()), low=low, high=high,
            allowed=paid,
        )  # fmt: skip

    def _play(
        self, guardrails: tuple[Watched, ...], harm: Harm, onset_s: float, until_s: float, runs: int
    ) -> Played:
        # Healthy runs are peeked at all the time: steps of minutes at most.
        scene = Scene(
            self.policy, self.assumed, self.phases, guardrails, harm, onset_s, until_s, runs,
            most_s=300.0 if onset_s == math.inf else 3_600.0,
        )  # fmt: skip
        played = play(scene, self._rng, lambda part: self.tell((self._played + part) / self.scenes))
        self._played += 1
        self.done += played.work
        return played


def _guardrail(work: _Work, guardrail: Guardrail, watched: Watched | None) -> GuardrailForecast:
    policy, assumed, bound = work.policy, work.assumed, guardrail.when.bound
    notes: list[str] = []
    findings: list[Finding] = []
    if isinstance(bound, Silence):
        notes += silence_note(bound, work.phases, assumed)
    elif guardrail.evaluate == "literal":
        notes.append("a literal rule is no test, and is not played: guardian check --traffic tells how often it is false")
    elif watched is None:
        notes.append("not tested live by this version: no forecast")
    elif not is_possible(watched, assumed):
        notes.append("nothing that its signal can be is worse than this bound allows")
    elif not is_healthy(watched, assumed):
        notes.append(f"{beyond(watched, assumed)}: a breach is held as a shared incident")
    else:
        if is_literal(guardrail):
            notes.append("played as its test alone: either acts no later than that, both no sooner")
        notes += split_note() if watched.kind == "fresh" else segments_note(guardrail, policy)
        findings = work.findings((watched,), harm_to(watched, assumed))
    return GuardrailForecast(
        when=guardrail.when.text, then=str(guardrail.then), is_tested_live=is_run(guardrail, policy),
        assumed="" if watched is None else assumed_for(watched, assumed), notes=notes, findings=findings,
    )  # fmt: skip


def _finding(harm: Harm, at: int, onset: Onset, played: Played, rows: np.ndarray) -> Finding:
    rows = rows[~played.early[rows]]
    found_s, effect = played.found_s[rows], harm.effects[at]
    return Finding(
        effect=effect.text, factor=effect.factor, value=effect.value, said=effect.said, onset=onset,
        runs=rows.size, false_alarms_before=played.found_s.size // len(harm.effects) - rows.size,
        missed=float(np.mean(np.isinf(found_s))) if rows.size else 1.0,
        median_s=_quantile(found_s, 0.5), p95_s=_quantile(found_s, 0.95),
        exposed=round(float(np.median(played.exposed[rows])), 1) if rows.size else 0.0,
        hurt=round(float(np.median(played.hurt[rows])), 1) if rows.size else 0.0,
    )  # fmt: skip


def _quantile(values: Floats, level: float) -> float | None:
    """The smallest value that so many reach; ``None`` where that many were never found."""
    if not values.size:
        return None
    at = float(np.sort(values)[math.ceil(level * values.size) - 1])
    return round(at, 3) if at < math.inf else None


def interval(events: int, runs: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a chance from how often it came true (Clopper and Pearson 1934)."""
    low = float(betaincinv(events, runs - events + 1, 0.025)) if events else 0.0
    high = float(betaincinv(events + 1, runs - events, 0.975)) if events < runs else 1.0
    return low, high
