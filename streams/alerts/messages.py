"""What a channel is handed: the sentence, the links, the chart; of news as they come, and of an incident that goes on or ends."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import structlog

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, REFUSAL_TYPE, Decision, Receipt, Refusal
from guardian.explain import explain_receipt
from guardian.incident_texts import report, resolved_text, status_body, status_text, title_of
from guardian.incidents import INCIDENT_TYPE, Due, Incident, News
from guardian.names import rollout_key
from streams.alerts.base import Level, Link, Report

log = structlog.get_logger()

_HOUR = len("2026-11-21T01")
_KILLS = frozenset({"kill", "kill_flag"})


def of_decision(decision: Decision) -> News:
    """Return a decision as news."""
    return News(
        id=f"decision:{decision.decision_id}",
        at=decision.decided_at,
        environment=decision.environment,
        flag_key=decision.flag_key,
        variation=decision.variant,
        owner=decision.owner,
        action=decision.action,
        mode=decision.mode,
        status="decided",
        title=title_of(decision.environment, decision.flag_key, decision.variant, decision.action, "decided"),
        text=decision.explanation,
        data=decision,
    )


def of_receipt(receipt: Receipt, decision: Decision | None, owner: str = "") -> News:
    """
    Return a receipt as news, with its *decision* where that is known; else *owner* is whose it is.

    A kill that was carried out long after it was decided has ``arrived``.
    """
    arrived = receipt.action in _KILLS and receipt.status in ("applied", "already") and receipt.waited_s > 0.0
    status = "arrived" if arrived else receipt.status
    return News(
        id=f"receipt:{receipt.receipt_id}",
        at=receipt.at,
        environment=receipt.environment,
        flag_key=receipt.flag_key,
        variation=receipt.variant,
        owner=decision.owner if decision is not None else owner,
        action=receipt.action,
        mode="shadow" if receipt.status == "shadow" else decision.mode if decision is not None else "enforce",
        status=status,
        title=title_of(receipt.environment, receipt.flag_key, receipt.variant, receipt.action, status),
        text=explain_receipt(receipt, decision),
        data=receipt,
    )


def of_refusal(refusal: Refusal, at: str) -> News:
    """Return that somebody else writes decisions or receipts, as news: once an hour and topic, however many there are."""
    where = f"{refusal.topic}/{refusal.partition}/{refusal.offset}"
    return News(
        id=f"refusal:{refusal.topic}:{at[:_HOUR]}",
        at=at,
        environment="",
        flag_key="",
        variation=refusal.topic,
        owner="",
        action="refusal",
        mode="enforce",
        status="refused",
        title=title_of("", "", refusal.topic, "refusal", "refused"),
        text=f"Somebody else has written what looks like one of the guardian's records: {where}: {refusal.reason}. "
        "Nothing was done on it; see who may write there.",
        data=refusal,
    )


class Messages:
    """
    Makes reports of news and incidents.

    *page_url* is where people reach the guardian's page; without it there are no links.
    """

    def __init__(self, page_url: str = "") -> None:
        self._page_url = page_url.rstrip("/")

    def news(self, news: News, level: Level, to: tuple[str, ...], incident: Incident | None) -> Report:
        """Return news, those of an incident with its name."""
        decision = news.data if isinstance(news.data, Decision) else incident.decision if incident is not None else None
        return Report(
            notice_id=news.id,
            flag_key=news.flag_key,
            environment=news.environment,
            owner=news.owner,
            urgent=level == "page",
            text=news.text,
            type={Decision: DECISION_TYPE, Receipt: RECEIPT_TYPE, Refusal: REFUSAL_TYPE}[type(news.data)],
            at=news.at,
            variation=news.variation,
            data=news.data,
            level=level,
            incident=incident.incident if incident is not None else "",
            opened_at=incident.opened_at if incident is not None else "",
            title=news.title,
            links=self._links(news.environment, news.flag_key, news.data, decision),
            chart=chart_of(decision) if level != "log" else b"",
            to=to,
        )

    def due(self, due: Due, incident: Incident, to: tuple[str, ...], now_s: float) -> Report:
        """Return what is due of an incident."""
        body = {"status": status_body, "resolved": lambda *_: "", "report": lambda known, _: report(known)}
        text = status_text(incident, now_s) if due.kind == "status" else resolved_text(incident)
        title = {"status": "Still open", "resolved": "Over", "report": "Report"}[due.kind]
        return Report(
            notice_id=due.notice_id,
            flag_key=incident.flag_key,
            environment=incident.environment,
            owner=incident.owner,
            urgent=False,
            text=text,
            type=INCIDENT_TYPE,
            at=_rfc3339(now_s) if due.kind == "status" else incident.closed_at,
            variation=incident.variation,
            data=incident.decision or incident.opened_by,
            kind=due.kind,
            level="chat",
            incident=incident.incident,
            opened_at=incident.opened_at,
            title=f"{title}: {incident.title}",
            body=body[due.kind](incident, now_s),
            links=self._links(incident.environment, incident.flag_key, incident.opened_by, incident.decision),
            chart=b"" if due.kind == "resolved" else chart_of(incident.decision),
            to=to,
        )

    def _links(
        self, environment: str, flag_key: str, data: Decision | Receipt | Refusal, decision: Decision | None
    ) -> tuple[Link, ...]:
        """What was decided, why, and taking it back: each is an address of the page."""
        if not self._page_url or isinstance(data, Refusal):
            return ()
        decided = f"{self._page_url}/#/decisions/{quote(data.decision_id, safe='')}"
        links = [
            Link("The decision", decided),
            Link("Why", f"{self._page_url}/#/rollouts/{quote(rollout_key(environment, flag_key), safe='')}"),
        ]
        if data.action in _KILLS:
            links.append(Link("Undo", f"{decided}/undo"))
        elif decision is not None and decision.action in _KILLS and data.action != "resume":
            links.append(Link("Undo", f"{self._page_url}/#/decisions/{quote(decision.decision_id, safe='')}/undo"))
        return tuple(links)


def chart_of(decision: Decision | None) -> bytes:
    """Return the decision's chart, nothing where it has no evidence of two arms; a chart never costs its notice."""
    if decision is None or decision.evidence is None:
        return b""
    from streams.alerts.chart import draw

    try:
        return draw(decision)
    except Exception:
        log.exception("chart_not_drawn", decision_id=decision.decision_id)
        return b""


def _rfc3339(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
