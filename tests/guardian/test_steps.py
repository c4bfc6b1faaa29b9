"""Sums per step: what is kept adds up, what makes room is handed back, and a snapshot is the same thing again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardian.population import Cell
from guardian.steps import Steps

SIZE = 5
CELLS = st.builds(
    Cell, st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 4000).map(lambda n: n / 4)
)
FAR = SIZE * 70_000
"""Further than a small number of rounds reaches, and than one of two bytes."""
ADDED = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["control", "treatment", "third"]), CELLS), max_size=60)


def total(cells: dict[str, Cell]) -> dict[str, tuple[float, ...]]:
    return {name: (cell.exposures, cell.outcomes, cell.errors, cell.first) for name, cell in cells.items()}


@given(ADDED)
def test_steps_are_what_was_added_to_them(added: list[tuple[int, str, Cell]]) -> None:
    """A step holds the sums of all that was added since it took its place, and older ones are refused, not mixed in."""
    steps, held = Steps(SIZE), dict[int, dict[str, Cell]]()
    for step, variation, cell in added:
        rival = next((other for other in held if other % SIZE == step % SIZE and other != step), None)
        assert steps.takes(step) == (rival is None or rival < step)
        if not steps.takes(step):
            continue
        gone = steps.add(step, variation, cell)
        assert (None if rival is None else (rival, total(held.pop(rival)))) == (gone and (gone[0], total(gone[1])))
        held.setdefault(step, {}).setdefault(variation, Cell()).add(cell)
        # A variation without a single event is no variation of the step.
        held[step] = {name: cell for name, cell in held[step].items() if any(total({name: cell})[name])}

    assert sorted(held, reverse=True) == steps.numbers()
    assert {step: total(cells) for step, cells in held.items()} == {
        s: total(steps.cells(s) or {}) for s in steps.numbers()
    }
    for variation in ("control", "treatment", "third"):
        here = [cells[variation] for cells in held.values() if variation in cells]
        assert sum(cell.first for cell in here) == steps.first(variation)
        known = [step for step in held if variation in held[step]]
        assert [cell.exposures for cell in here] == steps.starts(known, variation, True)


@given(ADDED, st.integers(0, 45))
def test_sums_from_a_step_on_are_those_of_its_steps(added: list[tuple[int, str, Cell]], from_step: int) -> None:
    """Whatever gaps there are and wherever the newest step lies, steps before the first that is asked for are left out."""
    steps = Steps(SIZE)
    for step, variation, cell in added:
        if steps.takes(step):
            steps.add(step, variation, cell)

    asked = [step for step in steps.numbers() if step >= from_step]
    for variation in ("control", "treatment", "third"):
        expected = Cell()
        for step in asked:
            expected.add((steps.cells(step) or {}).get(variation, Cell()))
        assert total({variation: expected}) == total({variation: steps.sum(from_step, variation)})
    assert max(asked, default=-1) == steps.last_since(from_step)


@given(ADDED, ADDED)
def test_a_snapshot_goes_on_as_its_original(
    before: list[tuple[int, str, Cell]], after: list[tuple[int, str, Cell]]
) -> None:
    """What was restored has the same state, and whatever is added later leads to the same again."""
    steps, restored = Steps(SIZE), Steps(SIZE)
    for step, variation, cell in before:
        if steps.takes(step):
            steps.add(step, variation, cell)

    restored.restore(steps.state())

    assert steps.state() == restored.state()
    for step, variation, cell in after:
        assert steps.takes(step) == restored.takes(step)
        if steps.takes(step):
            assert str(steps.add(step, variation, cell)) == str(restored.add(step, variation, cell))
    assert steps.state() == restored.state()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=12))
def test_a_step_stays_known_however_long_nothing_came(far: list[tuple[int, int]]) -> None:
    """A rollout that nobody used for a night, or for a year, still knows which moments it has sums of."""
    steps, held = Steps(SIZE), dict[int, int]()
    for years, rest in far:
        step = years * FAR + rest
        if held.get(step % SIZE, -1) <= step:
            assert steps.takes(step)
            steps.add(step, "control", Cell(1))
            held[step % SIZE] = step

    assert sorted(held.values(), reverse=True) == steps.numbers()
    restored = Steps(SIZE)
    restored.restore(steps.state())
    assert steps.numbers() == restored.numbers()
