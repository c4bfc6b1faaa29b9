"""What somebody who looks for trouble has found: `guardian doctor` prints them, stores and channels tell them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]
"""``error`` keeps the guardian from its work, ``warning`` will, or may without anybody noticing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at (*about*), what was *found* there, and the *cure*; empty where there is nothing to do, or it is said."""

    level: Level
    about: str
    found: str
    cure: str = ""
