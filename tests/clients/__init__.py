"""Official OpenFeature clients in other languages and versions, as processes that a test asks what their users get."""

from __future__ import annotations

from tests.clients.asked import Asked, asked
from tests.clients.installed import why_none

__all__ = ["Asked", "asked", "why_none"]
