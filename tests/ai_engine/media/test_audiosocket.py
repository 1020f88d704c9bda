"""AudioSocket's messages: there and back in pieces of any size, and nothing but the documented error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ai_engine.media.audiosocket import (
    DTMF,
    ERROR,
    HANG_UP,
    SLIN,
    SLIN16,
    UUID,
    AudioSocketError,
    AudioSocketParser,
    Message,
    message,
)

A_UUID = bytes(range(16))
MESSAGES = st.one_of(
    st.just(Message(HANG_UP, b"")),
    st.binary(min_size=16, max_size=16).map(lambda payload: Message(UUID, payload)),
    st.sampled_from(b"0123456789*#ABCD").map(lambda digit: Message(DTMF, bytes([digit]))),
    st.tuples(st.integers(SLIN, SLIN + 8), st.binary(max_size=80)).map(lambda m: Message(m[0], m[1] * 2)),
    st.binary(max_size=4).map(lambda payload: Message(ERROR, payload)),
)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


def test_how_messages_lie_on_the_wire() -> None:
    assert message(HANG_UP) == b"\x00\x00\x00"
    assert message(UUID, A_UUID) == b"\x01\x00\x10" + A_UUID
    assert message(SLIN, bytes(320)) == b"\x10\x01\x40" + bytes(320)
    assert message(SLIN16, bytes(640)) == b"\x12\x02\x80" + bytes(640)
    with pytest.raises(ValueError, match="65536 bytes do not fit"):
        message(SLIN, bytes(65536))


@given(st.lists(MESSAGES, max_size=12), st.lists(st.integers(0, 50), max_size=40))
@example([Message(SLIN, bytes(160))], [1, 1, 1, 1, 318])
def test_messages_come_back_whatever_the_pieces(messages: list[Message], sizes: list[int]) -> None:
    parser, got = AudioSocketParser(), []
    for piece in cut(b"".join(message(*one) for one in messages), sizes):
        got += parser.feed(piece)
    assert got == messages


@given(st.binary(max_size=400), st.lists(st.integers(0, 30), max_size=30))
def test_any_bytes_raise_nothing_but_the_documented_error(data: bytes, sizes: list[int]) -> None:
    whole, pieced = AudioSocketParser(), AudioSocketParser()
    failed, got = False, list[Message]()
    for piece in cut(data, sizes):
        try:
            got += pieced.feed(piece)
        except AudioSocketError:
            failed = True
            break
    try:
        assert whole.feed(data) == got
        assert not failed
    except AudioSocketError:
        assert failed
        with pytest.raises(AudioSocketError):
            whole.feed(b"")


@given(st.binary(min_size=1))
def test_what_comes_after_a_fault_is_never_heard(data: bytes) -> None:
    parser = AudioSocketParser()
    with contextlib.suppress(AudioSocketError):
        parser.feed(b"\x42\x00\x00")
    with pytest.raises(AudioSocketError, match="0x42 is no kind"):
        parser.feed(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x01\x00\x0f", "kind 0x01 has 15 bytes and not 16"),
        (b"\x00\x00\x01", "kind 0x00 has 1 bytes and not 0"),
        (b"\x03\x00\x02", "kind 0x03 has 2 bytes and not 1"),
        (b"\x10\x01\x41", "kind 0x10 with 321 bytes ends in half a sample"),
        (b"\x19\x00\x00", "0x19 is no kind"),
        (b"GET / HTTP/1.1", "0x47 is no kind"),
    ],
)
def test_a_header_that_cannot_be_one_is_told_before_its_payload_comes(data: bytes, why: str) -> None:
    with pytest.raises(AudioSocketError, match=why):
        AudioSocketParser().feed(data)


@pytest.mark.parametrize(("kind", "is_audio"), [(SLIN, True), (0x18, True), (DTMF, False), (ERROR, False)])
def test_which_kinds_are_sound(kind: int, is_audio: bool) -> None:
    assert Message(kind, b"").is_audio is is_audio
