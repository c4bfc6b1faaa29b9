"""
The entries of the journal: all that ``judge`` knows, in one order.

Sums, time, policies, what people want, what stores answered: whatever may
change a verdict is an entry, and nothing else is. Time is in the entry
(``at_ms``); ``judge`` has no clock.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from guardian.served import Known, Serves
from guardian.summaries import FlagSums

At = Annotated[int, msgspec.Meta(ge=-(2**53), le=253_402_300_799_999)]
"""Milliseconds since the epoch, up to the end of the year 9999; what is later is no time that anything can be reckoned with."""
UpToADay = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
"""Milliseconds that somebody has to wait."""


class Summary(msgspec.Struct, tag="summary", omit_defaults=True, kw_only=True, gc=False):
    """
    The sums of one flush of one source, for all flags of one journal partition.

    ``source`` is ``topic/partition``. ``at_ms`` is the clock of the flush.
    ``passed_ms`` promises that what the source held for earlier event times
    has been read, as far as it had arrived: the clock where the source is
    read to its end, else the event time reached. ``offsets`` are the first
    and last input offset summed here.
    """

    source: str
    at_ms: At
    passed_ms: At
    offsets: list[int] = []
    flags: list[FlagSums] = []


class Beat(msgspec.Struct, tag="beat", omit_defaults=True, kw_only=True):
    """Time passes: ``source`` had nothing to say and has been read as far as ``passed_ms``."""

    source: str
    at_ms: At
    passed_ms: At


NOTICED = "noticed"
"""Stands as ``by`` in a policy that counts only where the rollout has none."""


class Keepsake(msgspec.Struct, omit_defaults=True, kw_only=True):
    """
    What of a rollout must outlive the journal: enough to go on safely when all else of its past is lost.

    It holds what the state was at offset ``seen``. ``since`` is the offset of the policy that the rollout began with.
    ``courses`` is how far each variation had come, ``killed`` when those were killed that are, ``sequence`` the number
    of the newest decision, ``outbox`` the decisions without a receipt, ``verify`` the kills whose effect is watched,
    ``served`` by store what it serves.
    """

    seen: int
    since: int = -1
    joins: str = ""
    sequence: int = 0
    courses: dict[str, dict[str, Any]] = {}
    killed: dict[str, int] = {}
    served: dict[str, Known] = {}
    outbox: list[dict[str, Any]] = []
    verify: dict[str, dict[str, Any]] = {}
    changes: list[str] = []
    last_decision: str = ""
    explanation: str = ""


class PolicyEntry(msgspec.Struct, tag="policy", kw_only=True):
    """
    A rollout's policy as JSON document (``Policy.to_document()``), new or changed; ``hash`` names its content.

    One by ``NOTICED`` counts only where the rollout has none: what people wrote is never replaced, neither by a default
    nor by a policy that is said again, with its rollout's ``keepsake``.
    """

    at_ms: At
    key: str
    hash: str
    document: dict[str, Any]
    by: str = ""
    keepsake: Keepsake | None = None


class Override(msgspec.Struct, tag="override", omit_defaults=True, kw_only=True):
    """
    What a person wants of a rollout: ``kill``, ``pause``, ``resume``; always with a name and a reason.

    ``changed`` tells of a change from outside, such as a build: late harm is looked for with fresh budget.
    ``approve`` says that ``group`` agrees to leave ``stage`` (from 0); without it, the one that stands.
    """

    at_ms: At
    key: str
    action: str
    variation: str = ""
    by: str = ""
    reason: str = ""
    id: str = ""
    group: str = ""
    stage: int | None = None


class ReceiptEntry(msgspec.Struct, tag="receipt", omit_defaults=True, kw_only=True):
    """
    What the store answered to a decision: ``applied``, ``already``, ``failed``, ``conflict``, ``superseded``, ``shadow``.

    ``waiting`` is no answer yet: act has the decision, and the store is away. ``share`` is the one that people have
    set, where that is the conflict. ``action`` and ``variation`` are the decision's.

    ``effective`` stands in all partitions and is a lesson, not an answer: the store's kill took ``took_ms`` to reach its
    last client, and by service as ``services`` says. ``serves`` is none either, and of no decision: it tells what the
    store gives whom from now on. ``change`` is the id of what led there, where people's change has one.

    ``propagation_ms`` is how long the slowest of the store's clients take to follow a change, by its settings; 0: not told.
    """

    at_ms: At
    key: str
    decision_id: str
    status: str
    detail: str = ""
    version: str = ""
    share: float | None = None
    action: str = ""
    variation: str = ""
    store: str = ""
    took_ms: int = 0
    services: dict[str, int] = {}
    serves: Serves | None = None
    change: str = ""
    propagation_ms: UpToADay = 0


Entry = Summary | Beat | PolicyEntry | Override | ReceiptEntry


def is_lesson(entry: Entry) -> bool:
    """Say whether an entry is a receipt that is a lesson, and no answer to anything."""
    return isinstance(entry, ReceiptEntry) and entry.status == LESSON


def is_answer(entry: Entry) -> bool:
    """Say whether an entry is a receipt that answers a decision: no lesson, and not what a store serves."""
    return isinstance(entry, ReceiptEntry) and entry.status not in (LESSON, SERVES)


def serves_of(entry: ReceiptEntry) -> Serves | None:
    """Return what a store tells that it serves; None where it is an answer, or a lesson."""
    return entry.serves if entry.status == SERVES else None


LESSON = "effective"
"""The status of such a receipt."""
SERVES = "serves"
"""The status of one that tells what a store serves; versions that do not know it pass it over."""

_decoder = msgspec.json.Decoder(Entry)
_encoder = msgspec.json.Encoder()


def encode(entry: Entry) -> bytes:
    """Return the entry as JSON; maps in the order in which they were filled."""
    return _encoder.encode(entry)


def decode(raw: bytes) -> Entry:
    """Return the entry; raises ``msgspec.ValidationError`` or ``msgspec.DecodeError`` with the reason."""
    try:
        entry: Entry = _decoder.decode(raw)
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None
    return entry
