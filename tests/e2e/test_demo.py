"""The demo, whole: what ``make demo`` shows is what happened, and nothing is left running after it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"^ *\d+\.\d\d s  (\w+) +(.*)$")
RUN_S = 150
LOGGED = 60
"""Lines of the guardian's log that are shown of a demo that went wrong."""


@dataclass(frozen=True)
class Seen:
    """What a run of the demo printed, its exit code, and what of it still runs."""

    code: int
    text: str
    left: list[int]

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Who did what, in the order it was told."""
        return [(found[1], found[2]) for line in self.text.splitlines() if (found := STEP.match(line))]

    @property
    def figures(self) -> dict[str, str]:
        """The last lines: a name, two spaces or more, a figure."""
        parts = [re.split(r" {2,}", line, maxsplit=1) for line in self.text.splitlines() if not STEP.match(line)]
        return {part[0]: part[1] for part in parts if len(part) == 2}


async def demo(directory: Path, *arguments: str, seconds: str = "", interrupt_at: str = "") -> Seen:
    """Run the demo to its end, its logs in ``directory``; press Ctrl-C at a line that holds ``interrupt_at``."""
    mark = f"demo-test-{os.getpid()}-{os.urandom(4).hex()}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demo", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "DEMO_SECONDS": seconds, "DEMO_MARK": mark, "TMPDIR": str(directory)},
    )
    assert process.stdout is not None
    text = ""
    try:
        async with asyncio.timeout(RUN_S):
            async for line in process.stdout:
                text += line.decode()
                if interrupt_at and interrupt_at in line.decode():
                    process.send_signal(signal.SIGINT)
            code = await process.wait()
    except TimeoutError:
        process.kill()
        pytest.fail(f"the demo did not end within {RUN_S} s; it had said:\n{text}")
    print(text)
    print(left_by(directory))
    return Seen(code, text, marked(mark))


def left_by(directory: Path) -> str:
    """Return the end of the guardian's log, which only a demo that went wrong leaves."""
    logs = directory.glob("rollout-guardian-demo-*/guardian.log")
    return "\n".join(line for log in logs for line in log.read_text(errors="replace").splitlines()[-LOGGED:])


def marked(mark: str) -> list[int]:
    """Return the processes, of whatever parent, that have the run's mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes() and (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile, or is not ours to look at
    return found


def ms_in(figure: str) -> int:
    """Return 1661 of ``at 14.33 s, +1,661 ms after ...``."""
    found = re.search(r"([+-][\d,]+) ms", figure)
    assert found, figure
    return int(found[1].replace(",", ""))


@pytest.mark.timeout(RUN_S + 20)
async def test_the_bug_is_killed_and_the_healthy_flag_is_not(tmp_path: Path):
    """
    The demo ends by itself with 0: the bug's variation was killed, its users got control, the other flag is untouched.

    ::

        open ── traffic ──┤ bug ├── first bad request ── kill ── control served ──┤ end
    """
    seen = await demo(tmp_path, seconds="40")
    figures, told = seen.figures, [what for _, what in seen.steps]

    assert 0 == seen.code
    assert any(re.search(r"its page: http://127\.0\.0\.1:\d+/", what) for what in told[:3])
    assert "untouched" == figures["new-search"]
    assert ms_in(figures["kill decided"]) > 0
    assert ms_in(figures["flags in the shop"]) >= 0
    assert ms_in(figures["control served"]) > 0
    assert int(figures["users hurt"].split(",")[0]) > 0
    assert re.fullmatch(r"\d+\.\d\d s", figures["from bug to cure"])
    assert seen.text.splitlines()[-1].startswith("from bug to cure")
    assert any(what.startswith("KILL checkout-v2/treatment: ") for what in told)
    assert any("kill checkout-v2/treatment applied" in what for what in told)
    assert [] == seen.left


@pytest.mark.long
@pytest.mark.timeout(RUN_S + 20)
async def test_without_a_bug_nothing_is_killed(tmp_path: Path):
    """With the same traffic, the same everyday errors and no bug, nothing is touched and the exit code is 0."""
    seen = await demo(tmp_path, "--healthy", seconds="30")

    assert 0 == seen.code
    assert ("untouched", "untouched") == (seen.figures["new-search"], seen.figures["checkout-v2"])
    assert not any("deploys" in what for _, what in seen.steps)
    assert [] == seen.left


@pytest.mark.timeout(RUN_S + 20)
async def test_ctrl_c_ends_everything(tmp_path: Path):
    """Ctrl-C in the middle ends every process, says what is missing from the story, and is no success."""
    seen = await demo(tmp_path, interrupt_at=" of them come")

    assert 1 == seen.code
    assert "NOT AS IT SHOULD BE: the bug was not shipped" in seen.text
    assert [] == seen.left
