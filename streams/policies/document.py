"""One document of a file as a policy: what it says, whether this version can run it, whether it fits what is beside it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import yaml

from guardian import errors
from guardian.errors import PolicyError, problem_at
from guardian.fitting import unfit
from guardian.names import rollout_key
from guardian.schedule import Places, Schedule, parse_document
from guardian.stages import past_findings
from guardian.support import unsupported
from streams.policies.beside import Beside
from streams.policies.found import Found
from streams.policies.nodes import NULL
from streams.policies.values import Values

GIVEN: Mapping[str, str] = MappingProxyType({})
"""Nothing: a policy says itself what it is of."""


class _Written(NamedTuple):
    file: str
    lines: errors.Lines
    places: Places


def read_document(node: yaml.Node, found: Found, *, to_run: bool, of: Mapping[str, str], beside: Beside) -> None:
    """
    Add what *node* says to what was *found* in its file: a policy, or what is wrong.

    Where *of* has fields, they say what the policy is of, and the document must not; *to_run* and *beside* as for
    ``read_policies``.
    """
    values = Values(found.file)
    content = values.value(node)
    if content is None and node.tag == NULL:
        return  # nothing between two '---', or only comments
    found.problems += values.problems
    if of and isinstance(content, dict):
        for name in sorted(of.keys() & content.keys()):
            said = "is the policy of every flag that has none; remove this line"
            found.problems.append(problem_at((name,), content[name], said, file=found.file, lines=values.lines))
        content |= of
    key = _key(content)
    found.keys.append((key, values.lines.get(())))
    try:
        policy, places = parse_document(content, file=found.file, lines=values.lines)
    except PolicyError as error:
        # A value that YAML itself got wrong was told above; its consequences add nothing.
        told = {problem.field for problem in values.problems}
        found.problems += [problem for problem in error.problems if problem.field not in told]
        return
    found.policies.append(policy)
    written = _Written(found.file, values.lines, places)
    if to_run:
        found.problems += unsupported(policy, **written._asdict())
    if policy.key not in beside.known and beside.now is not None:
        past = past_findings(policy.stages, beside.now)
        found.problems += [
            problem_at(places.get(path, path), value, said, file=found.file, lines=values.lines) for path, value, said in past
        ]
    home = beside.home(policy.environment, policy.flag)
    if home.lacking:
        path = (home.lacking,)
        value = getattr(policy, home.lacking)
        found.problems.append(
            problem_at(places.get(path, path), value, home.right, file=found.file, lines=values.lines)
        )
    for at, topic in enumerate(policy.topics):
        if beside.inputs is not None and topic not in beside.inputs:
            said = f"is no topic that events are read from; there are: {', '.join(beside.inputs)}"
            found.problems.append(problem_at(("topics", at), topic, said, file=found.file, lines=values.lines))
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
