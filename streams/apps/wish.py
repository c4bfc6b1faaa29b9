"""``guardian kill``, ``pause``, ``resume``, ``changed`` and ``approve``: a person's wish, and what became of it."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TextIO

from guardian.explain import clean
from streams.apps import known
from streams.apps.board import DecisionNow, ReceiptNow
from streams.apps.client import DONE, UNDONE, Client, NotReached, NotThere, Wrong, path_of

POLL_S = 0.1
DECISIONS_LOOKED_AT = 20
WORDS = {"kill": "killed", "pause": "paused", "resume": "resumed", "changed": "told of a change", "approve": "approved"}
ANSWERED = {"kill", "pause", "resume"}
"""What the flag store carries out, so that there is an answer to wait for."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants of the rollout that *name* means; ``group`` is who approves."""

    action: str
    name: str
    by: str
    reason: str
    variation: str = ""
    group: str = ""

    def problem(self) -> str:
        """Return what is missing, or nothing."""
        if not self.reason.strip():
            return "--reason TEXT is missing: say why, in a sentence; it stands in the record"
        if not self.by.strip():
            return "--by NAME is missing, and $USER is empty: who wants it?"
        return ""


def send(client: Client, wish: Wish, out: TextIO, *, wait_s: float, as_json: bool = False) -> int:
    """
    Write the wish into the journal and wait for the flag store's answer; return the exit code.

    The code is 1 where the wish stands in the journal, and was not carried out, or not within *wait_s*.
    ``as_json`` prints what the API took, with the decision and the newest receipt once there are any.

    Raises:
        Wrong: the rollout, the variation or a word of it cannot be.
        NotReached: the API or Kafka cannot be reached; nothing was written.
    """
    if problem := wish.problem():
        raise Wrong(problem)
    key = _key(client, wish.name)
    began_s = time.monotonic()
    content = {"action": wish.action, "variation": wish.variation, "group": wish.group, "by": wish.by}
    content |= {"reason": wish.reason, "id": uuid.uuid4().hex}
    sent = {name: value for name, value in content.items() if value}
    try:
        taken = client.post(f"{path_of('rollouts', key)}/override", sent)
    except NotThere:
        known.rollout(client, wish.name)  # says which ones there are
        raise
    is_asked = wish.action in ANSWERED and wait_s > 0.0
    decision, receipt = _answer(client, key, taken["id"], began_s + wait_s) if is_asked else (None, None)
    if as_json:
        answer = {name: one.model_dump(mode="json") for name, one in (("decision", decision), ("receipt", receipt)) if one}
        out.write(json.dumps(taken | answer, indent=1, ensure_ascii=False) + "\n")
        return DONE if not is_asked or _is_done(receipt) else UNDONE
    if not is_asked:
        out.write(f"taken: {wish.action} {clean(key)}, by {clean(wish.by)}; it stands in the journal\n")
        return DONE
    return _told((decision, receipt), wish, key, time.monotonic() - began_s, out)


def _is_done(receipt: ReceiptNow | None) -> bool:
    return receipt is not None and receipt.status in ("applied", "already")


def _key(client: Client, name: str) -> str:
    """Return the key; a whole key is believed, as an API that has just been started knows no rollout yet."""
    return name if "|" in name else known.rollout(client, name).key


def _answer(client: Client, key: str, wish_id: str, until_s: float) -> tuple[DecisionNow | None, ReceiptNow | None]:
    decision: DecisionNow | None = None
    while True:
        try:
            newest = known.decisions(client, key, DECISIONS_LOOKED_AT)
        except NotReached:
            newest = []  # away for a moment; the wish stands, and is told to
        decision = next((one for one in newest if one.caused_by == wish_id), decision)
        answers = [one for one in decision.receipts if one.status != "waiting"] if decision is not None else []
        if answers:
            return decision, answers[0]
        if time.monotonic() >= until_s:
            return decision, None
        time.sleep(POLL_S)


def _told(found: tuple[DecisionNow | None, ReceiptNow | None], wish: Wish, key: str, took_s: float, out: TextIO) -> int:
    decision, receipt = found
    if decision is None:
        out.write(f"taken, and not decided within {took_s:.1f} s: it stands in the journal; does judge run? see /readyz\n")
        return UNDONE
    if receipt is None:
        out.write(f"{decision.explanation}\nNo flag store has answered within {took_s:.1f} s; ")
        out.write(f"guardian explain '{decision.decision_id}' --long says when one has\n")
        return UNDONE
    if not _is_done(receipt):
        out.write(f"{decision.explanation}\n{receipt.text}\n")
        return UNDONE
    subject = f"{clean(key)}{f' {decision.variant}' if decision.variant else ''}"
    version = f" as version {receipt.version}" if receipt.version else ""
    served = f"served{version} after {took_s:.1f} s" if receipt.status == "applied" else "the flag store serves it so already"
    out.write(f"{WORDS[wish.action]} {subject}: {served}\n")
    return DONE
