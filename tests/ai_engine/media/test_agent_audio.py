"""Agent audio as providers send it, up to the clock that plays it: every format, cut anywhere."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_engine.media.agent_audio import AgentAudioConverter
from ai_engine.providers.audio_chunk import audio_chunk
from ai_engine.providers.provider import AgentAudio, AgentAudioDone
from voice_core.playout import Playout
from voice_wire.audio import (
    ALAW_8K,
    MULAW_8K,
    PCM_8K,
    PCM_16K,
    AudioFormat,
    AudioFormatError,
    decode,
    encode,
)

PCM_24K = AudioFormat("linear16", 24000)
TONE_HZ = 300


def tone(format, seconds, begins=0.0, level=8000):
    t = begins + np.arange(round(format.sample_rate_hz * seconds)) / format.sample_rate_hz
    return encode(np.round(level * np.sin(2 * np.pi * TONE_HZ * t)).astype(np.int16), format.encoding)


def pieces(audio, sizes):
    """`audio` cut into pieces of these sizes, again and again."""
    cut, at = [], 0
    while at < len(audio):
        for size in sizes:
            cut.append(audio[at : at + size])
            at += size
    return [piece for piece in cut if piece]


def converted(target, events, turn=1):
    converter = AgentAudioConverter(target)
    out = [converter.convert(event) for event in events]
    assert {event.format for event in out} <= {target}
    rest = converter.end(AgentAudioDone(turn, 1))
    return b"".join(event.audio for event in [*out, *([rest] if rest else [])])


def played(format, audio):
    """The frames of a turn, and when it was finished, on a clock of 20 ms."""
    playout, now, frames = Playout(format), 100.0, []
    playout.play(1, audio, "words", now)
    finished_at = None
    playout.end_turn(1, now)
    for _ in range(400):
        frame = playout.next_frame(now)
        if frame is not None:
            frames.append(frame)
        if finished_at is None and playout.finished(1, now):
            finished_at = now - 100.0
        now += 0.02
    return b"".join(frames), finished_at


BASE64 = base64.b64encode(tone(MULAW_8K, 0.5)).decode()
WIRES = {
    "binary, nothing said": (tone(MULAW_8K, 0.5), {}),
    "base64, nothing said": (BASE64, {}),
    "base64, null fields": (BASE64, {"encoding": None, "sample_rate": None}),
    "binary, named": (tone(MULAW_8K, 0.5), {"encoding": "mulaw", "sample_rate": 8000}),
    "only the encoding is said": (tone(ALAW_8K, 0.5), {"encoding": "alaw"}),
    "only the rate is said": (tone(AudioFormat("mulaw", 16000), 0.5), {"sample_rate_hz": 16000}),
    "linear16 at 24 kHz, base64": (
        base64.b64encode(tone(PCM_24K, 0.5)).decode(),
        {"encoding": "linear16", "sample_rate": 24000},
    ),
}


@pytest.mark.parametrize("target", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K], ids=str)
@pytest.mark.parametrize("wire", WIRES)
def test_a_turns_end_is_effective_when_its_sound_was_heard_however_the_audio_came(wire, target):
    payload, fields = WIRES[wire]
    audio = converted(target, [audio_chunk(1, 1, payload, fields)])
    assert target.duration_s(len(audio)) == pytest.approx(0.5, abs=0.0025)
    frames, finished_at = played(target, audio)
    assert finished_at == pytest.approx(0.5 + 0.08, abs=0.045), "half a second of sound and the way to the ear"
    sound = decode(frames, target.encoding)[: target.sample_rate_hz // 2].astype(float)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * 2 == pytest.approx(TONE_HZ, abs=4)


@pytest.mark.parametrize("payload", ["not base64!", "abc", "é"])
def test_what_is_no_base64_is_told(payload):
    with pytest.raises(AudioFormatError, match="base64"):
        audio_chunk(1, 1, payload)


def test_what_is_no_format_is_told():
    with pytest.raises(AudioFormatError, match="encoding"):
        audio_chunk(1, 1, b"", {"encoding": "mp3"})


SPLITS = st.lists(st.integers(1, 999), min_size=1, max_size=5)


@settings(deadline=None, max_examples=40)
@given(sizes=SPLITS, source=st.sampled_from([PCM_8K, PCM_16K, PCM_24K]), target=st.sampled_from([MULAW_8K, PCM_16K]))
def test_where_the_audio_is_cut_makes_no_difference(sizes, source, target):
    audio = tone(source, 0.1)
    whole = converted(target, [AgentAudio(1, 1, audio, source)])
    assert converted(target, [AgentAudio(1, 1, piece, source) for piece in pieces(audio, sizes)]) == whole


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(80, 999), min_size=1, max_size=5))
def test_nor_where_the_transport_takes_it_as_it_is(sizes):
    """Linear audio cut within samples goes into the playout untouched, slower than it is played."""
    audio = tone(PCM_16K, 0.3)
    playout, now, frames = Playout(PCM_16K), 100.0, b""
    for piece in pieces(audio, sizes):
        playout.play(1, piece, "", now)
        for _ in range(len(piece) // 640 + 4):
            frames += playout.next_frame(now) or b""
            now += 0.02
    playout.end_turn(1, now)
    for _ in range(40):
        frames += playout.next_frame(now) or b""
        now += 0.02
    loud = [sample for sample in decode(frames, "linear16").tolist() if sample]
    assert loud == [sample for sample in decode(audio, "linear16").tolist() if sample]
    assert playout.finished(1, now)


def test_the_rate_may_change_in_the_middle_of_a_turn():
    parts = [(MULAW_8K, 0.0), (PCM_24K, 0.4), (PCM_16K, 0.8), (PCM_8K, 1.2)]
    events = [
        AgentAudio(1, 1, piece, source)
        for source, begins in parts
        for piece in pieces(tone(source, 0.4, begins), [333])
    ]
    audio = converted(MULAW_8K, events)
    assert len(audio) / 8 == pytest.approx(1600, abs=10), "milliseconds"
    sound = decode(audio, "mulaw").astype(float)
    for _, begins in parts:
        middle = sound[round((begins + 0.1) * 8000) :][:1600]
        assert np.argmax(np.abs(np.fft.rfft(middle))) * 5 == TONE_HZ
        assert np.abs(middle).max() == pytest.approx(8000, rel=0.1)
    _, finished_at = played(MULAW_8K, audio)
    assert finished_at == pytest.approx(1.6 + 0.08, abs=0.05)


def test_two_answers_at_once_do_not_disturb_each_other():
    first, second = tone(PCM_24K, 0.2), tone(PCM_16K, 0.2)
    converter = AgentAudioConverter(MULAW_8K)
    mixed = {1: b"", 2: b""}
    for one, other in zip(pieces(first, [1001]), pieces(second, [667]), strict=False):
        for turn, audio, source in ((1, one, PCM_24K), (2, other, PCM_16K)):
            mixed[turn] += converter.convert(AgentAudio(turn, 1, audio, source)).audio
    alone = converted(MULAW_8K, [AgentAudio(1, 1, first, PCM_24K)])
    assert alone.startswith(mixed[1])
    assert len(alone) - len(mixed[1]) < 40


@pytest.mark.parametrize(
    ("done", "expected_s"),
    [(("done",), 0.0), (("audio", "done", "done"), 0.2), (("done", "audio"), 0.2), (("nothing", "done"), 0.0)],
    ids=["alone", "twice", "first", "zero bytes"],
)
def test_an_end_that_comes_twice_or_first_or_alone(done, expected_s):
    playout, now = Playout(MULAW_8K), 100.0
    for what in done:
        if what == "done":
            playout.end_turn(1, now)
        else:
            playout.play(1, tone(MULAW_8K, 0.2) if what == "audio" else b"", "", now)
    finished = []
    for _ in range(40):
        finished.append(playout.finished(1, now))
        playout.next_frame(now)
        now += 0.02
    assert finished == sorted(finished), "what is finished stays so"
    heard_s = expected_s + 0.06 if expected_s else 0.0  # the last frame is sent 20 ms before its end
    assert finished.index(True) * 0.02 == pytest.approx(heard_s, abs=0.021)


@pytest.mark.parametrize("jump_s", [-3600.0, -0.2, 0.2, 3600.0])
def test_a_clock_that_jumps_neither_loses_sound_nor_never_ends(jump_s):
    playout, now, frames = Playout(MULAW_8K), 5000.0, 0
    playout.play(1, tone(MULAW_8K, 1.0), "one two three four", now)
    playout.end_turn(1, now)
    for tick in range(120):
        frames += playout.next_frame(now) is not None
        now += 0.02
        if tick == 20:
            now += jump_s
            assert not playout.finished(1, now)
    assert frames == 50
    assert playout.finished(1, now)
    assert playout.heard_ms(1, now) == pytest.approx(1000)
    assert playout.heard_text(1, now) == "one two three four"
    assert playout.last_heard_at <= now
    assert playout.first_heard_at(1, now) <= now
