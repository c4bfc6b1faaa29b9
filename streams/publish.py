"""Policies from files into the journal: an entry for each that is new or says something new."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from guardian.decisions import RolloutView
from guardian.errors import EventError
from guardian.journal import PolicyEntry, encode
from guardian.policy import Policy, policy_hash
from streams.clock import now_ms
from streams.cloudevents import from_event
from streams.outlet import Outlet
from streams.reading import newest_values
from streams.settings import Settings

log = structlog.get_logger()


async def publish_policies(settings: Settings, outlet: Outlet, policies: Iterable[Policy], *, by: str) -> int:
    """
    Write each policy whose rollout stands under another hash, or not at all; return how many were written.

    What stands is read from ``guardian.rollouts.v1``. Where judge has not shown a change yet, the policy is written
    once more, which changes nothing: judge takes a policy it has for what it is.

    Raises:
        NotDelivered: Kafka did not take one of them.
    """
    standing = _hashes(await newest_values(settings, settings.topics.rollouts))
    written = 0
    for policy in policies:
        name = policy_hash(policy)
        if standing.get(policy.key) == name:
            continue
        entry = PolicyEntry(
            at_ms=now_ms(),
            key=policy.key,
            hash=name,
            document=policy.to_document(),
            by=by,
        )
        await outlet.send(settings.topics.journal, policy.key, encode(entry))
        log.info("policy_published", rollout=policy.key, hash=name, new=policy.key not in standing)
        written += 1
    return written


def _hashes(events: dict[str, bytes]) -> dict[str, str]:
    hashes = {}
    for key, event in events.items():
        try:
            hashes[key] = from_event(event, RolloutView).policy_hash
        except EventError as error:
            log.warning("rollout_not_readable", rollout=key, reason=str(error))
    return hashes
