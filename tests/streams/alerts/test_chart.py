from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from guardian.measured import watched
from streams.alerts.chart import CONTROL, VARIATION, bars_of, draw
from streams.alerts.messages import chart_of
from tests.support.published import decision, evidence

AT_MS = 1_764_000_000_000


def pixels(png: bytes, colour: str) -> int:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    wanted = ImageColor.getrgb(colour)
    return sum(count for count, found in image.getcolors(1 << 24) or [] if found == wanted)


def test_both_arms_are_seen_at_their_rates():
    """
    The picture is 800 by 400 and shows both arms as bars, the worse one's longer by as much as its rate is higher.
    """
    png = draw(decision(at_ms=AT_MS, variant="t", control="c"))
    image = Image.open(io.BytesIO(png))

    assert ("PNG", (800, 400)) == (image.format, image.size)
    assert len(png) < 100_000
    assert 7 < pixels(png, VARIATION) / pixels(png, CONTROL) < 13


@pytest.mark.parametrize(
    "more",
    [
        {"guardrail": "latency_p95 > 1.2x control", "evidence": evidence(value=812.0, value_control=340.0)},
        {"guardrail": "csat < 0.95x control", "evidence": evidence(value=3.1, value_control=4.3)},
        {"evidence": evidence(events=0, value=0.0, events_control=0, value_control=0.0)},
    ],
)
def test_every_signal_has_its_picture(more):
    """
    Signals that are no counts are drawn without intervals, and rates of nothing without bars.
    """
    assert draw(decision(at_ms=AT_MS, **more)).startswith(b"\x89PNG")


@pytest.mark.parametrize("more", [{"evidence": None}, {"evidence": evidence(n_control=0, value_control=None)}])
def test_where_there_is_nothing_to_compare_there_is_none(more):
    """
    Without evidence, or without control beside it, there is no picture, and the notice goes without.
    """
    assert b"" == chart_of(decision(at_ms=AT_MS, **more))


def test_intervals_are_those_of_the_page():
    """
    Each arm of counts has its interval around its rate; the smaller arm's is the wider one, for its rate.
    """
    ours, theirs = bars_of(decision(at_ms=AT_MS), watched("error_rate > 1.2x control"))

    for bar in (ours, theirs):
        assert bar.ends is not None
        assert bar.ends[0] < bar.value < bar.ends[1]
    assert ("31 of 312", "27 of 2,790") == (ours.counted, theirs.counted)


@settings(deadline=None, max_examples=15)
@given(st.text(max_size=400), st.text(max_size=400), st.integers(0, 10**9), st.integers(1, 10**9))
def test_no_name_or_number_breaks_it(variant, flag, events, n):
    """
    Whatever flags and variations are called, in any script and length, and however large the counts, it is drawn.
    """
    given = evidence(n=n, events=min(events, n), value=min(events, n) / n)

    assert draw(decision(at_ms=AT_MS, variant=variant, flag=flag, evidence=given)).startswith(b"\x89PNG")
