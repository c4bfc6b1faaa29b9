"""What all of this is about: flags as flagd documents hold them, and what the guardian decided about one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict

Json = Any
Flag = dict[str, Any]
Document = dict[str, Any]

SAME_SHARE = 1e-5
"""Weights are whole numbers, so a share is met to within the finest total."""


class Overlay(TypedDict, total=False):
    """
    What the guardian decided about one flag: a record of the compacted flag-state topic.

    ``version`` rises with every change of the record. ``killed`` names the control that takes over from each
    killed variation; ``shares`` are in [0, 1] and the rest is ``control``'s (without it, the flag's default). ``rings``
    are shares, by ring, of those in it; who is in several counts in the first. ``recent_command_ids`` are the commands
    that led here, newest last. ``seen`` is what people had written as the share of a variation when its shares were
    decided: where they write another one, theirs is served. ``orders`` is described in ``guardian.orders``.
    """

    flag_key: Required[str]
    environment: Required[str]
    version: Required[int]
    killed: dict[str, str]
    shares: dict[str, float] | None
    rings: dict[str, dict[str, float]]
    off: bool
    control: str
    decision_id: str
    command_id: str
    changed_at_ms: int
    recent_command_ids: list[str]
    seen: dict[str, float]
    orders: Mapping[str, Mapping[str, int]]


def control_of(flag: Flag, overlay: Overlay) -> str:
    """The variation that has what shares leave: the overlay's control, else the flag's default; empty without either."""
    return overlay.get("control") or flag.get("defaultVariant") or ""


def is_edited(written: Mapping[str, float], overlay: Overlay, variation: str) -> bool:
    """Whether people have written another share of the variation since the guardian set one."""
    seen, now = (overlay.get("seen") or {}).get(variation), written.get(variation)
    return seen is not None and now is not None and abs(seen - now) > SAME_SHARE
