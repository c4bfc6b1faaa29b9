"""A flag store in memory: what a demo or a simulation acts on. The same promises as any other store."""

from __future__ import annotations

from collections.abc import Callable

from guardian.flagdoc import Document, Overlay, compose, unstamped, validate
from guardian.ports import Applied, FlagCommand, FlagState, StoreCapabilities, UnknownFlag
from streams.clock import now_ms
from streams.stores.base import done, other_environment, plan, read_state, unknown


class MemoryFlagStore:
    """
    Keeps a flagd document and what the guardian decided about its flags, for one environment.

    Raises:
        ValueError: the document has problems; the text holds each of them.
    """

    capabilities = StoreCapabilities(
        can_kill_variation=True,
        can_set_share=True,
        can_target_rings=True,
        needs_full_document=True,
        has_compare_and_set=False,
        requires_approval=False,
        typical_propagation_ms=0.0,
    )

    def __init__(
        self, document: Document, *, environment: str = "production", now_ms: Callable[[], int] = now_ms
    ) -> None:
        self.environment = environment
        self._now_ms = now_ms
        self._overlays: dict[str, Overlay] = {}
        self.edit(document)

    @property
    def document(self) -> Document:
        """What is served."""
        return compose(self._base, self._overlays.values())

    def edit(self, document: Document) -> None:
        """
        Take a person's new document; what the guardian decided stays laid over it.

        Raises:
            ValueError: the document has problems, and the old one stays.
        """
        problems = validate(document)
        if problems:
            raise ValueError("\n".join(problems))
        self._base = unstamped(document)

    async def read(self, environment: str, flag_key: str) -> FlagState:
        """See `guardian.ports.FlagStore.read`."""
        if environment != self.environment:
            raise UnknownFlag(other_environment(self.environment, environment))
        return read_state(self.document, environment, flag_key, self._overlays.get(flag_key))

    async def apply(self, command: FlagCommand) -> Applied:
        """See `guardian.ports.FlagStore.apply`."""
        if command.environment != self.environment:
            return unknown(command, other_environment(self.environment, command.environment))
        known = self._overlays.get(command.flag_key)
        planned = plan(self.document, known, command, self._now_ms())
        if isinstance(planned, Applied):
            return planned
        self._overlays[command.flag_key] = planned
        state = await self.read(command.environment, command.flag_key)
        status, detail = done(known, planned, command) or ("applied", f"served as version {state.version}")
        return Applied(status, state.version, detail, state)
