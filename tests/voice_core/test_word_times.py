"""The words that are taken to have been heard, against word times of a real voice.

Spoken by Piper (en_US-joe-medium); the ends of the words were found by Whisper (base, word timestamps, given the text).
"""

from __future__ import annotations

import pytest

from voice_core.playout import Playout
from voice_core.spoken_text import SpeakingRate, SpokenText
from voice_wire.audio import MULAW_8K

# (text, milliseconds of sound, when each word ends)
SPOKEN: list[tuple[str, int, list[int]]] = [
    ("We are open from nine to five on weekdays, and on Saturday we close at one.", 4365,
     [200, 400, 620, 880, 1060, 1300, 1580, 1780, 2340, 2720, 2960, 3220, 3640, 3880, 4100, 4300]),
    ("Certainly, I can put you through to the workshop.", 2473,
     [480, 1000, 1140, 1320, 1520, 1660, 1820, 1960, 2180]),
    ("The total comes to $24.50, including delivery.", 4505,
     [260, 460, 860, 1080, 3160, 3840, 4280]),
    ("You can reach us at 555-0142 until six.", 4505,
     [220, 400, 560, 840, 1340, 3660, 4040, 4360]),
    ("No, I'm afraid not.", 1567,
     [360, 860, 1080, 1320]),
    ("Your appointment is on Tuesday, the 14th of March, at 3:30 PM.", 4400,
     [300, 620, 980, 1120, 1520, 2020, 2380, 2520, 2800, 3300, 3800, 4100]),
    ("That depends on the size of the room; the small one holds twelve people.", 3796,
     [320, 660, 960, 1100, 1260, 1500, 1580, 1840, 2240, 2460, 2680, 2940, 3320, 3600]),
    ("Please bring your passport, a recent photograph, and the signed form.", 3994,
     [320, 560, 800, 1200, 1840, 2100, 2520, 3160, 3360, 3600, 3880]),
    ("Yes.", 662,
     [220]),
    ("We sell bicycles, helmets and lights, and we repair almost everything with wheels.", 4737,
     [280, 460, 960, 1680, 1940, 2200, 2700, 2840, 3220, 3620, 4060, 4340, 4580]),
    ("If it rains, which it often does in October, we meet inside.", 3901,
     [220, 460, 820, 1360, 1580, 1780, 2020, 2160, 2560, 3120, 3320, 3720]),
    ("I will write that down for you right now.", 2148,
     [240, 420, 600, 880, 1100, 1260, 1460, 1680, 1900]),
]  # fmt: skip


def spoken_words(ends_ms, at_ms):
    return sum(end <= at_ms for end in ends_ms)


@pytest.mark.parametrize(("text", "length_ms", "ends_ms"), SPOKEN, ids=[text for text, _, _ in SPOKEN])
def test_an_interruption_at_any_time_leaves_the_words_heard_give_or_take_one(text, length_ms, ends_ms):
    spoken = SpokenText(SpeakingRate(520))
    spoken.add(text, length_ms * 8)
    spoken.complete()
    off = [len(spoken.until(at_ms * 8).split()) - spoken_words(ends_ms, at_ms) for at_ms in range(0, length_ms + 1, 20)]
    assert all(abs(error) <= 2 for error in off)
    assert sum(abs(error) > 1 for error in off) <= 0.05 * len(off)


@pytest.mark.parametrize("cut_ms", range(200, 4300, 410))
def test_and_so_it_is_when_the_sound_is_played_and_cut(cut_ms):
    text, length_ms, ends_ms = SPOKEN[0]
    playout, now = Playout(MULAW_8K), 100.0
    playout.play(1, b"\x10" * (length_ms * 8), text, now)
    playout.end_turn(1, now)
    for _ in range(cut_ms // 20):
        playout.next_frame(now)
        now += 0.02
    playout.flush(now)
    for _ in range(10):
        playout.next_frame(now)
        now += 0.02
    heard = playout.heard_text(1, now)
    assert text.startswith(heard)
    assert abs(len(heard.split()) - spoken_words(ends_ms, cut_ms)) <= 1


@pytest.mark.parametrize(("text", "length_ms", "ends_ms"), SPOKEN[1:], ids=[text for text, _, _ in SPOKEN[1:]])
def test_going_on_after_a_pause_begins_no_more_than_a_word_early(text, length_ms, ends_ms):
    spoken = SpokenText(SpeakingRate(520))
    spoken.add(text, length_ms * 8)
    spoken.complete()
    begins = [0, *ends_ms]
    for at_ms in range(100, length_ms, 60):
        start_ms = spoken.word_start(at_ms * 8) / 8
        word = min(spoken_words(ends_ms, at_ms), len(ends_ms) - 1)  # the one that is being spoken
        assert begins[max(0, word - 2)] - 100 <= start_ms <= at_ms
