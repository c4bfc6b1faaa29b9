"""
Policies: what one rollout may do, when it is stopped, and how it goes on.

A policy is written as a document (``config/policies/*.yaml``) and travels as the same document in JSON. The
models here are both: their fields hold plain values (proportions, seconds, ``Condition``), their documents
hold what people write (``10%``, ``1h``, ``error_rate > 5%``). Documents are read by ``parse_policy``, which
finds every problem at once; models built in code take plain values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, StrictFloat, StrictInt, StrictStr

from guardian.documents import NO_LINES, Finding, lean, list_in, read_document, readable
from guardian.errors import Lines
from guardian.fields import (
    Attribute,
    Budget,
    Document,
    Duration,
    Environment,
    Key,
    Reading,
    Share,
    Switch,
    Topic,
    share_of,
    signal_name,
)
from guardian.guardrails import Action, Guardrail, guardrail_findings, step_back_findings
from guardian.names import RolloutKey, rollout_key
from guardian.signals import Declaration
from guardian.stages import LEAVE, PlacedStage, Stage, hold_back_findings, stage_findings, start_findings
from guardian.timetable import Freeze, Hours

__all__ = [
    "NO_LINES",
    "Action",
    "FalseKills",
    "Finding",
    "Guardrail",
    "Policy",
    "Stage",
    "Terms",
    "parse_policy",
    "policy_hash",
    "read_terms",
    "share_of",
]


class FalseKills(Document):
    """
    How many false kills are allowed on average, over all guardrails and variations of a rollout together.

    *per_rollout* at its start, *per_day* with each day, *per_step* with each change of its share (as
    *per_rollout* where it is not given).
    """

    per_rollout: Budget = 0.001
    per_day: Budget = 0.001
    per_step: Budget = Field(default_factory=lambda so_far: so_far["per_rollout"])


class Terms(Document):
    """What every form of policy says besides its stages."""

    environment: Environment = Field(examples=["production"])
    control: Key = Field(
        "control", examples=["control"], description="The variation others are compared with"
    )
    variations: tuple[Key, ...] = Field((), description="The variations under test; none: all but control")
    owner: Annotated[StrictStr, Field(max_length=256)] = Field("", description="Who is paged")
    mode: Literal["enforce", "shadow"] = "enforce"
    false_kills: FalseKills = Field(
        default_factory=FalseKills, examples=[{"per_rollout": 0.001, "per_day": 0.001}]
    )
    guardrails: tuple[Guardrail, ...] = Field(
        (), examples=[[{"when": "error_rate > 1.2x control", "then": "kill"}]]
    )
    cooldown_s: Duration | None = Field(
        None,
        alias="cooldown",
        examples=["30m"],
        description="How long no stage is left after a hold, a pause, a step back or a resume",
    )
    freeze: tuple[Freeze, ...] = Field((), description="Times in which no stage is left; harm is acted on as ever")
    hours: Hours | None = Field(None, description="The hours of the week in which stages are left")
    min_starts: Annotated[StrictInt, Field(ge=0, examples=[50])] = Field(
        50, description="Starts that a variation must have had in a stage before the stage is left"
    )
    false_advances: Budget = Field(
        0.05, description="The chance allowed, per stage, to go on although a condition of until: is not so"
    )
    accelerate: Switch = Field(
        False,
        description="Leave a stage at half of its for: where every condition of until: has ten times its evidence",
    )
    hold_back: Share | None = Field(
        None, examples=["5%"], description="The part of the traffic that stays with control to the end"
    )
    segments: tuple[Attribute, ...] = Field(
        (), examples=[["country", "plan"]], description="Segments of every guardrail on what outcomes bring"
    )
    signals: dict[Annotated[StrictStr, AfterValidator(signal_name)], Declaration] = Field(
        default_factory=dict
    )
    topics: tuple[Topic, ...] = Field(
        (), examples=[["checkout.events.v1"]], description="Input topics whose events count for this rollout; none: all"
    )
    min_units: Annotated[StrictInt, Field(ge=1, examples=[3])] = Field(
        3, description="Distinct units that must have failed under a variation before any kill of it"
    )
    unit_cluster: Annotated[StrictFloat, Field(ge=1, allow_inf_nan=False, examples=[2.0])] = Field(
        2.0, description="Evidence is divided by this where outcomes carry no unit id"
    )


CAME_LATER = ("min_starts", "false_advances", "accelerate")
"""Fields with a default that is not empty, and that policies once did not have."""


class Policy(Terms):
    """The policy of one rollout."""

    flag: Key = Field(examples=["checkout-v2"])
    stages: tuple[Stage, ...] = Field((), examples=[[{"share": "1%", "for": "10m"}, {"share": "100%"}]])

    @property
    def key(self) -> RolloutKey:
        """``environment|flag``."""
        return rollout_key(self.environment, self.flag)

    def to_document(self) -> dict[str, Any]:
        """
        The policy as people write it, in plain JSON; what is empty is left out, defaults are spelt out.

        Not those of fields that came later: a policy that does not use them keeps its hash.
        """
        plain = {name for name in CAME_LATER if getattr(self, name) == type(self).model_fields[name].default}
        document: dict[str, Any] = lean(self.model_dump(mode="json", by_alias=True, exclude=plain))
        return document

    @classmethod
    def from_document(cls, document: object) -> Policy:
        """
        The policy of ``to_document``.

        Raises:
            PolicyError: with every problem.
        """
        return parse_policy(document)


AnyTerms = TypeVar("AnyTerms", bound=Terms)


def policy_hash(policy: Policy) -> str:
    """``sha256:…`` over the canonical JSON of the document; two policies of one hash say the same."""
    return document_hash(policy.to_document())


def document_hash(document: dict[str, Any]) -> str:
    """Return the hash of the policy whose ``to_document`` this is."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def parse_policy(document: object, *, file: str = "", lines: Lines = NO_LINES) -> Policy:
    """
    Read a policy's document, *lines* being where its parts stand in *file*.

    Raises:
        PolicyError: with every problem that the document has.
    """
    return read_terms(Policy, document, _policy_findings, file=file, lines=lines)


def read_terms(
    model: type[AnyTerms],
    document: object,
    between: Callable[[dict[str, Any], Reading], Iterable[Finding]],
    *,
    file: str,
    lines: Lines,
) -> AnyTerms:
    """
    Read a document of any form of policy; *between* finds what is wrong between the parts of its own.

    Raises:
        PolicyError: with every problem, by line.
    """

    def findings(given: dict[str, Any], reading: Reading) -> Iterator[Finding]:
        yield from _control_findings(given)
        yield from guardrail_findings(given, reading)
        yield from between(given, reading)

    return read_document(model, document, findings, file=file, lines=lines)


def _policy_findings(document: dict[str, Any], reading: Reading) -> Iterator[Finding]:
    if not document.get("guardrails"):
        said = (
            "is missing, so nothing would be watched; write - {when: error_rate > 1.2x control, then: kill}"
        )
        yield ("guardrails",), None, said
    given = list_in(document, "stages")
    stages = [(at, readable(Stage, stage, reading)) for at, stage in enumerate(given)]
    placed = [
        PlacedStage(("stages", at, "share"), stage, at == len(given) - 1)
        for at, stage in stages
        if stage is not None
    ]
    yield from stage_findings(placed, leave=LEAVE)
    yield from start_findings(placed)
    yield from hold_back_findings(document, placed)
    yield from step_back_findings(document, len(given))


def _control_findings(document: dict[str, Any]) -> Iterator[Finding]:
    control = document.get("control", "control")
    names = list_in(document, "variations")
    for at, name in enumerate(names):
        if name == control:
            yield (
                ("variations", at),
                name,
                "is the control, so it is not under test; remove it here or change control:",
            )
        elif name in names[:at]:
            yield ("variations", at), name, "is listed twice; keep one of them"
