"""JSON that costs much to take apart is told by little, and means what it meant."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.folding.costly import LONG, made_cheap
from streams.folding.wire import decode_any
from tests.support.events import outcome

LENGTHS = st.integers(1, 5 * LONG)
NUMBERS = st.one_of(
    LENGTHS.map(lambda many: "9" * many), LENGTHS.map(lambda many: "-9" + "0" * many),
    LENGTHS.map(lambda many: "0." + "3" * many), LENGTHS.map(lambda many: "1e" + "7" * many),
)  # fmt: skip
TEXTS = st.one_of(NUMBERS, st.text(max_size=8), LENGTHS.map(lambda many: ":" + "9" * many + ","))


def _written(value: Any) -> str:
    """JSON in which a number that stands in a list of its own is written digit by digit."""
    return re.sub(r'\["n", "([^"]*)"\]', r"\1", json.dumps(value))


@settings(max_examples=300)
@given(st.recursive(NUMBERS.map(lambda digits: ["n", digits]) | TEXTS, lambda inner: st.dictionaries(TEXTS, inner, max_size=4)))
def test_what_is_cut_are_the_digits_of_one_number(value: Any):
    """Nothing but digits inside one number goes, and 400 of them are left; texts are never touched."""
    written = _written(value).encode()
    tokens = re.findall(rb'"(?:[^"\\]|\\.)*"|[0-9]+|.', written, re.DOTALL)
    long_ones = [at for at, token in enumerate(tokens) if token.isdigit() and len(token) > LONG]

    assert made_cheap(written) in (written, *(b"".join([*tokens[:at], tokens[at][:LONG], *tokens[at + 1 :]]) for at in long_ones))


def test_a_flood_of_digits_is_cut():
    """Four thousand digits become four hundred, behind texts and other numbers."""
    assert b'{"a":"9,9","b":[1,-' + b"7" * LONG + b"]}" == made_cheap(b'{"a":"9,9","b":[1,-' + b"7" * 4_000 + b"]}")


@pytest.mark.parametrize("place", ["latency_ms", "environment", "flags", "attributes", "unknown"])
@pytest.mark.parametrize("number", ["9" * 4_000, "-" + "9" * 4_000, "0." + "1" * 4_000, "1e" + "9" * 4_000])
def test_what_a_field_takes_it_takes_as_before(place: str, number: str):
    """An event with such a number in any place is decoded, or is not, as it would have been with all of its digits."""
    event = outcome({"checkout-v2": "treatment"})
    event["data"][place] = "HERE"
    written = json.dumps(event).replace('"HERE"', number).encode()

    def tried(value: bytes) -> tuple[type, str]:
        try:
            return type(decode_any(value)["data"][place]), ""
        except (ValueError, msgspec.DecodeError) as error:
            return type(error), str(error).partition("(")[0]

    assert tried(written) == tried(made_cheap(written))


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_what_is_nested_too_deeply_is_told_in_the_same_words(opened: str, dice: random.Random):
    """Whatever lies before it: the decoder's own error, though nothing was built."""
    value = ('{"first":' + "[" * dice.randrange(50) + opened * 5_000).encode()

    with pytest.raises(RecursionError) as told:
        made_cheap(value)
    with pytest.raises(RecursionError) as decoded:
        decode_any(value)
    assert str(decoded.value) == str(told.value)
