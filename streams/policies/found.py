"""What is found in files of policies: what could be read, what is wrong, and which rollouts are defined twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from guardian.errors import Problem, shown
from guardian.policy import Policy


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One file: the policies it holds (those that could be read) and everything that is wrong in it."""

    file: str
    policies: tuple[Policy, ...]
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class Found:
    """A file while it is read: as `PolicyFile`, and the rollouts that it is about, each with its line."""

    file: str
    policies: list[Policy] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    keys: list[tuple[str, int | None]] = field(default_factory=list)

    def told(self) -> PolicyFile:
        """All of it, the problems in the order of their lines."""
        problems = sorted(self.problems, key=lambda problem: problem.line or 0)
        return PolicyFile(self.file, tuple(self.policies), tuple(problems))


def find_doubles(files: Iterable[Found]) -> None:
    """Add a problem to each of the *files* that defines a rollout again which it or one before it has defined."""
    seen: dict[str, str] = {}
    for one in files:
        for key, line in one.keys:
            place = f"{one.file}:{line}"
            first = seen.setdefault(key, place) if key else place
            if first != place:
                said = f"this rollout is defined at {first} already; keep one of them"
                one.problems.append(Problem(one.file, line, "flag", shown(key), said))
