"""Policies that come through the API: checked whole, then written into the journal as those from files are."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from pydantic import BaseModel

from guardian.errors import Problem, ProblemsError
from guardian.journal import PolicyEntry, encode
from guardian.policy import Policy, policy_hash
from streams.apps.overrides import Writer
from streams.clock import now_ms
from streams.policies import LARGEST_FILE, PolicyFile, read_policy_text

log = structlog.get_logger()

SENT = "policy"
"""Stands for the name of a file in what is said about a document that was sent."""


class PolicyTaken(BaseModel):
    """The policy stands in the journal under this hash."""

    key: str
    hash: str


def read_sent(content: bytes, files: Iterable[PolicyFile]) -> tuple[Policy, ...]:
    """
    Return the policies of a document (YAML or JSON, as a policy file is written); *files* are those on disk.

    Raises:
        ProblemsError: with every problem, also where a rollout's policy is in a file: the two would take turns.
    """
    if len(content) > LARGEST_FILE:
        raise ProblemsError([Problem(SENT, None, "", "", f"is larger than {LARGEST_FILE:,} bytes; is it a policy?")])
    sent = read_policy_text(content, file=SENT)
    home = {policy.key: file.file for file in files for policy in file.policies}
    held = [
        Problem(SENT, None, "flag", policy.key, f"its policy is in {home[policy.key]}; change it there, or remove it first")
        for policy in sent.policies
        if policy.key in home
    ]
    problems = [*sent.problems, *held]
    if problems:
        raise ProblemsError(problems)
    return sent.policies


async def write_sent(policies: Iterable[Policy], by: str, outlet: Writer, journal: str) -> list[PolicyTaken]:
    """
    Write each policy, to be in force from then on, as sent by *by*; judge takes one that it has for what it is.

    Raises:
        NotDelivered: Kafka did not take one of them; those before it stand, so send all again.
    """
    taken = []
    for policy in policies:
        name = policy_hash(policy)
        entry = PolicyEntry(
            at_ms=now_ms(), key=policy.key, hash=name, document=policy.to_document(), by=f"api: {by}"
        )
        await outlet.send(journal, policy.key, encode(entry))
        log.info("policy_taken", rollout=policy.key, hash=name, by=by)
        taken.append(PolicyTaken(key=policy.key, hash=name))
    return taken
