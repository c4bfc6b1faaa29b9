"""Changes to a text of YAML or JSON that leave everything else in it as it stands. Values in, values out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

import yaml


@dataclass(frozen=True, slots=True)
class Place:
    """The characters of a text from *start* up to *end*."""

    start: int
    end: int

    @classmethod
    def of(cls, node: yaml.Node) -> Self:
        """Where a node stands, without the blank lines and comments that follow it."""
        return cls(node.start_mark.index, _end(node))


def entries(node: yaml.MappingNode) -> dict[str, yaml.Node]:
    """The values of an object by their keys; of two with one key the last."""
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


class Edits:
    """Changes to a *text*, gathered and then made at once. What is written anew is written as JSON, which is YAML, too."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._gathered: list[tuple[Place, str]] = []

    def replace(self, place: Place, value: Any) -> None:
        """Write a value there."""
        self._gathered.append((place, _written(value)))

    def put(self, node: yaml.MappingNode, name: str, value: Any) -> None:
        """Give an object this value by this name, in the place of the one that it has or before all others."""
        found = entries(node).get(name)
        if found is not None:
            self.replace(Place.of(found), value)
            return
        at, entry = node.start_mark.index, f"{json.dumps(name)}: {_written(value)}"
        if node.flow_style:
            more = f"{entry}, " if node.value else entry
            self._gathered.append((Place(at + 1, at + 1), more))
        else:
            first = node.value[0][0].start_mark
            self._gathered.append((Place(first.index, first.index), f"{name}: {_written(value)}\n{' ' * first.column}"))

    def made(self) -> str:
        """The text with all of them."""
        text = self._text
        for place, written in sorted(self._gathered, key=lambda one: one[0].start, reverse=True):
            text = text[: place.start] + written + text[place.end :]
        return text


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def _end(node: yaml.Node) -> int:
    """Where the last thing in a node ends: a block is said to end where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return end
