"""Numbers and patterns, as Asterisk reads them, and which of several that fit is meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.dialed_numbers import DialedNumber, NumberError, context_of, twice


@pytest.mark.parametrize(
    ("written", "fits", "not_"),
    [
        ("701", ["701"], ["7011", "70", "0701", ""]),
        ("+49 (30) 1234-5", ["+493012345"], ["493012345"]),
        ("030/123.45", ["03012345"], []),
        ("sales", ["sales"], ["sale"]),
        ("_7XX", ["700", "799"], ["7000", "70", "80X"]),
        ("_NXXZ", ["2001", "9999"], ["1001", "2000"]),
        ("_[1-37]0", ["10", "20", "30", "70"], ["40", "00"]),
        ("_+4930.", ["+49301", "+493012345"], ["+4930"]),
        ("_7!", ["7", "712"], ["8"]),
        ("_*9X", ["*91"], ["99"]),
        ("_030-1234X", ["03012340"], []),
    ],
)
def test_what_an_entry_fits(written, fits, not_):
    entry = DialedNumber.parse(written)
    assert [number for number in (*fits, *not_) if entry.fits(number)] == fits


@pytest.mark.parametrize("written", ["", " ", "7 0 ü", "_", "_7.1", "_[", "_[5-1]", "_[]", "_7A", "_7X]", "{701}"])
def test_what_is_no_number(written):
    with pytest.raises(NumberError, match=r"is no (number|pattern)"):
        DialedNumber.parse(written)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("701", "exact"),
        ("702", "class"),
        ("709", "any digit"),
        ("799", "rest"),
        ("7999", "rest"),
        ("8", None),
        ("", None),
    ],
)
def test_the_most_exact_entry_wins(number, name):
    written = {"rest": ["_7."], "any digit": ["_70X"], "class": ["_70[1-5]"], "exact": ["701", "555"]}
    entries = {name: [DialedNumber.parse(text) for text in texts] for name, texts in written.items()}
    assert context_of(number, entries) == name
    assert context_of(number, dict(reversed(entries.items()))) == name


def test_an_entry_for_two_is_found():
    entries = {"a": [DialedNumber.parse("+49 1")], "b": [DialedNumber.parse("2"), DialedNumber.parse("+491")]}
    assert list(twice(entries)) == [("b", 1, "a")]


@given(st.text(alphabet="0123456789+*#XZN[]-.!_ ", max_size=12), st.text(alphabet="0123456789+*#", max_size=12))
def test_whatever_is_written_is_read_or_refused(written, number):
    try:
        entry = DialedNumber.parse(written)
    except NumberError:
        return
    entry.fits(number)
    assert DialedNumber.parse(entry.text) == entry
