"""
Who is told apart of those that anybody may name: flags, variations and services.

Whoever can write an event can make up names, a million of them. What has a rollout is always told apart; of all else
so much as an honest installation has, and then one in a hundred events may bring a new name. What is beyond is not
summed, and counted (``Counts``). The choice depends on the names alone, never on how requests ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

Known = Mapping[str, Collection[str]]
"""The flags that have a rollout, by ``environment|flag``, each with the variations that it is known to have."""

NEWCOMERS_MAX = 10_000
"""Flags, variations and services that are taken in at once; as many flags are counted by judge (``bank.UNWATCHED_MAX``)."""
NEWCOMER_EVENTS = 100
"""Afterwards one more for so many events: an attack grows the journal by a hundredth of itself."""
VARIATIONS_MAX = 20
"""Variations of one flag with a rollout, those included that it is known to have, which are never refused."""
EXAMPLES = 3
FLAGS, VARIATIONS, SERVICES = (1 << bit for bit in range(3))
"""Of what there were too many, as bits."""
WHAT = {FLAGS: "flags", VARIATIONS: "variations", SERVICES: "services"}


class Admission:
    """
    Takes names in, each once.

    ``examples`` are some of those that were refused, by what they are of.
    """

    def __init__(self, known: Known) -> None:
        self.examples: dict[int, list[str]] = {}
        self._known = known
        self._left = float(NEWCOMERS_MAX)
        self._met: dict[str, set[str]] = {}

    def follow(self, known: Known) -> None:
        """From now on, these flags have a rollout."""
        self._known = known

    def earn(self, events: int) -> None:
        """So many events were read."""
        self._left = min(self._left + events / NEWCOMER_EVENTS, NEWCOMERS_MAX)

    def arm(self, key: str, variation: str) -> int:
        """Take in a variation that has no number yet: return 0, or of what there are too many."""
        known = self._known.get(key)
        if known is None:
            return self._newcomer(FLAGS, f"{key}={variation}")
        met = self._met.setdefault(key, set())
        if variation in known or len(met.union(known)) < VARIATIONS_MAX:
            met.add(variation)
            return 0
        return self._refuse(VARIATIONS, f"{key}={variation}")

    def service(self, name: str) -> int:
        """Likewise a service."""
        return self._newcomer(SERVICES, name)

    def _newcomer(self, what: int, name: str) -> int:
        if self._left < 1.0:
            return self._refuse(what, name)
        self._left -= 1.0
        return 0

    def _refuse(self, what: int, name: str) -> int:
        examples = self.examples.setdefault(what, [])
        if len(examples) < EXAMPLES and name not in examples:
            examples.append(name)
        return what
