"""Streams by name, over an engine that says how much it was given."""

import threading

import numpy as np
import pytest

from local_ai_server.backends.stt import streaming
from local_ai_server.backends.stt.streaming import Heard, StreamingModel, StreamLost, tidy
from voice_wire.audio import AudioFormatError, encode

NEVER = threading.Event()


class Counter:
    """An utterance: its text is the number of samples, of silence and of others."""

    def __init__(self):
        self.samples = self.silent = 0
        self.closed = self.ended = False

    def accept(self, pcm):
        self.samples += pcm.size
        self.silent += int((pcm == 0).sum())

    def text(self):
        return f"heard {self.samples}"

    def heard(self):
        return Heard(self.text(), 0.5)

    def end(self):
        self.ended = True
        return self.heard()

    def close(self):
        self.closed = True


class Model(StreamingModel):
    flush_ms = 100.0

    def __init__(self):
        super().__init__()
        self.made = []

    def begin(self, language):
        self.made.append(Counter())
        return self.made[-1]


def tone(n, amplitude=8000):
    return (amplitude * np.sin(np.arange(n) / 5)).astype("<i2").tobytes()


def feed(model, name, body, position, **more):
    return model.feed(body, NEVER, stream=name, position=position, **more)[0]


def test_audio_goes_on_where_it_ended_and_what_came_twice_is_taken_once():
    model = Model()
    assert feed(model, "a", tone(1600), 0) == {"text": "Heard 1600", "position": 3200}
    assert feed(model, "a", tone(1600), 3200)["position"] == 6400
    assert feed(model, "a", tone(1600), 3200)["text"] == "Heard 3200"
    assert feed(model, "a", tone(1600), 4800)["text"] == "Heard 4000"


def test_a_gap_or_an_unknown_stream_is_told_and_nothing_is_taken():
    model = Model()
    feed(model, "a", tone(800), 0)
    with pytest.raises(StreamLost, match="1600 bytes"):
        feed(model, "a", tone(800), 1602)
    with pytest.raises(StreamLost, match="not known"):
        feed(model, "b", tone(800), 2)
    assert feed(model, "a", b"", 1600)["text"] == "Heard 800"


def test_streams_do_not_mix():
    model = Model()
    feed(model, "a", tone(800), 0)
    feed(model, "b", tone(160), 0)
    assert feed(model, "a", tone(800), 1600)["text"] == "Heard 1600"
    assert feed(model, "b", b"", 320)["text"] == "Heard 160"


def test_a_speculative_finish_flushes_once_and_the_stream_goes_on():
    model = Model()
    feed(model, "a", tone(1600), 0)
    first = model.finish(tone(1600), NEVER, stream="a", position=3200, keep=True)[0]
    assert first["text"] == "Heard 4800", "with 100 ms of silence behind it"
    assert (first["audio_ms"], first["confidence"], first["position"]) == (200.0, 0.5, 6400)
    assert model.finish(b"", NEVER, stream="a", position=6400, keep=True)[0]["text"] == "Heard 4800"
    assert feed(model, "a", tone(1600), 6400)["text"] == "Heard 6400"
    last = model.finish(b"", NEVER, stream="a", position=9600)[0]
    assert last["text"] == "Heard 8000"
    assert model.made[0].ended
    with pytest.raises(StreamLost):
        feed(model, "a", b"", 9600)


def test_a_finish_may_bring_the_whole_utterance():
    model = Model()
    assert model.finish(tone(1600), NEVER, stream="a", position=0)[0]["audio_ms"] == 100.0
    assert model.transcribe(tone(1600), NEVER)[0]["text"] == "Heard 3200"


def test_silence_has_no_words_whatever_the_engine_says():
    model = Model()
    assert feed(model, "a", bytes(3200), 0)["text"] == ""
    result = model.finish(b"", NEVER, stream="a", position=3200)[0]
    assert (result["text"], result["confidence"]) == ("", None)
    assert model.transcribe(tone(1600, amplitude=10), NEVER)[0]["text"] == "", "-70 dBFS"
    assert model.transcribe(bytes(3200) + tone(1600), NEVER)[0]["text"] != ""


def test_a_cancelled_call_takes_no_more_and_says_nothing():
    model = Model()
    cancelled = threading.Event()
    cancelled.set()
    assert model.feed(tone(1600), cancelled, stream="a")[0]["position"] == 0
    assert model.finish(tone(1600), cancelled, stream="a") == ({}, b"")
    assert model.transcribe(tone(1600), cancelled) == ({}, b"")
    assert model.made[-1].closed
    assert feed(model, "a", tone(1600), 0)["position"] == 3200, "the stream is whole still"


@pytest.mark.parametrize(("encoding", "rate_hz"), [("mulaw", 8000), ("alaw", 8000), ("linear16", 48_000)])
def test_any_wire_format_arrives_at_the_models_rate(encoding, rate_hz):
    model = Model()
    pcm = np.frombuffer(tone(rate_hz), np.int16)
    body = encode(pcm, encoding)
    for at in range(0, len(body), 160):
        model.feed(body[at : at + 160], NEVER, stream="a", position=at, encoding=encoding, sample_rate_hz=rate_hz)
    assert model.made[0].samples == pytest.approx(16_000, abs=2)


def test_half_a_sample_is_refused_with_a_reason():
    with pytest.raises(AudioFormatError, match="half a sample"):
        feed(Model(), "a", b"abc", 0)


def test_a_dropped_stream_is_closed_and_dropping_nothing_is_no_error():
    model = Model()
    feed(model, "a", tone(800), 0)
    model.drop(b"", NEVER, stream="a")
    model.drop(b"", NEVER, stream="a")
    assert model.made[0].closed
    with pytest.raises(StreamLost):
        feed(model, "a", b"", 1600)


def test_streams_that_nobody_ends_are_bounded(monkeypatch):
    monkeypatch.setattr(streaming, "MAX_STREAMS", 2)
    model = Model()
    for name in "ab":
        feed(model, name, tone(800), 0)
    feed(model, "a", tone(800), 1600)
    feed(model, "c", tone(800), 0)
    assert [made.closed for made in model.made] == [False, True, False], "the one that was silent longest"
    with pytest.raises(StreamLost):
        feed(model, "b", tone(800), 1600)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("", ""),
        ("HELLO  THERE", "Hello there"),
        ("i think i'm late", "I think I'm late"),
        ("Good morning.", "Good morning."),
        ("의 내용", "의 내용"),
        ("élan vital", "Élan vital"),
        (" call NASA now ", "call NASA now"),
    ],
)
def test_words_are_written_as_one_reads_them(said, written):
    assert tidy(said) == written
