"""Whoever looks for archived flags goes on, whenever the incidents that it looks for end."""

from __future__ import annotations

import pytest

from guardian.incidents import Incident
from streams.admin import ensure_topics
from streams.clock import now_ms
from streams.reading import open_consumer
from streams.telling.archived import Archived
from tests.support.cluster import Cluster
from tests.support.published import decision, rfc3339


class Ending:
    """A book whose one incident ends after so many looks at it."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        of = decision(at_ms=now_ms())
        self._incident = Incident(
            incident="production|checkout-v2|treatment", environment="production", flag_key="checkout-v2",
            variation="treatment", opened_at=rfc3339(now_ms()), opened_by=of, title="killed", text="killed",
        )  # fmt: skip

    def all(self) -> list[tuple[int, Incident]]:
        self._looks -= 1
        return [(0, self._incident)] if self._looks >= 0 else []


@pytest.mark.parametrize("looks", range(5))
async def test_an_incident_may_end_at_any_moment(kafka: Cluster, looks: int):
    """An incident that is over when the consumer is there, or while it asks where to begin, is looked for no more."""
    settings = kafka.settings()
    await ensure_topics(settings)
    ended: list[object] = []
    archived = Archived(settings, Ending(looks), lambda *of: ended.append(of))  # type: ignore[arg-type]
    async with open_consumer(settings) as consumer:
        await archived._follow(consumer)

    assert [] == ended
