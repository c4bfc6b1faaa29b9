"""
Rollouts that are noticed: a flag without a policy gets the default one, at once where a store divides it, else when seen often.

Published through the journal like any policy. A repeat says the same, and one that meets a policy which people wrote is
passed over (``guardian.bank``), so that it does not matter how many workers notice a flag, and when.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import structlog

from guardian.bank import Bank
from guardian.errors import PolicyError
from guardian.journal import NOTICED, PolicyEntry, encode
from guardian.names import split_rollout_key
from guardian.policy import Policy, parse_policy, policy_hash
from streams.clock import now_ms
from streams.outlet import NotDelivered

log = structlog.get_logger()

SEEN = 100
"""Summaries that tell of a flag, at most ten a second from each source: a slip of the pen does not get so far."""
MOST = 1_000
"""Rollouts under the default policy that one worker takes in."""
NAMED = 10
"""Flags named where there is no room for them."""


class Writer(Protocol):
    """What the journal is written through: an outlet."""

    async def send(self, topic: str, key: str, value: bytes | None) -> None:
        """Write one record to its partition and wait until it is kept; raises ``NotDelivered``."""
        ...


class Registry:
    """Gives *default* to flags without a policy; one for a judge worker."""

    def __init__(self, default: Policy, outlet: Writer, journal: str, *, most: int = MOST) -> None:
        self._default = default
        self._outlet = outlet
        self._journal = journal
        self._most = most
        self._published: set[str] = set()
        self._refused: set[str] = set()
        self._is_full = False

    async def notice(self, banks: Iterable[Bank]) -> None:
        """Publish the default policy of each flag that was found or seen often enough and has none; what fails comes again."""
        if self._is_full:
            return
        held = list(banks)
        found = [key for bank in held for key in sorted(bank.sources.found)]
        seen = [key for bank in held for key, times in sorted(bank.unwatched.items()) if times >= SEEN]
        new = [key for key in dict.fromkeys([*found, *seen]) if key not in self._published and key not in self._refused]
        if not new:
            return
        room = max(self._most - len(self._published | self._standing(held)), 0)
        for key in new[:room]:
            await self._publish(key)
        if len(new) > room:
            self._is_full = True
            right = "write policies for the flags that matter, or stop sending the events of those that do not"
            log.warning("registry_full", most=self._most, not_watched=new[room : room + NAMED], right=right)

    async def _publish(self, key: str) -> None:
        try:
            policy = self._policy(key)
        except PolicyError as error:
            self._refused.add(key)
            log.warning("rollout_not_noticed", rollout=key, reason=str(error))
            return
        entry = PolicyEntry(
            at_ms=now_ms(), key=key, hash=policy_hash(policy), document=policy.to_document(), by=NOTICED
        )
        try:
            await self._outlet.send(self._journal, key, encode(entry))
        except NotDelivered as error:
            log.warning("rollout_not_noticed", rollout=key, reason=str(error))
            return
        self._published.add(key)
        log.info("rollout_noticed", rollout=key, hash=entry.hash)

    def _policy(self, key: str) -> Policy:
        environment, flag = split_rollout_key(key)
        return parse_policy(self._default.to_document() | {"flag": flag, "environment": environment})

    def _standing(self, banks: Iterable[Bank]) -> set[str]:
        """The rollouts that were given the default before, by this worker or by another one."""
        mine = self._default.model_dump(exclude={"flag", "environment"})
        states = (state for bank in banks for state in bank.rollouts.values())
        return {state.key for state in states if state.policy.model_dump(exclude={"flag", "environment"}) == mine}
