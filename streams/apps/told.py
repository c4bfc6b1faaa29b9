"""``guardian explain``: what was decided and why, or why nothing has happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TextIO

from guardian.explain import clean, quoted, sentence
from guardian.names import rollout_key
from streams.apps import known
from streams.apps.board import DecisionNow, RolloutNow
from streams.apps.client import DONE, Client, Wrong, path_of


def explain(client: Client, name: str, out: TextIO, *, as_json: bool, is_long: bool) -> int:
    """
    Print one sentence on a decision, or on why nothing has happened to a rollout; return the exit code.

    ``is_long`` prints a paragraph, ``as_json`` the full record, of a decision with its receipts.

    Raises:
        Wrong: there is neither a decision nor a rollout of this name.
    """
    made = known.decision(client, name)
    if made is not None:
        record, said = path_of("decisions", name), list(paragraph(made)) if is_long else [made.explanation]
        said += looked_back(client, made)
    else:
        try:
            view = known.rollout(client, name)
        except Wrong as error:
            raise Wrong(f"no decision of this id among the newest, and {error}") from None
        record, said = path_of("rollouts", view.key), list(standing(view)) if is_long else [view.why]
    if as_json:
        out.write(json.dumps(client.get(record), indent=1, ensure_ascii=False) + "\n")
    else:
        out.write(" ".join(part for part in said if part) + "\n")
    return DONE


def standing(view: RolloutNow) -> Iterator[str]:
    """Yield the sentences on why nothing has happened: the first reason, every gate that is closed, each guardrail's numbers."""
    yield view.why
    yield from (sentence(wait, "") for wait in view.waits if clean(wait) not in view.why)
    for one in view.guardrails:
        if one.values and not one.segment:
            where = f" of {one.variation}" if len(view.arms) > 2 else ""
            yield sentence(f"{quoted(one.guardrail, one.segment)}{where} reads {one.values}", "")
    yield view.mixed
    yield from (one.text for one in view.hindsight)


def looked_back(client: Client, made: DecisionNow) -> list[str]:
    """Return what became of a decision of shadow mode, as far as its rollout remembers it."""
    if made.mode != "shadow":
        return []
    views = [view for view in known.rollouts(client) if view.key == rollout_key(made.environment, made.flag_key)]
    return [one.text for view in views for one in view.hindsight if one.decision_id == made.decision_id]


def paragraph(made: DecisionNow) -> Iterator[str]:
    """Yield the sentences on a decision: what and why, what it rests on, by how much, under which terms, what became of it."""
    yield made.explanation
    yield made.rests_on
    if made.differs:
        yield f"Against {made.control}: {made.differs}."
    if made.evidence is not None:
        yield f"What was measured began at {made.evidence_from} and ended at {made.evidence_to}."
    yield f"It was decided at {made.decided_at} under policy {made.policy_hash[:15]}."
    for receipt in made.receipts:
        yield receipt.text
    if not made.receipts:
        yield "No flag store has answered yet."
