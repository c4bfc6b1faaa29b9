"""What a channel keeps of an incident, and a memory that lasts as long as its process."""

from __future__ import annotations

import json
from collections import OrderedDict

from streams.alerts.base import ChannelMemory, Report
from streams.alerts.words import story_of

_MOST = 10_000


class ShortMemory:
    """A ``ChannelMemory`` in the process: of the newest incidents, until it ends."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], str] = OrderedDict()

    def get(self, incident: str, channel: str) -> str | None:
        """See ``ChannelMemory``."""
        return self._kept.get((incident, channel))

    async def put(self, incident: str, channel: str, value: str) -> None:
        """See ``ChannelMemory``."""
        self._kept[incident, channel] = value
        self._kept.move_to_end((incident, channel))
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)


class Notes:
    """The fields that one channel has kept of incidents; those of an earlier incident of the same name do not count."""

    def __init__(self, memory: ChannelMemory, channel: str) -> None:
        self._memory = memory
        self._channel = channel

    def of(self, notice: Report) -> dict[str, str]:
        """Return what was kept of the notice's incident; nothing where it has none."""
        kept = self._memory.get(notice.incident, self._channel) if story_of(notice) else None
        if kept is None:
            return {}
        opened_at, fields = json.loads(kept)
        return dict(fields) if opened_at == notice.opened_at else {}

    async def keep(self, notice: Report, **fields: str) -> None:
        """Keep these fields of the notice's incident, in place of all before; durable when this returns."""
        if story_of(notice):
            value = json.dumps([notice.opened_at, fields], ensure_ascii=True)
            await self._memory.put(notice.incident, self._channel, value)
