"""
What people wrote, before it is checked: one YAML file, the environment over it, and files that hold secrets.

A secret never comes from the YAML file, which is shared and kept in version control, and no problem shows one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from pydantic import BaseModel, SecretStr

from guardian import errors
from guardian.errors import Problem, field_name, line_of
from streams.fields import StoreSection
from streams.settings.stores import section_of

PREFIX = "GUARDIAN_"
STORES = ("stores",)
"""The section whose parts people name."""
Place = tuple[str, ...]
"""Where in the document: ``("kafka", "bootstrap")``."""
ENVIRONMENT = "environment"
"""Stands in a problem where the file would, if the value came from an environment variable."""


@dataclass(slots=True)
class Written:
    """A document as it was put together, and where each of its parts came from."""

    file: str
    document: dict[str, Any] = field(default_factory=dict)
    lines: dict[errors.Path, int] = field(default_factory=dict)
    variables: dict[Place, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, place: Place, right: str, value: str = "") -> Problem:
        """A problem with what stands at *place*, named as the person wrote it."""
        if variable := self.variable_of(field_name(place)):
            return Problem(ENVIRONMENT, None, variable, value, right)
        return Problem(self.file, line_of(place, self.lines), field_name(place), value, right)

    def variable_of(self, name: str) -> str:
        """The environment variable that set what is called *name* (``kafka.bootstrap``); empty if none did."""
        for place, variable in self.variables.items():
            field_of = field_name(place)
            # An unknown section that only a variable names is the variable's problem, too.
            alone = field_of.startswith(f"{name}.") and place[:1] not in self.lines
            if field_of == name or alone:
                return variable
        return ""


def read_written(path: Path | None, environ: Mapping[str, str], model: type[BaseModel]) -> Written:
    """
    Put together what *path* (``None``: no file) and *environ* say of *model*; what is wrong is in its problems.

    ``GUARDIAN_KAFKA__BOOTSTRAP`` sets ``kafka.bootstrap``. Each secret of *model* has a field beside it with
    ``_file`` at its end, and is read from the file named there.
    """
    written = Written(str(path) if path else "settings")
    if path is not None:
        _read_file(path, written)
    _refuse_secrets(written, _secrets(model, written.document))
    _overlay(written, environ, model)
    for place in _secrets(model, written.document):
        _read_secret(written, place)
    return written


def _read_file(path: Path, written: Written) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        written.problems.append(Problem(str(path), None, "", "", f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError:
        written.problems.append(Problem(str(path), None, "", "", "is not UTF-8 text"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or "cannot be read"
        written.problems.append(Problem(str(path), mark and mark.line + 1, "", "", f"is no YAML: {said}"))
    else:
        if isinstance(content, dict):
            written.document = _said(content)
            written.problems += _lines(node, (), written)
        elif content is not None:
            written.problems.append(Problem(str(path), 1, "", "", "is not a mapping (name: value)"))


def _lines(node: yaml.Node | None, place: Place, written: Written) -> Iterator[Problem]:
    """Remember the line of each name; tell of names that are written twice, of which YAML keeps the last."""
    if not isinstance(node, yaml.MappingNode):
        return
    for name, value in node.value:
        inner = (*place, str(name.value))
        line = name.start_mark.line + 1
        if first := written.lines.get(inner):
            right = f"is written twice, first in line {first}; keep one"
            yield Problem(written.file, line, field_name(inner), "", right)
        else:
            written.lines[inner] = line
            yield from _lines(value, inner, written)


def _said(content: Any) -> Any:
    """Without names that have no value: all under them is commented out, and the defaults hold."""
    if isinstance(content, dict):
        return {name: _said(value) for name, value in content.items() if value is not None}
    return content


def _overlay(written: Written, environ: Mapping[str, str], model: type[BaseModel]) -> None:
    alone = {place for place, type_of in _fields(model) if len(place) == 1 and not _is_section(type_of)}
    for name in sorted(environ):
        place = tuple(name.removeprefix(PREFIX).lower().split("__"))
        # Other programs use the prefix as well (Kubernetes: GUARDIAN_SERVICE_PORT), so that a name without "__" is
        # only ours if there is such a setting.
        ours = name.startswith(PREFIX) and (len(place) > 1 or place in alone)
        if not ours:
            continue
        section: Any = written.document
        for part in place[:-1]:
            section = section.setdefault(part, {}) if isinstance(section, dict) else None
        if isinstance(section, dict):  # else the file says something impossible there, which is told of
            section[place[-1]] = environ[name]
            written.variables[place] = name
            written.lines.pop(place, None)


# ---------------------------------------------------------------------------- secrets


def _fields(model: type[BaseModel], document: object = None, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every section and every setting, with its type; of stores those that *document* names."""
    for name, info in model.model_fields.items():
        inner, written = (*place, info.alias or name), _part(document, info.alias or name)
        yield inner, info.annotation
        if _is_section(info.annotation):
            yield from _fields(info.annotation, written, inner)
        elif inner == STORES and isinstance(written, dict):
            for store, section in written.items():
                yield (*inner, str(store)), StoreSection
                yield from _fields(section_of(section), section, (*inner, str(store)))


def _part(document: object, name: str) -> object:
    return document.get(name) if isinstance(document, dict) else None


def _secrets(model: type[BaseModel], document: object) -> list[Place]:
    return [place for place, type_of in _fields(model, document) if type_of is SecretStr]


def _is_section(type_of: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(type_of, type) and issubclass(type_of, BaseModel)


def hides_value(name: str, model: type[BaseModel], document: object) -> bool:
    """
    Whether the value of *name* (``kafka.security``) must not be shown.

    It is a secret or holds one, or is an address (which may hold one), or is unknown (it may be a misspelt secret).
    """
    known = dict(_fields(model, document))
    inside = [type_of for place, type_of in known.items() if f"{field_name(place)}.".startswith(f"{name}.")]
    return not inside or SecretStr in inside or name.endswith((".url", ".urls"))


def is_secret(name: str, model: type[BaseModel], document: object) -> bool:
    """Whether *name* (``kafka.security.password``) is a secret itself."""
    return any(field_name(place) == name for place in _secrets(model, document))


def variable_for(name: str) -> str:
    """The environment variable that sets *name*."""
    return PREFIX + name.replace(".", "__").upper()


def _refuse_secrets(written: Written, secrets: list[Place]) -> None:
    for place in secrets:
        section = _section(written.document, place)
        if section is None or section.get(place[-1]) is None:
            continue
        del section[place[-1]]
        variable = variable_for(field_name(place))
        right = (
            f"a secret does not belong in this file; put it into {variable}, or into a file named by {place[-1]}_file"
        )
        written.problems.append(written.problem(place, right))


def _read_secret(written: Written, place: Place) -> None:
    section = _section(written.document, place)
    named = (*place[:-1], f"{place[-1]}_file")
    if section is None or not isinstance(file := section.get(named[-1]), str) or not file:
        return
    if section.get(place[-1]) is not None:
        if named in written.variables:
            right = f"the secret is given twice; keep this or {written.variables[place]}"
            written.problems.append(written.problem(named, right))
        return
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        written.problems.append(written.problem(named, f"cannot be read: {said}", repr(file)))
    else:
        if not secret:
            written.problems.append(written.problem(named, "the file is empty; it should hold the secret", repr(file)))
        section[place[-1]] = secret


def _section(document: dict[str, Any], place: Place) -> dict[str, Any] | None:
    section: Any = document
    for part in place[:-1]:
        section = section.get(part) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else None
