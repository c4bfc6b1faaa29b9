"""Guardrails as people write them: when something is harm, and what then."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

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
    for at, given in enumerate(list_in(document, "guardrails")):
        guardrail = readable(Guardrail, given, reading)
        if guardrail is None:
            continue
        when = guardrail.when
        first = seen.setdefault(when.meaning, at)
        if first != at:
            yield (
                ("guardrails", at, "when"),
                when.text,
                f"asks the same as guardrails[{first}]; keep one of them",
            )
        if guardrail.evaluate == "literal" and when.for_s is None and when.op is not None:
            said = f"the literal rule needs a window; write when: {when.text} for 10m, or evaluate: evidence"
            yield ("guardrails", at, "evaluate"), guardrail.evaluate, said
