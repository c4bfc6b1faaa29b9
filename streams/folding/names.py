"""
Small numbers for long names, so that sums can be made over arrays.

What a request ran under (environment, service, its flags, how it ended) is
one *setting*: settings repeat, so each is read once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from guardian.events import FLAGS_MAX as FLAGS_OF_EVENT_MAX
from guardian.events import NAME_LENGTH_MAX, NOT_EXPOSED
from guardian.names import rollout_key
from streams.folding.admission import Admission, Known
from streams.folding.column import Column
from streams.folding.companies import ALONE, FLAGS_MAX, Companies

Int64s = npt.NDArray[np.int64]

SKIP, WRONG = -1, -2
"""Numbers of no setting: an evaluation that exposed nobody, and one that the careful way must judge."""
SETTINGS_MAX, SETTINGS_BYTES_MAX = 16_384, 2**24
"""Settings remembered at a time, and bytes of what they are known by; forgetting them costs time only."""
NAMES_MAX, NAMES_BYTES_MAX = 100_000, 2**24
"""Variations remembered at a time; beyond, all names are forgotten, and with them who saw what."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
_decode_flags = msgspec.json.Decoder(dict[_Name, _Name]).decode


class ServedBy(NamedTuple):
    """Stands for the segment of an arm that is the part of one service, under one version of the flag."""

    service: str
    version: str


class Names:
    """
    Numbers of flags, of their variations, and of services, each given when it is first seen.

    A variation within a segment is an arm of its own, and so is what one
    service shows of it; ``segments`` holds the segment of each arm, empty for
    the arm that has all. ``columns`` are the
    names of scores, and the bounds that latencies are counted over.
    ``companies`` are the sets of arms that outcomes ran under.
    ``admission`` says which names that anybody may make up get a number.
    """

    def __init__(self, known: Known | None = None) -> None:
        self.companies = Companies()
        self.admission = Admission(known or {})
        self._bytes = 0
        self._arms: dict[tuple[str, str, str | ServedBy], int] = {}
        self._flags: dict[str, int] = {}
        self._services: dict[str, int] = {}
        self._columns: dict[str | int, int] = {}
        self.flag_keys: list[str] = []
        self.variations: list[str] = []
        self.segments: list[str | ServedBy] = []
        self.services: list[str] = []
        self.columns: list[str | int] = []
        self._flag_of_arm = Column(np.int64)
        self._is_part = Column(np.bool_)
        self._flag_hash = Column(np.uint64)

    def __len__(self) -> int:
        return len(self.variations)

    @property
    def is_full(self) -> bool:
        """Whether all names should be forgotten."""
        return len(self) > NAMES_MAX or self._bytes > NAMES_BYTES_MAX or self.companies.is_full

    def admit(self, arms: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], int]:
        """Return those variations of flags that may have a number, and of what there were too many."""
        admitted, beyond = [], 0
        for key, variation in arms:
            refused = 0 if (key, variation, "") in self._arms else self.admission.arm(key, variation)
            if not refused:
                self.arm(key, variation)
                admitted.append((key, variation))
            beyond |= refused
        return admitted, beyond

    def arm(self, key: str, variation: str, segment: str | ServedBy = "") -> int:
        """Return the number of one variation of one flag, or of a segment of it; ``key`` is ``environment|flag_key``."""
        number = self._arms.get((key, variation, segment))
        if number is None:
            number = self._arms[key, variation, segment] = len(self.variations)
            self._bytes += len(key) + len(variation) + sum(map(len, segment))
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

    def service(self, name: str) -> tuple[int, int]:
        """Return the number of a service, and of what there were too many: it is unnamed then, as the empty name."""
        name = name[:NAME_LENGTH_MAX]
        number = self._services.get(name)
        if number is not None:
            return number, 0
        beyond = self.admission.service(name) if name else 0
        if beyond:
            return self.service("")[0], beyond
        number = self._services[name] = len(self.services)
        self._bytes += len(name)
        self.services.append(name)
        return number, 0

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
        self._beyond = Column(np.uint8)
        self._bytes = 0
        self.has_beyond = False
        self.nothing = self._add([], False, None)

    @property
    def is_full(self) -> bool:
        """Whether all numbers should be given up."""
        return len(self._first) > SETTINGS_MAX or self._bytes > SETTINGS_BYTES_MAX or len(self._arms) > SETTINGS_BYTES_MAX // 8

    @property
    def met(self) -> dict[Any, int]:
        """The numbers of the settings met before, by what ``outcome`` or ``exposure`` is given."""
        return self._numbers

    def outcome(self, environment: str | None, service: str | None, ended: str | None, flags: bytes) -> int:
        """Return the number of an outcome's setting, or WRONG."""
        key = (environment, service, ended, flags)
        number = self._numbers.get(key)
        return self._keep(key, self._read_outcome(environment, service, ended, flags)) if number is None else number

    def exposure(
        self, environment: str | None, service: str | None, flag: str | None, variant: str | None, why: str | None
    ) -> int:
        """Return the number of an exposure's setting, or SKIP, or WRONG."""
        key = (environment, service, flag, variant, why)
        number = self._numbers.get(key)
        return self._keep(key, self._read_exposure(environment, service, flag, variant, why)) if number is None else number

    def feedback(self, environment: str | None, flags: bytes) -> int:
        """Return the number of a feedback's setting, or WRONG."""
        key = (environment, flags)
        number = self._numbers.get(key)
        return self._keep(key, self._read_flags(environment, flags, False, None)) if number is None else number

    def _keep(self, key: tuple[Any, ...], number: int) -> int:
        """Remember a number; not where something was beyond, as it may be taken in the next time."""
        self._bytes += sum(len(part) for part in key if part)
        if number < 0 or not self._beyond.array[number]:
            self._numbers[key] = number
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
        if len(flags) > FLAGS_OF_EVENT_MAX:
            return WRONG
        arms = [(f"{environment}|{flag}", variant) for flag, variant in flags.items()]
        return self._add(arms, error, service, is_outcome=is_outcome)

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

    def _add(self, named: list[tuple[str, str]], error: bool, service: str | None, *, is_outcome: bool = False) -> int:
        arms, beyond = self.names.admit(named)
        number, unnamed = self.names.service(service or "")
        self._beyond.append(beyond | unnamed)
        self.has_beyond |= bool(beyond | unnamed)
        self._first.append(len(self._arms))
        self._count.append(len(arms))
        self._error.append(error)
        self._service.append(number)
        self._arms.append(*[self.names.arm(key, variation) for key, variation in arms])
        under = 0
        for key, variation in arms:
            under ^= xxhash.xxh3_64_intdigest(f"{key}={variation}".encode("utf-8", "surrogatepass"))
        self._under.append(under)
        self._company.append(self._company_of(arms) if is_outcome else ALONE)
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
    def beyond(self) -> npt.NDArray[np.uint8]:
        """Of what there were too many in each setting (``admission``): what it names and is not summed."""
        return self._beyond.array

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
