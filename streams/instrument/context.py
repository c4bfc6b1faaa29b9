"""
What one request has seen so far: its flags, its unit, what the service says of it.

The middleware opens a ``RequestFlags`` for each request, the hook notes every
evaluation in it. It travels in a context variable and is shared, not copied,
so a flag evaluated in a thread (``run_in_threadpool``, ``asyncio.to_thread``)
or in a task of the request is noted in the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar


class RequestFlags:
    """
    The notes of one request.

    ``flags`` maps each flag evaluated to the variation served first.
    ``context_id`` is the targeting key of the first evaluation that had one.
    ``error_type`` set means that the request failed, whatever its status says.
    """

    __slots__ = ("attributes", "context_id", "error_type", "flags", "measures")

    def __init__(self) -> None:
        self.flags: dict[str, str] = {}
        self.context_id: str | None = None
        self.attributes: dict[str, str] = {}
        self.measures: dict[str, float] = {}
        self.error_type: str | None = None

    def note(self, flag_key: str, variant: str, context_id: str | None) -> bool:
        """Note one evaluation; ``True`` if it is the flag's first in this request, hence an exposure."""
        if self.context_id is None:
            self.context_id = context_id
        if flag_key in self.flags:
            return False
        self.flags[flag_key] = variant
        return True


_current: ContextVar[RequestFlags | None] = ContextVar("rollout_guardian_request", default=None)


def current() -> RequestFlags | None:
    """Return the notes of the request that is running here, ``None`` outside of one."""
    return _current.get()


def annotate(
    *,
    attributes: Mapping[str, str] | None = None,
    measures: Mapping[str, float] | None = None,
    error_type: str | None = None,
) -> None:
    """
    Add to the outcome of the request that is running here; outside of one it does nothing.

    ``attributes`` are what segments are made of (``{"country": "DE"}``),
    ``measures`` numbers that a policy may guard (``{"search_quality_score": 0.91}``).
    ``error_type`` marks the request as failed although its status is no 5xx, as
    with GraphQL's errors under a 200.
    """
    request = _current.get()
    if request is None:
        return
    if attributes:
        request.attributes.update(attributes)
    if measures:
        request.measures.update(measures)
    if error_type:
        request.error_type = error_type
