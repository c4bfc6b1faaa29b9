"""What `act` uses to change flags in a store of shares: read, decide, compare and set, read back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from guardian.flagdoc import SAME_SHARE, Overlay
from guardian.numerals import percent
from guardian.ports import Applied, FlagCommand, FlagState, StoreCapabilities, StoreError, StoreUnavailable, UnknownFlag
from streams.clock import now_ms
from streams.stores.base import done, other_environment, plan, unknown
from streams.stores.shares.backend import Backend, NotTaken, Written
from streams.stores.shares.flag import Change, Malformed, Seen
from streams.stores.shares.layers import Layers, Places, change, layers, moved_between, state_of

CALL_S = 4.5
"""What one call may take, all its requests together: less than act waits for it, so that it can say how far it got."""
MOST_READS = 6
"""A flag that changes under each of so many looks is left to act, which comes back to it."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """
    A change that was sent, the record of before, what is said if it was made; and what makes that doubtful.

    *window* is said where the store cannot tell what was lost in it.
    """

    change: Change
    known: Overlay
    from_etag: str
    etag: str
    also: str
    doubt: str
    is_refused: bool = False
    window: str = ""


class SharesStore:
    """
    The flag store of one environment behind *backend*.

    The record of what was decided is kept beside the flag, and both change together or not at all: so two guardians
    cannot undo each other's work, and none needs to know what another one has written.
    """

    def __init__(
        self, backend: Backend, *, environment: str = "production", call_s: float = CALL_S, now_ms: Callable[[], int] = now_ms
    ) -> None:
        self.environment, self._backend, self._call_s, self._now_ms = environment, backend, call_s, now_ms
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def capabilities(self) -> StoreCapabilities:
        """What the store can do."""
        return self._backend.capabilities

    async def read(self, environment: str, flag_key: str) -> FlagState:
        """See `guardian.ports.FlagStore.read`."""
        if environment != self.environment:
            raise UnknownFlag(other_environment(self.environment, environment))
        return state_of(await self._seen(flag_key), environment, flag_key)

    async def apply(self, command: FlagCommand) -> Applied:
        """See `guardian.ports.FlagStore.apply`."""
        if command.environment != self.environment:
            return unknown(command, other_environment(self.environment, command.environment))
        reached = ["the flag was not read; nothing was sent"]
        try:
            async with self._bounded(reached), self._locks[command.flag_key]:
                return await self._carry_out(command, reached)
        except UnknownFlag as error:
            return unknown(command, str(error))
        except StoreError as error:
            if error.retryable:
                raise
            return Applied("failed", "", str(error), None)

    async def _carry_out(self, command: FlagCommand, reached: list[str]) -> Applied:
        """Read, decide, change and read back, again where somebody else came first."""
        sent, first = None, None
        for _ in range(MOST_READS):
            since_s = time.monotonic()
            seen = await self._seen(command.flag_key)
            first = first or seen
            command = rounded(command, seen.finest or self.capabilities.finest_share)
            if sent is not None and (answer := _answer(sent, seen, command)) is not None:
                return answer
            planned = _planned(seen, first, command, self._now_ms())
            if isinstance(planned, Applied):
                return planned
            reached.append("unknown outcome; read back before sending again")
            sent = await self._send(planned, seen, command, since_s)
        return Applied("conflict", seen.version, "the flag is changed all the time", state_of(seen, *_place(command)))

    async def _seen(self, flag_key: str) -> Seen:
        try:
            return await self._backend.read(flag_key)
        except Malformed as error:
            raise StoreUnavailable(f"{self._backend.name} gives an answer that cannot be used: {error}") from None

    async def _send(self, planned: _Sent, seen: Seen, command: FlagCommand, since_s: float) -> _Sent:
        """Send a change to the flag that was read *since_s*, and note what was heard of it."""
        try:
            told = await self._backend.write(seen, planned.change, command)
        except NotTaken:
            # Or an earlier try of the HTTP client was made, and this is the answer to its repeat: reading tells.
            return replace(planned, is_refused=True)
        except StoreUnavailable as error:
            return replace(planned, doubt=str(error))
        done_so = told if isinstance(told, Written) else Written(told, "")
        window = self._window(time.monotonic() - since_s)
        return replace(planned, etag=done_so.etag, also=planned.also + done_so.also, window=window)

    def _window(self, open_s: float) -> str:
        """What is said where a person's change could have been overwritten unseen."""
        if self.capabilities.has_compare_and_set:
            return ""
        return f"; written {open_s * 1000:.0f} ms after it was read, and what somebody changed between is lost"

    @asynccontextmanager
    async def _bounded(self, reached: list[str]) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._call_s):
                yield
        except TimeoutError as error:
            raise StoreUnavailable(f"{self._backend.name}: {self._call_s:g} s have passed: {reached[-1]}") from error


def rounded(command: FlagCommand, finest: float) -> FlagCommand:
    """The command with shares that are multiples of *finest*."""
    if command.share is None:
        return command
    rings = {ring: rounded_share(share, finest) for ring, share in command.rings.items()}
    return replace(command, share=rounded_share(command.share, finest), rings=rings)


def rounded_share(share: float, finest: float) -> float:
    """The multiple of *finest* that is nearest to a share; none that is asked for becomes nothing."""
    return round(min(max(round(share / finest), 1 if share > 0.0 else 0) * finest, 1.0), 9)


def _place(command: FlagCommand) -> tuple[str, str]:
    return command.environment, command.flag_key


def _planned(seen: Seen, first: Seen, command: FlagCommand, now_ms: int) -> _Sent | Applied:
    """What is to be sent, or the answer where nothing is."""
    state = state_of(seen, *_place(command))
    if missing := [ring for ring in command.rings if ring not in seen.rings]:
        there_are = ", ".join(seen.rings) or "none"
        why = "; ".join(f"ring {ring!r} is missing in the store" for ring in missing)
        return Applied("failed", seen.version, f"{why}; there are: {there_are}", state)
    given = layers(seen, command.control)
    wanted = plan(given.document, given.known, command, now_ms)
    if isinstance(wanted, Applied):
        return replace(wanted, version=seen.version, state=state)
    if (ring := _ring_of_people(given, command)) is not None:
        found = percent(seen.share_of(ring, command.variation), exact=True)
        why = f"people have set the share of {command.variation!r} in ring {ring!r} to {found}; put it back, or resume"
        return Applied("conflict", seen.version, why, state, share=seen.share_of("", command.variation))
    made = change(given, wanted, _still_theirs(given, command), uuid.uuid4().hex)
    also = _overridden(given, moved_between(first, seen, command.control), made, command) + _singled_out(seen, made)
    return _Sent(made, given.known, seen.etag, "", also, "")


def _ring_of_people(given: Layers, command: FlagCommand) -> str | None:
    """A ring whose share of the variation people have set to another one than an advance asks for."""
    if command.kind != "set_share":
        return None
    for ring, names in given.theirs.items():
        asked = command.rings.get(ring, command.share or 0.0)
        if command.variation in names and abs(given.seen.share_of(ring, command.variation) - asked) > SAME_SHARE:
            return ring
    return None


def _still_theirs(given: Layers, command: FlagCommand) -> Places:
    """The shares of rings that stay people's: not those that a command sets, nor those of what somebody has resumed."""
    if command.share is None and command.kind != "resume":
        return given.theirs
    about = {command.variation} if command.variation else set(given.seen.shares)
    return {ring: names - about for ring, names in given.theirs.items()}


def _overridden(given: Layers, since: Places, made: Change, command: FlagCommand) -> str:
    """Which shares that people have set a change takes away, and whose; empty where it takes none."""
    if command.kind not in ("kill", "kill_flag", "step_back"):
        return ""
    taken, after = [], made.seen()
    for ring in ("", *given.seen.rings):
        for name in sorted(given.moved.get(ring, frozenset()) | since.get(ring, frozenset())):
            had = given.seen.share_of(ring, name)
            if had > after.share_of(ring, name) + SAME_SHARE:
                taken.append(f"{percent(had, exact=True)} of {name!r}{f' in ring {ring!r}' if ring else ''}")
    by = given.seen.changed_by or "somebody whom the store does not name"
    return f"; it overrode what people had set: {', '.join(taken)}, last changed by {by}" if taken else ""


def _singled_out(seen: Seen, made: Change) -> str:
    """What is said where a change takes more from what it stops than shares: that has no place in the record."""
    taken = sorted(seen.singled_out & made.stopped.keys())
    if not taken:
        return ""
    names, controls = (", ".join(map(repr, some)) for some in (taken, sorted({made.stopped[name] for name in taken})))
    return f"; rules and lists of users that served {names} serve {controls} from now on, and a resume does not undo that"


def _answer(sent: _Sent, seen: Seen, command: FlagCommand) -> Applied | None:
    """
    What became of a change that was sent, as the flag is now; ``None`` where it is to be decided anew.

    Raises:
        StoreUnavailable: it cannot be told yet.
    """
    state = state_of(seen, *_place(command))
    if seen.mark != sent.change.kept.mark:
        # A record as new as this one that knows nothing of it was written in the same moment, over it.
        is_overwritten = seen.known["version"] >= sent.change.record["version"]
        if sent.is_refused or is_overwritten or command.command_id in seen.known.get("recent_command_ids", ()):
            return None
        if sent.doubt or seen.etag == sent.from_etag:
            why = sent.doubt or "the store has taken the change and does not show it"
            raise StoreUnavailable(f"{why}: unknown outcome; read back before sending again")
        return Applied("conflict", seen.version, f"another change came first; served is version {seen.version}", state)
    if sent.change.is_met(seen):
        status, detail = done(sent.known, sent.change.record, command) or ("applied", f"served as version {seen.version}")
        lost = sent.window if seen.lost is None else seen.lost
        return Applied(status, seen.version, detail + sent.also + lost, state)
    if seen.etag == sent.etag:
        why = f"the store keeps other shares than it was sent: {dict(seen.shares)}, sent were {sent.change.shares}"
        return Applied("failed", seen.version, why, state)
    return Applied("conflict", seen.version, f"another change came first; served is version {seen.version}", state)
