"""
Policies from files: YAML with line numbers, read into ``guardian.policy``.

YAML is read strictly, so that it says what people see: names once, plain words as text, no aliases or tags,
and no ``on``/``off``/``yes``/``no`` taken for true or false behind their back. Nothing here raises for what
is in a file: it becomes a ``Problem``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from guardian import errors
from guardian.errors import PolicyError, Problem, problem_at, shown
from guardian.fitting import unfit
from guardian.flagdoc import Document
from guardian.names import rollout_key
from guardian.policy import Policy, Terms
from guardian.ports import StoreCapabilities
from guardian.schedule import Places, Schedule, parse_document
from guardian.stages import past_findings
from guardian.support import unsupported

LARGEST_FILE = 1_000_000
"""Bytes. A policy takes about a thousand; what is larger is another file by mistake."""
TEMPLATES = "templates"
EVERY: Mapping[str, str] = MappingProxyType({"flag": "every-flag", "environment": "every-environment"})
"""What a default policy is read under."""
GIVEN: Mapping[str, str] = MappingProxyType({})
"""Nothing: a policy says itself what it is of."""
DEEPEST = 20
"""Levels of nesting. A policy has four."""


@dataclass(frozen=True, slots=True)
class Home:
    """
    Where a flag is kept: in a *document*, where that is known, by stores that can do *store* together.

    *lacking* is the field of a policy by which no store keeps its flag, empty where one does; *right* says what would be.
    """

    document: Document | None = None
    store: StoreCapabilities | None = None
    lacking: str = ""
    right: str = ""


ANYWHERE = Home()


@dataclass(frozen=True, slots=True)
class Beside:
    """
    What policies are compared with besides themselves.

    At *now*, calendars that are over are problems, but for the rollouts *known*: these may have come to their end.
    *home* says where the flag of an environment is kept, both by name.
    """

    now: datetime | None = None
    known: Container[str] = ()
    home: Callable[[str, str], Home] = lambda _environment, _flag: ANYWHERE


ALONE = Beside()


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One file: the policies it holds (those that could be read) and everything that is wrong in it."""

    file: str
    policies: tuple[Policy, ...]
    problems: tuple[Problem, ...]


class _Written(NamedTuple):
    file: str
    lines: errors.Lines
    places: Places


@dataclass(slots=True)
class _Found:
    file: str
    policies: list[Policy] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    keys: list[tuple[str, int | None]] = field(default_factory=list)


def read_policies(paths: Iterable[Path], *, to_run: bool = True, beside: Beside = ALONE) -> list[PolicyFile]:
    """
    Read files, and the ``.yaml`` and ``.yml`` files of directories, in order of their names.

    Raises nothing for what it finds: see each file's ``problems``, among them what this version cannot run
    and rollouts that are defined twice, and what does not fit what is *beside* them. Unless they are read *to_run*,
    what this version cannot run is no problem.
    """
    found: dict[Path, _Found] = {}
    for path in paths:
        for given in files_in(path):
            if isinstance(given, Problem):
                found[path] = _Found(given.file, problems=[given])
            elif given.resolve() not in found:
                found[given.resolve()] = _read_file(given, to_run=to_run, beside=beside)
    _find_doubles(found.values())
    return [_told(one) for one in found.values()]


def read_default(path: Path) -> PolicyFile:
    """
    Read the policy for rollouts that nobody wrote one for: as any other, without ``flag:`` and ``environment:``.

    It is returned under a flag and an environment that stand for all of them (``EVERY``); as ``read_policies``.
    """
    found = _read_file(path, to_run=True, of=EVERY)
    _find_doubles([found])
    return _told(found)


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
    _find_doubles([found])
    return _told(found)


def _told(found: _Found) -> PolicyFile:
    problems = sorted(found.problems, key=lambda problem: problem.line or 0)
    return PolicyFile(found.file, tuple(found.policies), tuple(problems))


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


def _read_file(path: Path, *, to_run: bool, of: Mapping[str, str] = GIVEN, beside: Beside = ALONE) -> _Found:
    try:
        if path.stat().st_size > LARGEST_FILE:
            said = f"is larger than {LARGEST_FILE:,} bytes; is it a policy?"
            return _Found(str(path), problems=[Problem(str(path), None, "", "", said)])
        return _read(path.read_bytes(), str(path), to_run=to_run, of=of, beside=beside)
    except OSError as error:
        said = f"cannot be read: {error.strerror}; name a file or directory of policies"
        return _Found(str(path), problems=[Problem(str(path), None, "", "", said)])


def _read(
    content: bytes, file: str, *, to_run: bool = True, of: Mapping[str, str] = GIVEN, beside: Beside = ALONE
) -> _Found:
    found = _Found(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found.problems.append(Problem(file, line, "", "", "is not UTF-8; save the file as UTF-8"))
        return found
    try:
        for node in _compose(text):
            _read_document(node, found, to_run=to_run, of=of, beside=beside)
    except yaml.YAMLError as error:
        found.problems.append(_yaml_problem(error, text, file))
    if not found.keys and not found.problems:
        found.problems.append(Problem(file, None, "", "", "is empty; a policy starts with flag: NAME"))
    return found


def _read_document(node: yaml.Node, found: _Found, *, to_run: bool, of: Mapping[str, str], beside: Beside) -> None:
    document = _Document(found.file)
    content = document.value(node, ())
    if content is None and node.tag == _NULL:
        return  # nothing between two '---', or only comments
    found.problems += document.problems
    if of and isinstance(content, dict):
        for name in sorted(of.keys() & content.keys()):
            said = "is the policy of every flag that has none; remove this line"
            found.problems.append(problem_at((name,), content[name], said, file=found.file, lines=document.lines))
        content |= of
    key = _key(content)
    found.keys.append((key, document.lines.get(())))
    try:
        policy, places = parse_document(content, file=found.file, lines=document.lines)
    except PolicyError as error:
        # A value that YAML itself got wrong was told above; its consequences add nothing.
        told = {problem.field for problem in document.problems}
        found.problems += [problem for problem in error.problems if problem.field not in told]
        return
    found.policies.append(policy)
    written = _Written(found.file, document.lines, places)
    if to_run:
        found.problems += unsupported(policy, **written._asdict())
    if policy.key not in beside.known and beside.now is not None:
        past = past_findings(policy.stages, beside.now)
        found.problems += [
            problem_at(places.get(path, path), value, said, file=found.file, lines=document.lines) for path, value, said in past
        ]
    home = beside.home(policy.environment, policy.flag)
    if home.lacking:
        path = (home.lacking,)
        value = getattr(policy, home.lacking)
        found.problems.append(
            problem_at(places.get(path, path), value, home.right, file=found.file, lines=document.lines)
        )
    found.problems += unfit(policy, home.document, home.store, **written._asdict())


def _key(content: object) -> str:
    """The rollout that a document is about, as far as it says so; empty when it does not."""
    if not isinstance(content, dict):
        return ""
    flag = content.get("flag", content.get("rollout"))
    default = "" if "flag" in content else Schedule.model_fields["environment"].default
    environment = content.get("environment", default)
    named = isinstance(flag, str) and isinstance(environment, str) and flag and environment
    return rollout_key(str(environment), str(flag)) if named else ""


def _find_doubles(files: Iterable[_Found]) -> None:
    seen: dict[str, str] = {}
    for one in files:
        for key, line in one.keys:
            place = f"{one.file}:{line}"
            first = seen.setdefault(key, place) if key else place
            if first != place:
                said = f"this rollout is defined at {first} already; keep one of them"
                one.problems.append(Problem(one.file, line, "flag", shown(key), said))


# ---------------------------------------------------------------------------- YAML

_NULL, _BOOL, _INT, _FLOAT, _STR = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")
)
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_RESOLVED = (
    (_NULL, r"|~|null|Null|NULL", ["~", "n", "N", ""]),
    # YAML 1.1: the words that other readers take for true or false. No field is, so they are refused.
    (_BOOL, r"(?i:yes|no|true|false|on|off)", list("yYnNtTfFoO")),
    (_INT, r"[-+]?[0-9]{1,15}", list("-+0123456789")),
    (_FLOAT, r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?", list("-+.0123456789")),
)

_SWITCHES = frozenset((name,) for name, field in Terms.model_fields.items() if field.annotation is bool)
"""Where true and false may be written."""


class _Loader(yaml.SafeLoader):
    """Composes nodes; without aliases, by which a short file can mean a billion values, and not deeply."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - declared so by its base

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read", mark)
        if self.level == DEEPEST:
            raise yaml.composer.ComposerError(None, None, "this is nested too deeply", mark)
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


for _tag, _pattern, _first in _RESOLVED:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)


def _compose(text: str) -> Iterator[yaml.Node]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            yield node
    finally:
        loader.dispose()


@dataclass(slots=True)
class _Document:
    """Turns nodes into values, and keeps the line of each."""

    file: str
    lines: dict[errors.Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def value(self, node: yaml.Node, path: errors.Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            self._tell(path, self.lines[path], None, f"tags ({node.tag}) are not read; write the value alone")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, at)) for at, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: errors.Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for name_node, node_of in node.value:
            name, line = _paired(str(name_node.value)), name_node.start_mark.line + 1
            inner = (*path, name)
            if not isinstance(name_node, yaml.ScalarNode):
                self._tell(path, line, None, "a name is one word; write name: value")
            elif name in mapping:
                self._tell(
                    inner,
                    line,
                    None,
                    f"is written twice, first in line {self.lines[inner]}; keep one of them",
                )
            else:
                if name_node.tag == _BOOL:
                    self._tell(inner, line, None, f"YAML takes {name} for true or false; put it in quotes")
                self.lines[inner] = line
                mapping[name] = self.value(node_of, inner)
        return mapping

    def _scalar(self, node: yaml.Node, path: errors.Path) -> Any:
        text, line = str(node.value), self.lines[path]
        if node.tag == _NULL:
            return None
        if node.tag == _BOOL and path in _SWITCHES:
            return {"true": True, "false": False}.get(text, text)
        if node.tag == _BOOL:
            said = f"YAML takes {text} for true or false, which this field is not; put it in quotes if it is a name"
            self._tell(path, line, text, said)
        elif node.tag in (_INT, _FLOAT) and re.fullmatch(_RESOLVED[2][1], text):
            return int(text)
        elif node.tag == _FLOAT and re.fullmatch(_RESOLVED[3][1], text):
            return float(text)
        elif node.tag != _STR:
            self._tell(path, line, text, f"tags ({node.tag}) are not read; write the value alone")
        return _paired(text)

    def _tell(self, path: errors.Path, line: int, value: object, said: str) -> None:
        self.problems.append(problem_at(path, value, said, file=self.file, lines={path: line}))


def _paired(text: str) -> str:
    """Without surrogate pairs: JSON writes a character so, and YAML takes its halves for two."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _yaml_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Problem(file, line, "", "", f"holds the control character {error.character!r}; remove it")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(file, None, "", "", f"is not YAML: {error}")
    what = error.problem or "something is missing"
    # What is never closed is mended where it was opened, and YAML notices at the end.
    is_open = re.search(r"stream end|end of stream", what)
    line = ((error.context_mark if is_open else None) or error.problem_mark).line
    written = text.splitlines() or [""]
    line = min(line, len(written) - 1)
    there = written[line]
    advice = "check the indentation, quotes and brackets here and just above"
    if "alias" in what:
        advice = "write the values out, each policy says all of its own"
    elif "deeply" in what:
        advice = "a policy needs few levels"
    elif "\t" in there:
        advice = "indent with spaces, YAML allows no tabs there"
    elif "cannot start any token" in what:
        advice = "put the value in quotes"
    return Problem(
        file, line + 1, "", shown(there.strip()), f"is not YAML that can be read: {what}; {advice}"
    )
