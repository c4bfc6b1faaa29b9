"""Documents that people wrote, read whole: every problem at once, each at its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from guardian.conditions import parse_condition
from guardian.errors import (
    ConditionError,
    Lines,
    Path,
    PolicyError,
    field_name,
    problem_at,
    problems_in,
)
from guardian.fields import Document, Reading
from guardian.signals import Declaration, Signals, is_built_in

NO_LINES: Lines = MappingProxyType({})

AnyDocument = TypeVar("AnyDocument", bound=Document)
Finding = tuple[Path, object, str]
"""Where, what stands there, and what would be right."""


def read_document(
    model: type[AnyDocument],
    document: object,
    between: Callable[[dict[str, Any], Reading], Iterable[Finding]],
    *,
    file: str,
    lines: Lines,
) -> AnyDocument:
    """
    Read *document* as *model*; *between* finds what is wrong between the parts of that model.

    What is wrong between parts is told even while others cannot be read, so nobody mends a policy twice.

    Raises:
        PolicyError: with every problem, by line.
    """
    if not isinstance(document, dict) or _is_deeper(document, 20):
        said = "is not a mapping of few levels; a policy starts with flag: NAME"
        raise PolicyError([problem_at((), document, said, file=file, lines=lines)])
    if broken := list(_broken_findings(document, ())):
        raise PolicyError(problem_at(*finding, file=file, lines=lines) for finding in broken)
    found = list(_empty_findings(document, ()))
    empty = {field_name(path) for path, _, _ in found}
    given: dict[str, Any] = _marked(document)
    signals, declared = _declared(given)
    reading = Reading(signals)
    found += [*declared, *between(given, reading)]
    problems = [problem_at(*finding, file=file, lines=lines) for finding in found]
    try:
        read = model.model_validate(given, context=reading, by_alias=True, by_name=False)
        if not problems:
            return read
    except ValidationError as error:
        more = problems_in(error, model, given, file=file, lines=lines)
        problems += [problem for problem in more if problem.field not in empty]
    raise PolicyError(sorted(problems, key=lambda problem: problem.line or 0))


def readable(model: type[AnyDocument], given: object, reading: Reading) -> AnyDocument | None:
    """*given* as *model*, or ``None`` where it cannot be read: what is wrong with it is said elsewhere."""
    try:
        return model.model_validate(given, context=reading, by_alias=True, by_name=False)
    except ValidationError:
        return None


def _declared(document: Mapping[str, Any]) -> tuple[Signals, list[Finding]]:
    """The signals that a document declares, and what is wrong with the conditions that words stand for."""
    given = document.get("signals")
    signals: dict[str, Declaration | None] = {}
    for name, declaration in given.items() if isinstance(given, dict) else ():
        if is_built_in(name):
            continue  # told as a wrong name; elsewhere it still means what it always does
        try:
            signals[name] = Declaration.model_validate(declaration)
        except ValidationError:
            signals[name] = None
    found: list[Finding] = []
    for name, declared in list(signals.items()):
        if declared is None or declared.means is None:
            continue
        try:
            parse_condition(name, signals)
        except ConditionError as error:
            signals[name] = None
            if not error.follows:
                found.append((("signals", name, "means"), declared.means, str(error)))
    return signals, found


def _broken_findings(given: object, path: Path) -> Iterator[Finding]:
    """Texts that are none: half of a surrogate pair, which JSON lets through, cannot be stored or shown."""
    for part, inner in _parts(given):
        here = (*path, part)
        if any(isinstance(text, str) and re.search("[\ud800-\udfff]", text) for text in (part, inner)):
            yield here, inner, "holds half a character; write the text anew"
        yield from _broken_findings(inner, here)


def _empty_findings(given: object, path: Path) -> Iterator[Finding]:
    """What was begun and not written: ``owner:`` with nothing behind it."""
    if given is None:
        yield path, None, "is empty; write a value or remove the line"
    for part, inner in _parts(given):
        yield from _empty_findings(inner, (*path, part))


def _parts(given: object) -> list[tuple[str | int, object]]:
    if isinstance(given, dict):
        return list(given.items())
    return list(enumerate(given)) if isinstance(given, list) else []


def _marked(given: Any) -> Any:
    """With ``...`` for what is empty: no model takes it, so nothing is concluded from what is not there."""
    if isinstance(given, dict):
        return {name: _marked(inner) for name, inner in given.items()}
    if isinstance(given, list):
        return [_marked(inner) for inner in given]
    return ... if given is None else given


def lean(given: Any) -> Any:
    """A document without what is empty."""
    if isinstance(given, dict):
        parts = {name: lean(inner) for name, inner in given.items()}
        return {name: inner for name, inner in parts.items() if inner not in (None, "", [], {})}
    return [lean(inner) for inner in given] if isinstance(given, list) else given


def _is_deeper(document: object, levels: int) -> bool:
    level: list[object] = [document]
    for _ in range(levels):
        level = [inner for one in level for _, inner in _parts(one)]
    return bool(level)


def list_in(document: Mapping[str, Any], name: str) -> list[Any]:
    """The list under *name*; empty where there is none, or something else."""
    given = document.get(name)
    return given if isinstance(given, list) else []
