"""Where one literal rule stands for one variation."""

from __future__ import annotations

import msgspec

from guardian.aggregate import Aggregate
from guardian.names import Millis


class Rule(msgspec.Struct, gc=False):
    """
    A literal rule of one variation, or of a segment of it, as of its latest step.

    ``seen`` is what the window held then, ``is_full`` whether telemetry had covered it. ``since_ms`` is the end of the
    step since which it has been broken, 0 while it is quiet. ``told`` is what it led to since it was last quiet,
    ``spoke`` since the last known change. ``due`` is what it was broken by, until that is decided on.
    """

    seen: Aggregate | None = None
    is_full: bool = False
    since_ms: Millis = 0
    told: str = ""
    spoke: str = ""
    due: Aggregate | None = None

    def calm(self) -> None:
        """The rule is not broken: it may speak again."""
        self.since_ms, self.told = 0, ""

    def change(self) -> None:
        """Something is known to have changed: it may speak again at once."""
        self.told, self.spoke, self.due = "", "", None
