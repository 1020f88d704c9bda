"""Frames survive any split; garbage ends in FrameError and nothing else."""

from __future__ import annotations

import itertools
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_worker.errors import FrameError
from model_worker.frames import FrameDecoder, encode_frame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FRAMES = st.lists(st.tuples(st.dictionaries(st.text(max_size=6), JSON, max_size=4), st.binary(max_size=40)), max_size=6)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_any_split_gives_the_same_frames(frames, cuts):
    decoder = FrameDecoder()
    data = b"".join(encode_frame(header, body) for header, body in frames)
    assert [frame for part in split(data, cuts) for frame in decoder.feed(part)] == frames


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 10_000), max_size=5))
def test_garbage_raises_frame_error_only(data, cuts):
    decoder = FrameDecoder(max_header_bytes=64, max_body_bytes=64)
    try:
        for part in split(data, cuts):
            list(decoder.feed(part))
    except FrameError:
        with pytest.raises(FrameError):
            list(decoder.feed(encode_frame({})))


def raw(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!II", len(header), len(body)) + header + body


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (raw(b""), "not JSON"),
        (raw(b"{"), "not JSON"),
        (raw(b"\xff\xfe{}"), "not JSON"),
        (raw(b"[" * 100_000), "not JSON"),
        (raw(b"[1]"), "JSON list, not an object"),
        (raw(b"null"), "JSON NoneType"),
        (struct.pack("!II", 2**31, 0), "above the limit"),
        (struct.pack("!II", 0, 2**31), "above the limit"),
        (b"HTTP/1.1 400 Bad Request", "above the limit"),
    ],
)
def test_what_is_not_a_frame_is_named(data, complaint):
    with pytest.raises(FrameError, match=complaint):
        list(FrameDecoder().feed(data))


def test_frames_before_the_fault_are_given():
    frames = FrameDecoder().feed(encode_frame({"n": 1}, b"a") + raw(b"nope"))
    assert next(frames) == ({"n": 1}, b"a")
    with pytest.raises(FrameError):
        next(frames)


def test_a_large_body_in_small_pieces():
    body = bytes(range(256)) * 4096
    frame = encode_frame({"id": 1}, body)
    decoder = FrameDecoder()
    got = [f for at in range(0, len(frame), 1000) for f in decoder.feed(frame[at : at + 1000])]
    assert got == [({"id": 1}, body)]


@pytest.mark.parametrize("header", [{"x": object()}, {"x": b"bytes"}, {1.5: {2}}])
def test_a_header_that_json_cannot_say_is_refused(header):
    with pytest.raises(FrameError, match="as JSON"):
        encode_frame(header)


def test_an_oversized_frame_is_refused_by_its_sender():
    with pytest.raises(FrameError, match="above the limit"):
        encode_frame({"text": "x" * (9 * 1024 * 1024)})


def test_the_format_on_the_wire():
    assert (
        encode_frame({"a": "ü"}, b"xyz")
        == struct.pack("!II", 10, 3)
        + json.dumps({"a": "ü"}, ensure_ascii=False, separators=(",", ":")).encode()
        + b"xyz"
    )
