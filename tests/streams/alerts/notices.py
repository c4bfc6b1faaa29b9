from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE
from guardian.explain import explain_receipt
from streams.alerts.base import Report
from tests.support.published import decision, receipt


def decided(**more: Any) -> Report:
    """An urgent notice of a kill just decided; *more* replaces fields of the decision."""
    of = decision(at_ms=int(time.time() * 1000), **more)
    return Report(
        notice_id=f"decision:{of.decision_id}",
        flag_key=of.flag_key,
        environment=of.environment,
        owner=of.owner,
        urgent=of.action == "kill",
        text=of.explanation,
        type=DECISION_TYPE,
        at=of.decided_at,
        variation=of.variant,
        data=of,
        level="page" if of.action == "kill" else "log",
        incident=f"{of.environment}|{of.flag_key}|{of.variant}",
        opened_at=of.decided_at,
    )


def answered(status: str, **more: Any) -> Report:
    """An urgent notice of a receipt that came just now."""
    of = receipt(decision(at_ms=int(time.time() * 1000)), status, **more)
    return Report(
        notice_id=f"receipt:{of.receipt_id}",
        flag_key=of.flag_key,
        environment=of.environment,
        owner="team-checkout",
        urgent=True,
        text=explain_receipt(of),
        type=RECEIPT_TYPE,
        at=of.at,
        variation=of.variant,
        data=of,
        level="page",
        incident=f"{of.environment}|{of.flag_key}|{of.variant}",
        opened_at=of.at,
    )


def resolved(opened: Report) -> Report:
    """That the incident of a notice is over."""
    return replace(opened, notice_id=f"resolved:{opened.incident}", kind="resolved", level="chat", urgent=False)
