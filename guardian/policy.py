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
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from guardian.conditions import (
    NONE,
    Condition,
    Declaration,
    Signals,
    duration_text,
    is_built_in,
    parse_condition,
    parse_duration,
    why_no_harm,
    why_no_health,
)
from guardian.errors import (
    ConditionError,
    Lines,
    Path,
    PolicyError,
    field_name,
    followed,
    problem_at,
    problems_in,
    wrong,
)
from guardian.names import RolloutKey, rollout_key
from guardian.timetable import Freeze, Hours, Moment

NO_LINES: Lines = MappingProxyType({})
LEAVE = "this stage would never be left; add for: 1h, until: or approval: to it"


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


@dataclass(frozen=True, slots=True)
class Reading:
    """The context of a document that is being read; without it, models are built from plain values."""

    signals: Signals


def _name(value: str) -> str:
    if " " in value or not value.isprintable():
        raise wrong("is one word; write it without spaces and control characters")
    return value


def _switch(value: object) -> object:
    if not isinstance(value, bool):
        raise wrong("write true or false")
    return value


def _environment(value: str) -> str:
    if "|" in value:
        raise wrong("an environment has no '|' in its name")
    return value


def _attribute(value: str) -> str:
    if "=" in value:
        raise wrong("name the attribute alone, such as country: each of its values is a segment")
    return value


def share_of(value: object) -> float:
    """``10%`` as 0.1. A bare number is refused: 1 might mean 1% or everybody."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        example = f"{value}%" if re.fullmatch(r"\d+", str(value)) else "10%"
        raise wrong(f"a share is written with its percent sign, such as {example}")
    return _within(float(Decimal(match[1]) / 100))


def _within(share: float) -> float:
    if not 0 < share <= 1:
        raise wrong("a share lies above 0% and within 100%")
    return share


def _share(value: object, info: ValidationInfo) -> float:
    if info.context is None and isinstance(value, float | int):
        return _within(float(value))
    return share_of(value)


def _percent(share: float) -> str:
    return f"{(Decimal(repr(share)) * 100).normalize():f}%"


def _duration(value: object, info: ValidationInfo) -> float:
    if info.context is None and isinstance(value, float | int):
        return float(value)
    try:
        # A number has lost its unit, and one like 1:30 never had a clear one.
        return parse_duration(value if isinstance(value, str) else "")
    except ConditionError as error:
        raise wrong(str(error)) from None


def _read_condition(
    value: object, info: ValidationInfo, why_not: Callable[[Condition, Signals], str | None]
) -> Condition:
    signals = info.context.signals if isinstance(info.context, Reading) else NONE
    if isinstance(value, Condition):
        return value
    if not isinstance(value, str):
        raise wrong("write a condition such as error_rate > 5%")
    try:
        condition = parse_condition(value, signals)
    except ConditionError as error:
        raise followed() if error.follows else wrong(str(error)) from None
    if said := why_not(condition, signals):
        raise wrong(said)
    return condition


def _harm(value: object, info: ValidationInfo) -> Condition:
    return _read_condition(value, info, why_no_harm)


def _health(value: object, info: ValidationInfo) -> Condition:
    return _read_condition(value, info, why_no_health)


def _signal_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in ("control", "baseline", "for", "off"):
        raise wrong(
            "a signal is named in small letters, digits and _; write a name such as search_quality_score"
        )
    if is_built_in(name):
        raise wrong("is a built-in signal; give the declared one a name of its own")
    return name


_TEXT = PlainSerializer(lambda condition: condition.text, return_type=str)
_CONDITION = {"type": "string", "examples": ["error_rate > 1.2x control"]}


def _several(value: object) -> object:
    return (value,) if isinstance(value, str | Condition) else value


def _one_or_several(conditions: tuple[Condition, ...] | None) -> str | list[str] | None:
    texts = [condition.text for condition in conditions or ()]
    return texts[0] if len(texts) == 1 else texts or None


Switch = Annotated[bool, BeforeValidator(_switch)]
Key = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(_name)]
Environment = Annotated[Key, AfterValidator(_environment)]
Word = Annotated[StrictStr, Field(min_length=1, max_length=256)]
Attribute = Annotated[Word, AfterValidator(_attribute)]
Budget = Annotated[StrictFloat, Field(gt=0, le=0.5, allow_inf_nan=False, examples=[0.001])]
Share = Annotated[
    float,
    BeforeValidator(_share),
    PlainSerializer(_percent, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$", "examples": ["10%"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?|\.[0-9]+) ?[smhd]$", "examples": ["10m"]}
    ),
]
Start = Moment
HarmCondition = Annotated[Condition, PlainValidator(_harm), _TEXT, WithJsonSchema(_CONDITION)]
HealthCondition = Annotated[Condition, PlainValidator(_health), _TEXT, WithJsonSchema(_CONDITION)]
Until = Annotated[
    tuple[HealthCondition, ...] | None,
    Field(min_length=1),
    BeforeValidator(_several),
    PlainSerializer(_one_or_several, return_type=str | list[str] | None),
    WithJsonSchema({"anyOf": [_CONDITION, {"type": "array", "items": _CONDITION, "minItems": 1}]}),
]


class Document(BaseModel):
    """What people write: nothing unknown is accepted, nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class FalseKills(Document):
    """
    How many false kills are allowed on average, over all guardrails and variations of a rollout together.

    *per_rollout* at its start, *per_day* with each day, *per_step* with each change of its share (as
    *per_rollout* where it is not given).
    """

    per_rollout: Budget = 0.001
    per_day: Budget = 0.001
    per_step: Budget = Field(default_factory=lambda so_far: so_far["per_rollout"])


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


class Stage(Document):
    """
    One share of the traffic, in (0, 1]; of *users*, where a group is named.

    It is left after *for_s* seconds, when every condition of *until* is shown, and when each group in
    *approval* has agreed.
    """

    share: Share = Field(examples=["10%"])
    for_s: Duration | None = Field(None, alias="for", examples=["1h"])
    until: Until = Field(None, examples=["error_rate < 1.1x control"])
    approval: tuple[Word, ...] = ()
    name: Word | None = None
    users: Word | None = None
    size: Annotated[StrictInt, Field(ge=1, examples=[500])] | None = None
    start: Start | None = Field(None, examples=["2024-11-15 09:00 UTC"])


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
    signals: dict[Annotated[StrictStr, AfterValidator(_signal_name)], Declaration] = Field(
        default_factory=dict
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
        document: dict[str, Any] = _lean(self.model_dump(mode="json", by_alias=True, exclude=plain))
        return document

    @classmethod
    def from_document(cls, document: object) -> Policy:
        """
        The policy of ``to_document``.

        Raises:
            PolicyError: with every problem.
        """
        return parse_policy(document)


def policy_hash(policy: Policy) -> str:
    """``sha256:…`` over the canonical JSON of the document; two policies of one hash say the same."""
    canonical = json.dumps(policy.to_document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def parse_policy(document: object, *, file: str = "", lines: Lines = NO_LINES) -> Policy:
    """
    Read a policy's document, *lines* being where its parts stand in *file*.

    Raises:
        PolicyError: with every problem that the document has.
    """
    return read_document(Policy, document, _policy_findings, file=file, lines=lines)


AnyTerms = TypeVar("AnyTerms", bound=Terms)
AnyDocument = TypeVar("AnyDocument", bound=Document)
Finding = tuple[Path, object, str]
"""Where, what stands there, and what would be right."""


def read_document(
    model: type[AnyTerms],
    document: object,
    between: Callable[[dict[str, Any], Reading], Iterable[Finding]],
    *,
    file: str,
    lines: Lines,
) -> AnyTerms:
    """
    Read *document* as *model*; *between* finds what is wrong between the parts of that model.

    What is wrong between parts is told even while others cannot be read, so nobody mends a policy twice.

    Raises:
        PolicyError: with every problem, by line.
    """
    if not isinstance(document, dict) or _is_deeper(document, 20):
        said = "is not a mapping of few levels; a policy starts with flag: NAME"
        raise PolicyError([problem_at((), document, said, file=file, lines=lines)])
    if broken := list(_broken_findings(document, ())):
        raise PolicyError(problem_at(*finding, file=file, lines=lines) for finding in broken)
    found = list(_empty_findings(document, ()))
    empty = {field_name(path) for path, _, _ in found}
    given: dict[str, Any] = _marked(document)
    signals, declared = _declared(given)
    reading = Reading(signals)
    found += [
        *declared,
        *_control_findings(given),
        *_guardrail_findings(given, reading),
        *between(given, reading),
    ]
    problems = [problem_at(*finding, file=file, lines=lines) for finding in found]
    try:
        read = model.model_validate(given, context=reading, by_alias=True, by_name=False)
        if not problems:
            return read
    except ValidationError as error:
        more = problems_in(error, model, given, file=file, lines=lines)
        problems += [problem for problem in more if problem.field not in empty]
    raise PolicyError(sorted(problems, key=lambda problem: problem.line or 0))


def readable(model: type[AnyDocument], given: object, reading: Reading) -> AnyDocument | None:
    """*given* as *model*, or ``None`` where it cannot be read: what is wrong with it is said elsewhere."""
    try:
        return model.model_validate(given, context=reading, by_alias=True, by_name=False)
    except ValidationError:
        return None


class PlacedStage(NamedTuple):
    """A stage, where its share is written, and whether it is the last one, which need not be left."""

    path: Path
    stage: Stage
    is_last: bool


def stage_findings(stages: Iterable[PlacedStage], *, leave: str) -> Iterator[Finding]:
    """What is wrong between stages; *leave* tells how to leave one. Shares rise within a group of users."""
    before: dict[str | None, float] = {}
    for path, stage, is_last in stages:
        share, least = stage.share, before.get(stage.users, 0)
        if share <= least:
            yield path, _percent(share), f"shares must rise; write more than the {_percent(least)} before it"
        before[stage.users] = max(share, least)
        if not is_last and stage.for_s is None and stage.until is None and not stage.approval:
            yield path, _percent(share), leave


def hold_back_findings(document: Mapping[str, Any], stages: Iterable[PlacedStage]) -> Iterator[Finding]:
    """Stages that take what the document wants to hold back; a group of users is no part of it."""
    try:
        kept = share_of(document["hold_back"])
    except (KeyError, PydanticCustomError):
        return  # there is none, or it is told in its own place
    for path, stage, _ in stages:
        if stage.users is None and stage.share > 1.0 - kept + 1e-9:
            said = f"leaves less than the {_percent(kept)} to hold_back; write at most {_percent(round(1.0 - kept, 9))}"
            yield path, _percent(stage.share), said


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
    yield from hold_back_findings(document, placed)
    yield from step_back_findings(document, len(given))


def step_back_findings(document: Mapping[str, Any], stages: int) -> Iterator[Finding]:
    """Guardrails that step back where there is no earlier of so many *stages*."""
    for at, given in enumerate(list_in(document, "guardrails") if stages < 2 else ()):
        if isinstance(given, dict) and given.get("then") == Action.STEP_BACK:
            said = "there is no earlier stage to step back to; write then: pause, or add stages"
            yield ("guardrails", at, "then"), given["then"], said


def _guardrail_findings(document: dict[str, Any], reading: Reading) -> Iterator[Finding]:
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


def _declared(document: Mapping[str, Any]) -> tuple[Signals, list[Finding]]:
    """The signals that a document declares, and what is wrong with the conditions that words stand for."""
    given = document.get("signals")
    signals: dict[str, Declaration | None] = {}
    for name, declaration in given.items() if isinstance(given, dict) else ():
        if is_built_in(name):
            continue  # told as a wrong name; elsewhere it still means what it always does
        try:
            signals[name] = Declaration.model_validate(declaration)
        except ValidationError:
            signals[name] = None
    found: list[Finding] = []
    for name, declared in list(signals.items()):
        if declared is None or declared.means is None:
            continue
        try:
            parse_condition(name, signals)
        except ConditionError as error:
            signals[name] = None
            if not error.follows:
                found.append((("signals", name, "means"), declared.means, str(error)))
    return signals, found


def _broken_findings(given: object, path: Path) -> Iterator[Finding]:
    """Texts that are none: half of a surrogate pair, which JSON lets through, cannot be stored or shown."""
    for part, inner in _parts(given):
        here = (*path, part)
        if any(isinstance(text, str) and re.search("[\ud800-\udfff]", text) for text in (part, inner)):
            yield here, inner, "holds half a character; write the text anew"
        yield from _broken_findings(inner, here)


def _empty_findings(given: object, path: Path) -> Iterator[Finding]:
    """What was begun and not written: ``owner:`` with nothing behind it."""
    if given is None:
        yield path, None, "is empty; write a value or remove the line"
    for part, inner in _parts(given):
        yield from _empty_findings(inner, (*path, part))


def _parts(given: object) -> list[tuple[str | int, object]]:
    if isinstance(given, dict):
        return list(given.items())
    return list(enumerate(given)) if isinstance(given, list) else []


def _marked(given: Any) -> Any:
    """With ``...`` for what is empty: no model takes it, so nothing is concluded from what is not there."""
    if isinstance(given, dict):
        return {name: _marked(inner) for name, inner in given.items()}
    if isinstance(given, list):
        return [_marked(inner) for inner in given]
    return ... if given is None else given


def _lean(given: Any) -> Any:
    if isinstance(given, dict):
        lean = {name: _lean(inner) for name, inner in given.items()}
        return {name: inner for name, inner in lean.items() if inner not in (None, "", [], {})}
    return [_lean(inner) for inner in given] if isinstance(given, list) else given


def _is_deeper(document: object, levels: int) -> bool:
    level: list[object] = [document]
    for _ in range(levels):
        level = [inner for one in level for _, inner in _parts(one)]
    return bool(level)


def list_in(document: Mapping[str, Any], name: str) -> list[Any]:
    """The list under *name*; empty where there is none, or something else."""
    given = document.get(name)
    return given if isinstance(given, list) else []
