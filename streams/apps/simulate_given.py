"""What ``guardian simulate`` is given on the command line, as it is written there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Given:
    """What the forecast takes for granted; ``runs`` of None leaves their number to the forecast."""

    traffic: str = "200/s"
    share: str = ""
    rate: str = "1%"
    seed: int = 0
    runs: int | None = None
    rated: str = "5%"
    csat: float = 4.15
    nps: str = "20/30/50"
    thumbs_down: str = "10%"
    reports: str = "0.05%"
    measure: str = "80%"
    spread: str = "20%"
    narrowed: str = "20%"
