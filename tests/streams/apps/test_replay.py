"""``guardian replay``: the same answer, however the events are stored and read."""

from __future__ import annotations

import gzip
import io
import json
import random
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.plan import Plan
from streams.apps import replay
from streams.apps.recordings import Recorded
from streams.apps.replay import main
from streams.apps.stretches import stretches
from streams.policies import load_policies
from tests.support.traffic import T0_MS, Request, Traffic

BUG = Traffic(seconds=20, rps=200, error=lambda v, s: 0.25 if v == "treatment" and s > 8 else 0.01, seed=5)
POLICY = """
flag: checkout-v2
environment: production
guardrails:
  - when: error_rate > 1.2x control
    then: kill
"""


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(requests: list[Request], *, cloudevents: bool = False) -> list[str]:
    made: list[tuple[int, str]] = []
    for number, r in enumerate(requests):
        shown: dict[str, object] = {"flag_key": "checkout-v2", "variant": r.variation, "environment": "production"}
        ended: dict[str, object] = {
            "flags": {"checkout-v2": r.variation}, "environment": "production",
            "outcome": "error" if r.failed else "ok", "latency_ms": r.latency_ms,
        }  # fmt: skip
        for kind, at_ms, data in (("exposure", r.start_ms, shown), ("outcome", r.end_ms, ended)):
            data |= {"context_id": f"u{r.unit}"}
            event: dict[str, object] = {"id": f"{kind}-{number}", "source": "/shop", "time": iso(at_ms)}
            if cloudevents:
                event |= {"specversion": "1.0", "type": f"dev.rolloutguardian.{kind}.v1", "data": data}
            else:
                event |= {"type": kind, **data}
            made.append((at_ms, json.dumps(event)))
    return [line for _, line in sorted(made)]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def run(policy: Path, *files: Path, **options: object) -> tuple[int, list[str], str]:
    out, err = io.StringIO(), io.StringIO()
    code = main([str(f) for f in files], [policy], out=out, err=err, **options)  # type: ignore[arg-type]
    return code, out.getvalue().splitlines(), err.getvalue()


def test_a_kill_is_found_at_its_event_time(tmp_path: Path, policy: Path) -> None:
    """The decision stands at the earliest event time at which a live guardian could have taken it."""
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines(BUG.requests())))
    code, out, err = run(policy, path, as_json=True, fail_on="kill")
    made = [json.loads(line) for line in out]

    assert 3 == code
    assert [("kill", "treatment")] == [(d["action"], d["variant"]) for d in made]
    bug_began = iso(BUG.requests()[0].start_ms // 1_000 * 1_000 + 8_000)
    assert bug_began < made[0]["decided_at"] < iso(BUG.requests()[0].start_ms + 14_000)
    assert "1 decisions, 1 of them kills" in err


def test_a_kill_is_looked_back_on(tmp_path: Path, policy: Path) -> None:
    """What was recorded after a kill went on without it: the account says whether that confirms it."""
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines(BUG.requests())))
    _, _, err = run(policy, path)

    assert "in hindsight: 1 confirmed\n  Confirmed: what started after “error_rate > 1.2x control” would" in err


def test_the_answer_does_not_depend_on_the_storage(tmp_path: Path, policy: Path) -> None:
    """Bare or CloudEvents, packed or not, in one file or many, shuffled or in order, in any batch: the same bytes."""
    requests = BUG.requests()
    bare = lines(requests)
    plain, packed = tmp_path / "plain.jsonl", tmp_path / "packed.jsonl.gz"
    plain.write_text("\n".join(bare))
    with gzip.open(packed, "wt") as file:
        file.write("\n\n".join(lines(requests, cloudevents=True)))
    shuffled = bare[:]
    random.Random(7).shuffle(shuffled)
    (tmp_path / "shuffled.jsonl").write_text("\n".join(shuffled))
    halves = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for half, part in zip(halves, (bare[::2], bare[1::2]), strict=True):
        half.write_text("\n".join(part))
    expected = run(policy, plain, as_json=True)[1]

    assert expected
    assert expected == run(policy, packed, as_json=True)[1]
    assert expected == run(policy, tmp_path / "shuffled.jsonl", as_json=True)[1]
    assert expected == run(policy, *halves, as_json=True)[1]
    for size in (1, 7, 100_000):
        assert expected == run(policy, plain, as_json=True, batch_lines=size)[1]


@pytest.mark.parametrize("size", [1, 50, 1_000_000])
def test_the_answer_does_not_depend_on_how_much_is_taken_at_once(
    tmp_path: Path, policy: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many events are decoded and summed together: the same decisions and the same account."""
    good = lines(BUG.requests())
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join([*good[:3_000], "{", *good[2_900:]]))
    expected = run(policy, path, as_json=True)
    monkeypatch.setattr("streams.apps.stretches.STRETCH_EVENTS", size)

    assert expected[1]
    assert expected == run(policy, path, as_json=True)


@given(st.lists(st.integers(-1_000, 1_000)), st.integers(1, 20))
def test_a_stretch_has_whole_flushes(times_ms: list[int], size: int) -> None:
    """
    Events stay in their order; each is in the flush that comes after it, or if that has been, in the last one so far;
    and no flush is in two stretches.
    """
    events = [Recorded(time_ms, str(at), b"") for at, time_ms in enumerate(times_ms)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.apps.stretches.STRETCH_EVENTS", size)
        found = list(stretches(events))
    due_ms = [time_ms // 100 * 100 + 100 for time_ms in times_ms]
    at_ms = [list(map(int, stretch.at_ms)) for stretch in found]

    assert events == [event for stretch in found for event in stretch.events]
    assert times_ms == [time_ms for stretch in found for time_ms in stretch.time_ms.tolist()]
    assert list(accumulate(due_ms, max)) == [one for part in at_ms for one in part]
    assert all(before[-1] < after[0] for before, after in pairwise(at_ms))


def test_unreadable_lines_are_reported_and_never_fatal(tmp_path: Path, policy: Path) -> None:
    """A bad line is counted and named with its number and reason, and changes nothing else."""
    good = lines(BUG.requests())
    clean, dirty = tmp_path / "clean.jsonl", tmp_path / "dirty.jsonl"
    clean.write_text("\n".join(good))
    bad = ["{", "[]", '{"type":"outcome"}', "\x00\x01", '{"type":"exposure","time":"never","flag_key":"x"}']
    dirty.write_text("\n".join([*good[:100], *bad, *good[100:]]))
    _, out, err = run(policy, dirty)

    assert run(policy, clean)[1] == out
    assert "5 unreadable" in err
    for number in range(101, 106):
        assert f"dirty.jsonl:{number}: " in err


def test_an_event_of_the_year_2099_does_no_harm(tmp_path: Path, policy: Path) -> None:
    """One event from far in the future neither moves the clock of the others nor is followed second by second."""
    good = lines(BUG.requests())
    odd = json.loads(good[50]) | {"time": "2099-01-01T00:00:00Z", "id": "odd"}
    plain, strange = tmp_path / "plain.jsonl", tmp_path / "strange.jsonl"
    plain.write_text("\n".join(good))
    strange.write_text("\n".join([*good[:51], json.dumps(odd), *good[51:]]))
    before, after = (json.loads(run(policy, p, as_json=True)[1][0]) for p in (plain, strange))

    assert before["decided_at"] == after["decided_at"]


def test_repeated_events_count_once(tmp_path: Path, policy: Path) -> None:
    """Every event written twice gives the numbers of every event written once."""
    good = lines(BUG.requests())
    once, twice = tmp_path / "once.jsonl", tmp_path / "twice.jsonl"
    once.write_text("\n".join(good))
    twice.write_text("\n".join(line for line in good for _ in range(2)))
    single, double = (json.loads(run(policy, p, as_json=True)[1][0]) for p in (once, twice))

    assert single["evidence"] == double["evidence"]


def test_a_missing_file_and_a_bad_policy_say_so(tmp_path: Path, policy: Path) -> None:
    """What cannot be used at all ends with exit code 2 and its name, no traceback."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("flag: x\nenvironment: p\nguardrails: [{when: error_rate > 5ms, then: kill}]\n")
    code, _, err = run(policy, tmp_path / "nowhere.jsonl")

    assert 2 == code
    assert "nowhere.jsonl" in err
    code, _, err = run(bad, tmp_path / "nowhere.jsonl")
    assert 2 == code
    assert "error_rate > 5ms" in err


def test_what_is_summed_follows_the_policies(policy: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Of the policies' flags all is summed that their plans want.
    """
    monkeypatch.setattr(replay, "plan_of", lambda _: Plan(over_us=(1_000,)))
    observer = replay.Observer(replay.Report(), load_policies([policy]))
    events = [Recorded(T0_MS, "line", line.encode()) for line in lines(BUG.requests()[:20])]

    (stretch,) = stretches(events)
    (flush,) = observer.take(stretch)
    (flag,) = observer.summary(flush).flags

    arms = [arm for tick in flag.ticks for arm in tick.arms.values()]
    assert sum(arm.outcomes for arm in arms) == 20
    assert 0 < sum(arm.timed for arm in arms) <= 20


def test_units_are_shown_when_time_has_come_to_them(policy: Path) -> None:
    """Whom a flush exposes is told with its summary, and not before the beats of the silence that it ends."""
    told: list[int] = []
    observer = replay.Observer(replay.Report(), load_policies([policy]), lambda shown, at_ms: told.append(at_ms))
    shown = [(at_ms, line) for line in lines(BUG.requests()[:20]) for at_ms in (T0_MS, T0_MS + 2_000)]
    events = [Recorded(at_ms, "line", line.encode()) for at_ms, line in sorted(shown)]
    seen = [(entry.at_ms, told[-1]) for entry in replay.entries(events, observer, 1_000)]

    first_ms, second_ms = T0_MS + 100, T0_MS + 2_100
    assert [first_ms, second_ms] == told
    assert [(at_ms, first_ms) for at_ms in range(first_ms, first_ms + 1_000, 100)] == seen[:10]
    assert [(at_ms, second_ms) for at_ms in range(second_ms, second_ms + 1_000, 100)] == seen[10:]
