"""
A scene for every signal of the policy language: its guardrail, a world in which it can be seen, and harm to it.

``within`` is what the test alone needs: treated requests after the onset of the harm until it is found, on average,
half of twenty requests a tick being treated by chance, with 250 good ones before. The tables of docs/statistics.md begin
with the harm and have no margin, so these were measured anew, with the tests of ``guardian.sequential`` over 400 runs
(latencies over 24), each at the part of a budget of 0.001 that is its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from guardian.policy import Policy, parse_policy
from tests.support.recorded import FLAG, Feedback, Harm, World

ONSET_S = 5.0
"""When harm begins: by then 250 requests have been treated at 100 requests a second."""

WORLD = World(
    rps=100.0,
    seconds=25.0,
    duplicates=0.01,
    late=0.002,
    late_s=5.0,
    attributes={"country": {"DE": 0.1, "FR": 0.3, "US": 0.6}, "plan": {"free": 0.9, "pro": 0.1}},
    quality=0.8,
    conversion=0.4,
)
"""Half of its requests are treated, and all is well."""

SIGNALS: dict[str, dict[str, Any]] = {
    "quality": {"measure": "quality", "range": [0, 1]},
    "converted": {"measure": "converted", "range": [0, 1]},
    "search_latency_p95": {"of": "latency_p95", "where": {"operation": "GET /search"}},
    "german_error_rate": {"of": "error_rate", "where": {"country": "DE"}},
}


@dataclass(frozen=True, slots=True)
class Scene:
    """
    One guardrail and harm to its signal.

    ``segments`` are those of the guardrail, ``segment`` the one that is harmed. ``feedback`` is what people say, where
    the guardrail asks for it. ``is_fixed``: its bound knows no control, so that an incident of both arms may be held,
    and is never called the treatment's.
    """

    when: str
    harm: Harm
    within: float
    then: str = "pause"
    segments: tuple[str, ...] = ()
    segment: str = ""
    is_fixed: bool = False
    feedback: Feedback = field(default_factory=Feedback)

    @property
    def signal(self) -> str:
        """Name of the signal, as written."""
        return self.when.split()[0]

    def policy(self, *shares: str, stage_s: int = 15, per_rollout: float = 0.001) -> Policy:
        """Return the policy of this guardrail alone, with a stage for each share."""
        guardrail: dict[str, Any] = {"when": self.when, "then": self.then}
        if self.segments:
            guardrail |= {"segments": list(self.segments)}
        stages = [{"share": share, "for": f"{stage_s}s"} for share in shares[:-1]] + [{"share": shares[-1]}]
        declared = {self.signal: SIGNALS[self.signal]} if self.signal in SIGNALS else {}
        return parse_policy(
            {
                "flag": FLAG,
                "environment": "production",
                "signals": declared,
                "false_kills": {"per_rollout": per_rollout, "per_day": 0.001},
                "guardrails": [guardrail],
                "stages": stages,
            }
        )

    def placed_in(self, world: World, seed: int) -> World:
        """Return the world with this seed, and with the feedback that the guardrail asks for."""
        return replace(world, seed=seed, feedback=self.feedback)

    def harmed(self, seed: int) -> World:
        """Return the world in which the harm begins, long enough to find it in three times the time that it should take."""
        needed_s = 3.0 * self.within / (WORLD.rps * WORLD.share[0][1])
        return replace(self.placed_in(WORLD, seed), seconds=round(ONSET_S + needed_s + 5.0), harm=self.harm)


def _harm(**changes: Any) -> Harm:
    return Harm(from_s=ONSET_S, **changes)


_SEGMENTS = ("country", "plan")
SCENES = {
    "errors, of control's": Scene("error_rate > 1.2x control", _harm(errors=5.0), 943, then="kill"),
    "errors, more than control's": Scene("error_rate > control + 1%", _harm(errors=5.0), 1_333, then="kill"),
    "errors, of a bound": Scene("error_rate > 3%", _harm(errors=8.0), 577, then="kill", is_fixed=True),
    "errors of a country": Scene(
        "error_rate > 5x control", _harm(errors=40.0, only={"country": "DE"}), 286 / 0.1,
        segments=_SEGMENTS, segment="country=DE",
    ),
    "errors of a plan": Scene(
        "error_rate > 5x control", _harm(errors=40.0, only={"plan": "pro"}), 286 / 0.1,
        segments=_SEGMENTS, segment="plan=pro",
    ),
    "errors, narrowed": Scene("german_error_rate > 1.2x control", _harm(errors=20.0, only={"country": "DE"}), 107 / 0.1),
    "latency, half as slow again": Scene("latency_p95 > 1.1x control", _harm(slower=1.5), 613),
    "latency, a quarter slower": Scene("latency_p95 > 1.1x control", _harm(slower=1.25), 2_105),
    "latency of a tenth": Scene("latency_p95 > 1.1x control", _harm(slower=8.0, slower_part=0.1), 615),
    "latency, of a bound": Scene("latency_p95 > 400ms", _harm(slower=2.0), 456, then="kill", is_fixed=True),
    "latency, narrowed": Scene(
        "search_latency_p95 > 1.1x control", _harm(slower=1.5, only={"operation": "GET /search"}), 528 / 0.6
    ),
    "ratings": Scene("csat < control - 0.3", _harm(csat_drop=0.9), 272 / 0.3, feedback=Feedback(ratings=0.3)),
    "nps": Scene("nps < control - 20", _harm(nps_drop=0.8), 154 / 0.3, feedback=Feedback(nps=0.3)),
    "thumbs": Scene("thumbs_down_rate > 1.2x control", _harm(thumbs_down=3.0), 279 / 0.3, feedback=Feedback(thumbs=0.3)),
    "reports": Scene("report_rate > 2x control", _harm(reports=8.0), 861, then="kill", feedback=Feedback(reports=0.01)),
    "quality": Scene("quality < control - 0.05", _harm(quality_drop=0.2), 195),
    "conversion": Scene("converted < control - 0.1", _harm(conversion=0.5), 1_493),
    "shares": Scene("sample_ratio off", _harm(lost=0.5), 264),
}  # fmt: skip
"""
By a name that says what is harmed; for silence see ``test_recordings``. Harm to a country or a plan is as much as the
guardrail allows all traffic together, so that nothing but the segment can be named.
"""
