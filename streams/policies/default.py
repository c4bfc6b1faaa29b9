"""The policy for rollouts that nobody wrote one for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from guardian.errors import PolicyError
from guardian.policy import Policy
from streams.policies.files import read_file
from streams.policies.found import PolicyFile, find_doubles

EVERY: Mapping[str, str] = MappingProxyType({"flag": "every-flag", "environment": "every-environment"})
"""What a default policy is read under."""


def read_default(path: Path) -> PolicyFile:
    """
    Read the policy for rollouts that nobody wrote one for: as any other, without ``flag:`` and ``environment:``.

    It is returned under a flag and an environment that stand for all of them (``EVERY``); as ``read_policies``.
    """
    found = read_file(path, to_run=True, of=EVERY)
    find_doubles([found])
    return found.told()


def load_default(path: Path) -> Policy:
    """
    Read the policy for rollouts that nobody wrote one for; its flag and its environment stand for all of them.

    Raises:
        PolicyError: with every problem of the file.
    """
    file = read_default(path)
    if file.problems:
        raise PolicyError(file.problems)
    return file.policies[0]
