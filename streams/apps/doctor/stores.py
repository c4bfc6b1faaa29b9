"""Flag stores: is each reached, does it take what the guardian would ask, and has it the flags that policies name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from guardian.fitting import unfit
from guardian.flagdoc import SAME_SHARE, Document
from guardian.numerals import percent
from guardian.policy import Policy
from guardian.ports import StoreError, StoreUnavailable, UnknownFlag
from streams.apps.doctor.checks import checked, together
from streams.apps.doctor.dates import Dates
from streams.apps.doctor.served import Known, flagd_served
from streams.apps.doctor.unwatched import in_document, in_store, listed
from streams.fields import StoreSection
from streams.findings import Finding
from streams.settings import Settings
from streams.stores.drift import Served, difference
from streams.stores.http import open_session
from streams.stores.kinds import kind_of
from streams.stores.shares.backend import Backend, Probed
from streams.stores.shares.flag import Seen
from streams.stores.shares.store import rounded_share

AT_ONCE = 8
"""Flags that are asked for at the same time, of one store."""
NO_FLAG = "rollout-guardian-doctor"
"""What a store is asked for where no policy names a flag of it."""
_THERE = "make it in the store, or mend flag: in the policy, or the settings of the store"
_AWAY = "see whether the store is up, whether its address in the settings is right, and whether this machine may reach it"


async def look(settings: Settings, policies: Sequence[Policy]) -> list[Finding]:
    """All about flag stores, and in what they differ about flags that several of them keep."""
    known: Known = {}
    found = await together(*(_store(name, section, settings, policies, known) for name, section in settings.targets.items()))
    return [*found, *_kept_nowhere(settings, policies), *_drift(known)]


def _kept_nowhere(settings: Settings, policies: Sequence[Policy]) -> Iterator[Finding]:
    for policy in policies:
        if not settings.keeping(policy.environment, policy.flag):
            stores = settings.targets.items()
            there = ", ".join(f"{name or one.kind} ({one.environment}: {', '.join(one.flags)})" for name, one in stores)
            cure = f"mend environment: or flag: in the policy, or the settings of a store; there are: {there}"
            yield Finding("error", f"flag {policy.flag!r}", f"no store keeps it in environment {policy.environment!r}", cure)


def _drift(known: Known) -> Iterator[Finding]:
    for (environment, flag), served in known.items():
        if said := difference(served):
            cure = "somebody has changed one of them alone, or a command has not reached it: set all to what is meant"
            yield Finding("warning", f"flag {flag!r} in {environment!r}", said, cure)


async def _store(
    name: str, section: StoreSection, settings: Settings, policies: Sequence[Policy], known: Known
) -> list[Finding]:
    about = f"store {name or section.kind}"
    kept = [policy for policy in policies if section.keeps(policy.environment, policy.flag)]
    if kind_of(section.kind).backend is None:
        served = _served_flagd(name, settings, kept, known) if len(settings.targets) > 1 else together()
        return await together(checked(about, _document(about, settings, kept)), checked(about, served))
    async with _opened(section) as (backend, dates):
        limit = asyncio.Semaphore(AT_ONCE)
        if kept:
            found = await together(*(_flag(about, backend, limit, policy, (name, known)) for policy in kept))
        else:
            found = await checked(about, _without_flags(about, backend))
        others = checked(about, _unwatched(about, backend, section, settings, kept, limit))
        return [*merged(found), *await others, *dates.findings(about)]


@asynccontextmanager
async def _opened(section: StoreSection) -> AsyncIterator[tuple[Backend, Dates]]:
    dates = Dates()
    kind = kind_of(section.kind)
    assert kind.backend is not None
    async with open_session(dates.trace()) as session:
        yield kind.backend(section, session), dates


# ---------------------------------------------------------------------------- a store of shares


async def _flag(
    about: str, backend: Backend, limit: asyncio.Semaphore, policy: Policy, place: tuple[str, Known]
) -> list[Finding]:
    name, known = place
    states = known.setdefault((policy.environment, policy.flag), {})

    async def work() -> list[Finding]:
        try:
            seen = await backend.read(policy.flag)
        except UnknownFlag as error:
            states[name] = None
            return [Finding("error", flag, str(error), _THERE)]
        states[name] = Served(seen.enabled, seen.shares, seen.finest or backend.capabilities.finest_share)
        fitting = list(_fitting(flag, policy, seen, seen.finest or backend.capabilities.finest_share))
        return [Finding("ok", flag, "is there"), *fitting, *await _probed(flag, backend, policy)]

    flag = f"{about}: flag {policy.flag!r}"
    async with limit:
        return await checked(flag, _meant(flag, work()))


async def _meant(about: str, work: Awaitable[list[Finding]]) -> list[Finding]:
    """What *work* finds, and what it means that the store does not answer or refuses."""
    try:
        return await work
    except StoreUnavailable as error:
        return [Finding("error", about, str(error), _AWAY)]
    except StoreError as error:
        return [Finding("error", about, str(error))]


async def _probed(about: str, backend: Backend, policy: Policy) -> list[Finding]:
    if not isinstance(backend, Probed):
        said = f"permission to kill is not tried: {backend.name} has no dry run"
        return [Finding("ok", about, said)]
    found = await backend.probe(policy.flag, policy.control)
    return [Finding(one.level, about, f"{one.about}: {one.found}", one.cure) for one in found]


def _fitting(about: str, policy: Policy, seen: Seen, finest: float) -> Iterator[Finding]:
    """What a policy names and the flag does not have, or cannot hold."""
    there_are = f"there are: {', '.join(seen.shares)}"
    for field, name in (("control", policy.control), *(("variations", name) for name in policy.variations)):
        if name not in seen.shares:
            cure = f"add it to the flag, or mend {field}: in the policy; {there_are}"
            yield Finding("error", about, f"has no variation {name!r}, which the policy names", cure)
    for ring in dict.fromkeys(stage.users for stage in policy.stages if stage.users is not None):
        if ring not in seen.rings:
            rings = f"there are: {', '.join(seen.rings) or 'none'}"
            cure = f"add it to the store, or mend stages: in the policy; {rings}"
            yield Finding("error", about, f"has no ring {ring!r}, which the policy names", cure)
    if not seen.enabled:
        yield Finding("warning", about, "is switched off, so that no stage is served to anybody", "switch it on in the store")
    for number, stage in enumerate(policy.stages, 1):
        held = rounded_share(stage.share, finest)
        if abs(held - stage.share) > SAME_SHARE:
            said = f"stage {number} asks for {percent(stage.share, exact=True)}, and becomes {percent(held, exact=True)}"
            yield Finding("warning", about, said, f"the store holds multiples of {percent(finest, exact=True)}: write one")


async def _unwatched(
    about: str, backend: Backend, section: StoreSection, settings: Settings, kept: Sequence[Policy], limit: asyncio.Semaphore
) -> list[Finding]:
    """Divided flags without a policy, of a store that can say which flags it has; why it does not is told by all else."""
    if settings.policies_default:
        return []
    watched = {policy.flag for policy in kept}
    try:
        flags = [flag for flag in await listed(backend) if flag not in watched and section.keeps(section.environment, flag)]
    except StoreError:
        return []
    return await in_store(about, backend, flags, limit)


async def _without_flags(about: str, backend: Backend) -> list[Finding]:
    """Whether the store answers, where no policy says what to ask for."""
    none = "no policy names a flag of it"
    try:
        await backend.read(NO_FLAG)
    except UnknownFlag as error:
        cure = "write a policy for one; see also flags: of the store"
        return [Finding("warning", about, f"{none}, so this is all that is known: {error}", cure)]
    except StoreUnavailable as error:
        return [Finding("error", about, str(error), _AWAY)]
    return [Finding("ok", about, f"answers; {none}")]


def merged(found: Sequence[Finding]) -> list[Finding]:
    """The same said of many flags, once, with the number of them."""
    same: dict[tuple[str, str, str], list[Finding]] = {}
    for one in found:
        same.setdefault((one.level, one.found, one.cure), []).append(one)
    return [
        Finding(first.level, first.about + (f" and {len(others)} more" if others else ""), first.found, first.cure)
        for first, *others in same.values()
    ]


# ---------------------------------------------------------------------------- the guardian's own server


async def _document(about: str, settings: Settings, kept: Sequence[Policy]) -> list[Finding]:
    from streams.stores.flagd.documents import checked as checked_document

    path = Path(settings.flagd.document)
    try:
        document: Document = checked_document(await asyncio.to_thread(path.read_bytes))
    except OSError as error:
        cure = "put the flag document there, or name another as flagd.document"
        return [Finding("error", about, f"{path} cannot be read: {error.strerror}", cure)]
    except ValueError as error:
        return [Finding("error", about, f"{path}: {error}", "mend it: until then the document of before is served, or none")]
    said = f"{path}: {len(document['flags'])} flags"
    others = [] if settings.policies_default else in_document(about, document, {policy.flag for policy in kept})
    return [Finding("ok", about, said), *(one for policy in kept for one in _unfit(about, policy, document)), *others]


def _unfit(about: str, policy: Policy, document: Document) -> Iterator[Finding]:
    flag = f"{about}: flag {policy.flag!r}"
    for problem in unfit(policy, document):
        yield Finding("error", flag, f"{problem.field}: {problem.value}: {problem.right}")
    if document["flags"].get(policy.flag, {}).get("state") == "DISABLED":
        cure = "set its state to ENABLED in the document"
        yield Finding("warning", flag, "is switched off, so that no stage is served to anybody", cure)


async def _served_flagd(name: str, settings: Settings, kept: Sequence[Policy], known: Known) -> list[Finding]:
    found = await flagd_served(settings, [(policy.environment, policy.flag) for policy in kept])
    for place, served in found.items():
        known.setdefault(place, {})[name] = served
    return []
