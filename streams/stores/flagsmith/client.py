"""One environment of a Flagsmith project, over the endpoints that read and change what a flag serves there."""

from __future__ import annotations

import hashlib
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from guardian.ports import FlagCommand, StoreCapabilities, StoreError, UnknownFlag
from streams.stores.flagsmith.flag import Feature, Features, Flag, Served, flag_of
from streams.stores.http import Answer, StoreClient, place_of, unusable
from streams.stores.shares.flag import Change, Malformed, Seen, seen
from streams.stores.vendors import address

FINEST = 1e-4
"""Users fall into some ten thousand places: a finer percentage is served to the same ones."""
_PAGE = 100
_REFUSED = (
    "it does not accept the key for this. Give the store an API key of the organisation (token_file) that has not expired, and "
    "that may view the project, update feature states and manage segment overrides in this environment"
)


class FlagsmithBackend:
    """One environment of a project. *control* is what the flag's own value is called."""

    name = "Flagsmith"
    capabilities = StoreCapabilities(
        can_kill_variation=True,
        can_set_share=True,
        can_target_rings=False,
        needs_full_document=False,
        has_compare_and_set=False,
        requires_approval=False,
        typical_propagation_ms=60_000.0,
        finest_share=FINEST,
        slowest_propagation_ms=65_000.0,
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        token: str,
        project: int,
        environment: str,
        environment_key: str,
        control: str = "control",
        timeout_s: float = 1.5,
    ) -> None:
        self._url, self._token, self._project = url, token, project
        self._environment, self._key, self._control = environment, environment_key, control
        self._where = f"{self.name} at {place_of(URL(url))}"
        self._client = StoreClient(
            session, where=self._where, setting="the setting url of this store", refused=_REFUSED, timeout_s=timeout_s
        )

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        try:
            feature = await self._feature(flag_key)
            answer = await self._ask("GET", self._place(feature.id), flag_key)
            served = msgspec.json.decode(answer.json(), type=Served)
            return self._seen(flag_key, flag_of(feature, served, self._control))
        except msgspec.DecodeError as error:
            raise unusable(self._where, Malformed(str(error))) from None
        except Malformed as error:
            raise unusable(self._where, error) from None

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        """See `streams.stores.shares.backend.Backend.write`."""
        flag: Flag = seen.raw
        stopped = change.stopped
        asked: dict[str, Any] = {}
        if (wanted := flag.variants(change.shares)) != flag.variants(flag.shares(flag.served.environment_default)):
            asked["environment_default"] = {"variants": wanted}
        served = [(state, flag.shares(state)) for state in flag.served.segment_overrides]
        if taken := [state for state, shares in served if any(shares[name] > 0.0 for name in stopped)]:
            asked["segment_overrides"] = [flag.override(state, stopped) for state in taken]
        if not asked:
            return seen.etag
        await self._ask("PATCH", self._place(flag.id), command.flag_key, msgspec.json.encode(asked))
        return ""

    async def _feature(self, flag_key: str) -> Feature:
        """The flag of exactly this name: the search finds all that hold it."""
        found, page = Features([], "first"), 0
        where = address(self._url, "api", "v1", "projects", str(self._project), "features") / ""
        while found.next is not None:
            page += 1
            asked = where.with_query(search=flag_key, page=page, page_size=_PAGE)
            answer = await self._ask("GET", asked, flag_key)
            found = msgspec.json.decode(answer.json(), type=Features)
            for feature in found.results:
                if feature.name == flag_key:
                    return feature
        raise UnknownFlag(
            f"{self._where}: project {self._project} has no flag {flag_key!r}: it was never made, or the setting project of this "
            "store is another one's"
        )

    def _seen(self, flag_key: str, flag: Flag) -> Seen:
        served = flag.served
        apart = [flag.shares(state) for state in served.segment_overrides if state.enabled]
        said = msgspec.json.encode((served, sorted(flag.names.items())), order="deterministic")
        return seen(
            self._environment,
            flag_key,
            etag=hashlib.sha256(said).hexdigest()[:16],
            shares=flag.shares(served.environment_default),
            kept=None,
            enabled=served.environment_default.enabled,
            raw=flag,
            singled_out=frozenset(name for shares in apart for name, share in shares.items() if share > 0.0),
        )

    def _place(self, feature_id: int) -> URL:
        return address(self._url, "api", "__future__", "environments", self._key, "features", str(feature_id)) / ""

    async def _ask(self, method: str, url: URL, flag_key: str, body: bytes = b"") -> Answer:
        return await self._client.ask(
            method,
            url,
            unknown=f"flag {flag_key!r} of project {self._project} in the environment of environment_key. The key may not view "
            "or change it, project or environment_key are others, or the server is from before August 2026",
            headers={"authorization": f"Api-Key {self._token}"},
            body=body,
            meaning=self._meaning if body else lambda _: None,
        )

    def _meaning(self, answer: Answer) -> StoreError | None:
        if answer.status != 409:
            return None
        return StoreError(
            f"{self._where} answers HTTP 409: changes of this environment need a change request, which nobody can approve within "
            "a second. Turn change requests off for this environment, or have a person change the flag: "
            f"{answer.said}"
        )
