"""
Who still serves what was killed: requests of a flag by service, and those of the killed variation by the flag's version.

Only of flags of which a kill has to be proven, so that it costs nothing while there is none: each request of such a flag is a
second pair, of an arm that is that of its service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from guardian.events import NAME_LENGTH_MAX
from guardian.summaries import OTHERS, SERVICES_MAX
from streams.codecs import EXPOSURE, FEEDBACK
from streams.folding.chunk import Pairs
from streams.folding.columns import Batch
from streams.folding.names import Names, ServedBy, Settings
from streams.folding.wire import UNREADABLE, Message

Int64s = npt.NDArray[np.int64]
Proofs = Mapping[str, frozenset[str]]
"""By the flag's key, the variations that were killed and of which it is not proven yet."""

VERSIONS_MAX = 4
"""Versions of a flag that are told apart of one service; more of them are not told."""
KNOWN_MAX = 1_000
"""Versions that have a number; beyond, all numbers are given up before the next batch."""
_OTHER, _KILLED = 1, 2
_SERVICE_BITS, _VERSION_BITS = 24, 10
_UNKNOWN = 0


class Serving:
    """
    Tells services apart, of each flag the first ``SERVICES_MAX`` that this source meets.

    ``proofs`` say of which flags; they count for the batches that are taken from then on.
    """

    def __init__(self) -> None:
        self._met: dict[str, dict[str, set[str]]] = {}
        self._forget_versions()
        self.follow({})

    def follow(self, proofs: Proofs) -> None:
        """From now on, these kills have to be proven."""
        self.proofs = proofs
        self._names: Names | None = None
        self._met = {key: met for key, met in self._met.items() if key in proofs}

    def _forget_versions(self) -> None:
        self._versions = [""]
        self._numbers = {"": _UNKNOWN}

    def read_versions(self, batch: Batch, records: Sequence[Message], settings: Settings) -> None:
        """Number the flag's version of each exposure to a killed variation; their records are read once more for it."""
        if not self.proofs:
            return
        if len(self._versions) > KNOWN_MAX:
            self._forget_versions()
        exposures = np.flatnonzero(batch.kind == EXPOSURE)
        event, arm = settings.pairs(batch.setting[exposures])
        killed = exposures[event[self._roles_of(settings.names)[arm] == _KILLED]]
        if not killed.size:
            return
        batch.version = np.zeros(len(batch), dtype=np.int64)
        batch.version[killed] = [self._number(version_of(records[at])) for at in batch.at[killed].tolist()]

    def _number(self, version: str) -> int:
        number = self._numbers.get(version)
        if number is None:
            if len(self._versions) >= 1 << _VERSION_BITS:
                return _UNKNOWN
            number = self._numbers[version] = len(self._versions)
            self._versions.append(version)
        return number

    def with_services(self, pairs: Pairs, batch: Batch, settings: Settings, event: Int64s, arm: Int64s) -> Pairs:
        """Return the pairs, and behind them one for each of *event* and *arm* whose flag has a kill to be proven."""
        if not self.proofs:
            return pairs
        names = settings.names
        role = self._roles_of(names)[arm]
        at = np.flatnonzero((role != 0) & (batch.kind[event] != FEEDBACK))
        if not at.size:
            return pairs
        whose = np.where(role[at] == _KILLED, arm[at], len(names) + names.flag_of_arm[arm[at]])
        version = batch.version[event[at]] if batch.version is not None else 0
        service = settings.service[batch.setting[event[at]]]
        cell = (whose << _SERVICE_BITS | service) << _VERSION_BITS | version
        cells, first, which = np.unique(cell, return_index=True, return_inverse=True)
        arms, known = np.zeros(cells.size, dtype=np.int64), len(names)
        for one in np.argsort(first).tolist():
            arms[one] = self._arm(names, int(cells[one]), known)
        return replace(
            pairs, event=np.concatenate((pairs.event, event[at])), arm=np.concatenate((pairs.arm, arms[which])),
            marks=np.concatenate((pairs.marks, np.zeros(at.size, dtype=np.uint8))),
        )  # fmt: skip

    def _arm(self, names: Names, cell: int, known: int) -> int:
        """Return the arm of what a service shows; *known* is how many arms there were when the cell was made."""
        whose, version = cell >> (_SERVICE_BITS + _VERSION_BITS), cell & (1 << _VERSION_BITS) - 1
        name = names.services[cell >> _VERSION_BITS & (1 << _SERVICE_BITS) - 1]
        is_killed = whose < known
        key = names.flag_keys[int(names.flag_of_arm[whose]) if is_killed else whose - known]
        return names.arm(key, names.variations[whose] if is_killed else "", self._admit(key, name, self._versions[version]))

    def _admit(self, key: str, service: str, version: str) -> ServedBy:
        met = self._met.setdefault(key, {})
        if service not in met and len(met) >= SERVICES_MAX:
            return ServedBy(OTHERS, "")
        versions = met.setdefault(service, set())
        if version and version not in versions and len(versions) >= VERSIONS_MAX:
            return ServedBy(service, "")
        versions.add(version)
        return ServedBy(service, version)

    def _roles_of(self, names: Names) -> npt.NDArray[np.uint8]:
        """Return what each arm is: nothing to a proof, a killed variation, or another one of a flag that has one."""
        if self._names is not names:
            self._names, self._roles = names, np.zeros(0, dtype=np.uint8)
        before = self._roles.size
        if before < len(names):
            roles = np.zeros(len(names), dtype=np.uint8)
            roles[:before] = self._roles
            flags = np.array([names.flag(key) for key in self.proofs], dtype=np.int64)
            for number in (np.flatnonzero(np.isin(names.flag_of_arm[before:], flags)) + before).tolist():
                killed = self.proofs[names.flag_keys[int(names.flag_of_arm[number])]]
                if not names.segments[number]:
                    roles[number] = _KILLED if names.variations[number] in killed else _OTHER
            self._roles = roles
        return self._roles


class _Told(msgspec.Struct):
    """What is read of an exposure's data."""

    flag_version: str | int | float | None = None
    dotted: str | int | float | None = msgspec.field(default=None, name="feature_flag.version")


class _Event(_Told):
    """The data alone, or the whole event in either form."""

    data: _Told | None = None


_decode: Any = msgspec.json.Decoder(_Event).decode


def version_of(record: Message) -> str:
    """Return which version of the flag an exposure says that it was evaluated by; empty where it says none."""
    try:
        event = _decode(record.value or b"")
    except UNREADABLE:
        return ""
    told = event.data or event
    version = told.flag_version if told.flag_version is not None else told.dotted
    return "" if version is None else f"{version}"[:NAME_LENGTH_MAX]
