"""
Incidents: what people have to know of one variation from the moment that it woke somebody until it is over.

One incident per environment, flag and variation. It is opened by what pages, whatever follows joins it, and a person ends
it by taking the variation up again or by archiving the flag. Nothing here knows the time: it is given. The records are the
documented payload of ``guardian.incidents.v1``; what channels were told is part of them, so that a crash repeats nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from guardian.decisions import Decision, Receipt, Refusal
from guardian.names import rollout_key

INCIDENT_TYPE = "dev.rolloutguardian.incident.v1"
OPENS_WITHIN_S = 86_400.0
"""What happened longer ago opens nothing any more: whoever reads old records anew wakes nobody for them."""
REFUSAL_QUIET_S = 86_400.0
"""Nobody can resume what was refused: it is over when nothing more came for so long."""
KEPT_S = 7 * 86_400.0
"""An incident that is over is remembered for so long, so that what is read again does not open it anew."""
MOMENTS = 200
TOLD = 500
"""Of an incident at most so many moments, and so many notices that channels were told; the oldest go, but for the first."""

About = Decision | Receipt | Refusal
Owed = Literal["status", "resolved", "report"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Moment(_Record):
    """One line of an incident's timeline: *id* is that of the notice it was told by."""

    id: str
    at: str
    text: str
    action: str
    status: str


class Incident(_Record):
    """
    An incident as it is now; ``revision`` grows with every change, and of two records the higher is newer.

    ``opened_by`` is what opened it, ``decision`` the kill that it is about as far as that is known, with its numbers.
    ``statuses`` is the number of the last status told (0 to the stakeholders, then that of the period), -1 for none.
    ``told`` are the channels that have taken each notice, by its id; ``memory`` is what channels keep for themselves.
    """

    incident: str
    environment: str
    flag_key: str
    variation: str
    owner: str = ""
    opened_at: str
    opened_by: About
    title: str
    text: str
    decision: Decision | None = None
    moments: tuple[Moment, ...] = ()
    closed_at: str = ""
    closed_by: str = ""
    statuses: int = -1
    is_resolved_told: bool = False
    is_report_told: bool = False
    told: dict[str, tuple[str, ...]] = {}
    memory: dict[str, str] = {}
    revision: int = 0

    @property
    def is_open(self) -> bool:
        """Whether nobody has ended it."""
        return not self.closed_at

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that have heard of it while it was open, in the order of their names."""
        ends = (_owed_id("resolved", self), _owed_id("report", self))
        return tuple(sorted({name for notice, names in self.told.items() if notice not in ends for name in names}))

    def knows(self, notice_id: str) -> bool:
        """Whether this news is part of it already."""
        return any(moment.id == notice_id for moment in self.moments)


@dataclass(frozen=True, slots=True)
class News:
    """
    Something that happened, as it came: ``status`` is ``decided`` of a decision, else the receipt's.

    *pages* says that it wakes somebody, *title* and *text* what it is in a few words and in a sentence.
    """

    id: str
    at: str
    environment: str
    flag_key: str
    variation: str
    owner: str
    action: str
    mode: str
    status: str
    title: str
    text: str
    data: About
    pages: bool = False

    @property
    def incident(self) -> str:
        """The name of the incident that it belongs to."""
        return incident_key(self.environment, self.flag_key, self.variation)

    @property
    def ends(self) -> bool:
        """Whether a person has taken the variation (all of the flag's, where it names none) up again."""
        return self.action == "resume" and self.status == "decided" and self.mode == "enforce"

    def concerns(self, incident: Incident) -> bool:
        """Whether an incident is about what this names; one of a whole flag concerns all variations, and all concern it."""
        same = (incident.environment, incident.flag_key) == (self.environment, self.flag_key)
        return same and (self.variation == incident.variation or "" in (self.variation, incident.variation))


class Schedule(NamedTuple):
    """After how long stakeholders hear of an incident, and how often its status is told from then on; both in seconds."""

    stakeholders_s: float
    every_s: float


class Due(NamedTuple):
    """What is to be told of an incident now, and under which identity; *number* is that of a status."""

    kind: Owed
    notice_id: str
    number: int = 0


def incident_key(environment: str, flag_key: str, variation: str) -> str:
    """Return ``environment|flag|variation``."""
    return f"{rollout_key(environment, flag_key)}|{variation}"


def seconds_of(at: str) -> float:
    """Return a time (RFC 3339) as seconds since the epoch."""
    return datetime.fromisoformat(at).timestamp()


def take(known: Incident | None, news: News, now_s: float) -> Incident | None:
    """
    Return the incident that the news belong to as it is with them; the very same where they change nothing.

    None where there is none: nothing is open, and the news open nothing.
    """
    if known is not None and known.knows(news.id):
        return known
    if known is not None and known.is_open:
        return _joined(known, news)
    is_old = now_s - seconds_of(news.at) > OPENS_WITHIN_S
    is_past = known is not None and seconds_of(news.at) <= seconds_of(known.closed_at)
    if not news.pages or is_old or is_past:
        return None
    return _joined(_opened(news, known.revision if known is not None else 0), news)


def end(known: Incident, at: str, by: str) -> Incident:
    """Return an open incident as it is when it is over since *at*; *by* says who or what ended it, in a sentence."""
    return _changed(known, closed_at=max(at, known.opened_at, key=seconds_of), closed_by=by)


def due(known: Incident, schedule: Schedule, now_s: float) -> Due | None:
    """
    Return what is to be told now, nothing where that was told.

    Of statuses that were missed only the last one: it says all that the others would have.
    """
    if not known.is_open:
        for kind, is_told in (("resolved", known.is_resolved_told), ("report", known.is_report_told)):
            if not is_told:
                return Due(kind, _owed_id(kind, known))  # type: ignore[arg-type]  # one of the two
        return None
    number = _status_number(now_s - seconds_of(known.opened_at), schedule)
    if number <= known.statuses:
        return None
    return Due("status", f"{_owed_id('status', known)}:{number}", number)


def ends_by_itself(known: Incident, now_s: float) -> bool:
    """Whether it is one of refused records, and quiet for long."""
    is_refusal = isinstance(known.opened_by, Refusal)
    return known.is_open and is_refusal and now_s - seconds_of(known.moments[-1].at) > REFUSAL_QUIET_S


def done(known: Incident, told: Due, to: Collection[str]) -> Incident:
    """
    Return it with something that was due as told (or given up: it is not told again either way) through channels *to*.

    The end is told as long as there is a channel that has heard of the incident meanwhile and is not among them. What was
    due of an earlier incident of the same name changes nothing.
    """
    if not told.notice_id.startswith(_owed_id(told.kind, known)):
        return known
    match told.kind:
        case "status":
            return _changed(known, statuses=max(known.statuses, told.number))
        case "resolved":
            return _changed(known, is_resolved_told=set(known.channels) <= set(to))
        case "report":
            return _changed(known, is_report_told=True)


def heard(known: Incident, notice_id: str, channel: str) -> Incident:
    """
    Return it with the channel among those that have taken the notice.

    Where it is over and the channel has not heard that, this is due once more: else it would stand open there for good.
    """
    names = known.told.get(notice_id, ())
    if channel in names:
        return known
    told = {**known.told, notice_id: (*names, channel)}
    ends = (_owed_id("resolved", known), _owed_id("report", known))
    is_late = not known.is_open and notice_id not in ends and channel not in known.told.get(ends[0], ())
    return _changed(known, told=_newest(told, TOLD), is_resolved_told=known.is_resolved_told and not is_late)


def remember(known: Incident, channel: str, value: str) -> Incident:
    """Return it with what a channel keeps for itself."""
    return _changed(known, memory={**known.memory, channel: value})


def is_forgotten(known: Incident, now_s: float) -> bool:
    """Whether it is over, told to the end, and long past."""
    return known.is_report_told and now_s - seconds_of(known.closed_at) > KEPT_S


def newer(one: Incident | None, other: Incident) -> Incident:
    """Return the newer of two records of one incident."""
    return other if one is None or other.revision >= one.revision else one


def _opened(news: News, revision: int) -> Incident:
    return Incident(
        incident=news.incident,
        environment=news.environment,
        flag_key=news.flag_key,
        variation=news.variation,
        owner=news.owner,
        opened_at=news.at,
        opened_by=news.data,
        title=news.title,
        text=news.text,
        revision=revision,
    )


def _joined(known: Incident, news: News) -> Incident:
    moment = Moment(id=news.id, at=news.at, text=news.text, action=news.action, status=news.status)
    first, *others = (*known.moments, moment)
    # A receipt may come before its decision, which then is what the incident is about.
    is_the_kill = isinstance(news.data, Decision) and news.action in ("kill", "kill_flag")
    return _changed(
        known,
        moments=(first, *others[-(MOMENTS - 1) :]),
        owner=known.owner or news.owner,
        decision=news.data if is_the_kill else known.decision,
    )


def _status_number(elapsed_s: float, schedule: Schedule) -> int:
    if elapsed_s < schedule.stakeholders_s:
        return -1
    number = int(elapsed_s // schedule.every_s)
    return number if number * schedule.every_s > schedule.stakeholders_s else 0


def _owed_id(kind: str, known: Incident) -> str:
    return f"{kind}:{known.incident}:{known.opened_at}"


def _newest(told: dict[str, tuple[str, ...]], most: int) -> dict[str, tuple[str, ...]]:
    return dict(list(told.items())[-most:])


def _changed(known: Incident, **fields: object) -> Incident:
    return known.model_copy(update={**fields, "revision": known.revision + 1})
