"""
Who is told: the first route that fits decides how loud a notice is, and through which channels it goes.

A field of a route that is empty fits everything. Whatever is written, shadow mode wakes nobody, and quiet hours silence
neither pages nor kills.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from fnmatch import fnmatchcase

from guardian.incidents import News
from streams.alerts.base import Level

Globs = tuple[str, ...]
KILLS = ("kill", "kill_flag")
_TRIALS = ("staging*", "stage*", "test*", "dev*", "qa*")
_NOT_DONE = ("failed", "waiting", "expired", "conflict", "not_effective")


@dataclass(frozen=True, slots=True)
class Route:
    """What fits is told at *level*, through the channels *to*; where that is empty, through those that want it."""

    level: Level
    to: tuple[str, ...] = ()
    action: Globs = ()
    environment: Globs = ()
    mode: Globs = ()
    owner: Globs = ()
    status: Globs = ()

    def fits(self, news: News) -> bool:
        """Whether each of its fields that is written matches."""
        asked = (
            (self.action, news.action),
            (self.environment, news.environment),
            (self.mode, news.mode),
            (self.owner, news.owner),
            (self.status, news.status),
        )
        return all(not globs or any(fnmatchcase(value, glob) for glob in globs) for globs, value in asked)


DEFAULT_ROUTES = (
    Route("log", mode=("shadow",)),
    Route("page", action=("refusal",)),
    Route("chat", action=KILLS, environment=_TRIALS, status=("decided", *_NOT_DONE, "arrived")),
    # Whoever writes no owner into a policy wants nobody woken for it.
    Route("page", action=KILLS, status=("decided",), owner=("?*",)),
    Route("page", action=KILLS, status=(*_NOT_DONE, "arrived")),
    Route("chat", action=KILLS, status=("decided",)),
    Route("chat", action=("pause", "step_back", "hold", "alert", "complete"), status=("decided",)),
    Route("chat", status=("failed", "not_effective")),
    Route("log"),
)
"""What counts where no route is written, or none of those that are fits."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """From *begins* to *ends*, by the clock of *zone*, nobody is chatted to; over midnight where it begins later than it ends."""

    begins: time
    ends: time
    zone: tzinfo

    def holds(self, now: datetime) -> bool:
        """Whether it is quiet at *now*, a time with a zone."""
        at = now.astimezone(self.zone).time()
        if self.begins <= self.ends:
            return self.begins <= at < self.ends
        return at >= self.begins or at < self.ends


@dataclass(frozen=True, slots=True)
class Routing:
    """The routes that people wrote, before those of ``DEFAULT_ROUTES``."""

    routes: tuple[Route, ...] = ()
    quiet: Quiet | None = None

    def of(self, news: News, now: datetime) -> tuple[Level, tuple[str, ...]]:
        """Return how loud the news are, and through which channels they go; none: those that want it."""
        route = next(one for one in (*self.routes, *DEFAULT_ROUTES) if one.fits(news))
        level, to = route.level, route.to
        if level == "page" and news.mode == "shadow":
            level = "chat"
        if level == "chat" and news.action not in KILLS and self.quiet is not None and self.quiet.holds(now):
            return "log", ()
        return level, to
