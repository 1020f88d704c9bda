"""What holds for every transport, whatever goes over the wire. What is one transport's own is in that one's tests.

A buffering peer plays a sound some ticks after it was sent: the limits here are what a caller may notice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from far_ends import KINDS, FarEnd, RtpFarEnd, far_end

from ai_engine.media.transport import FrameKind
from voice_wire.audio import Pcm

MOST_DELAY_FRAMES = 5
"""100 ms, from the queue of whoever buffers."""
NEARLY = 600
"""Of 8000: what mu-law loses."""


@pytest.fixture(params=KINDS)
def alone(request: pytest.FixtureRequest) -> Iterator[FarEnd]:
    """A line with nobody at its other end yet."""
    end = far_end(request.param)
    yield end
    end.close()


@pytest.fixture
def line(alone: FarEnd) -> FarEnd:
    alone.connect()
    return alone


def rising(line: FarEnd, frames: int) -> Pcm:
    """A tone that rises: no two frames of it are alike."""
    t = np.arange(frames * line.frame_samples) / line.transport.pcm_rate_hz
    return (8000 * np.sin(2 * np.pi * (300 + 100 * t) * t)).astype(np.int16)


def framed(line: FarEnd, sound: Pcm) -> list[Pcm]:
    return list(sound.reshape(-1, line.frame_samples))


def begins_at(sound: Pcm, within: Pcm, frame_samples: int) -> int | None:
    """The frame of `within` from which on `sound` lies in it, whole and in order; None where it does not."""
    for start in range(0, len(within) - len(sound) + 1, frame_samples):
        piece = within[start : start + len(sound)].astype(int)
        if np.abs(piece - sound).max() <= NEARLY:
            return start // frame_samples
    return None


def quiet(sound: Pcm) -> bool:
    return not np.abs(sound.astype(int)).max(initial=0) > 16


def test_the_caller_is_heard_whole_in_order_and_soon(line: FarEnd) -> None:
    said = rising(line, 40)
    heard = []
    for frame in framed(line, said):
        line.say(frame)
        heard.append(np.frombuffer(line.tick().pcm, np.int16))
    heard += [np.frombuffer(line.tick().pcm, np.int16) for _ in range(MOST_DELAY_FRAMES)]
    at = begins_at(said[4 * line.frame_samples : -4 * line.frame_samples], np.concatenate(heard), line.frame_samples)
    assert at is not None
    assert at - 4 <= MOST_DELAY_FRAMES
    assert line.transport.line_quality().received == 40


def test_the_agent_is_heard_whole_in_order_and_soon_and_then_silence(line: FarEnd) -> None:
    for _ in range(5):
        line.tick()
    assert quiet(line.heard())
    said = rising(line, 40)
    line.play(1, said)
    line.transport.played.end_turn(1, line.now)
    for _ in range(60):
        line.tick()
    heard = line.heard()
    at = begins_at(said, heard, line.frame_samples)
    assert at is not None
    assert at <= MOST_DELAY_FRAMES
    assert quiet(heard[(at + 40) * line.frame_samples :])
    assert line.transport.line_quality().sent >= 40
    assert line.transport.line_quality().send_errors in (0, None)


def test_the_playout_knows_that_the_agent_speaks_and_when_all_was_heard(line: FarEnd) -> None:
    played = line.transport.played
    line.play(1, rising(line, 20), "four words are said")
    played.end_turn(1, line.now)
    line.tick()
    assert played.speaking(line.now)
    assert not played.finished(1, line.now)
    for _ in range(20 + 4 + 12 + MOST_DELAY_FRAMES):
        line.tick()
    assert played.finished(1, line.now)
    assert not played.speaking(line.now)
    assert played.heard_text(1, line.now) == "four words are said"
    assert played.heard_ms(1, line.now) == 400


def test_a_pause_is_soon_silence_and_ends_with_the_rest(line: FarEnd) -> None:
    said = rising(line, 100)
    line.play(1, said)
    line.transport.played.end_turn(1, line.now)
    for _ in range(30):
        line.tick()
    line.transport.pause(line.now)
    for _ in range(MOST_DELAY_FRAMES):
        line.tick()
    line.heard()
    for _ in range(10):
        line.tick()
    assert quiet(line.heard())
    line.transport.resume(line.now)
    for _ in range(110):
        line.tick()
    rest = said[-60 * line.frame_samples :]
    assert begins_at(rest, line.heard(), line.frame_samples) is not None
    for _ in range(20):
        line.tick()
    assert line.transport.played.finished(1, line.now)


def test_a_flush_is_soon_silence_and_tells_what_was_heard(line: FarEnd) -> None:
    text = "one two three four five six seven eight nine ten"
    line.play(1, rising(line, 200), text)
    line.transport.played.end_turn(1, line.now)
    for _ in range(50):
        line.tick()
    line.transport.flush(line.now)
    for _ in range(MOST_DELAY_FRAMES):
        line.tick()
    line.heard()
    for _ in range(20):
        line.tick()
    assert quiet(line.heard())
    played = line.transport.played
    assert played.finished(1, line.now)
    heard = played.heard_text(1, line.now)
    assert text.startswith(heard)
    assert 0 < len(heard) < len(text)
    assert 800 <= played.heard_ms(1, line.now) <= 1000 + 20 * MOST_DELAY_FRAMES


def test_after_a_flush_the_next_turn_is_heard_whole(line: FarEnd) -> None:
    line.play(1, rising(line, 200))
    for _ in range(20):
        line.tick()
    line.transport.flush(line.now)
    said = rising(line, 30)[::-1].copy()
    line.play(2, said)
    line.transport.played.end_turn(2, line.now)
    for _ in range(50):
        line.tick()
    assert begins_at(said, line.heard(), line.frame_samples) is not None


def test_while_nothing_comes_there_is_silence(line: FarEnd) -> None:
    for _ in range(20):
        frame = line.tick()
        assert frame.kind is FrameKind.SILENCE
        assert len(frame.pcm) == 2 * line.frame_samples
        assert not any(frame.pcm)


def test_a_caller_who_falls_silent_fades_and_is_heard_again(line: FarEnd) -> None:
    for frame in framed(line, rising(line, 20)):
        line.say(frame)
        line.tick()
    kinds = [line.tick().kind for _ in range(20)]
    assert kinds[-10:] == [FrameKind.SILENCE] * 10
    if isinstance(line, RtpFarEnd):
        line.skip(0.4)  # whose timestamps go on in silence
    said = rising(line, 20)
    heard = []
    for frame in framed(line, said):
        line.say(frame)
        heard.append(np.frombuffer(line.tick().pcm, np.int16))
    heard += [np.frombuffer(line.tick().pcm, np.int16) for _ in range(MOST_DELAY_FRAMES)]
    assert begins_at(said[line.frame_samples : -line.frame_samples], np.concatenate(heard), line.frame_samples)


def test_two_seconds_in_which_nobody_ticked_leave_no_delay_behind(line: FarEnd) -> None:
    silence = np.zeros(line.frame_samples, np.int16)
    for _ in range(20):
        line.say(silence)
        line.tick()
    for _ in range(100):
        line.say(silence)
    line.now += 2.0
    for _ in range(10):
        line.say(silence)
        line.tick()
    loud = rising(line, 10)
    heard = []
    for frame in framed(line, loud):
        line.say(frame)
        heard.append(np.frombuffer(line.tick().pcm, np.int16))
    heard += [np.frombuffer(line.tick().pcm, np.int16) for _ in range(MOST_DELAY_FRAMES)]
    first = next(n for n, frame in enumerate(heard) if not quiet(frame))
    assert first <= MOST_DELAY_FRAMES


def test_before_anybody_is_there_a_tick_is_silence(alone: FarEnd) -> None:
    for _ in range(10):
        assert alone.tick().kind is FrameKind.SILENCE
    alone.connect()
    said = rising(alone, 10)
    alone.play(1, said)
    alone.transport.played.end_turn(1, alone.now)
    for _ in range(20):
        alone.tick()
    assert begins_at(said, alone.heard(), alone.frame_samples) is not None


def test_closed_it_is_silent_and_may_be_closed_again(line: FarEnd) -> None:
    line.say(rising(line, 1))
    line.close()
    line.close()
    assert line.tick().kind is FrameKind.SILENCE  # a tick that was under way
