"""One environment of a LaunchDarkly project: read over the REST API, and changed by patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from guardian.ports import FlagCommand, StoreCapabilities, StoreError, UnknownFlag
from streams.findings import Finding
from streams.stores.http import Answer, StoreClient, place_of, unusable
from streams.stores.launchdarkly.edits import edits, instructions, json_patch, nudged
from streams.stores.launchdarkly.flag import Config, Flag, NamedBy, names_of, read_flag, shares_of, singled_out
from streams.stores.shares.backend import NotTaken
from streams.stores.shares.flag import Change, Malformed, Seen, seen
from streams.stores.vendors import STOPS, address, peace_until_ms

API_VERSION = "20240415"
SEMANTIC = "application/json; domain-model=launchdarkly.semanticpatch"
_REFUSED = (
    "it does not accept the token for this. Give the store an access token of LaunchDarkly's (token_file; it begins with "
    "api-) that has not expired and whose role may read the flag and change its rules, targets and rollouts in this environment"
)


class _Unfit(StoreError):
    """A patch that is refused for what it says."""


class LaunchDarklyBackend:
    """
    One environment of a project. *rings* are the keys of segments that the guardian may serve apart.

    Variations are called by *named_by*; a split that did not exist before is by the key of a *context_kind*.
    """

    name = "LaunchDarkly"
    capabilities = StoreCapabilities(
        can_kill_variation=True,
        can_set_share=True,
        can_target_rings=True,
        needs_full_document=False,
        has_compare_and_set=True,
        requires_approval=False,
        typical_propagation_ms=200.0,
        finest_share=1e-5,
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        token: str,
        project: str,
        environment: str,
        environment_key: str,
        rings: Sequence[str] = (),
        named_by: NamedBy = "name",
        context_kind: str = "user",
        timeout_s: float = 1.5,
    ) -> None:
        self._url, self._token, self._project, self._environment = url, token, project, environment
        self._key, self._rings, self._named_by, self._kind = environment_key, tuple(rings), named_by, context_kind
        self._where = f"{self.name} at {place_of(URL(url))}"
        self._client = StoreClient(
            session,
            where=self._where,
            setting="the setting url, project or environment_key of this store",
            refused=_REFUSED,
            timeout_s=timeout_s,
            peace=peace_until_ms("x-ratelimit-reset"),
        )

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        answer = await self._ask("GET", flag_key, query={"env": self._key})
        try:
            flag = read_flag(answer.json())
            return self._seen(flag_key, flag)
        except Malformed as error:
            raise unusable(self._where, error) from None

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        """See `streams.stores.shares.backend.Backend.write`."""
        flag: Flag = seen.raw
        config = flag.environments[self._key]
        if command.kind not in STOPS:
            self._check_free(flag, config)
        made = edits(config, change, names_of(flag, self._named_by), self._rings)
        if not made.touch(config):
            return seen.etag
        try:
            return await self._patch(command, {"patch": json_patch(made, config, self._key, self._kind)})
        except _Unfit as refused:
            # A test that fails is refused in a way that is written nowhere: the version tells.
            if (await self.read(command.flag_key)).etag != seen.etag:
                raise NotTaken(f"{self._where}: the flag was changed meanwhile") from refused
            if command.kind not in STOPS:
                raise
        by_id = instructions(made, flag, config, self._kind)
        return await self._patch(command, {"environmentKey": self._key, "instructions": by_id}, semantic=True)

    async def probe(self, flag_key: str, control: str) -> list[Finding]:
        """
        See `streams.stores.shares.backend.Probed.probe`.

        What is tried is the least that can be asked for, so that a server that overlooks ``dryRun`` does next to nothing.
        """
        flag: Flag = (await self.read(flag_key)).raw
        config = flag.environments[self._key]
        names = names_of(flag, self._named_by)
        made = nudged(config, names.index(control)) if control in names else None
        if made is None:
            return [Finding("ok", "permission to kill", f"not tried: there is no share that {control!r} could be given")]
        await self._ask(
            "PATCH",
            flag_key,
            query={"dryRun": "true", "ignoreConflicts": "true"},
            body=msgspec.json.encode({"patch": json_patch(made, config, self._key, self._kind)}),
        )
        return [Finding("ok", "permission to kill", f"a dry run of a change of the default rule in {self._key!r} is accepted")]

    def _seen(self, flag_key: str, flag: Flag) -> Seen:
        config = flag.environments.get(self._key)
        if config is None or config.fallthrough is None:
            why = "the project has no environment of this key, or the token may not see it: see environment_key of this store"
            raise UnknownFlag(f"{self._where}: flag {flag_key!r} is not in environment {self._key!r}; {why}")
        if flag.archived:
            raise StoreError(f"flag {flag_key!r} is archived in LaunchDarkly and is served to nobody: restore it there")
        names = names_of(flag, self._named_by)
        rings = {ring: config.place_of_ring(ring) for ring in self._rings}
        return seen(
            self._environment,
            flag_key,
            etag=str(config.version),
            shares=shares_of(config.fallthrough, names),
            kept=None,
            enabled=config.on,
            rings={ring: {} if at is None else shares_of(config.rules[at], names) for ring, at in rings.items()},
            raw=flag,
            singled_out=singled_out(config, names, self._rings),
        )

    def _check_free(self, flag: Flag, config: Config) -> None:
        split = config.fallthrough.rollout if config.fallthrough else None
        if split is not None and split.experiment_allocation is not None:
            raise StoreError(
                f"an experiment of LaunchDarkly's runs on the default rule of flag {flag.key!r} in {self._key!r}, and shares "
                "that change under it spoil it: stop the experiment there, or end the rollout here. A kill goes through"
            )

    async def _patch(self, command: FlagCommand, body: dict[str, Any], *, semantic: bool = False) -> str:
        said = {"comment": f"Rollout Guardian: {command.kind} {command.variation} ({command.decision_id})", **body}
        answer = await self._ask(
            "PATCH",
            command.flag_key,
            # What waits for an hour or for approval must not stand in the way of what stops harm.
            query={"ignoreConflicts": "true"} if command.kind in STOPS else {},
            headers={"content-type": SEMANTIC} if semantic else {},
            body=msgspec.json.encode(said),
        )
        try:
            config = read_flag(answer.json()).environments.get(self._key)
        except Malformed:
            return ""  # it is done; what it has become is read all the same
        return str(config.version) if config else ""

    async def _ask(self, method: str, flag_key: str, *, query: dict[str, str], body: bytes = b"", **more: Any) -> Answer:
        headers = {"authorization": self._token, "ld-api-version": API_VERSION, **more.get("headers", {})}
        return await self._client.ask(
            method,
            address(self._url, "api", "v2", "flags", self._project, flag_key).with_query(query),
            unknown=f"flag {flag_key!r} of project {self._project!r} in environment {self._key!r}",
            headers=headers,
            body=body,
            meaning=self._meaning if body else lambda _: None,
        )

    def _meaning(self, answer: Answer) -> StoreError | None:
        told = f"{self._where} answers HTTP {answer.status}"
        if answer.status == 405:
            return StoreError(
                f"{told}: changes in environment {self._key!r} need an approval, which nobody can give within a second. Give "
                "the token's role the action bypassRequiredApproval for this environment, or have a person who may bypass "
                "approvals make the change now"
            )
        return _Unfit(f"{told}: {answer.said}") if answer.status in (400, 422) else None
