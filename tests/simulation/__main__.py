"""Replay seeds with a trace: ``python -m tests.simulation SEED``."""

from __future__ import annotations

import sys

from tests.simulation.scene import scene
from tests.simulation.world import Broken, World

if __name__ == "__main__":
    for seed in map(int, sys.argv[1:]):
        made = scene(seed)
        print(f"seed {seed}: {made}")
        try:
            World(made, print).play()
        except Broken as error:
            sys.exit(str(error).splitlines()[0])
