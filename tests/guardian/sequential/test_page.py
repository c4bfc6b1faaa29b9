"""
The page on statistics says what is so: its examples run, and its measured tables have their places.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import guardian.sequential
from tests.support.pages import PAGE, table, write

TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run_as_they_stand(example):
    """
    Every example of the page runs, and what it asserts holds.
    """
    assert "assert" in example
    exec(compile(example, "statistics.md", "exec"), {})


def test_every_function_of_the_overview_exists():
    """
    What the first table of the page names can be imported from where it says.
    """
    overview = TEXT.split("## What each guardrail tests")[0]
    named = set(re.findall(r"`([A-Za-z_]+)`", overview)) - {"ratio_grid"}
    files = set(re.findall(r"`([a-z_]+)\.py`", overview))

    assert {"StreamBank", "two_sample_block", "slowness_block"} <= named
    assert {name for name in named if not name.endswith("_py") and not name.startswith("_")} <= set(
        guardian.sequential.__all__
    )
    assert files <= {path.stem for path in Path(guardian.sequential.__file__).parent.glob("*.py")} | {"test_many_streams"}


def test_tables_go_where_the_page_has_a_place_for_them(tmp_path):
    """
    A measured table replaces what stood in its place, and nothing else; without a place it is an error.
    """
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: delays -->\nold\n<!-- end -->\nafter\n")
    write("delays", table(["what", "how much"], [["a", "1"]]), page)

    assert page.read_text() == (
        "before\n<!-- measured: delays -->\n| what | how much |\n| --- | --- |\n| a | 1 |\n<!-- end -->\nafter\n"
    )
    with pytest.raises(ValueError, match="weather"):
        write("weather", "", page)


def test_no_measured_table_is_empty():
    """
    Every place for a measured table is filled: the page claims nothing that no run has shown.
    """
    places = re.findall(r"<!-- measured: ([a-z ]+) -->\n(.*?)<!-- end -->", TEXT, flags=re.DOTALL)

    assert places
    assert [] == [name for name, text in places if text.count("|") < 10]
