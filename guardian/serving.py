"""Which services still serve a variation that was killed: what each has shown since the store had the kill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from guardian.decisions import ServiceSeen
from guardian.explain import clean
from guardian.names import Millis, iso
from guardian.numerals import count, duration
from guardian.summaries import OTHERS, SERVICES_MAX, Seen

PAUSE_MS = 2_000
"""Whoever has not served it for so long had stopped; from then on it serves it again."""
NAMED_MAX = 5
"""Services of either kind that a sentence names."""
VERSIONS_NAMED_MAX = 3
NAME_SHOWN = 64


class Serving(msgspec.Struct, array_like=True, gc=False):
    """
    One service since the store had the kill.

    ``total`` counts all that it showed of the killed variation, ``since_ms`` is when the stretch began in which it does,
    ``last_ms`` the end of the newest tick with any; 0 for none. Of the window that is looked at now: ``still`` of its
    ``seen`` requests were under the killed variation, ``versions`` says of the flag's versions how many.
    """

    total: int = 0
    since_ms: Millis = 0
    last_ms: Millis = 0
    still: int = 0
    seen: int = 0
    versions: dict[str, int] = {}


Services = dict[str, Serving]


def take_service(
    services: Services, name: str, shown: Mapping[str, Mapping[str, Seen]], killed: str, at: int, span_ms: tuple[Millis, Millis],
    *, is_in_window: bool,
) -> None:  # fmt: skip
    """
    Take what a service showed in a tick over *span_ms*; *at* says which of ``Seen`` counts.

    Services that there is no room for are counted together.
    """
    name = name if name in services or len(services) < SERVICES_MAX else OTHERS
    serving = services.setdefault(name, Serving())
    of_killed = {version: seen[at] for version, seen in shown.get(killed, {}).items()}
    still = sum(of_killed.values())
    if still:
        start_ms, end_ms = span_ms
        if start_ms > serving.last_ms + PAUSE_MS:
            serving.since_ms = start_ms
        serving.last_ms = max(serving.last_ms, end_ms)
        serving.total += still
    if is_in_window:
        serving.still += still
        serving.seen += sum(seen[at] for versions in shown.values() for seen in versions.values())
        for version, number in of_killed.items():
            if version and number:
                serving.versions[version] = serving.versions.get(version, 0) + number


def begin_window(services: Services) -> None:
    """From now on another window is looked at."""
    for serving in services.values():
        serving.still, serving.seen, serving.versions = 0, 0, {}


def seen_by(services: Services, done_ms: Millis) -> tuple[ServiceSeen, ...]:
    """Return the services that served it after the store had the kill, those that do so most first."""
    concerned = [(name, one) for name, one in services.items() if one.last_ms]
    return tuple(
        ServiceSeen(
            service=name, still=one.still, seen=one.seen, versions=dict(sorted(one.versions.items())), total=one.total,
            since=iso(one.since_ms), last_at=iso(one.last_ms), stopped_ms=None if one.still else one.last_ms - done_ms,
        )
        for name, one in sorted(concerned, key=lambda item: (-item[1].still, item[0]))
    )  # fmt: skip


def still_serving(found: Iterable[ServiceSeen], done_ms: Millis, window_ms: Millis, noun: str) -> str:
    """
    Return who still serves the killed variation and who stopped when, in one clause; nothing where nobody is known.

    *noun* is what is counted: exposures, or requests.
    """
    told = list(found)
    on = [one for one in told if one.still]
    off = sorted((one for one in told if not one.still), key=lambda one: -(one.stopped_ms or 0))
    clauses = [_still(one, done_ms, window_ms, noun) for one in on[:NAMED_MAX]]
    if len(on) > NAMED_MAX:
        clauses.append(f"{len(on) - NAMED_MAX} more services still serve it")
    clauses += [f"{name_of(one.service)} stopped after {duration(one.stopped_ms or 0)}" for one in off[:NAMED_MAX]]
    return "; ".join(clauses)


def _still(one: ServiceSeen, done_ms: Millis, window_ms: Millis, noun: str) -> str:
    said = f"{name_of(one.service)} still {'serve' if one.service == OTHERS else 'serves'} it: {count(one.still)} of "
    said += f"{'their' if one.service == OTHERS else 'its'} {count(one.seen)} {noun} in the last {duration(window_ms)}"
    if one.versions:
        named = sorted(one.versions.items(), key=lambda item: -item[1])[:VERSIONS_NAMED_MAX]
        texts = [clean(version)[:NAME_SHOWN] for version, _ in named]
        said += f", by flag version{'s' if len(texts) > 1 else ''} {' and '.join(texts)}"
    since = datetime.fromisoformat(one.since)
    return said + (f", again since {since:%H:%M:%S}" if since.timestamp() * 1_000 > done_ms + PAUSE_MS else "")


def name_of(service: str) -> str:
    """Return how a service is called in a sentence."""
    if service == OTHERS:
        return "other services"
    return clean(service)[:NAME_SHOWN] or "a service that gave no name"
