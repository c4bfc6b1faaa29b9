"""What a burst took, observe gives back."""

from __future__ import annotations

import subprocess
import sys

import pytest

BURST = """
from pathlib import Path
from streams.observing.light import give_back, gulp

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256

gulp()
large, live = [], []
for _ in range(130):
    large.append(b"x" * (3 << 20))
    live.append(bytes(2000))  # lies between what is freed, and lives on
last = b"x" * (3 << 20)  # lies at the end of the heap, which could else be cut off
del large
held_mb = resident_mb()
give_back()
print(held_mb, resident_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_memory_that_was_freed_in_the_middle_of_the_heap_is_given_back():
    """After a burst of large answers with what lives on between them, the process has what it keeps, and not the burst."""
    said = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True).stdout
    held_mb, left_mb = map(int, said.split())

    assert held_mb > 390
    assert left_mb < 200
