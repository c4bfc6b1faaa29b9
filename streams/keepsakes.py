"""
Writes the keepsakes of rollouts into the journal, one after the other, for the day when it holds nothing older.

A keepsake changes nothing where its rollout is known. Whoever comes late with an older one does no harm either: it says
how far it had seen, and is used only where nothing lies between that and what the journal still holds.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import structlog

from guardian.bank import Bank
from guardian.journal import NOTICED, PolicyEntry, encode
from guardian.keepsakes import keepsake_of
from guardian.state import RolloutState
from streams.clock import now_ms
from streams.outlet import NotDelivered
from streams.registry import Writer

log = structlog.get_logger()

ROUND_S = 3_600.0
"""In so long each rollout has its turn; far below the journal's retention."""


class Keepsakes:
    """
    Gives each rollout its turn within *round_s*; one for a judge worker.

    It begins anywhere: where workers never live for a whole round, all have their turn all the same.
    """

    def __init__(self, outlet: Writer, journal: str, *, round_s: float = ROUND_S) -> None:
        self._outlet = outlet
        self._journal = journal
        self._round_s = round_s
        self._at = random.random()
        """How far the round is: the part of the rollouts, by their names, that had their turn."""
        self._due = random.random()
        """How many are to be written; what is not one yet waits."""

    async def go_on(self, banks: Iterable[Bank], passed_s: float) -> None:
        """Write the keepsakes whose turn has come in these seconds; what Kafka does not take waits for the next round."""
        states = {state.key: (bank, state) for bank in banks for state in bank.rollouts.values()}
        self._due += passed_s * len(states) / self._round_s
        keys = sorted(states) if self._due >= 1.0 else []
        while self._due >= 1.0 and keys:
            self._due -= 1.0
            await self._write(*states[keys[int(self._at * len(keys))]])
            self._at = (self._at + 1.0 / len(keys)) % 1.0

    async def _write(self, bank: Bank, state: RolloutState) -> None:
        entry = PolicyEntry(
            at_ms=now_ms(),
            key=state.key,
            hash=state.policy_hash,
            document=state.policy.to_document(),
            by=NOTICED,
            keepsake=keepsake_of(state, bank.sources.offset),
        )
        try:
            await self._outlet.send(self._journal, state.key, encode(entry))
        except NotDelivered as error:
            log.warning("keepsake_not_kept", rollout=state.key, reason=str(error))
