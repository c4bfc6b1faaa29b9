"""YAML text as nodes, each with the place where it was written; and what is said of text that is no YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from guardian.errors import Problem, shown

DEEPEST = 20
"""Levels of nesting. A policy has four."""
NULL, BOOL, INT, FLOAT, STR = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str"))
"""The tags that plain words get."""
COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
INT_PATTERN = r"[-+]?[0-9]{1,15}"
"""How a whole number is written: in tens alone, without underscores."""
FLOAT_PATTERN = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?"
_RESOLVED = (
    (NULL, r"|~|null|Null|NULL", ["~", "n", "N", ""]),
    # YAML 1.1: the words that other readers take for true or false. No field is, so they are refused.
    (BOOL, r"(?i:yes|no|true|false|on|off)", list("yYnNtTfFoO")),
    (INT, INT_PATTERN, list("-+0123456789")),
    (FLOAT, FLOAT_PATTERN, list("-+.0123456789")),
)


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


def compose(text: str) -> Iterator[yaml.Node]:
    """
    Yield the node of each document in *text*; one that is empty is a node of ``null``.

    Raises:
        yaml.YAMLError: the text is no YAML, or none that is read here: ``yaml_problem`` says what would be.
    """
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            yield node
    finally:
        loader.dispose()


def yaml_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """Say what ``compose`` did not take of the *text* of a *file*: in which line, and what would be right there."""
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
