"""
Whose harm it is, measured: two flags under the same requests, both judged; nothing that is decided is carried out.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from guardian.decisions import Decision
from tests.support.pages import table, write
from tests.support.two_flags import OURS, THEIRS, TwoFlags, by, judged

RUNS = 40
SLOW: dict[str, Any] = {"rps": 400.0, "seconds": 60.0}
CORRELATED: dict[str, Any] = {"with_it": 0.8, "without_it": 0.2}


class Scene(NamedTuple):
    """Two flags A (`OURS`) and B (`THEIRS`) and which of them do harm."""

    says: str
    world: TwoFlags
    harmful: tuple[str, ...]


SCENES = [
    Scene("B, drawn apart from A", TwoFlags(by(theirs=0.2)), (THEIRS,)),
    Scene("B, 80 % of A's and 20 % of the others", TwoFlags(by(theirs=0.2), **CORRELATED), (THEIRS,)),
    Scene("the same, B to 4 %", TwoFlags(by(theirs=0.03), **CORRELATED, **SLOW), (THEIRS,)),
    Scene("the same, B to 91 %", TwoFlags(by(theirs=0.9), **CORRELATED), (THEIRS,)),
    Scene("B, 95 % and 5 %", TwoFlags(by(theirs=0.2), with_it=0.95, without_it=0.05), (THEIRS,)),
    Scene("B, A a tenth, all within B", TwoFlags(by(theirs=0.2), share=0.1, with_it=1.0, without_it=0.3), (THEIRS,)),
    Scene("B, A and B always together", TwoFlags(by(theirs=0.2), with_it=1.0, without_it=0.0), (THEIRS,)),
    Scene("A, drawn apart from B", TwoFlags(by(ours=0.2)), (OURS,)),
    Scene("A, 80 % and 20 %", TwoFlags(by(ours=0.2), **CORRELATED), (OURS,)),
    Scene("A and B by 10 points each, 80 % and 20 %", TwoFlags(by(ours=0.1, theirs=0.1), **CORRELATED), (OURS, THEIRS)),
    Scene("only both together, drawn apart", TwoFlags(by(both=0.2)), (OURS, THEIRS)),
    Scene("only both together, 80 % and 20 %", TwoFlags(by(both=0.2), **CORRELATED), (OURS, THEIRS)),
    Scene("none, 80 % and 20 %", TwoFlags(by(), **CORRELATED), ()),
]  # fmt: skip


class Found(NamedTuple):
    """Over all runs: kills of those that do harm, how much later (in s) they are, and kills of the innocent."""

    found: float
    later_s: list[float]
    blamed: float
    blamed_before: float


def measure(scene: Scene, runs: int) -> Found:
    """Judge each run with and without knowing of each other."""
    found, blamed, before, later = 0, 0, 0, list[float]()
    for seed in range(runs):
        made, plain = (judged(replace(scene.world, seed=seed, told=told)) for told in (True, False))
        for flag in (OURS, THEIRS):
            now_s, then_s = _killed_s(made, flag), _killed_s(plain, flag)
            if flag not in scene.harmful:
                blamed, before = blamed + (now_s is not None), before + (then_s is not None)
            elif now_s is not None:
                found += 1
                later.append(now_s - then_s if then_s is not None else 0.0)
    guilty, innocent = max(len(scene.harmful), 1), max(2 - len(scene.harmful), 1)
    return Found(found / runs / guilty, later or [0.0], blamed / runs / innocent, before / runs / innocent)


def _killed_s(made: list[Decision], flag: str) -> float | None:
    kills = [one.decided_at for one in made if one.flag_key == flag and one.action == "kill"]
    return datetime.fromisoformat(kills[0]).timestamp() if kills else None


def test_who_is_killed_and_how_much_later():
    """Of runs in which B breaks, all kill B, no later than before but for a second, and few kill A, which all did before."""
    measured = measure(SCENES[1], 12)

    assert measured.found == 1.0
    assert measured.blamed_before == 1.0
    assert measured.blamed <= 0.25
    assert max(measured.later_s) <= 1.4 + 1e-6


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_the_table_of_the_statistics():
    """Harm is found in every run of every scene; where flags are drawn apart, nobody else is killed and nothing is later."""
    rows = []
    for scene in SCENES:
        one = measure(scene, RUNS)
        mean_s, most_s = sum(one.later_s) / len(one.later_s), max(one.later_s)
        assert one.found == (1.0 if scene.harmful else 0.0)
        assert one.blamed <= one.blamed_before
        if "apart" in scene.says:
            assert (one.blamed, most_s) == (0.0, 0.0)
        innocent = len(scene.harmful) < 2
        rows.append([
            scene.says, f"{one.found:.0%}" if scene.harmful else "", f"{one.blamed:.0%}" if innocent else "",
            f"{one.blamed_before:.0%}" if innocent else "", f"{mean_s:.2f}, {most_s:.1f}" if scene.harmful else "",
        ])  # fmt: skip
    header = ["harm is of", "harmful flags killed", "others killed", "before", "kills later by, s: mean, most"]
    write("blame", table(header, rows))
