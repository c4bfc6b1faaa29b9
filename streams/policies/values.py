"""What nodes of YAML say: names, texts and numbers, with the line of each; all else is a problem."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from guardian import errors
from guardian.errors import Problem, problem_at
from guardian.policy import Terms
from streams.policies.nodes import BOOL, COLLECTIONS, FLOAT, FLOAT_PATTERN, INT, INT_PATTERN, NULL, STR

_SWITCHES = frozenset((name,) for name, field in Terms.model_fields.items() if field.annotation is bool)
"""Where true and false may be written."""


@dataclass(slots=True)
class Values:
    """Turns nodes into values, and keeps the line of each."""

    file: str
    lines: dict[errors.Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def value(self, node: yaml.Node, path: errors.Path = ()) -> Any:
        """Return what *node* says, which stands at *path* of its document; what is wrong in it is in ``problems``."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in COLLECTIONS:
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
                if name_node.tag == BOOL:
                    self._tell(inner, line, None, f"YAML takes {name} for true or false; put it in quotes")
                self.lines[inner] = line
                mapping[name] = self.value(node_of, inner)
        return mapping

    def _scalar(self, node: yaml.Node, path: errors.Path) -> Any:
        text, line = str(node.value), self.lines[path]
        if node.tag == NULL:
            return None
        if node.tag == BOOL and path in _SWITCHES:
            return {"true": True, "false": False}.get(text, text)
        if node.tag == BOOL:
            said = f"YAML takes {text} for true or false, which this field is not; put it in quotes if it is a name"
            self._tell(path, line, text, said)
        elif node.tag in (INT, FLOAT) and re.fullmatch(INT_PATTERN, text):
            return int(text)
        elif node.tag == FLOAT and re.fullmatch(FLOAT_PATTERN, text):
            return float(text)
        elif node.tag != STR:
            self._tell(path, line, text, f"tags ({node.tag}) are not read; write the value alone")
        return _paired(text)

    def _tell(self, path: errors.Path, line: int, value: object, said: str) -> None:
        self.problems.append(problem_at(path, value, said, file=self.file, lines={path: line}))


def _paired(text: str) -> str:
    """Without surrogate pairs: JSON writes a character so, and YAML takes its halves for two."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
