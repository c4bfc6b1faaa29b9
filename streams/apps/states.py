"""``python -m streams.apps.states > docs/rollout-states.md`` writes the table of a rollout's states anew."""

from __future__ import annotations

import sys

from guardian.rollout import states_text


def main() -> int:
    """Print the table."""
    sys.stdout.write(states_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
