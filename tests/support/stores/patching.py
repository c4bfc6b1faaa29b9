"""JSON patches (RFC 6902) as servers apply them: all or nothing, and what is not there is an error."""

from __future__ import annotations

import copy
from typing import Any


class Unfit(Exception):
    """An operation that cannot be carried out."""


def patched(document: Any, operations: Any) -> Any:
    """The document with operations ``add``, ``remove``, ``replace`` and ``test`` applied."""
    if not isinstance(operations, list) or not operations:
        raise Unfit("a patch is a list of operations")
    made = copy.deepcopy(document)
    for one in operations:
        wants_value = one.get("op") in ("add", "replace", "test")
        if set(one) != ({"op", "path", "value"} if wants_value else {"op", "path"}):
            raise Unfit(f"fields: {sorted(one)}")
        _apply(made, one["op"], one["path"], one.get("value"))
    return made


def _apply(document: Any, op: str, path: str, value: Any) -> None:
    *parts, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    at = document
    for part in parts:
        at = at[_key(at, part)]
    if op == "add":
        _add(at, last, value)
    elif op == "remove":
        del at[_key(at, last)]
    elif op == "replace":
        at[_key(at, last)] = value
    elif op != "test" or at[_key(at, last)] != value:
        raise Unfit(f"{op} {path}")


def _add(at: Any, last: str, value: Any) -> None:
    if isinstance(at, dict):
        at[last] = value
    elif last == "-":
        at.append(value)
    elif int(last) <= len(at):
        at.insert(int(last), value)
    else:
        raise Unfit(f"no place {last}")


def _key(at: Any, part: str) -> Any:
    """The key or place of what is there."""
    if isinstance(at, list) and part.isdecimal() and int(part) < len(at):
        return int(part)
    if isinstance(at, dict) and part in at:
        return part
    raise Unfit(f"{part!r} is not there")
