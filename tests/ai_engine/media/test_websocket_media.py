"""The websocket transport against a stand-in that has chan_websocket's ways: what is said, heard, and given back.

Time is the number a tick is told; sockets are real, and nothing waits.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from chan_websocket import ChanWebsocket, connection_pair
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_engine.media.lines import MediaError
from ai_engine.media.transport import FrameKind
from ai_engine.media.websocket_control import ControlForm
from ai_engine.media.websocket_media import WEBSOCKET_FORMATS, WebsocketTransport
from voice_wire.audio import Pcm, decode, encode

FRAME_S = 0.020
LEAD = 3


def tone(seconds: float, rate_hz: int = 8000, *, hz: float = 400.0) -> Pcm:
    """A tone that rises slowly: no two frames are alike."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (8000 * np.sin(2 * np.pi * (hz + t) * t)).astype(np.int16)


class Line:
    """A transport and Asterisk's end of it. Asterisk's timer ticks between two of ours."""

    def __init__(self, name: str = "ulaw", *, form: ControlForm = ControlForm.JSON) -> None:
        connection, theirs = connection_pair()
        self.transport = WebsocketTransport(name, lead_frames=LEAD)
        self.format = self.transport.format
        self.frame_bytes = self.transport.played.frame_bytes
        self.asterisk = ChanWebsocket(theirs, frame_bytes=self.frame_bytes, form=form)
        self.transport.attach(connection, form)
        self.connection = connection
        self.now = 100.0
        self.heard: list[tuple[bytes, FrameKind]] = []
        self.believed: list[bytes | None] = []

    def ours(self) -> None:
        self.now += FRAME_S
        frame = self.transport.receive(self.now)
        assert len(frame.pcm) == self.transport.pcm_rate_hz // 50 * 2
        self.heard.append((frame.pcm, frame.kind))
        self.believed.append(self.transport.transmit(self.now))

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.ours()
            self.asterisk.tick()

    def say(self, turn: int, seconds: float, text: str = "one two three four", *, hz: float = 400.0) -> bytes:
        audio = encode(tone(seconds, self.format.sample_rate_hz, hz=hz), self.format.encoding)
        self.transport.play(turn, audio, text, self.now)
        return audio

    def end(self, turn: int) -> None:
        self.transport.played.end_turn(turn, self.now)

    @property
    def sound(self) -> bytes:
        """All that Asterisk played, without its silence."""
        return b"".join(frame for frame in self.asterisk.played if frame is not None)

    def close(self) -> None:
        asyncio.run(self.transport.close())
        if not self.asterisk.closed:
            self.asterisk.read()
            assert self.asterisk.closed
        assert self.asterisk.ignored_commands == 0
        assert self.asterisk.dropped_bytes == 0


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


@pytest.mark.parametrize("form", ControlForm)
@pytest.mark.parametrize("name", WEBSOCKET_FORMATS)
def test_each_format_both_ways(name: str, form: ControlForm) -> None:
    line = Line(name, form=form)
    line.asterisk.start()
    rate_hz = line.transport.pcm_rate_hz
    assert rate_hz == (16000 if name == "slin16" else 8000)
    spoken = tone(0.4, rate_hz)
    wire = encode(spoken, line.format.encoding)
    said = line.say(1, 0.4)
    line.end(1)
    for start in range(0, len(wire), line.frame_bytes):
        line.asterisk.say(wire[start : start + line.frame_bytes])
        line.run(1)
    line.run(10)
    assert line.sound == said
    heard = np.frombuffer(b"".join(pcm for pcm, kind in line.heard if kind is FrameKind.SPEECH), np.int16)
    assert np.array_equal(heard, decode(wire, line.format.encoding))
    assert line.transport.played.finished(1, line.now)
    assert line.transport.stats.malformed == line.transport.stats.errors == 0
    line.close()


def test_other_formats_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'opus'.* ulaw, alaw, slin, slin16"):
        WebsocketTransport("opus")


def test_what_transmit_returns_is_what_sounds(line: Line) -> None:
    """For the canceller and the recorder: frame by frame, with the silences."""
    line.run(3)
    line.say(1, 0.3)
    line.end(1)
    line.run(30)
    line.say(2, 0.1, hz=600)
    line.run(10)
    assert line.believed == line.asterisk.played


def test_the_first_frame_goes_out_at_once_and_little_is_ahead(line: Line) -> None:
    line.say(1, 2.0)
    line.ours()
    line.asterisk.read()
    assert line.asterisk.queued == LEAD
    line.asterisk.tick()
    line.run(80)
    assert line.asterisk.most_queued == LEAD
    assert None not in line.asterisk.played


def test_silence_sends_nothing(line: Line) -> None:
    line.run(50)
    assert line.asterisk.commands == []
    assert line.transport.stats.frames_sent == 0


def test_a_late_tick_of_ours_leaves_no_gap(line: Line) -> None:
    """The pacer was held up for 40 ms and makes its ticks up: Asterisk had the frames it needed."""
    line.say(1, 2.0)
    line.run(20)
    for _ in range(2):
        line.asterisk.tick()
    for _ in range(3):
        line.ours()
    line.asterisk.tick()
    line.run(20)
    assert None not in line.asterisk.played


def test_a_pause_is_silence_at_once_and_goes_on_at_a_word(line: Line) -> None:
    said = line.say(1, 2.0, "aaaa bbbb cccc dddd eeee ffff gggg hhhh")
    line.run(50)
    line.transport.pause(line.now)
    line.run(20)
    after = line.asterisk.played[50:]
    assert after[0] is not None  # the fade
    fade = decode(after[0], "mulaw")
    assert np.abs(fade[64:]).max() == 0
    assert np.abs(fade[:8] - decode(said[50 * 160 : 50 * 160 + 8], "mulaw")).max() < 600  # where the last one ended
    assert after[1:] == [None] * 19
    heard_ms = line.transport.played.heard_ms(1, line.now)
    assert heard_ms == 1000
    line.transport.resume(line.now)
    line.run(100)
    rest = [frame for frame in line.asterisk.played[70:] if frame is not None]
    assert 50 <= len(rest) <= 70  # of 100 frames: from the beginning of the word that was cut
    assert b"".join(rest[1:-1]) in said
    assert line.asterisk.commands.count("FLUSH_MEDIA") == 1


def test_a_flush_is_silence_at_once_and_tells_what_was_heard(line: Line) -> None:
    line.say(1, 2.0, "aaaa bbbb cccc dddd eeee ffff gggg hhhh")
    line.run(50)
    line.transport.flush(line.now)
    line.run(20)
    assert line.asterisk.played[51:] == [None] * 19
    played = line.transport.played
    assert played.finished(1, line.now)
    assert played.heard_ms(1, line.now) == 1000
    assert played.heard_text(1, line.now) == "aaaa bbbb cccc"
    said = line.say(2, 0.4, hz=600)
    line.end(2)
    line.run(40)
    assert line.sound.endswith(said)
    assert played.finished(2, line.now)


def test_a_flush_right_after_a_pause_still_fades(line: Line) -> None:
    line.say(1, 2.0)
    line.run(50)
    line.transport.pause(line.now)
    line.transport.flush(line.now)
    line.run(20)
    after = line.asterisk.played[50:]
    assert after[0] is not None
    assert np.abs(decode(after[0], "mulaw")[64:]).max() == 0
    assert after[1:] == [None] * 19
    assert line.transport.played.heard_ms(1, line.now) == 1000
    said = line.say(2, 0.4, hz=600)
    line.end(2)
    line.run(40)
    assert line.sound.endswith(said)


@pytest.mark.parametrize("way", ["flush", "pause"])
def test_what_an_asterisk_that_stood_still_has_is_not_played_after_an_interruption(line: Line, way: str) -> None:
    line.say(1, 4.0)
    line.run(50)
    for _ in range(70):
        line.ours()
    getattr(line.transport, way)(line.now)
    line.ours()
    line.run(40)
    assert [frame for frame in line.asterisk.played[52:] if frame is not None] == []


def test_a_pause_at_the_end_of_a_turn_loses_nothing(line: Line) -> None:
    said = line.say(1, 0.2)
    line.end(1)
    line.run(9)
    line.transport.pause(line.now)
    line.run(10)
    line.transport.resume(line.now)
    line.run(10)
    assert line.sound == said
    assert line.transport.played.finished(1, line.now)


def test_before_it_is_attached_and_after_it_is_closed_there_is_silence() -> None:
    transport = WebsocketTransport("ulaw")
    transport.play(1, b"\x10" * 800, "beep", 1.0)
    for now in (1.02, 1.04):
        assert transport.receive(now).kind is FrameKind.SILENCE
        assert transport.transmit(now) is None
    transport.pause(1.05)
    transport.flush(1.05)
    asyncio.run(transport.close())
    asyncio.run(transport.close())
    connection, theirs = connection_pair()
    transport.attach(connection, ControlForm.JSON)  # it was connected while the call ended
    assert connection.lost == "closed by us"
    assert transport.receive(9.0).kind is FrameKind.SILENCE
    assert transport.transmit(9.0) is None
    theirs.close()


# --- the traps of chan_websocket --------------------------------------------------------------------------------------


def test_trap_1_its_queue_never_fills_while_its_timer_stands_still(line: Line) -> None:
    """At 900 frames it says XOFF, and at 1000 drops whole messages without a word."""
    said = line.say(1, 60.0)
    line.end(1)
    line.run(20)
    for _ in range(90):
        line.ours()
    line.asterisk.read()
    assert line.asterisk.most_queued < 50
    line.run(3100)
    assert line.asterisk.most_queued < 50
    assert line.sound == said


def test_trap_1_xoff_holds_what_is_said_and_xon_goes_on(line: Line) -> None:
    said = line.say(1, 2.0)
    line.end(1)
    line.run(10)
    line.asterisk.event("MEDIA_XOFF")
    line.run(30)
    assert line.asterisk.played[-1] is None
    assert line.transport.stats.xoffs == 1
    line.asterisk.event("MEDIA_XON")
    line.run(120)
    assert line.sound == said


def test_trap_2_marks_that_a_flush_frees_are_not_waited_for(line: Line) -> None:
    for turn in range(1, 9):
        line.say(turn, 1.0)
        line.run(4)
        line.transport.flush(line.now)
        line.run(7)
        assert line.transport.played.finished(turn, line.now)
    stats = line.transport.stats
    assert stats.marks_processed < stats.marks_sent
    said = line.say(9, 3.0, hz=600)
    line.end(9)
    before = len(line.asterisk.played)
    line.run(160)
    assert line.asterisk.played[before : before + 150].count(None) == 0
    assert line.sound.endswith(said)
    assert line.transport.played.finished(9, line.now)


def test_trap_3_after_pause_and_flush_the_next_turn_sounds(line: Line) -> None:
    """FLUSH_MEDIA does not end a pause of its: so none is ever begun."""
    line.say(1, 2.0)
    line.run(20)
    line.transport.pause(line.now)
    line.run(10)
    line.transport.flush(line.now)
    line.run(5)
    said = line.say(2, 0.4, hz=600)
    line.end(2)
    line.run(30)
    assert line.sound.endswith(said)
    assert "PAUSE_MEDIA" not in line.asterisk.commands


def test_trap_4_a_long_pause_waits_for_no_mark(line: Line) -> None:
    """While it is paused neither marks nor QUEUE_DRAINED come."""
    line.say(1, 3.0)
    line.run(20)
    line.transport.pause(line.now)
    line.run(500)
    line.transport.resume(line.now)
    line.run(2)
    assert line.asterisk.played[-1] is not None
    line.run(40)
    assert None not in line.asterisk.played[-40:]
    assert "REPORT_QUEUE_DRAINED" not in line.asterisk.commands


def test_trap_5_no_command_is_too_long(line: Line) -> None:
    line.say(1, 30.0)
    for _ in range(10):
        line.run(100)
        line.transport.pause(line.now)
        line.transport.resume(line.now)
    assert len(line.asterisk.commands) > 150
    assert line.asterisk.ignored_commands == 0


@pytest.mark.parametrize("n_bytes", [1, 159, 161, 250, 799])
def test_trap_6_no_remainder_is_dropped(line: Line, n_bytes: int) -> None:
    audio = (line.say(7, 0.2) * 2)[:n_bytes]
    line.transport.flush(line.now)
    line.transport.play(8, audio, "x", line.now)
    line.end(8)
    line.run(20)
    padded = audio + b"\xff" * (-n_bytes % 160)
    assert line.sound == padded
    assert line.asterisk.dropped_bytes == 0


def test_trap_7_a_mark_is_not_yet_what_was_heard(line: Line) -> None:
    """It says that Asterisk's core has the sound; the way to the ear, 80 ms here, comes on top."""
    line.say(1, 0.2)
    line.end(1)
    line.run(11)
    sounded = sum(frame is not None for frame in line.asterisk.played)
    assert sounded == 10
    played = line.transport.played
    assert not played.finished(1, line.now)
    assert not played.finished(1, line.now + 0.06)
    assert played.finished(1, line.now + 0.10)


def test_trap_8_sound_before_media_start_is_heard() -> None:
    connection, theirs = connection_pair()
    asterisk = ChanWebsocket(theirs)
    transport = WebsocketTransport("ulaw")
    asterisk.say(encode(tone(0.02), "mulaw"))
    asterisk.start()
    asterisk.say(encode(tone(0.02), "mulaw"))
    early = connection.receive()
    assert [type(message) for message in early] == [bytes, str, bytes]
    transport.attach(connection, ControlForm.JSON, early)
    kinds = [transport.receive(1.0 + n * FRAME_S).kind for n in range(2)]
    assert kinds == [FrameKind.SPEECH] * 2
    asyncio.run(transport.close())
    theirs.close()


def test_trap_8_a_caller_who_sends_nothing_is_silent_by_the_clock(line: Line) -> None:
    """Comfort noise is dropped by Asterisk: with DTX no frame comes for as long as nobody speaks."""
    wire = encode(tone(0.02), "mulaw")
    for _ in range(20):
        line.asterisk.say(wire)
        line.run(1)
    line.heard.clear()
    line.run(100)
    assert len(line.heard) == 100
    assert [kind for _, kind in line.heard[5:]] == [FrameKind.SILENCE] * 95
    for _ in range(20):
        line.asterisk.say(wire)
        line.run(1)
    assert [kind for _, kind in line.heard[-10:]] == [FrameKind.SPEECH] * 10


def test_trap_9_a_voice_that_comes_as_it_is_spoken_is_whole_and_marked_sparingly(line: Line) -> None:
    said = line.say(1, 4.0)
    line.transport.flush(line.now)
    for n in range(200):
        line.transport.play(2, said[160 * n : 160 * (n + 1)], "", line.now)
        line.ours()
        if not 50 <= n < 60:
            line.asterisk.tick()
    line.end(2)
    line.run(30)
    assert line.sound == said
    assert line.transport.played.finished(2, line.now)
    assert line.transport.stats.marks_sent < 60


@pytest.mark.parametrize("lost_ticks", [1, 3, 10])
def test_trap_9_ticks_that_asterisk_lost_are_not_latency_for_good(line: Line, lost_ticks: int) -> None:
    said = line.say(1, 5.0)
    line.end(1)
    line.run(50)
    for _ in range(lost_ticks):
        line.ours()
    line.asterisk.read()
    assert line.asterisk.queued == LEAD - 1 + lost_ticks
    line.run(60)
    assert line.asterisk.queued <= LEAD
    line.run(200)
    assert line.sound == said
    assert None not in line.asterisk.played[:250]


def test_trap_9_what_asterisk_played_late_was_heard_late(line: Line) -> None:
    line.say(1, 1.0)
    line.end(1)
    line.run(20)
    for _ in range(10):
        line.ours()
    line.run(32)
    assert not line.transport.played.finished(1, line.now)
    line.run(6)
    assert line.transport.played.finished(1, line.now)


STEPS = ["both", "both", "ours", "theirs", "say", "end", "pause", "resume", "flush", "hear", "xoff", "xon"]


@given(st.lists(st.sampled_from(STEPS), max_size=80))
@settings(deadline=None)
def test_whatever_happens_in_whatever_order_the_next_turn_is_heard_whole(script: list[str]) -> None:
    line = Line()
    turn, heard_ms = 1, 0.0
    wire = encode(tone(0.02), "mulaw")
    for step in script:
        match step:
            case "both":
                line.run(3)
            case "ours":
                line.ours()
            case "theirs":
                line.asterisk.tick()
            case "say":
                line.say(turn, 0.3)
            case "end":
                line.end(turn)
                turn += 1
            case "hear":
                line.asterisk.say(wire)
            case "xoff" | "xon":
                line.asterisk.event(f"MEDIA_{step.upper()}")
            case "flush":
                line.transport.flush(line.now)
                turn += 1
            case _:
                getattr(line.transport, step)(line.now)
        now_heard_ms = line.transport.played.heard_ms(turn, line.now)
        assert step in {"end", "flush"} or now_heard_ms >= heard_ms
        heard_ms = line.transport.played.heard_ms(turn, line.now)
    line.asterisk.event("MEDIA_XON")
    line.transport.flush(line.now)
    line.run(90)
    assert line.asterisk.played[-1] is None
    said = line.say(99, 1.0, hz=700)
    line.end(99)
    line.run(90)
    assert line.sound.endswith(said)
    assert line.transport.played.finished(99, line.now)
    assert line.asterisk.most_queued < 60
    assert line.transport.stats.malformed == 0
    line.close()


MOVES = st.sampled_from(["run", "run", "run", "say", "end", "pause", "resume", "flush"])


@given(st.lists(st.tuples(MOVES, st.integers(1, 15)), max_size=60))
@settings(deadline=None)
def test_what_counts_as_heard_is_what_asterisk_played(script: list[tuple[str, int]]) -> None:
    """Each frame's samples are its number; a fade leaves the last ones as they are, or nought."""
    line = Line("slin")
    turn, said = 1, {1: 0}
    for step, n in script:
        match step:
            case "run":
                line.run(n)
            case "say":
                numbers = range(said[turn] + 1, said[turn] + 2 * n + 1)
                said[turn] += len(numbers)
                sound = np.repeat([turn * 500 + number % 500 for number in numbers], 160).astype("<i2")
                line.transport.play(turn, sound.tobytes(), "a b c", line.now)
            case "end" | "flush":
                line.end(turn) if step == "end" else line.transport.flush(line.now)
                turn += 1
                said[turn] = 0
            case _:
                getattr(line.transport, step)(line.now)
    line.transport.flush(line.now)
    line.run(30)
    farthest = dict.fromkeys(said, 0)
    for frame in line.asterisk.played:
        number = 0 if frame is None else int(np.frombuffer(frame, "<i2")[-1])
        if number:
            farthest[number // 500] = max(farthest[number // 500], number % 500)
    played = line.transport.played
    for of in range(max(1, turn - 15), turn + 1):  # those that it remembers
        if said[of] < 500:
            assert played.heard_ms(of, line.now) == pytest.approx(20 * farthest[of])
            assert (played.first_packet_at(of) is None) == (not farthest[of])
    line.close()


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["hang_up", "tear"])
def test_a_closed_socket_is_silence_until_asterisk_tells_the_end(line: Line, way: str) -> None:
    """There is no reconnecting: Asterisk hangs the channel up, and ARI tells."""
    line.say(1, 2.0)
    line.run(20)
    getattr(line.asterisk, way)()
    for _ in range(90):
        line.ours()
    assert line.connection.lost
    assert {kind for _, kind in line.heard[-50:]} == {FrameKind.SILENCE}
    assert line.believed[-1] is None
    line.transport.pause(line.now)
    line.transport.flush(line.now)
    with pytest.raises(MediaError, match="has not ended"):
        for _ in range(20):
            line.ours()


def test_a_peer_that_does_not_read_costs_no_memory(line: Line) -> None:
    line.say(1, 120.0)
    for _ in range(6000):
        line.ours()
    assert line.connection.unsent_bytes < 16_384
    assert line.transport.stats.frames_sent < 2000
    line.run(20)
    assert line.asterisk.played[-1] is not None


def test_a_flood_of_sound_is_bounded(line: Line) -> None:
    wire = encode(tone(20.0), "mulaw")
    for start in range(0, len(wire), 16_000):
        line.asterisk.say(wire[start : start + 16_000])
        line.ours()
    line.heard.clear()
    line.run(30)
    assert sum(kind is FrameKind.SPEECH for _, kind in line.heard) <= 12


def test_a_flood_of_empty_messages_keeps_no_tick_long_and_ends_the_connection() -> None:
    line = Line()
    line.asterisk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    line.asterisk.socket.send(b"\x82\x00" * 100_000)
    line.ours()
    assert line.transport.stats.malformed < 4000
    assert line.connection.lost == "more than 1000 messages came at once"
    line.close()


def test_what_comes_in_small_records_is_read_as_soon_as_in_one_piece(line: Line) -> None:
    """TLS gives a record at a time, and Asterisk makes one of a message's head and another of its sound."""

    class Records:
        def __init__(self, of: socket.socket) -> None:
            self.of = of

        def recv(self, _size: int) -> bytes:
            return self.of.recv(82)

        def __getattr__(self, name: str) -> object:
            return getattr(self.of, name)

    line.connection._socket = Records(line.connection._socket)  # type: ignore[assignment]
    line.connection._encrypted = True
    for _ in range(100):
        line.asterisk.say(b"\xff" * 160)
    assert len(line.connection.receive()) == 100


def test_answers_to_pings_that_nobody_reads_do_not_pile_up(line: Line) -> None:
    most, pings = 0, (b"\x89\x7d" + bytes(125)) * 100
    for _ in range(500):
        if line.connection.lost:
            break
        line.asterisk.socket.sendall(pings)
        line.connection.receive()
        most = max(most, line.connection.unsent_bytes)
    assert most < 200_000
    assert line.connection.lost == "Asterisk does not read what it is sent"
    line.asterisk.tear()


def test_digits_and_oddities_are_counted_and_change_nothing(line: Line) -> None:
    line.asterisk.event("DTMF_END", digit="5")
    line.asterisk.event("ERROR", error_text="no")
    line.asterisk.event("MEDIA_MARK_PROCESSED", correlation_id="999")
    line.asterisk.event("SOMETHING_NEW")
    line.asterisk.protocol.send_text(b"\xc3\x28")
    line.asterisk.protocol.send_binary(b"")
    line.asterisk.protocol.send_ping(b"there?")
    line.asterisk.write()
    line.run(5)
    stats = line.transport.stats
    assert (stats.digits, stats.errors, stats.malformed) == (1, 1, 2)
    quality = line.transport.line_quality()
    assert (quality.received, quality.sent, quality.events, quality.malformed) == (0, 0, 1, 2)
    assert quality.lost is quality.jitter_ms is None


def test_a_message_in_fragments_is_whole(line: Line) -> None:
    wire = encode(tone(0.02), "mulaw")
    line.asterisk.protocol.send_binary(wire[:50], fin=False)
    line.asterisk.protocol.send_continuation(wire[50:], fin=True)
    line.asterisk.write()
    line.run(1)
    assert line.heard[-1][1] is FrameKind.SPEECH


@pytest.mark.parametrize(
    "rubbish",
    [b"\xff" * 200, b"\x82\x7f" + (2**40).to_bytes(8, "big"), b"\x81\x80" + b"abcd"],
    ids=["no opcode", "a message of a terabyte", "masked as only clients do"],
)
def test_what_is_no_websocket_ends_the_connection(line: Line, rubbish: bytes) -> None:
    line.asterisk.say(encode(tone(0.02), "mulaw"))
    line.asterisk.socket.sendall(rubbish)
    line.ours()
    assert line.heard[-1][1] is FrameKind.SPEECH  # what came before it
    assert line.connection.lost
    for _ in range(20):
        line.ours()
    assert line.heard[-1][1] is FrameKind.SILENCE
    line.asterisk.tear()
