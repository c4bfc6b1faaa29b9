"""
What can be wrong, as one tree.

::

    GuardianError
    ├── ProblemsError        people wrote something that cannot be used; holds every Problem found
    │   ├── PolicyError      in a policy
    │   └── ConfigError      in the settings
    ├── ConditionError       one condition, duration or signal that cannot be read
    └── EventError           an event that cannot be read (it goes to the dead letters, with this reason)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

Path = tuple[str | int, ...]
"""Where in a document: ``("guardrails", 1, "when")``."""

Lines = Mapping[Path, int]
"""The line (from 1) that each path of a document was written on; paths may be missing."""

LONGEST_SHOWN = 80
TOLD_MOST = 100
"""Problems of one document that are told each; people mend the first, and look again."""


class GuardianError(Exception):
    """Anything that Rollout Guardian raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing that is wrong in what people wrote.

    *line* counts from 1 and is ``None`` where there is none (a value that came over the wire). *value* is
    what stands there now, as ``shown`` renders it, or empty. *right* says what is wrong with it and what
    would be right.
    """

    file: str
    line: int | None
    field: str
    value: str
    right: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"

        said = ": ".join(part for part in (place, self.field, self.value, self.right) if part)
        # One line, and safe for a terminal, whatever was in the file.
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in said)


class ProblemsError(GuardianError):
    """Carries every problem that was found, in *problems*; its text is one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PolicyError(ProblemsError):
    """A policy that cannot be used."""


class ConfigError(ProblemsError):
    """Settings that cannot be used."""


class ConditionError(GuardianError):
    """
    A condition that cannot be read; its text says what would be right.

    *follows* is true where the reason is another problem that is reported in its own place.
    """

    def __init__(self, right: str, *, follows: bool = False) -> None:
        self.follows = follows
        super().__init__(right)


class EventError(GuardianError):
    """An event that cannot be read; its text names the field, its value, and what would be right."""


def field_name(path: Path) -> str:
    """``("guardrails", 1, "when")`` as people read it: ``guardrails[1].when``."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return name.removeprefix(".")


def line_of(path: Path, lines: Lines) -> int | None:
    """The line of *path*, or of the nearest thing around it that has one."""
    for end in range(len(path), -1, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


def shown(value: object) -> str:
    """A value as a problem shows it: on one line, and not longer than people read."""
    try:
        text = (
            repr(value) if isinstance(value, str) else json.dumps(value, default=_plain, ensure_ascii=False)
        )
    except RecursionError:
        return "…"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _plain(value: object) -> str | None:
    return None if value is ... else str(value)


def problem_at(path: Path, value: object, right: str, *, file: str, lines: Lines) -> Problem:
    """A problem with the field at *path*; a *value* of ``None`` is not shown."""
    return Problem(file, line_of(path, lines), field_name(path), "" if value is None else shown(value), right)


def wrong(right: str) -> PydanticCustomError:
    """The error that a pydantic validator raises, saying what would be right."""
    return PydanticCustomError("wrong", "{right}", {"right": right})


def followed() -> PydanticCustomError:
    """The error of a field that is wrong only because of another problem, reported in its own place."""
    return PydanticCustomError("followed", "see the other problem")


def problems_in(
    error: ValidationError,
    model: type[BaseModel],
    document: object,
    *,
    file: str,
    lines: Lines,
    parts: Mapping[Path, type[BaseModel]] = MappingProxyType({}),
) -> Iterator[Problem]:
    """
    What pydantic found wrong with *document* as *model*: in our words, at the fields people wrote.

    *parts* are the models of those parts of the document that have one of their own. Of very many the first are told, and
    how many more there are.
    """
    told = [detail for detail in error.errors(include_url=False) if _is_told(detail)]
    for detail in told[:TOLD_MOST]:
        path = _written(detail, document)
        missing = detail["type"] == "missing"
        yield problem_at(
            path, None if missing else detail["input"], _right(detail, path, model, parts), file=file, lines=lines
        )
    if len(told) > TOLD_MOST:
        yield Problem(file, None, "", "", f"{len(told) - TOLD_MOST:,} more things are wrong; mend these first")


def _is_told(detail: ErrorDetails) -> bool:
    if detail["type"] == "too_short":
        return not detail["input"]  # else it is short only because its items are wrong, which is told of each
    return detail["type"] not in ("followed", "default_factory_not_called")


def _written(detail: ErrorDetails, document: object) -> Path:
    """The part of pydantic's location that the document has; a missing field is named as well."""
    path: Path = ()
    for part in detail["loc"]:
        if isinstance(document, dict | list) and part in _parts(document):
            document = document[part]  # type: ignore[index]  # part is one of its own
        else:
            return (*path, part) if detail["type"] == "missing" else path
        path = (*path, part)
    return path


def _parts(document: dict[Any, Any] | list[Any]) -> Iterable[str | int]:
    return document if isinstance(document, dict) else range(len(document))


def _right(detail: ErrorDetails, path: Path, model: type[BaseModel], parts: Mapping[Path, type[BaseModel]]) -> str:
    kind, bounds = detail["type"], detail.get("ctx", {})
    at = next((end for end in range(len(path) - 1, 0, -1) if path[:end] in parts), 0)
    owner, field = _field_at(path[at:], parts[path[:at]] if at else model)
    example = f"write {path[-1]}: {_yaml(field.examples[0])}" if field and field.examples and path else ""
    if kind == "wrong":
        return detail["msg"]
    if kind == "extra_forbidden":
        return _unknown(str(path[-1]), owner)
    if kind in ("enum", "literal_error"):
        return _choice(detail)
    words = {
        "missing": "is missing",
        "string_type": "is not a text; put it in quotes"
        if isinstance(detail["input"], int | float)
        else "is not a text",
        "string_too_short": "is empty",
        "string_too_long": f"is longer than {bounds.get('max_length')} characters",
        "finite_number": "is not a number",
        "float_type": "is not a number",
        "int_type": "is not a whole number",
        "int_from_float": "is not a whole number",
        "greater_than": f"must be above {bounds.get('gt')}",
        "greater_than_equal": f"must be at least {bounds.get('ge')}",
        "less_than_equal": f"must be at most {bounds.get('le')}",
        "model_type": "is not a mapping (name: value)",
        "dict_type": "is not a mapping (name: value)",
        "tuple_type": "is not a list (- item)",
        "too_short": "is empty",
    }
    return "; ".join(part for part in (words.get(kind, detail["msg"]), example) if part)


def _unknown(name: str, model: type[BaseModel]) -> str:
    known = [field.alias or name for name, field in model.model_fields.items()]
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return (
        f"is not known here; did you mean {near[0]}?"
        if near
        else f"is not known here; known are {', '.join(known)}"
    )


def _choice(detail: ErrorDetails) -> str:
    said = detail.get("ctx", {}).get("expected", "").replace("'", "").replace(" or ", ", ")
    near = get_close_matches(str(detail["input"]), said.split(", "), n=1, cutoff=0.6)
    return f"did you mean {near[0]}? write one of {said}" if near else f"write one of {said}"


def _field_at(path: Path, model: type[BaseModel]) -> tuple[type[BaseModel], FieldInfo | None]:
    """The innermost model around *path*, and its field there."""
    field: FieldInfo | None = None
    for at, part in enumerate(path):
        named = {info.alias or name: info for name, info in model.model_fields.items()}
        if isinstance(part, str) and part in named:
            field = named[part]
            inner = next(_models(field.annotation), None)
            if inner is not None and at + 1 < len(path):
                model, field = inner, None
        elif at + 1 == len(path):
            field = None
    return model, field


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _yaml(example: object) -> str:
    return example if isinstance(example, str) else json.dumps(example)
