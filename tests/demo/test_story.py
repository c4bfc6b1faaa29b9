"""What the demo says at its end follows from what its processes said, and its exit code from that."""

from __future__ import annotations

from typing import Any

from demo.director import unready
from demo.narrator import Narrator
from demo.story import Story

T0 = 1_795_222_800_000
"""2026-11-21T01:00:00Z"""


OTHERWISE = (
    "without the guardian  about 300 users in 10 minutes "
    "(extrapolated: 1.0 users hurt a second; there are about 300 in the treatment)"
)


def story() -> Story:
    narrator = Narrator()
    narrator.began_ms = T0
    return Story(narrator)


def told(*, until: str = "served") -> Story:
    """The whole story, or its beginning up to a word."""
    made = story()
    steps: list[tuple[str, Any]] = [
        ("started", lambda: made.hear_load({"event": "started", "users": 3000})),
        ("shipped", lambda: setattr(made, "shipped_ms", T0 + 10_000)),
        ("failed", lambda: made.hear_load(failed("a", 10_500))),
        ("failed again", lambda: made.hear_load(failed("b", 11_000))),
        ("and again", lambda: made.hear_load(failed("a", 11_500))),
        ("killed", lambda: made.hear_decision(decision("kill", "checkout-v2"))),
        ("changed", lambda: made.hear_shop({"event": "flags_changed", "shop": "s", "at_ms": T0 + 12_010, "flags": []})),
        ("served", lambda: made.hear_load({"event": "served", "at_ms": T0 + 12_100, "user": "z"})),
    ]
    for word, step in steps:
        step()
        if word == until:
            break
    return made


def failed(user: str, after_ms: int, file: str = "checkout_v2_1.py") -> dict[str, Any]:
    return {"event": "failed", "at_ms": T0 + after_ms, "user": user, "error": "E", "file": file, "line": 1}


def decision(action: str, flag: str, *, mode: str = "enforce", at: str = "12.000") -> dict[str, Any]:
    return {
        "flag_key": flag, "variant": "treatment", "action": action, "mode": mode,
        "decided_at": f"2026-11-21T01:00:{at}Z", "explanation": "because",
    }  # fmt: skip


def test_the_whole_story():
    """With all told there is nothing to complain of, and the last lines hold the figures, the cure last."""
    made = told()

    assert [] == made.complaints(with_bug=True)
    assert [
        "requests              0, 3,000 users",
        "new-search            untouched",
        "first bad request     at 10.50 s",
        "kill decided          at 12.00 s, +1,500 ms after the first bad request",
        "flags in the shop     at 12.01 s, +10 ms after the kill",
        "control served        at 12.10 s, +100 ms after the kill, to z",
        "users hurt            2, in 3 bad requests",
        OTHERWISE,
        "from bug to cure      1.60 s",
    ] == made.last_lines(with_bug=True)


def test_each_missing_step_is_a_complaint():
    """Without the bug, the kill, or its effect on a user the demo has failed, and says which."""
    assert [["the bug was not shipped", "checkout-v2/treatment was not killed"]] == [
        told(until="started").complaints(with_bug=True)
    ]
    assert ["checkout-v2/treatment was not killed"] == told(until="failed").complaints(with_bug=True)
    assert ["no user who had had treatment was served control after the kill"] == told(until="changed").complaints(
        with_bug=True
    )


def test_touching_the_healthy_flag_is_a_complaint():
    """Anything done to the healthy flag fails the demo; what is only said, or only tried, does not."""
    for action, mode, complaints in (
        ("kill", "enforce", 1),
        ("pause", "enforce", 1),
        ("kill", "shadow", 0),
        ("advance", "enforce", 0),
    ):
        made = told()
        made.hear_decision(decision(action, "new-search", mode=mode))

        assert complaints == len(made.complaints(with_bug=True))


def test_a_kill_before_the_bug_is_false():
    """A kill before anything was shipped is a false one, with or without a bug to come."""
    made = told(until="shipped")
    made.hear_decision(decision("kill", "checkout-v2", at="08.000"))

    assert ["checkout-v2/treatment was killed before there was a bug: because"] == made.complaints(with_bug=True)
    assert ["nothing was wrong, and still checkout-v2/treatment was killed: because"] == made.complaints(with_bug=False)


def test_everyday_errors_are_not_the_bugs():
    """Failures of other code than the bug's hurt users, but not by the bug: they are not counted as its own."""
    made = told()
    made.hear_load(failed("c", 11_000, file="cart.py"))

    assert {"a", "b"} == set(made.hurt_ms)


def test_a_healthy_demo():
    """Without a bug the story is that nothing happened."""
    made = told(until="started")

    assert [] == made.complaints(with_bug=False)
    assert ["new-search            untouched", "checkout-v2           untouched"] == made.last_lines(with_bug=False)[1:]


def test_who_is_not_ready_is_named():
    """What the guardian answers while it is not ready is told in words; any other answer as it is."""
    children = '{"act": {"ready": true, "why": ""}, "report": {"ready": false, "why": "no partition"}}'

    assert "it waits for topics; report: no partition" == unready(
        f'{{"ready": false, "waiting_for": "topics", "children": {children}}}'
    )
    assert "Bad Gateway" == unready("Bad Gateway\n")
