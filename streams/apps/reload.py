"""
Policy files while the guardian runs: what changes in them is published, what is broken is refused and said.

A policy stays in force until another one of its rollout is published. So neither a broken file nor one that is gone
changes anything but the log, ``/readyz`` and ``guardian_policy_problems``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import structlog

from guardian.policy import Policy, policy_hash
from streams.apps.policy_files import PolicyFiles
from streams.policies import PolicyFile
from streams.telemetry import POLICY_PROBLEMS

log = structlog.get_logger()

POLL_S = 2.0

Publish = Callable[[Sequence[Policy]], Awaitable[None]]
"""Writes policies into the journal, and returns once they stand there."""


class Reload:
    """Follows the policy files of *paths*, of which *policies* are in force already."""

    def __init__(self, paths: Iterable[Path], policies: Iterable[Policy]) -> None:
        self._hashes = {str(policy.key): policy_hash(policy) for policy in policies}
        self._files = PolicyFiles(paths, known=self._hashes.keys())
        self._home: dict[str, str] = {}
        """The file in which each rollout's policy stood last."""
        self._told: set[str] = set()
        self._gone: set[str] = set()
        self._is_behind = False
        """Whether what was read last is not all published yet."""

    def state(self) -> dict[str, Any]:
        """What ``/readyz`` says: what is wrong in the files, and the rollouts that go on though their policy is gone."""
        problems = self._files.problems
        return {"ok": not problems, "problems": problems, "gone": sorted(self._gone)}

    async def run(self, publish: Publish) -> None:
        """Look every ``POLL_S`` until cancelled."""
        while True:
            try:
                await self.look(publish)
            except Exception:
                # The rollouts under way are watched all the same.
                log.exception("policies_not_followed")
            await asyncio.sleep(POLL_S)

    async def look(self, publish: Publish) -> None:
        """Read what changed since the last look and has stood still since; publish the policies that say something new."""
        self._is_behind |= await asyncio.to_thread(self._files.look, patient=True)
        if not self._is_behind:
            return
        files = self._files.files
        self._tell_problems(files)
        good = [(policy, file.file) for file in files if not file.problems for policy in file.policies]
        new = [policy for policy, _ in good if self._hashes.get(policy.key) != policy_hash(policy)]
        if new:
            await publish(new)
            log.info("policies_reloaded", rollouts=[policy.key for policy in new])
        self._hashes.update({policy.key: policy_hash(policy) for policy in new})
        self._home |= {policy.key: file for policy, file in good}
        self._tell_gone({policy.key for policy, _ in good}, {file.file for file in files if file.problems})
        self._is_behind = False

    def _tell_problems(self, files: Iterable[PolicyFile]) -> None:
        problems = [problem for file in files for problem in file.problems]
        POLICY_PROBLEMS.set(len(problems))
        for problem in problems:
            if str(problem) not in self._told:
                log.error("policy_refused", reason=str(problem), right="the policy of before stays in force until it is mended")
        self._told = {str(problem) for problem in problems}

    def _tell_gone(self, written: set[str], broken: set[str]) -> None:
        """A rollout whose policy is in no file any more goes on; one whose file is broken was told of already."""
        gone = {key for key, file in self._home.items() if key not in written and file not in broken}
        for key in sorted(gone - self._gone):
            right = "its rollout goes on under it; kill or pause it where that is not meant"
            log.warning("policy_gone", rollout=key, file=self._home[key], right=right)
        self._gone = gone
