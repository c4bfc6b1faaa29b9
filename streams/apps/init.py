"""``guardian init``: a policy to begin with, made from the template of its risk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TextIO

from streams.policies import read_policy_text

RISKS = ("low", "medium", "high")
TEMPLATES = Path(__file__).parent / "templates"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS = ("yes", "no", "on", "off", "true", "false", "null")
WRONG = 2


def init(risk: str, flag: str, out: TextIO, err: TextIO, *, environment: str = "production", owner: str = "") -> int:
    """Write the policy on *out*; return the exit code: 2, with the reason on *err*, for a risk or name that cannot be."""
    if risk not in RISKS:
        err.write(f"--risk {risk!r}: write one of {', '.join(RISKS)}\n")
        return WRONG
    text = (TEMPLATES / f"{risk}.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^flag: .*$", lambda _: f"flag: {_yaml(flag)}", text, flags=re.MULTILINE)
    text = re.sub(r"^environment: .*$", lambda _: f"environment: {_yaml(environment)}", text, flags=re.MULTILINE)
    if owner:
        text = re.sub(r"^# owner: [^ ]+", lambda _: f"owner: {_yaml(owner)}", text, flags=re.MULTILINE)
    problems = read_policy_text(text.encode("utf-8", "replace"), file="guardian init").problems
    if problems:
        err.writelines(f"{problem}\n" for problem in problems)
        return WRONG
    out.write(text)
    return 0


def _yaml(name: str) -> str:
    """A name as YAML: in quotes where it would not be taken for itself."""
    is_plain = _PLAIN.fullmatch(name) and name.lower() not in _WORDS
    return name if is_plain else json.dumps(name, ensure_ascii=False)
