"""Reading files and directories of policies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from guardian.errors import PolicyError, Problem
from guardian.policy import Policy
from streams.policies.beside import ALONE, Beside
from streams.policies.document import GIVEN, read_document
from streams.policies.found import Found, PolicyFile, find_doubles
from streams.policies.nodes import compose, yaml_problem

LARGEST_FILE = 1_000_000
"""Bytes. A policy takes about a thousand; what is larger is another file by mistake."""
TEMPLATES = "templates"


def read_policies(paths: Iterable[Path], *, to_run: bool = True, beside: Beside = ALONE) -> list[PolicyFile]:
    """
    Read files, and the ``.yaml`` and ``.yml`` files of directories, in order of their names.

    Raises nothing for what it finds: see each file's ``problems``, among them what this version cannot run
    and rollouts that are defined twice, and what does not fit what is *beside* them. Unless they are read *to_run*,
    what this version cannot run is no problem.
    """
    found: dict[Path, Found] = {}
    for path in paths:
        for given in files_in(path):
            if isinstance(given, Problem):
                found[path] = Found(given.file, problems=[given])
            elif given.resolve() not in found:
                found[given.resolve()] = read_file(given, to_run=to_run, beside=beside)
    find_doubles(found.values())
    return [one.told() for one in found.values()]


def load_policies(paths: Iterable[Path]) -> list[Policy]:
    """
    Read policies that can be run.

    Raises:
        PolicyError: with every problem of every file.
    """
    files = read_policies(paths)
    problems = [problem for file in files for problem in file.problems]
    if problems:
        raise PolicyError(problems)
    return [policy for file in files for policy in file.policies]


def read_policy_text(content: bytes, *, file: str) -> PolicyFile:
    """Read the content of one file; as ``read_policies``."""
    found = _read(content, file)
    find_doubles([found])
    return found.told()


def files_in(path: Path) -> Iterator[Path | Problem]:
    """
    Yield the files of policies in a directory, in order of their names; a path that is none is itself one.

    Directories called ``templates`` are passed over: they hold what policies are made from.
    """
    if not path.is_dir():
        yield path
        return
    inside = sorted(one for one in path.rglob("*") if one.suffix in (".yaml", ".yml") and _is_ours(one.relative_to(path)))
    yield from inside
    if not inside:
        yield Problem(str(path), None, "", "", "has no policies; put files ending in .yaml there")


def _is_ours(inside: Path) -> bool:
    # Hidden directories hold copies: Kubernetes mounts a config map as ..data beside links to it.
    return not any(part.startswith(".") for part in inside.parts) and TEMPLATES not in inside.parts[:-1]


def read_file(path: Path, *, to_run: bool, of: Mapping[str, str] = GIVEN, beside: Beside = ALONE) -> Found:
    """Read one file; as ``read_policies``, but what it defines twice is not looked for. *of* as for ``read_document``."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            said = f"is larger than {LARGEST_FILE:,} bytes; is it a policy?"
            return Found(str(path), problems=[Problem(str(path), None, "", "", said)])
        return _read(path.read_bytes(), str(path), to_run=to_run, of=of, beside=beside)
    except OSError as error:
        said = f"cannot be read: {error.strerror}; name a file or directory of policies"
        return Found(str(path), problems=[Problem(str(path), None, "", "", said)])


def _read(
    content: bytes, file: str, *, to_run: bool = True, of: Mapping[str, str] = GIVEN, beside: Beside = ALONE
) -> Found:
    found = Found(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found.problems.append(Problem(file, line, "", "", "is not UTF-8; save the file as UTF-8"))
        return found
    try:
        for node in compose(text):
            read_document(node, found, to_run=to_run, of=of, beside=beside)
    except yaml.YAMLError as error:
        found.problems.append(yaml_problem(error, text, file))
    if not found.keys and not found.problems:
        found.problems.append(Problem(file, None, "", "", "is empty; a policy starts with flag: NAME"))
    return found
