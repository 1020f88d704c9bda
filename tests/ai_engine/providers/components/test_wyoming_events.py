"""Events of the Wyoming protocol, as bytes and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.providers.components.wyoming_events import Event, EventDecoder, WyomingError
from tests.wyoming_stand_in import packed

EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from(["describe", "audio-chunk", "transcript"]),
        st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=9) | st.none(), max_size=3),
        st.binary(max_size=40),
    ),
    max_size=5,
)


@given(events=EVENTS, data=st.data())
def test_events_survive_however_their_bytes_are_cut(events, data):
    stream = b"".join(map(bytes, events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder, found = EventDecoder(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[begin:end])
    assert found == events


def test_data_apart_comes_over_those_of_the_header():
    header = json.dumps({"type": "info", "data": {"a": 1, "b": 1}, "data_length": 8, "payload_length": 2})
    (event,) = EventDecoder().feed(header.encode() + b'\n{"b": 2}xy')
    assert event == Event("info", {"a": 1, "b": 2}, b"xy")


@pytest.mark.parametrize("in_header", [False, True])
def test_it_is_written_as_a_reference_server_reads_it(in_header):
    text = "Grüß Gott 🙂"
    assert EventDecoder().feed(packed("transcript", {"text": text}, in_header=in_header))[0].data == {"text": text}
    line, rest = bytes(Event("transcript", {"text": text}, b"xy")).split(b"\n", 1)
    header = json.loads(line)
    assert json.loads(rest[: header["data_length"]]) == {"text": text}
    assert (header["type"], rest[header["data_length"] :], header["payload_length"]) == ("transcript", b"xy", 2)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n",
        b"[1, 2]\n",
        b"{}\n",
        b'{"type": 3}\n',
        b'{"type": "x", "data": [1]}\n',
        b'{"type": "x", "data_length": -1}\n',
        b'{"type": "x", "payload_length": 99999999999}\n',
        b'{"type": "x", "data_length": "8"}\n',
        b'{"type": "x", "data_length": true}\n',
        b'{"type": "x", "data_length": 3}\n[1]',
        b"x" * 70_000,
        b"\xff\xfe\n",
    ],
)
def test_what_is_no_event_is_refused(sent):
    with pytest.raises(WyomingError):
        EventDecoder().feed(sent)


@given(st.binary(max_size=200))
def test_whatever_comes_is_events_or_refused(data):
    try:
        EventDecoder().feed(data + b"\n")
    except WyomingError as error:
        assert str(error)
