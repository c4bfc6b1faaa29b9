"""What people want of a rollout, checked and written into the journal: judge decides it like anything else."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal, Protocol, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from guardian.decisions import RolloutView
from guardian.errors import GuardianError
from guardian.journal import Override, encode
from streams.clock import now_ms

log = structlog.get_logger()

Line = StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")


class OverrideWish(BaseModel):
    """
    A person's wish. The same *id* may be sent again: it is one wish.

    ``changed`` says that something else changed, such as the build: harm that follows is found sooner. ``approve``
    says that *group* agrees to leave the stage that stands.
    """

    model_config = ConfigDict(extra="forbid")

    action: Literal["kill", "pause", "resume", "changed", "approve"]
    variation: str = Field("", max_length=500, description="Needed where a rollout has several; else the one")
    by: Annotated[str, Line, Field(max_length=200, description="Who wants it")]
    reason: Annotated[str, Line, Field(max_length=1000, description="Why, in a sentence")]
    id: Annotated[str, StringConstraints(pattern=r"^[\w.:-]{0,100}$")] = ""
    group: str = Field("", max_length=256, description="Who approves, as the policy names it; for approve alone")

    @model_validator(mode="after")
    def _names_its_group(self) -> Self:
        if bool(self.group) != (self.action == "approve"):
            raise ValueError("name the group of an approval, and of nothing else")
        return self


class OverrideTaken(BaseModel):
    """The wish stands in the journal; its decision follows on the stream of events."""

    id: str
    key: str
    action: str
    variation: str


class Writer(Protocol):
    """What the journal is written through: an outlet."""

    async def send(self, topic: str, key: str, value: bytes | None) -> None:
        """Write one record to its partition and wait until it is kept; raises ``NotDelivered``."""
        ...


class WrongWish(GuardianError):
    """The rollout cannot do what is wanted; the text says what it can."""


class WrongVariation(WrongWish):
    """The rollout has no such variation to act on; the text names those that it has."""


class WrongGroup(WrongWish):
    """The stage that stands does not ask this group; the text names those that it asks."""


async def write_override(
    wish: OverrideWish, key: str, known: RolloutView | None, outlet: Writer, journal: str
) -> OverrideTaken:
    """
    Check the wish against the rollout as it is *known* and write it; a rollout not known yet is taken on trust.

    An approval counts for the stage that stands as the rollout is *known*: judge drops it if that has been left.

    Raises:
        WrongVariation: there is no such variation, or it is control, or one of several must be named.
        WrongGroup: the stage that stands waits for no such group.
        NotDelivered: Kafka did not take it; send it again under the same id.
    """
    variation = wish.variation if known is None else _variation(wish, known)
    if known is not None and wish.action == "approve" and wish.group not in known.approvals:
        raise WrongGroup(f"group: {wish.group!r} is not asked in stage {known.stage + 1}; write {_either(list(known.approvals))}")
    entry = Override(
        at_ms=now_ms(),
        key=key,
        action=wish.action,
        variation=variation,
        by=wish.by,
        reason=wish.reason,
        id=wish.id or uuid.uuid4().hex,
        group=wish.group,
        stage=_stage(known, variation) if known is not None and wish.action == "approve" else None,
    )
    await outlet.send(journal, key, encode(entry))
    log.info("override_taken", rollout=key, action=entry.action, variation=variation, by=wish.by, reason=wish.reason)
    return OverrideTaken(id=entry.id, key=key, action=entry.action, variation=variation)


def _variation(wish: OverrideWish, known: RolloutView) -> str:
    others = sorted({arm.variation for arm in known.arms} - {known.control})
    if wish.variation == known.control and wish.action == "kill":
        raise WrongVariation(
            f"variation: {wish.variation!r} is the control; to stop the rollout write {_either(others)}"
        )
    if wish.variation and wish.variation not in others and others:
        raise WrongVariation(f"variation: {wish.variation!r} is not in this rollout; write {_either(others)}")
    if not wish.variation and wish.action == "kill" and len(others) != 1:
        raise WrongVariation(f"variation: which one? write {_either(others)}")
    return wish.variation or (others[0] if wish.action == "kill" else "")


def _stage(known: RolloutView, variation: str) -> int | None:
    """The stage that an approval is for; none where the variations that are meant stand in several."""
    meant = {arm.stage for arm in known.arms if arm.stage is not None and variation in ("", arm.variation)}
    return (meant or {known.stage}).pop() if len(meant) < 2 else None


def _either(names: list[str]) -> str:
    return " or ".join(names) if names else "its name"
