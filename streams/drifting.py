"""Looks again and again whether the stores that keep one flag serve the same, of flags that act has acted on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from guardian.names import rollout_key
from guardian.ports import FlagStore
from streams.stores.targets import Targets
from streams.telemetry import STORE_DRIFT

log = structlog.get_logger()

READ_S = 10.0
"""What one look at a flag in all of its stores may take."""
SETTLE_S = 1.0
"""A difference is looked at once more after this: a change reaches no two stores in the same moment."""
MOST_TOLD = 20
"""Flags that `/readyz` names."""


class Drifting:
    """
    Compares every *every_s* (0: never) what the stores of *store* serve; of one store alone there is nothing to compare.

    A difference is logged once, and once when it is over. *stores_of* says which stores keep a flag, for the metric.
    """

    def __init__(
        self, store: FlagStore, *, every_s: float, stores_of: Callable[[str, str], str], settle_s: float = SETTLE_S
    ) -> None:
        self._targets = store if isinstance(store, Targets) and every_s > 0.0 else None
        self._every_s, self._settle_s, self._stores_of = every_s, settle_s, stores_of
        self._told: dict[tuple[str, str], str] = {}

    @property
    def is_on(self) -> bool:
        """Whether there is anything to compare."""
        return self._targets is not None

    def numbers(self) -> dict[str, Any]:
        """What `/readyz` shows: how many flags differ, and of some in what."""
        if self._targets is None:
            return {}
        told = list(self._told.items())[:MOST_TOLD]
        return {"drifting": len(self._told), "drift": {rollout_key(*flag): said for flag, said in told}}

    async def run(self) -> None:
        """Look until cancelled, where there is anything to compare; whatever is wrong with one flag, the others are looked at."""
        assert self._targets is not None
        while True:
            await asyncio.sleep(self._every_s)
            for flag in self._targets.acted_on:
                await self.look(flag)
            self._forget_all_but(self._targets.acted_on)

    async def look(self, flag: tuple[str, str]) -> None:
        """Compare one flag, as (environment, flag), and say what has become of it."""
        said = await self._difference(flag)
        if said and said != self._told.get(flag):
            await asyncio.sleep(self._settle_s)
            said = await self._difference(flag)
        before = self._told.get(flag, "")
        if said is None or said == before:
            return  # not known, or told
        self._told.pop(flag, None)
        environment, flag_key = flag
        if said:
            self._told[flag] = said
            log.warning("stores_differ", environment=environment, flag=flag_key, said=said)
        else:
            log.info("stores_agree", environment=environment, flag=flag_key)

    async def _difference(self, flag: tuple[str, str]) -> str | None:
        assert self._targets is not None
        try:
            async with asyncio.timeout(READ_S):
                return await self._targets.difference(*flag)
        except TimeoutError:
            return None
        except Exception:
            log.exception("stores_not_compared", environment=flag[0], flag=flag[1])
            return None

    def _forget_all_but(self, looked_at: list[tuple[str, str]]) -> None:
        self._told = {flag: said for flag, said in self._told.items() if flag in looked_at}
        counted = Counter(self._stores_of(*flag) for flag in self._told)
        for stores in {self._stores_of(*flag) for flag in looked_at}:
            STORE_DRIFT.labels(stores).set(counted[stores])
