"""Guardrails as people write them: when something is harm, and what then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from guardian.conditions import Absolute, Bound, Margin, Relative
from guardian.documents import Finding, list_in, readable
from guardian.fields import Attribute, Document, HarmCondition, Reading


class Action(StrEnum):
    """What a guardrail leads to, mildest first; compares by severity, so ``max`` is the strictest."""

    ALERT = "alert"
    HOLD = "hold"
    PAUSE = "pause"
    STEP_BACK = "step_back"
    KILL = "kill"
    KILL_FLAG = "kill_flag"

    @property
    def severity(self) -> int:
        """0 for the mildest."""
        return list(Action).index(self)

    def __lt__(self, other: str) -> bool:
        return self.severity < Action(other).severity

    def __le__(self, other: str) -> bool:
        return self.severity <= Action(other).severity

    def __gt__(self, other: str) -> bool:
        return self.severity > Action(other).severity

    def __ge__(self, other: str) -> bool:
        return self.severity >= Action(other).severity


class Guardrail(Document):
    """
    When something is harm, and what then.

    *evaluate*: ``evidence`` tests it at every moment, without its window; ``literal`` compares the value over its window
    as it is written; ``either`` acts on the first of both, ``both`` when both say so. *segments* are watched besides all
    traffic.
    """

    when: HarmCondition = Field(examples=["error_rate > 1.2x control"])
    then: Action = Field(examples=["kill"])
    evaluate: Literal["literal", "evidence", "either", "both"] = "evidence"
    segments: tuple[Attribute, ...] = Field(
        (), examples=[["country", "plan"]], description="Attributes by whose values it looks at the traffic, too"
    )


def guardrail_findings(document: dict[str, Any], reading: Reading) -> Iterator[Finding]:
    """What is wrong between guardrails, and within one."""
    seen: dict[object, int] = {}
    found = [readable(Guardrail, given, reading) for given in list_in(document, "guardrails")]
    for at, guardrail in enumerate(found):
        if guardrail is None:
            continue
        when = guardrail.when
        first = seen.setdefault(when.meaning, at)
        if first != at:
            yield ("guardrails", at, "when"), when.text, f"asks the same as guardrails[{first}]; keep one of them"
        if guardrail.evaluate == "literal" and when.for_s is None and when.op is not None:
            said = f"the literal rule needs a window; write when: {when.text} for 10m, or evaluate: evidence"
            yield ("guardrails", at, "evaluate"), guardrail.evaluate, said
    yield from _shadowed(found)


def step_back_findings(document: Mapping[str, Any], stages: int) -> Iterator[Finding]:
    """Guardrails that step back where there is no earlier of so many *stages*."""
    for at, given in enumerate(list_in(document, "guardrails") if stages < 2 else ()):
        if isinstance(given, dict) and given.get("then") == Action.STEP_BACK:
            said = "there is no earlier stage to step back to; write then: pause, or add stages"
            yield ("guardrails", at, "then"), given["then"], said


def _shadowed(guardrails: Sequence[Guardrail | None]) -> Iterator[Finding]:
    """Guardrails that contradict another one: it does more, and at less, so that they never come to act."""
    for at, one in enumerate(guardrails):
        for other_at, other in enumerate(guardrails):
            if one is not None and other is not None and _is_shadowed(one, other):
                does = f"guardrails[{other_at}] ({other.when.text}, then: {other.then})"
                said = f"never comes to act: {does} does more, and at less; change the bound or the action of one of them"
                yield ("guardrails", at, "when"), f"{one.when.text}, then: {one.then}", said
                break


def _is_shadowed(one: Guardrail, other: Guardrail) -> bool:
    mild, strict = one.when, other.when
    # After a kill there is nothing left to pause; after a pause there still is something to be told of.
    is_over = other.then >= Action.KILL or one.then > Action.ALERT
    is_alike = mild.signal == strict.signal and type(mild.bound) is type(strict.bound) and (
        one.evaluate == other.evaluate and (mild.for_s == strict.for_s or one.evaluate == "evidence")
    )
    if not (one.then < other.then and is_over and is_alike and set(one.segments) <= set(other.segments)):
        return False
    if mild.op is None or strict.op is None or mild.op[0] != strict.op[0]:
        return False
    bounds = _height(mild.bound), _height(strict.bound)
    return bounds[0] > bounds[1] if mild.op[0] == ">" else bounds[0] < bounds[1]


def _height(bound: Bound) -> float:
    match bound:
        case Absolute(value=height) | Relative(factor=height) | Margin(delta=height):
            return height
    return 0.0
