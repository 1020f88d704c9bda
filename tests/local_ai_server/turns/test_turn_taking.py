"""When a turn begins and ends, by the sound's own clock; and what a listener has heard."""

import numpy as np
import pytest

from local_ai_server.realtime.session_config import TurnDetection
from local_ai_server.turns.playback import Playback
from local_ai_server.turns.sound_buffer import SoundBuffer
from local_ai_server.turns.turn_taking import TurnBegan, TurnEnded, TurnRules, TurnTaking, WordsWanted

SPEECH, QUIET = 0.9, 0.05


def feed(taking, probability, windows, **more):
    return [change for _ in range(windows) for change in taking.window(probability, **more)]


def test_a_turn_is_what_lies_between_two_silences():
    taking = TurnTaking(TurnRules(silence_ms=500))
    assert feed(taking, QUIET, 10) == []
    assert feed(taking, SPEECH, 20) == [TurnBegan(320)]
    assert feed(taking, QUIET, 15) == [], "480 ms"
    assert feed(taking, QUIET, 1) == [TurnEnded(960)]
    assert not taking.in_turn


def test_a_pause_shorter_than_the_silence_is_none():
    taking = TurnTaking(TurnRules(silence_ms=500))
    changes = feed(taking, SPEECH, 10) + feed(taking, QUIET, 14) + feed(taking, SPEECH, 10) + feed(taking, QUIET, 20)
    assert [type(change) for change in changes] == [TurnBegan, TurnEnded]


def test_a_click_is_no_turn():
    taking = TurnTaking(TurnRules())
    assert feed(taking, SPEECH, 1) + feed(taking, QUIET, 5) + feed(taking, SPEECH, 1) + feed(taking, QUIET, 30) == []


def test_the_threshold_is_the_clients():
    assert feed(TurnTaking(TurnRules(threshold=0.8)), 0.7, 20) == []
    assert feed(TurnTaking(TurnRules(threshold=0.6)), 0.7, 20) == [TurnBegan(0)]


def test_more_is_asked_of_speech_over_the_agent():
    assert feed(TurnTaking(TurnRules()), 0.6, 20, agent_audible=True) == []
    assert feed(TurnTaking(TurnRules()), 0.9, 2, agent_audible=True) == []
    assert feed(TurnTaking(TurnRules()), 0.9, 3, agent_audible=True) == [TurnBegan(0)]


def silence_after(text, eagerness="auto"):
    """Milliseconds until a turn with these words ends."""
    taking = TurnTaking(TurnDetection(type="semantic_vad", eagerness=eagerness).rules())
    feed(taking, SPEECH, 20)
    for n in range(1, 400):
        for change in taking.window(QUIET):
            if isinstance(change, WordsWanted):
                assert change.until_ms == 640
                if text is not None:
                    taking.words(text)
            if isinstance(change, TurnEnded):
                return 32 * n
    raise AssertionError("it never ends")


def test_the_words_decide_how_long_to_wait():
    question, half = "What time do you open on Saturday?", "I would like to book a table for"
    assert silence_after(question) < silence_after(None) < silence_after(half)
    assert silence_after(question) <= 352
    for text in (question, half, None):
        assert silence_after(text, "high") < silence_after(text, "medium") < silence_after(text, "low") <= 8000


def test_words_are_asked_for_again_after_each_pause():
    taking = TurnTaking(TurnDetection(type="semantic_vad").rules())
    changes = feed(taking, SPEECH, 10) + feed(taking, QUIET, 8) + feed(taking, SPEECH, 10) + feed(taking, QUIET, 8)
    assert [type(change) for change in changes] == [TurnBegan, WordsWanted, WordsWanted]


def test_a_turn_that_is_ended_by_somebody_is_over():
    taking = TurnTaking(TurnRules())
    feed(taking, SPEECH, 10)
    assert taking.end() == 320
    assert feed(taking, QUIET, 40) == []
    assert feed(taking, SPEECH, 5)


def test_nothing_can_be_ended_before_any_voice():
    taking = TurnTaking(TurnRules())
    feed(taking, QUIET, 10)
    assert taking.end() == 0


def test_nobody_hears_faster_than_it_plays():
    playback = Playback()
    assert playback.heard_s(1.0) == playback.left_s(1.0) == 0
    playback.send(2.0, 10.0)
    playback.send(3.0, 10.5)
    assert playback.heard_s(11.0) == pytest.approx(1.0)
    assert playback.left_s(11.0) == pytest.approx(4.0)
    assert playback.heard_s(99.0) == playback.sent_s == 5.0
    playback.send(1.0, 100.0)  # after a gap
    assert playback.heard_s(100.5) == pytest.approx(5.5)


def test_a_sound_buffer_knows_samples_by_their_place():
    sound = SoundBuffer()
    sound.append(np.arange(10, dtype=np.int16))
    sound.forget_before(4)
    sound.append(np.arange(10, 15, dtype=np.int16))
    assert (sound.first, sound.end) == (4, 15)
    assert sound.between(0, 6).tolist() == [4, 5]
    assert sound.between(13, 99).tolist() == [13, 14]
    assert sound.between(7, 7).size == sound.between(9, 6).size == 0
    sound.forget_before(99)
    assert (sound.first, sound.end) == (15, 15)
