"""Several flag stores as one: each command goes to all that keep the flag, side by side, and the answer names each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardian.ports import (
    Applied,
    ApplyStatus,
    FlagCommand,
    FlagState,
    FlagStore,
    StoreCapabilities,
    StoreError,
    StoreUnavailable,
    UnknownFlag,
    in_common,
)
from streams.fields import StoreSection
from streams.stores.base import unknown
from streams.stores.drift import Served, difference

REMEMBERED = 1_000
"""Flags that are compared again; of more those that were acted on last."""
WORST_FIRST: tuple[ApplyStatus, ...] = ("failed", "conflict", "applied", "already", "superseded")
"""What is said of a command that went to several stores is the first of these that one of them answered."""


@dataclass(frozen=True, slots=True)
class Target:
    """One *store*, by the *name* that settings give it, with those settings."""

    name: str
    section: StoreSection
    store: FlagStore


class Targets:
    """
    All *targets* (at least one) as one `guardian.ports.FlagStore`.

    One rollout has all of them: what one store refuses or does not answer is the answer, and it says what the others
    did. A command that is sent again finds it done where it was.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = tuple(targets)
        self._acted_on: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def acted_on(self) -> list[tuple[str, str]]:
        """The flags in several stores that commands came for, as (environment, flag); the newest last."""
        return list(self._acted_on)

    async def difference(self, environment: str, flag_key: str) -> str | None:
        """In what the stores that keep a flag differ about it, empty where they do not; ``None`` where one does not answer."""
        targets = self._of(environment, flag_key)
        try:
            found = await asyncio.gather(*(self._read(target, environment, flag_key) for target in targets))
        except StoreError:
            return None
        finest = {target.name: target.store.capabilities.finest_share for target in targets}
        served = {
            name: None if state is None else Served(state.enabled, state.weights, finest[name]) for name, state in found
        }
        return difference(served)

    @property
    def capabilities(self) -> StoreCapabilities:
        """What all of them can do."""
        return in_common([target.store.capabilities for target in self._targets])

    async def read(self, environment: str, flag_key: str) -> FlagState:
        """See `guardian.ports.FlagStore.read`: the flag in the first store that has it, with the versions of all."""
        found = await asyncio.gather(
            *(self._read(target, environment, flag_key) for target in self._of(environment, flag_key))
        )
        states = {name: state for name, state in found if state is not None}
        if not states:
            raise UnknownFlag(self._nowhere(environment, flag_key))
        version = " ".join(f"{name}:{state.version}" for name, state in states.items())
        return replace(next(iter(states.values())), version=version)

    async def apply(self, command: FlagCommand) -> Applied:
        """See `guardian.ports.FlagStore.apply`."""
        targets = self._of(command.environment, command.flag_key)
        if not targets:
            return unknown(command, self._nowhere(command.environment, command.flag_key))
        if len(targets) == 1:
            return await targets[0].store.apply(command)
        self._remember(command.environment, command.flag_key)
        answers = await asyncio.gather(*(_apply(target, command) for target in targets))
        said = [f"{target.name}: {_said(answer)}" for target, answer in zip(targets, answers, strict=True)]
        if any(isinstance(answer, StoreUnavailable) for answer in answers):
            raise StoreUnavailable("; ".join(said))
        return _together(targets, [answer for answer in answers if isinstance(answer, Applied)], "; ".join(said))

    def _of(self, environment: str, flag_key: str) -> list[Target]:
        return [target for target in self._targets if target.section.keeps(environment, flag_key)]

    def _remember(self, environment: str, flag_key: str) -> None:
        self._acted_on[environment, flag_key] = None
        self._acted_on.move_to_end((environment, flag_key))
        if len(self._acted_on) > REMEMBERED:
            self._acted_on.popitem(last=False)

    async def _read(self, target: Target, environment: str, flag_key: str) -> tuple[str, FlagState | None]:
        try:
            return target.name, await target.store.read(environment, flag_key)
        except UnknownFlag:
            return target.name, None

    def _nowhere(self, environment: str, flag_key: str) -> str:
        kept = ((target.name, target.section) for target in self._targets)
        there_are = ", ".join(f"{name} ({section.environment}: {', '.join(section.flags)})" for name, section in kept)
        return f"no store keeps flag {flag_key!r} of environment {environment!r}; there are: {there_are}"


async def _apply(target: Target, command: FlagCommand) -> Applied | StoreUnavailable:
    try:
        return await target.store.apply(command)
    except StoreUnavailable as error:
        return error
    except StoreError as error:
        return Applied("failed", "", str(error), None)


def _said(answer: Applied | StoreUnavailable) -> str:
    return f"{answer.status}: {answer.detail}" if isinstance(answer, Applied) else f"no answer: {answer}"


def _together(targets: Sequence[Target], answers: Sequence[Applied], detail: str) -> Applied:
    """One answer for all: the worst, with the state of the store that gave it."""
    worst = min(answers, key=lambda answer: WORST_FIRST.index(answer.status))
    versions = zip(targets, answers, strict=True)
    version = " ".join(f"{target.name}:{answer.version}" for target, answer in versions if answer.version)
    return replace(worst, version=version, detail=detail)
