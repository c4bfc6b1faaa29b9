"""Whether a policy fits the flags that a store has: its flag, its variations, its rings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from guardian.documents import NO_LINES, Finding
from guardian.errors import Lines, Path, Problem, problem_at
from guardian.flagdoc import Document
from guardian.policy import Policy
from guardian.ports import StoreCapabilities


def unfit(
    policy: Policy,
    document: Document | None,
    store: StoreCapabilities | None = None,
    *,
    file: str = "",
    lines: Lines = NO_LINES,
    places: Mapping[Path, Path] = MappingProxyType({}),
) -> list[Problem]:
    """
    Everything that *policy* names and the flag *document* of its environment (a valid one) does not have.

    And what its *store* cannot do. What is ``None`` is not compared.

    With *lines* (and *places*, for a schedule) each problem stands where it was written.
    """
    found = [*_beyond(policy, store), *(_findings(policy, document) if document is not None else ())]
    return [problem_at(places.get(path, path), value, said, file=file, lines=lines) for path, value, said in found]


def _beyond(policy: Policy, store: StoreCapabilities | None) -> Iterator[Finding]:
    for at, stage in enumerate(policy.stages):
        if stage.users is not None and store is not None and not store.can_target_rings:
            said = "the flag store cannot give a ring a share of its own; remove users: and write shares of all traffic"
            yield ("stages", at, "users"), stage.users, said


def _findings(policy: Policy, document: Document) -> Iterator[Finding]:
    flags = document["flags"]
    flag = flags.get(policy.flag)
    if flag is None:
        yield ("flag",), policy.flag, f"is no flag of the store; {_known(policy.flag, flags)}"
        return
    variants = flag["variants"]
    if policy.control not in variants:
        yield ("control",), policy.control, f"is no variation of the flag in the store; {_known(policy.control, variants)}"
    for at, name in enumerate(policy.variations):
        if name not in variants:
            yield ("variations", at), name, f"is no variation of the flag in the store; {_known(name, variants)}"
    evaluators = document.get("$evaluators") or {}
    for at, stage in enumerate(policy.stages):
        if stage.users is not None and stage.users not in evaluators:
            said = f"is no ring of the store; {_known(stage.users, evaluators)}, or define it in $evaluators beside the flags"
            yield ("stages", at, "users"), stage.users, said


def _known(name: str, names: Mapping[str, object]) -> str:
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"write one of {', '.join(names)}" if names else "it has none"
