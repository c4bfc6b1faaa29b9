"""
Policies from files: YAML with line numbers, read into ``guardian.policy``.

YAML is read strictly, so that it says what people see: names once, plain words as text, no aliases or tags,
and no ``on``/``off``/``yes``/``no`` taken for true or false behind their back. Nothing here raises for what
is in a file: it becomes a ``Problem``.
"""

from __future__ import annotations

from streams.policies.beside import ALONE, Beside, Home
from streams.policies.default import load_default, read_default
from streams.policies.files import LARGEST_FILE, files_in, load_policies, read_policies, read_policy_text
from streams.policies.found import PolicyFile

__all__ = [
    "ALONE",
    "LARGEST_FILE",
    "Beside",
    "Home",
    "PolicyFile",
    "files_in",
    "load_default",
    "load_policies",
    "read_default",
    "read_policies",
    "read_policy_text",
]
