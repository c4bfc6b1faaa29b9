"""All that is remembered of one rollout, and its snapshot: plain values, the same bytes for the same past."""

from __future__ import annotations

from typing import Any

import msgspec

from guardian.arrivals import Arrivals
from guardian.company import Company
from guardian.decisions import Decision
from guardian.failures import Failures
from guardian.hanging import Hanging
from guardian.hindsight import Hindsight
from guardian.history import History
from guardian.lag import Lag
from guardian.lines import Lines, lines_of
from guardian.migrating import OLDER
from guardian.mixing import Mixing
from guardian.names import Millis
from guardian.newcomers import Newcomers
from guardian.packing import pack, refused, unpack, version_of
from guardian.policy import Policy
from guardian.population import Population
from guardian.progress import Progress
from guardian.rollout import Status
from guardian.sequential import Account, Fading
from guardian.served import Known
from guardian.serving import Services
from guardian.units import FailedUnits
from guardian.variation import VariationWatch
from guardian.window import Windows

FORMAT = 8
POLICIES_MAX = 10_000


class Pending(msgspec.Struct):
    """
    A decision without a receipt so far, as JSON, and when it was last sent (journal time).

    ``about`` is the variation that it is about, empty for the whole flag. ``waits`` says that act has it and cannot
    carry it out yet.
    """

    decision_id: str
    raw: bytes
    sent_ms: Millis
    about: str = ""
    waits: bool = False

    def decision(self) -> Decision:
        """Return the decision as it was made."""
        return Decision.model_validate_json(self.raw)


class Verify(msgspec.Struct):
    """
    The closed loop after a kill: whether exposures really end.

    ``done_ms`` is when ``store`` had taken it, 0 before. Exposures that start from ``applied_ms`` on speak against it:
    ``bound_ms`` after that, and later where a window has passed. ``last_ms`` is the end of the newest tick with any
    since ``done_ms``, ``services`` who showed them.
    """

    decision_id: str
    applied_ms: Millis = 0
    still_exposed: int = 0
    control_exposed: int = 0
    said: str = ""
    done_ms: Millis = 0
    bound_ms: Millis = 0
    last_ms: Millis = 0
    store: str = ""
    services: Services = {}

    @property
    def since_ms(self) -> Millis:
        """Return when the store had taken it; as far as a state of an older version tells, when exposures began to count."""
        return self.done_ms or self.applied_ms


class Heard(msgspec.Struct, array_like=True, gc=False):
    """
    When exposures and outcomes of a variation last came (journal time); before the first, when it began.

    ``reached_ms`` is the end of the newest tick of start of which an outcome came, ``advanced_ms`` when that was.
    """

    exposed_ms: Millis
    finished_ms: Millis
    reached_ms: Millis
    advanced_ms: Millis


class RolloutState(msgspec.Struct, gc=False):
    """
    One rollout as judge knows it.

    ``offset`` is the journal offset that this state has seen. ``data_ms`` is
    the journal time at which telemetry last came; budget drips only between
    such times. ``segments`` are those watched, by attribute, as they were
    first heard of. ``met`` are the variations whose telemetry is taken, ``strangers`` some of those for which there is no
    room, ``unheard`` some topics that hold events of it which do not count. ``document`` is the policy, as MessagePack.
    ``company`` is what is known of the other flags that its
    requests ran under. ``courses`` is how far each variation has come, ``joins`` the status with which another one begins.
    ``heard`` is kept for guardrails on silence, ``silent`` names what is
    silent and was told. ``hindsights`` are the kills of shadow mode.
    ``store`` is the one that answered last, ``follows_ms`` how long its slowest clients take to follow, as it was told then;
    ``served`` by store what it last said that it serves.
    ``since`` is the journal offset of the policy that it began with, -1 where that is not known; ``kept_ms`` is when
    the keepsake was written that it began with instead, 0 where it has its whole past.
    """

    key: str
    document: bytes
    policy_hash: str
    offset: int = -1
    since: int = -1
    kept_ms: Millis = 0
    joins: Status = Status.PLANNED
    courses: dict[str, Progress] = {}
    sequence: int = 0
    begun: bool = False
    data_ms: Millis = 0
    population: Population = msgspec.field(default_factory=Population)
    lag: Lag = msgspec.field(default_factory=Lag)
    history: History = msgspec.field(default_factory=History)
    failures: Failures = msgspec.field(default_factory=Failures)
    failed: FailedUnits = msgspec.field(default_factory=FailedUnits)
    mixing: Mixing = msgspec.field(default_factory=Mixing)
    reported: FailedUnits = msgspec.field(default_factory=FailedUnits)
    newcomers: Newcomers = msgspec.field(default_factory=Newcomers)
    arrivals: Arrivals = msgspec.field(default_factory=Arrivals)
    hanging: Hanging = msgspec.field(default_factory=Hanging)
    company: Company = {}
    segments: dict[str, list[str]] = {}
    met: list[str] = []
    strangers: list[str] = []
    unheard: list[str] = []
    heard: dict[str, Heard] = {}
    silent: list[str] = []
    changes: list[str] = []
    variations: dict[str, VariationWatch] = {}
    windows: Windows = msgspec.field(default_factory=Windows)
    outbox: list[Pending] = []
    store: str = ""
    follows_ms: Millis = 0
    served: dict[str, Known] = {}
    verify: dict[str, Verify] = {}
    hindsights: list[Hindsight] = []
    sources: dict[str, list[int]] = {}
    shown_ms: Millis = 0
    to_show: bool = True
    last_decision: str = ""
    explanation: str = ""

    @property
    def propagation_ms(self) -> Millis:
        """Return how long the slowest clients of its stores take to follow a change; 0 where nobody told."""
        return max(self.follows_ms, *(one.propagation_ms for one in self.served.values()), 0)

    @property
    def policy(self) -> Policy:
        """Return the policy; parsed once per content."""
        known = _policies.get(self.policy_hash)
        if known is None:
            if len(_policies) >= POLICIES_MAX:
                _policies.clear()
            known = _policies[self.policy_hash] = Policy.from_document(msgspec.msgpack.decode(self.document))
        return known

    @property
    def lines(self) -> Lines:
        """Return the lines that the policy's guardrails read; made once per content."""
        known = _lines.get(self.policy_hash)
        if known is None:
            if len(_lines) >= POLICIES_MAX:
                _lines.clear()
            known = _lines[self.policy_hash] = lines_of(self.policy)
        return known

    @property
    def status(self) -> Status:
        """Return where the rollout stands: with several variations, where the one does that needs people most."""
        found = {course.status for course in self.courses.values()}
        return next((status for status in _FOREMOST if status in found), self.joins)

    @property
    def stage(self) -> int:
        """Return the earliest stage (from 0) that a variation under way stands in."""
        stages = [course.stage for course in self.courses.values() if course.status != Status.KILLED]
        return max(min(stages or [course.stage for course in self.courses.values()] or [0]), 0)

    def course(self, variation: str) -> Progress:
        """Return how far the variation has come; its course begins when it is first asked for."""
        held = self.courses.get(variation)
        if held is None:
            stages = self.policy.stages
            held = Progress(status=self.joins, stage=-1 if stages and stages[0].users is not None else 0)
            # By name, so that the order never tells who came first.
            self.courses = dict(sorted({**self.courses, variation: held}.items()))
        return held

    def is_unanswered(self, variation: str) -> bool:
        """Say whether a decision about the variation, or about the whole flag, has no receipt yet."""
        return any(pending.about in ("", variation) for pending in self.outbox)

    def alive(self) -> list[str]:
        """Return the variations under watch, in the order of their names."""
        return sorted(v for v, watch in self.variations.items() if not watch.killed)

    def snapshot(self) -> bytes:
        """Return the state as bytes (`packing.pack`)."""
        return pack(FORMAT, _encoder.encode(self))

    @classmethod
    def restore(cls, raw: bytes) -> RolloutState:
        """
        Return the state that ``snapshot`` wrote, of this format or of an older one that is in ``OLDER``.

        Raises:
            NewerFormat: a newer version wrote it.
            ValueError: it is of another format, or damaged.
        """
        version = version_of(raw)
        if version == FORMAT:
            return _decoder.decode(unpack(raw))
        if version in OLDER:
            try:
                return msgspec.convert(OLDER[version](raw), RolloutState, dec_hook=_dec_hook)
            except (msgspec.MsgspecError, ValueError, LookupError, TypeError) as error:
                raise ValueError(f"a damaged snapshot of format {version}: {error!r}") from error
        raise refused(raw, "", {*OLDER, FORMAT})


def packed_document(document: dict[str, Any]) -> bytes:
    """Return a policy's document as a state holds it."""
    return msgspec.msgpack.encode(document)


_FOREMOST = (
    *(Status.PAUSED, Status.HOLDING, Status.STEPPING_BACK, Status.PLANNED, Status.RUNNING),
    *(Status.COMPLETED, Status.KILLED),
)
"""Of several variations, the status that the rollout shows."""
_policies: dict[str, Policy] = {}
"""Parsed policies by the hash of their content: only a memory, never a state."""
_lines: dict[str, Lines] = {}
"""Their lines, as well."""
_KEPT = (FailedUnits, History, Newcomers)
"""Types that give and take their content as plain values."""


def _enc_hook(value: Any) -> Any:
    if isinstance(value, Account | Fading):
        return value.to_state()
    if isinstance(value, _KEPT):
        return value.state()
    raise NotImplementedError(f"no snapshot form for {type(value).__name__}")


def _dec_hook(kind: type, value: Any) -> Any:
    if kind in (Account, Fading):
        return kind.from_state(value)
    if kind in _KEPT:
        made = kind()
        made.restore(value)
        return made
    raise NotImplementedError(f"no snapshot form for {kind.__name__}")


_encoder = msgspec.msgpack.Encoder(enc_hook=_enc_hook)
_decoder = msgspec.msgpack.Decoder(RolloutState, dec_hook=_dec_hook)
