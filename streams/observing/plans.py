"""The plans of all rollouts, as judge shows them: followed while observe runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import structlog

from guardian.errors import EventError
from guardian.plan import NO_PLAN, Plan
from streams.cloudevents import read_event
from streams.folding.wire import UNREADABLE
from streams.reading import Follower
from streams.settings import Settings

log = structlog.get_logger()

PATIENCE_S = 5.0
"""For so long events wait for the plans; then they are summed without."""


class _Arm(msgspec.Struct):
    """What is read of a variation."""

    variation: str


class _Shown(msgspec.Struct):
    """What is read of a rollout's view."""

    plan: msgspec.Raw = msgspec.Raw(b"{}")
    control: str = ""
    arms: list[_Arm] = []
    proofs: list[_Arm] = []


_decode_shown = msgspec.json.Decoder(_Shown).decode
_decode_plan = msgspec.json.Decoder(Plan).decode


class Plans:
    """
    Follows ``guardian.rollouts.v1`` from its beginning, all partitions, without a group.

    ``now`` holds the plans by ``environment|flag``, of those flags whose plan
    wants anything; ``known`` the variations of all that have a rollout;
    ``proofs`` those whose kill has to be proven. When one changes, it is
    another mapping: one that was handed on stays as it was.
    """

    def __init__(self, settings: Settings) -> None:
        self.now: Mapping[str, Plan] = {}
        self.known: Mapping[str, frozenset[str]] = {}
        self.proofs: Mapping[str, frozenset[str]] = {}
        self._raw: dict[str, bytes] = {}
        self._follower = Follower(settings, settings.topics.rollouts, self.take)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follower.run(), name="observe plans")

    def check(self) -> None:
        """Raise what ended the following before it was stopped; nothing while it goes on."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Stop following; the plans stay as they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def wait(self) -> None:
        """Wait until the topic was once read to its end, but no longer than ``PATIENCE_S``, and say so."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._follower.caught_up.wait()
        except TimeoutError:
            log.warning("plans_not_read", seconds=PATIENCE_S, meaning="events are summed without plans until they are read")

    def take(self, key: str, value: bytes | None) -> None:
        """
        Take a record of the topic: a rollout's view as a CloudEvent, or None where it ended.

        What cannot be read is logged, and means that nothing is wanted.
        """
        if value is None:
            self._raw.pop(key, None)
            self._set(key, NO_PLAN)
            self.known = _changed(self.known, key, None)
            self._prove(key, frozenset())
            return
        try:
            shown = _decode_shown(read_event(value).data)
            raw = bytes(shown.plan)
        except (EventError, *UNREADABLE) as error:
            self._raw.pop(key, None)
            self._refuse(key, error)
            return
        # Views change all the time, plans and variations hardly ever.
        variations = frozenset({shown.control, *(arm.variation for arm in shown.arms)} - {""})
        if self.known.get(key) != variations:
            self.known = _changed(self.known, key, variations)
        self._prove(key, frozenset(proof.variation for proof in shown.proofs))
        if self._raw.get(key) == raw:
            return
        self._raw[key] = raw
        try:
            self._set(key, read_plan(raw))
        except UNREADABLE as error:
            self._refuse(key, error)

    def _prove(self, key: str, killed: frozenset[str]) -> None:
        if self.proofs.get(key, frozenset()) != killed:
            self.proofs = _changed(self.proofs, key, killed or None)

    def _refuse(self, key: str, error: Exception) -> None:
        log.warning("plan_not_readable", key=key, reason=str(error))
        self._set(key, NO_PLAN)

    def _set(self, key: str, plan: Plan) -> None:
        if self.now.get(key, NO_PLAN) == plan:
            return
        self.now = _changed(self.now, key, None if plan == NO_PLAN else plan)


Value = TypeVar("Value")


def _changed(known: Mapping[str, Value], key: str, value: Value | None) -> Mapping[str, Value]:
    """Return another mapping, in which *key* has this value, or is not."""
    others = {name: other for name, other in known.items() if name != key}
    return others if value is None else {**others, key: value}


def read_plan(raw: bytes) -> Plan:
    """
    Return the plan that JSON means.

    Raises:
        msgspec.MsgspecError, ValueError: it is none; the text says what is wrong.
    """
    plan = _decode_plan(raw)
    for name, (low, high) in plan.scores.items():
        if not low < high:
            raise ValueError(f"scores: {name}: should rise, not from {low:g} to {high:g}")
    return plan
