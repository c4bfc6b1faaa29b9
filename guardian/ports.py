"""
What the guardian asks of the outside: flag stores, people to tell, a record to keep.

Adapters live in ``streams``; each family has a memory one that is real code. What can go wrong with a store::

    GuardianError
    └── StoreError
        ├── UnknownFlag        the store has no such flag: asking again will not help
        └── StoreUnavailable   no answer, or no proof of one: read back, then send the same command again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, get_args

from guardian.errors import GuardianError
from guardian.names import sequence_of

CommandKind = Literal["kill", "kill_flag", "set_share", "step_back", "pause", "hold", "resume"]
"""
kill         the variation goes to 0, its users to control, until a resume
kill_flag    everybody gets control, until a resume
set_share    the variation gets this share, control the rest, unless people have changed its share; of the rings named,
             these shares, and of no other ring one of its own
step_back    the variation gets no more than this share, and of rings no more than these, whoever set what it has
pause        the share stays where it is, and what was decided before does not raise it any more
hold         the same, and nothing is promised where rules compute the share
resume       a kill is taken back; the share is again what was last set, or the one given
"""

ApplyStatus = Literal["applied", "already", "failed", "conflict", "superseded"]
"""
applied      changed by this command, and read back
already      nothing was to be done: it was so before, or this very command was applied before
failed       cannot be done, and asking again will not help; the detail says what would
conflict     nothing was done, as another change stands against it; decide again on the new state
superseded   nothing was done, as a later decision about the same has come first: see ``guardian.orders``
"""


_MAY_BE_WHOLE = frozenset({"kill_flag", "pause", "hold", "resume"})
"""Commands that need no variation."""


class StoreError(GuardianError):
    """A flag store did not do as it was asked; *retryable* says whether the command may be sent again."""

    retryable: ClassVar[bool] = False


class UnknownFlag(StoreError):
    """The store does not know the flag in this environment."""


class StoreUnavailable(StoreError):
    """The store did not answer in time, or what it did is not known; read back before sending again."""

    retryable = True


@dataclass(frozen=True, slots=True)
class StoreCapabilities:
    """
    What a store can do; ``typical_propagation_ms``: from the command to a client that evaluates by it.

    ``slowest_propagation_ms``: until nearly all clients do that are set up as usual; 0 for a few seconds at most. Shares are
    multiples of ``finest_share``: others are rounded to one.
    """

    can_kill_variation: bool
    can_set_share: bool
    can_target_rings: bool
    needs_full_document: bool
    has_compare_and_set: bool
    requires_approval: bool
    typical_propagation_ms: float
    finest_share: float = 1e-6
    slowest_propagation_ms: float = 0.0


def in_common(stores: Sequence[StoreCapabilities]) -> StoreCapabilities:
    """What all of some stores (at least one) can do; the slowest says how long it takes."""
    return StoreCapabilities(
        can_kill_variation=all(one.can_kill_variation for one in stores),
        can_set_share=all(one.can_set_share for one in stores),
        can_target_rings=all(one.can_target_rings for one in stores),
        needs_full_document=any(one.needs_full_document for one in stores),
        has_compare_and_set=all(one.has_compare_and_set for one in stores),
        requires_approval=any(one.requires_approval for one in stores),
        typical_propagation_ms=max(one.typical_propagation_ms for one in stores),
        finest_share=max(one.finest_share for one in stores),
        slowest_propagation_ms=max(one.slowest_propagation_ms for one in stores),
    )


@dataclass(frozen=True, slots=True)
class FlagState:
    """
    A flag as its store serves it now.

    *weights* holds a share in [0, 1] for every variation, as served to a unit that no targeting rule singles
    out; it is empty where the answer is computed and has no fixed shares. *enabled* is false when people
    disabled the flag or the guardian killed it whole. *version* changes with every change of the guardian's. *rings*
    holds the named groups that the store knows, each with its own shares where it is served apart from everybody.
    """

    flag_key: str
    environment: str
    enabled: bool
    variations: tuple[str, ...]
    weights: Mapping[str, float]
    version: str
    rings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlagCommand:
    """
    One thing to do to one flag. A repeat carries the same *command_id* and is harmless.

    ``variation`` may be empty for what is about the whole flag: ``kill_flag``, ``pause``, ``hold`` and a
    ``resume`` of all. ``share`` is in [0, 1], needed by ``set_share`` and ``step_back`` and optional for the
    ``resume`` of a variation. ``rings`` are the shares of rings that get another one than everybody, first the ring
    that counts for a user who is in several. ``from_share`` is what a ``set_share`` was decided on: if neither that
    nor the share last set is in force, people have changed it.

    Raises:
        ValueError: a field is missing or does not fit the kind; the text names it and its value.
    """

    command_id: str
    decision_id: str
    flag_key: str
    environment: str
    kind: CommandKind
    variation: str
    control: str
    share: float | None = None
    from_share: float | None = None
    rings: Mapping[str, float] = field(default_factory=dict)

    @property
    def order(self) -> int:
        """The number of the decision within its rollout, the later the higher; -1 for an id that holds none."""
        return sequence_of(self.decision_id)

    def __post_init__(self) -> None:
        if self.kind not in get_args(CommandKind):
            raise ValueError(f"kind: {self.kind!r}: write one of {', '.join(get_args(CommandKind))}")
        for name in ("command_id", "flag_key", "environment", "control"):
            if not getattr(self, name):
                raise ValueError(f"{name}: is empty in a {self.kind} command")
        if not self.variation and (self.kind not in _MAY_BE_WHOLE or self.share is not None):
            raise ValueError(f"variation: is empty in a {self.kind} command")
        if self.variation == self.control and self.kind != "kill_flag":
            raise ValueError(f"variation: {self.variation!r} is the control itself in a {self.kind} command")
        if self.kind in ("set_share", "step_back") and self.share is None:
            raise ValueError(f"share: is missing in a {self.kind} command; write a number from 0 to 1")
        if self.rings and self.share is None:
            raise ValueError(f"share: is missing in a {self.kind} command for rings; write what all others get")
        given = {"share": self.share, **{f"rings: {ring}": share for ring, share in self.rings.items()}}
        for name, share in given.items():
            if share is not None and not 0.0 <= share <= 1.0:
                raise ValueError(f"{name}: {share!r} is not a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class Applied:
    """
    What became of a command: *state* is what was read back, ``None`` where there is none to read.

    *share* is the one that people have set, where that is the conflict.
    """

    status: ApplyStatus
    version: str
    detail: str
    state: FlagState | None
    share: float | None = None


class FlagStore(Protocol):
    """Where flags are kept."""

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store can do."""
        ...

    async def read(self, environment: str, flag_key: str) -> FlagState:
        """
        The flag as it is served now.

        Raises:
            UnknownFlag: the store has no such flag in this environment.
            StoreUnavailable: the store did not answer.
        """
        ...

    async def apply(self, command: FlagCommand) -> Applied:
        """
        Carry out a command and read back what it led to. What cannot be done is an answer, not an exception.

        Raises:
            StoreUnavailable: no proof that it was done, nor that it was not; read back before sending again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell people: one sentence, and where it belongs."""

    notice_id: str
    flag_key: str
    environment: str
    owner: str
    urgent: bool
    text: str


class Notifier(Protocol):
    """Tells people."""

    async def notify(self, notice: Notice) -> None:
        """Deliver the notice; a repeat with the same ``notice_id`` is told once where the channel can."""
        ...


class AuditLog(Protocol):
    """Keeps what was decided and done, beside the topics."""

    async def record(self, entry: Mapping[str, object]) -> None:
        """Append one entry; entries are never changed."""
        ...
