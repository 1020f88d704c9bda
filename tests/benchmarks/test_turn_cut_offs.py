"""benchmarks/turn_cut_offs.py on made-up sound and words: what it plans, and what it counts as cut off or missed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from benchmarks.paused_speech import PAUSE_MS, VOICES, Planned, SpokenTurn, between_words, load_sentences, plan
from benchmarks.turn_cut_offs import HEAD, figures, report_rows, table
from benchmarks.turn_figures import Question
from benchmarks.virtual_turns import Latencies, Outcome, VirtualCall, run_calls, scaled
from voice_core.end_of_turn import WaitLimits

WINDOW_S = 0.032


class Ears:
    """Hears what it is told to, the longer the more of it was sent."""

    def __init__(
        self, *texts: str, known: bool = True, opinion: float | None = None, settled: bool | None = None
    ) -> None:
        self.texts, self.is_known, self.asked, self.opinion = texts, known, 0, opinion
        self.is_settled = settled

    def words(self, pcm: bytes) -> str:
        del pcm
        self.asked += 1
        return self.texts[min(self.asked, len(self.texts)) - 1]

    def known(self, text: str) -> bool:
        del text
        return self.is_known

    def settled(self, text: str) -> bool | None:
        del text
        return self.is_settled

    def ending(self, pcm: bytes) -> float | None:
        del pcm
        return self.opinion


def spoken(*spans_s: tuple[float, float], place: str = "none") -> SpokenTurn:
    """Speech at `spans_s`, as the voice-activity network would see it, in a quiet line."""
    pcm = np.zeros(round((spans_s[-1][1] + 2.0) * 8000) // 160 * 160, np.int16)
    for begin_s, end_s in spans_s:
        pcm[round(begin_s * 8000) : round(end_s * 8000)] = 3000
    windows = []
    for n in range(int(pcm.size / 8000 / WINDOW_S)):
        middle_s = (n + 0.5) * WINDOW_S
        voiced = any(begin_s <= middle_s < end_s for begin_s, end_s in spans_s)
        windows.append(((n + 1) * WINDOW_S, 0.95 if voiced else 0.02))
    planned = Planned(Question(("made up",), 0, "known"), place, "level", VOICES[0], -20.0)
    return SpokenTurn(planned, pcm, spans_s[0][0], spans_s[-1][1], tuple(windows))


def ask(ears: Ears, turn: SpokenTurn) -> Outcome:
    return VirtualCall(ears, waits=WaitLimits(), latencies=Latencies(), rng=random.Random(1)).ask(turn)


def test_a_question_is_answered_once_its_end_was_found() -> None:
    outcome = ask(Ears("What are your opening hours?"), spoken((0.5, 2.0)))
    assert not outcome.cut_off
    assert not outcome.missed
    assert outcome.wait_ms is not None
    assert outcome.answer_ms is not None
    assert 0 < outcome.wait_ms <= outcome.answer_ms < 1500
    assert outcome.heard_as == ["What are your opening hours?"]


def test_the_models_answer_takes_longer_than_a_known_one() -> None:
    waits = [ask(Ears("Where are you located?", known=known), spoken((0.5, 2.0))).answer_ms for known in (True, False)]
    assert None not in waits
    assert waits[0] < waits[1]


def test_a_voice_that_stays_up_is_waited_for() -> None:
    waits = [
        ask(Ears("Where are you located?", opinion=opinion), spoken((0.5, 2.0))).wait_ms for opinion in (0.0, None)
    ]
    assert None not in waits
    assert waits[0] > waits[1]


def test_a_short_pause_cuts_nothing_off() -> None:
    outcome = ask(Ears("What are", "What are your opening hours?"), spoken((0.5, 1.0), (1.25, 2.2), place="open"))
    assert not outcome.cut_off
    assert not outcome.missed


def test_an_answer_into_a_long_pause_is_counted() -> None:
    turn = spoken((0.5, 1.5), (2.6, 3.4), place="whole")
    outcome = ask(Ears("Is there any parking?", "Is there any parking near the shop?"), turn)
    assert outcome.cut_off
    assert outcome.spoken_over_ms > 0


def test_sound_without_words_is_a_missed_end() -> None:
    outcome = ask(Ears(""), spoken((0.5, 2.0)))
    assert outcome.answer_ms is None
    assert outcome.missed


def test_calls_are_the_same_again() -> None:
    turns = [spoken((0.5, 1.0 + 0.1 * n)) for n in range(5)]
    runs = [
        run_calls(
            turns, Ears("How long?"), turns_per_call=2, waits=WaitLimits(), latencies=Latencies(), seed=7
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [o.answer_ms for o in runs[0]] == [o.answer_ms for o in runs[1]]
    assert len(runs[0]) == 5


def test_scaling_takes_in_every_wait() -> None:
    twice = scaled(WaitLimits(), 2.0)
    same = {f.name for f in fields(WaitLimits) if getattr(twice, f.name) == getattr(WaitLimits(), f.name)}
    assert same == {"semantic_span_ms"}


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_every_place_comes_before_any_comes_again() -> None:
    sentences = load_sentences()
    assert len(sentences) >= 20
    places = sum(len(sentence.marks) for sentence in sentences)
    planned = plan(sentences, paused=places, plain=10, seed=1)
    paused = [one for one in planned if one.place != "none"]
    assert len({one.question.pieces for one in paused}) == places
    assert Counter(one.place for one in planned)["none"] == 10
    assert {one.voice.name for one in planned} == {voice.name for voice in VOICES}


@pytest.mark.parametrize("seed", [1, 2])
def test_pauses_are_spread_over_their_range(seed: int) -> None:
    planned = plan(load_sentences(), paused=100, plain=0, seed=seed)
    pauses = sorted(one.question.pause_ms for one in planned)
    shortest, longest = PAUSE_MS
    assert shortest <= pauses[0] < shortest + 20
    assert longest - 20 < pauses[-1] <= longest
    assert planned == plan(load_sentences(), paused=100, plain=0, seed=seed)


def test_no_mark_is_spoken_and_no_piece_is_empty() -> None:
    for sentence in load_sentences():
        assert len(sentence.pieces) == len(sentence.marks) + 1
        assert all(piece and not set(piece) & set("|/") for piece in sentence.pieces)
        assert sentence.expected in {"known", "llm"}


HOW_LONG = [("^", 5), ("h", 10), ("ˌ", 4), ("a", 10), ("ʊ", 10), (" ", 6), ("l", 10), ("ɒ", 10), ("ŋ", 10), ("$", 5)]


@pytest.mark.parametrize(
    ("phonemes", "sounds", "sample"),
    [
        (HOW_LONG, 3, 42),
        (HOW_LONG, 4, 42),  # spoken with a sound less than by itself
        ([one for one in HOW_LONG if one[0] != " "], 3, 39),  # run into one word
    ],
)
def test_a_sentence_is_parted_between_two_words(phonemes: list[tuple[str, int]], sounds: int, sample: int) -> None:
    assert between_words(phonemes, sounds) == sample


# --- the report -------------------------------------------------------------------------------------------------------


def test_cut_offs_are_counted_by_place_and_kept_out_of_the_waits() -> None:
    quick = Outcome(spoken((0.5, 1.0), place="open"), wait_ms=400.0, answer_ms=700.0, replies=1, caller_turns=1)
    late = Outcome(spoken((0.5, 1.0)), wait_ms=1600.0, answer_ms=1700.0, replies=1, caller_turns=1)
    over = Outcome(spoken((0.5, 1.0), place="whole"), wait_ms=100.0, answer_ms=100.0, spoken_over_ms=60.0)
    twice = Outcome(spoken((0.5, 1.0), place="open"), wait_ms=100.0, answer_ms=100.0, replies=2)
    mine = figures([quick, late, over, twice])
    assert (mine["cut_off"], mine["cut_off_percent"], mine["missed_ends"]) == (2, 66.7, 1)
    assert mine["by_kind"]["open, level"] == {"turns": 2, "cut_off": 1}
    assert mine["by_kind"]["whole, level"] == {"turns": 1, "cut_off": 1}
    assert mine["by_kind"]["whole, falling"] == {"turns": 0, "cut_off": 0}
    assert mine["wait_ms"] == {"n": 2, "p50": 1000, "p95": 1600, "max": 1600}
    report = {"policies": {"1.0": mine}, "busy": figures([])}
    assert [len(row) for row in report_rows(report)] == [len(HEAD)] * 2
    assert "2 (66.7 %)" in table(report)
