"""
Small numbers for long names, so that sums can be made over arrays.

What a request ran under (environment, service, its flags, how it ended) is
one *setting*: settings repeat, so each is read once.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from guardian.events import NAME_LENGTH_MAX, NOT_EXPOSED
from guardian.names import rollout_key
from streams.folding.column import Column
from streams.folding.companies import ALONE, FLAGS_MAX, Companies

Int64s = npt.NDArray[np.int64]

SKIP, WRONG = -1, -2
"""Numbers of no setting: an evaluation that exposed nobody, and one that the careful way must judge."""
SETTINGS_MAX = 16_384
"""Settings remembered at a time; forgetting them costs time only."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
_decode_flags = msgspec.json.Decoder(dict[_Name, _Name]).decode


class Names:
    """
    Numbers of flags, of their variations, and of services, each given when it is first seen.

    A variation within a segment is an arm of its own; ``segments`` holds the
    segment of each arm, empty for the arm that has all. ``columns`` are the
    names of scores, and the bounds that latencies are counted over.
    ``companies`` are the sets of arms that outcomes ran under.
    """

    def __init__(self) -> None:
        self.companies = Companies()
        self._arms: dict[tuple[str, str, str], int] = {}
        self._flags: dict[str, int] = {}
        self._services: dict[str, int] = {}
        self._columns: dict[str | int, int] = {}
        self.flag_keys: list[str] = []
        self.variations: list[str] = []
        self.segments: list[str] = []
        self.services: list[str] = []
        self.columns: list[str | int] = []
        self._flag_of_arm = Column(np.int64)
        self._is_part = Column(np.bool_)
        self._flag_hash = Column(np.uint64)

    def __len__(self) -> int:
        return len(self.variations)

    def arm(self, key: str, variation: str, segment: str = "") -> int:
        """Return the number of one variation of one flag, or of a segment of it; ``key`` is ``environment|flag_key``."""
        number = self._arms.get((key, variation, segment))
        if number is None:
            number = self._arms[key, variation, segment] = len(self.variations)
            self.variations.append(variation)
            self.segments.append(segment)
            self._flag_of_arm.append(self.flag(key))
            self._is_part.append(bool(segment))
        return number

    def column(self, name: str | int) -> int:
        """Return the number of a score's name, or of a bound of latencies in microseconds."""
        number = self._columns.get(name)
        if number is None:
            number = self._columns[name] = len(self.columns)
            self.columns.append(name)
        return number

    def service(self, name: str) -> int:
        """Return the number of a service; an unnamed one is the empty name."""
        number = self._services.get(name)
        if number is None:
            number = self._services[name] = len(self.services)
            self.services.append(name)
        return number

    def flag(self, key: str) -> int:
        """Return the number of a flag; ``key`` is ``environment|flag_key``."""
        number = self._flags.get(key)
        if number is None:
            number = self._flags[key] = len(self.flag_keys)
            self.flag_keys.append(key)
            self._flag_hash.append(xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass")))
        return number

    @property
    def flag_of_arm(self) -> npt.NDArray[np.int64]:
        """The flag's number, by the arm's number."""
        return self._flag_of_arm.array

    @property
    def is_part(self) -> npt.NDArray[np.bool_]:
        """Whether an arm is that of a segment, by the arm's number."""
        return self._is_part.array

    @property
    def flag_hash(self) -> npt.NDArray[np.uint64]:
        """A hash of the flag's key, by the flag's number."""
        return self._flag_hash.array


class Settings:
    """
    What requests ran under, numbered; ``first`` and ``count`` say which of ``arms`` belong to each number.

    ``watched`` are the keys of the flags of which outcomes are to be known by company.
    """

    def __init__(self, names: Names, watched: frozenset[str] = frozenset()) -> None:
        self.names = names
        self.watched = watched
        self.clear()

    def follow(self, watched: frozenset[str]) -> None:
        """From now on, these flags are watched; numbers given so far mean nothing where that is news."""
        if watched != self.watched:
            self.watched = watched
            self.clear()

    def clear(self) -> None:
        """Forget all numbers given so far."""
        self._numbers: dict[Any, int] = {}
        self._first, self._count = Column(np.int64), Column(np.int64)
        self._error, self._service, self._arms = Column(np.bool_), Column(np.int64), Column(np.int64)
        self._under, self._company = Column(np.uint64), Column(np.int64)
        self.nothing = self._add([], False, None)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def met(self) -> dict[Any, int]:
        """The numbers of the settings met before, by what ``outcome`` or ``exposure`` is given."""
        return self._numbers

    def outcome(self, environment: str | None, service: str | None, ended: str | None, flags: bytes) -> int:
        """Return the number of an outcome's setting, or WRONG."""
        key = (environment, service, ended, flags)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._read_outcome(environment, service, ended, flags)
        return number

    def exposure(
        self, environment: str | None, service: str | None, flag: str | None, variant: str | None, why: str | None
    ) -> int:
        """Return the number of an exposure's setting, or SKIP, or WRONG."""
        key = (environment, service, flag, variant, why)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._read_exposure(environment, service, flag, variant, why)
        return number

    def feedback(self, environment: str | None, flags: bytes) -> int:
        """Return the number of a feedback's setting, or WRONG."""
        key = (environment, flags)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._read_flags(environment, flags, False, None)
        return number

    def pairs(self, numbers: Int64s) -> tuple[Int64s, Int64s]:
        """Return, for each flag of each event with these settings, the event's position and the arm."""
        count = self.count[numbers]
        most = int(count.max(initial=0))
        if most == count.min(initial=most):
            event = np.arange(numbers.size).repeat(most)
            return event, self.arms[(self.first[numbers][:, None] + np.arange(most)).ravel()]
        event = np.repeat(np.arange(numbers.size), count)
        within = np.arange(event.size) - np.repeat(np.cumsum(count) - count, count)
        return event, self.arms[self.first[numbers][event] + within]

    def _read_outcome(self, environment: str | None, service: str | None, ended: str | None, raw: bytes) -> int:
        return WRONG if ended is None else self._read_flags(environment, raw, ended == "error", service, is_outcome=True)

    def _read_flags(
        self, environment: str | None, raw: bytes, error: bool, service: str | None, *, is_outcome: bool = False
    ) -> int:
        if not _is_environment(environment):
            return WRONG
        try:
            flags = _decode_flags(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return WRONG
        arms = [(f"{environment}|{flag}", variant) for flag, variant in flags.items()]
        return self._add(arms, error, service, company=self._company_of(arms) if is_outcome else ALONE)

    def _company_of(self, arms: list[tuple[str, str]]) -> int:
        watched = [arm for arm in arms if arm[0] in self.watched]
        if len(watched) < 2:
            return ALONE
        # By hash: where they are too many, every source leaves out the same ones.
        number = np.array([self.names.arm(*arm) for arm in watched])
        by_hash = np.argsort(self.names.flag_hash[self.names.flag_of_arm[number]])
        return self.names.companies.number(number[by_hash][:FLAGS_MAX].tolist())

    def _read_exposure(
        self, environment: str | None, service: str | None, flag: str | None, variant: str | None, why: str | None
    ) -> int:
        if environment is None or not _is_environment(environment) or not _is_name(flag):
            return WRONG
        if variant is not None and not _is_name(variant):
            return WRONG
        if variant is None or flag is None or (why or "").lower() in NOT_EXPOSED:
            return SKIP
        return self._add([(rollout_key(environment, flag), variant)], False, service)

    def _add(self, arms: list[tuple[str, str]], error: bool, service: str | None, *, company: int = ALONE) -> int:
        self._first.append(len(self._arms))
        self._count.append(len(arms))
        self._error.append(error)
        self._service.append(self.names.service(service or ""))
        self._arms.append(*[self.names.arm(key, variation) for key, variation in arms])
        under = 0
        for key, variation in arms:
            under ^= xxhash.xxh3_64_intdigest(f"{key}={variation}".encode("utf-8", "surrogatepass"))
        self._under.append(under)
        self._company.append(company)
        return len(self._first) - 1

    @property
    def under(self) -> npt.NDArray[np.uint64]:
        """A hash of the flags of each setting and their variations."""
        return self._under.array

    @property
    def company(self) -> npt.NDArray[np.int64]:
        """The company of each setting's watched flags; only outcomes have any."""
        return self._company.array

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """Where the arms of each setting begin in ``arms``."""
        return self._first.array

    @property
    def count(self) -> npt.NDArray[np.int64]:
        """How many flags each setting has."""
        return self._count.array

    @property
    def error(self) -> npt.NDArray[np.bool_]:
        """Whether requests of each setting failed."""
        return self._error.array

    @property
    def service(self) -> npt.NDArray[np.int64]:
        """The service's number, by setting."""
        return self._service.array

    @property
    def arms(self) -> npt.NDArray[np.int64]:
        """The arms of all settings, one after the other."""
        return self._arms.array


def _is_name(name: str | None) -> bool:
    return name is not None and 1 <= len(name) <= NAME_LENGTH_MAX


def _is_environment(name: str | None) -> bool:
    return name is not None and _is_name(name) and "|" not in name
