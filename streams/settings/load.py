"""Reading the settings, with every problem at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from guardian import errors
from guardian.errors import ConfigError, Problem, problems_in
from streams.settings.settings import Settings
from streams.settings.source import ENVIRONMENT, STORES, Written, hides_value, is_secret, read_written, variable_for
from streams.settings.stores import section_of

DEFAULT_PATH = Path("config/guardian.yaml")


def load_settings(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """
    Read *path* (by default ``config/guardian.yaml``, if there is one) and the variables of *environ* (``os.environ``).

    Paths inside the settings are relative to the directory that the process runs in.

    Raises:
        ConfigError: with every problem of the file and the environment. It shows no secret.
    """
    if path is None and DEFAULT_PATH.is_file():
        path = DEFAULT_PATH
    environ = os.environ if environ is None else environ
    written = read_written(None if path is None else Path(path), environ, Settings)
    problems = list(written.problems)
    settings = None
    try:
        settings = Settings.model_validate(written.document)
    except ValidationError as error:
        problems += _problems(error, written)
    if settings is None or problems:
        raise ConfigError(problems)
    return settings


def _problems(error: ValidationError, written: Written) -> Iterator[Problem]:
    told, document = {problem.field for problem in written.problems}, written.document
    parts: dict[errors.Path, type[BaseModel]] = {}
    stores = document.get(STORES[0])
    if isinstance(stores, dict):
        parts = {(*STORES, name): section_of(store) for name, store in stores.items()}
    for problem in problems_in(error, Settings, document, file=written.file, lines=written.lines, parts=parts):
        name = problem.field.partition("[")[0]
        value = "" if hides_value(name, Settings, document) else problem.value
        if problem.right == "is missing" and is_secret(name, Settings, document):
            if name in told:
                continue  # it is only missing because it was refused
            file = f"{name.rpartition('.')[2]}_file"
            right = f"is missing; name a file that holds it under {file}, or set {variable_for(name)}"
            yield replace(problem, right=right)
        elif variable := written.variable_of(name):
            yield Problem(ENVIRONMENT, None, variable, value, problem.right)
        else:
            yield replace(problem, value=value)
