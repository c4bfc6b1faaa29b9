"""``guardian apply``: policy files to a guardian that runs elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from guardian.errors import Problem, ProblemsError
from streams.apps.client import DONE, Client, Wrong
from streams.apps.sent_policies import SENT
from streams.policies import read_policies


def apply(client: Client, paths: Iterable[Path], by: str, out: TextIO, *, as_json: bool = False) -> int:
    """
    Send policies through the API, once all of them are right; return the exit code.

    Raises:
        ProblemsError: with every problem of every file; nothing was sent.
        Wrong: nobody is named, or the guardian refused a file; those that were told of stand.
        NotReached: the API or Kafka cannot be reached.
    """
    if not by.strip():
        raise Wrong("--by NAME is missing, and $USER is empty: who sends them?")
    files = read_policies(paths)
    problems: list[Problem] = [problem for file in files for problem in file.problems]
    if problems:
        raise ProblemsError(problems)
    told: list[dict[str, str]] = []
    for file in files:
        try:
            taken = client.send("/policies", Path(file.file).read_bytes(), by=by)
        except Wrong as error:
            raise Wrong("\n".join(line.replace(SENT, file.file, 1) for line in str(error).splitlines())) from None
        told += taken
        if not as_json:
            out.writelines(f"taken: {one['key']}, {one['hash'][:15]}; it stands in the journal\n" for one in taken)
    if as_json:
        out.write(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return DONE
