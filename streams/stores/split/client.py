"""One environment of a Split workspace (a project of Harness FME), over the Admin API."""

from __future__ import annotations

import aiohttp
import msgspec
from yarl import URL

from guardian.ports import FlagCommand, StoreCapabilities, StoreError
from streams.stores.http import Answer, StoreClient, place_of, unusable
from streams.stores.shares.flag import Change, Malformed, Seen, seen
from streams.stores.split.flag import Definition, json_patch, read_definition
from streams.stores.vendors import STOPS, address, peace_in_s

APPROVALS = "approvals are required"
"""What a refusal says, in any case, where the environment asks for approvals."""
_REFUSED = (
    "it does not accept the key for this. Give the store an Admin API key (token_file) that is in force, with the role "
    "API_FEATURE_FLAG_EDITOR and a scope that holds this environment"
)


class _NeedsApproval(StoreError):
    """A change that somebody has to approve first."""


class SplitBackend:
    """One environment of a workspace, each by its id (or, of an environment, its name)."""

    name = "Split"
    capabilities = StoreCapabilities(
        can_kill_variation=True,
        can_set_share=True,
        can_target_rings=False,
        needs_full_document=False,
        has_compare_and_set=False,
        requires_approval=False,
        typical_propagation_ms=1_000.0,
        finest_share=0.01,
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        token: str,
        workspace: str,
        environment: str,
        environment_id: str,
        timeout_s: float = 1.5,
    ) -> None:
        self._url, self._token, self._workspace = url, token, workspace
        self._environment, self._id = environment, environment_id
        self._where = f"{self.name} at {place_of(URL(url))}"
        self._client = StoreClient(
            session,
            where=self._where,
            setting="the setting url, workspace or environment_id of this store",
            refused=_REFUSED,
            timeout_s=timeout_s,
            peace=peace_in_s("x-ratelimit-reset-seconds-org", "x-ratelimit-reset-seconds-ip"),
        )

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        answer = await self._ask("GET", flag_key)
        try:
            found = read_definition(answer.json())
            return seen(
                self._environment,
                flag_key,
                etag=found.etag,
                shares=found.shares,
                kept=None,
                enabled=not found.killed,
                raw=found,
                singled_out=found.singled_out,
            )
        except Malformed as error:
            raise unusable(self._where, error) from None

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        """See `streams.stores.shares.backend.Backend.write`."""
        known: Definition = seen.raw
        if not (asked := json_patch(known, change)):
            return seen.etag
        try:
            await self._ask("PATCH", command.flag_key, body=msgspec.json.encode(asked))
        except _NeedsApproval as error:
            if command.kind in STOPS and _kills_no_more(known, change):
                await self._kill_whole(known, command, error)
            raise
        return ""

    async def _kill_whole(self, known: Definition, command: FlagCommand, refused: StoreError) -> None:
        """
        Stop the flag where only that needs no approval.

        Raises:
            StoreError: always: it is stopped, or not even that is allowed; the text says which.
        """
        try:
            await self._ask("PUT", command.flag_key, "kill", body=b"{}")
        except StoreError as error:
            if error.retryable:
                raise
            raise StoreError(f"{refused}. Kills without approval are not allowed there either") from None
        raise StoreError(
            f"{refused}. Until then the flag is killed whole, which needs none there: everybody gets "
            f"{known.default_treatment!r}. Who restores it before the change was made serves {command.variation!r} again"
        )

    async def _ask(self, method: str, flag_key: str, *more: str, body: bytes = b"") -> Answer:
        return await self._client.ask(
            method,
            address(self._url, "splits", "ws", self._workspace, flag_key, "environments", self._id, *more),
            unknown=f"flag {flag_key!r} of workspace {self._workspace!r} in environment {self._id!r} (or the key may not see it)",
            headers={"authorization": f"Bearer {self._token}"},
            body=body,
            meaning=self._meaning if body else lambda _: None,
        )

    def _meaning(self, answer: Answer) -> StoreError | None:
        told = f"{self._where} answers HTTP {answer.status}"
        if answer.status == 403 and APPROVALS in answer.body.decode(errors="replace").lower():
            return _NeedsApproval(
                f"{told}: changes in environment {self._id!r} need an approval: have somebody submit this one there and an "
                "approver approve it, or switch approvals off for the environment"
            )
        if answer.status == 409:  # no change that came first: there is no version that it could compare
            return StoreError(f"{told}; a change that waits for approval locks a flag: approve or withdraw it. {answer.said}")
        return None


def _kills_no_more(known: Definition, change: Change) -> bool:
    """Whether a flag that is killed whole serves to all what the change asks for."""
    return abs(change.shares.get(known.default_treatment, 0.0) - 1.0) < 1e-6 and known.default_treatment not in change.stopped
