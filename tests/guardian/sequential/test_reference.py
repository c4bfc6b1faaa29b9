"""
The reference vectors, and the command that runs them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reference import DETECTORS, difference

FILE = Path(__file__).parents[2] / "data" / "stats_reference.json"
CASES = json.loads(FILE.read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_reference_vector(case):
    """
    The product's functions give what independent high-precision arithmetic gave.
    """
    assert difference(case) is None


def test_every_detector_of_the_file_is_known():
    """
    No vector is skipped for want of a function.
    """
    assert {case["detector"] for case in CASES} == set(DETECTORS)


def test_command_counts_and_names_what_differs(tmp_path):
    """
    The command prints a line for each vector that differs, then the count, and exits 1.
    """
    wrong = json.loads(json.dumps(CASES[1]))
    wrong["expected"]["log_e"][3] += 1e-6
    unknown = {"id": "u", "detector": "augury", "inputs": {}, "expected": {"x": "inf"}, "tol": 0}
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps({"cases": [CASES[0], wrong, unknown]}))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.reference", file],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ran.stdout.splitlines()

    assert ran.returncode == 1, ran.stderr
    assert lines[0].startswith(f"{wrong['id']}: expected")
    assert lines[1].startswith("u: unknown detector 'augury'")
    assert lines[2] == "1 agree, 2 differ"
