"""What judging an entry leads to: values that ``streams`` carries out."""

from __future__ import annotations

from dataclasses import dataclass

from guardian.decisions import Decision, Receipt


@dataclass(frozen=True, slots=True)
class Decide:
    """Publish a decision; it stays in the outbox until its receipt is read. A repeat has the same id."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Confirm:
    """Publish the receipt that only judge can write: whether exposures ended after the kill."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Show:
    """Publish a rollout as it is by then (``Bank.view``): of several in a row only the last is worth making."""

    key: str


Effect = Decide | Confirm | Show
