"""
Units that were shown two variations of one flag: services disagree on who gets what.

Official providers of different versions put different users into the same
10 %. The owner is told. What such a unit did counts all the same, under the
variation that each of its requests ran under. A unit that changed its
variation because the shares changed is no such unit, so a report waits until
it is known whether an epoch began near it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from guardian.names import Millis
from guardian.summaries import SIGHT_MS, MixedUnit, Sight

GRACE_MS = 5_000
"""Before its minute: clients take a while to see new shares. After it: a moved share takes a while to be noticed."""
UNITS_MAX = 20_000
WAITING_MAX = 5_000
COHORT_MAX = 1_024
SERVICES_MAX = 50


class Mixing(msgspec.Struct, gc=False):
    """
    Who is mixed, who may be, and the sample of sights that are compared between sources.

    ``units`` are counted and told of. ``cohort`` holds the sights of two
    minutes, the newest begins at ``cohort_ms``. All are bounded.
    """

    units: dict[int, bool] = {}
    services: list[str] = []
    waiting: list[MixedUnit] = []
    cohort: dict[int, Sight] = {}
    cohort_ms: Millis = 0
    told: int = 0

    def hear(self, mixed: Iterable[MixedUnit], cohort: Iterable[Sight]) -> None:
        """Take what one source saw."""
        self.waiting += list(mixed)[: WAITING_MAX - len(self.waiting)]
        for sight in cohort:
            self._forget(sight.from_ms)
            earlier = self.cohort.get(sight.unit)
            if earlier is None or earlier.from_ms < sight.from_ms:
                if len(self.cohort) >= COHORT_MAX:
                    self.cohort.clear()
                self.cohort[sight.unit] = sight
            elif earlier.from_ms == sight.from_ms and earlier.variation != sight.variation:
                seen = [earlier.variation, sight.variation]
                services = sorted({earlier.service, sight.service} - {""})
                report = MixedUnit(unit=sight.unit, from_ms=sight.from_ms, variations=seen, services=services)
                self.waiting += [report][: WAITING_MAX - len(self.waiting)]

    def _forget(self, from_ms: Millis) -> None:
        """Sights of one minute are compared with each other only: those before the last minute are of no use any more."""
        if from_ms > self.cohort_ms:
            last_ms, self.cohort_ms = self.cohort_ms, from_ms
            self.cohort = {unit: sight for unit, sight in self.cohort.items() if sight.from_ms >= last_ms}

    def is_due(self, passed_ms: Millis) -> bool:
        """Say whether a report can be settled."""
        return bool(self.waiting) and passed_ms >= self.waiting[0].from_ms + SIGHT_MS + GRACE_MS

    def settle(self, epochs_ms: list[Millis], passed_ms: Millis) -> None:
        """Settle the reports whose minute is over: a unit is mixed if no epoch (by its start) explains it."""
        still = []
        for report in self.waiting:
            if passed_ms < report.from_ms + SIGHT_MS + GRACE_MS:
                still.append(report)
            elif not any(report.from_ms - GRACE_MS < at_ms <= report.from_ms + SIGHT_MS for at_ms in epochs_ms):
                self._add(report)
        self.waiting = still

    def _add(self, report: MixedUnit) -> None:
        if len(self.units) < UNITS_MAX:
            self.units[report.unit] = True
        for service in report.services:
            if service not in self.services and len(self.services) < SERVICES_MAX:
                self.services = sorted([*self.services, service])
