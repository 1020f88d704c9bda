"""The clock of sound: what is sent, what is heard, where to go on."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from voice_core.playout import FADE_MS, Playout
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, decode

FRAME_S = 0.02
FORMATS = pytest.mark.parametrize("format", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K], ids=str)


class Line:
    """A playout and its pacer on a virtual clock."""

    def __init__(self, format=MULAW_8K, **knobs):
        self.format = format
        self.playout = Playout(format, **knobs)
        self.now = 100.0
        self.frames = []

    def tone(self, seconds):
        """Loud, and never the format's silence."""
        sample = b"\x10" if self.format.bytes_per_sample == 1 else b"\x00\x20"
        return sample * round(self.format.sample_rate_hz * seconds)

    def play(self, turn, seconds, text=""):
        self.playout.play(turn, self.tone(seconds), text, self.now)

    def end(self, turn):
        self.playout.end_turn(turn, self.now)

    def run(self, seconds):
        for _ in range(round(seconds / FRAME_S)):
            frame = self.playout.next_frame(self.now)
            if frame is not None:
                self.frames.append(frame)
            self.now += FRAME_S
        return self

    @property
    def sent_s(self):
        return len(self.frames) * FRAME_S


@FORMATS
def test_every_frame_is_20_ms_and_a_last_partial_one_is_padded_with_silence(format):
    line = Line(format)
    line.play(1, 0.05)
    line.end(1)
    line.run(0.2)
    assert [len(frame) for frame in line.frames] == [format.bytes_for_ms(20)] * 3
    assert line.frames[-1].endswith(format.silence(10))


def test_playout_starts_with_the_first_frame_sent():
    line = Line()
    assert not line.playout.speaking(line.now)
    line.play(1, 0.1)
    assert line.playout.first_packet_at(1) is None
    assert line.playout.speaking(line.now)
    assert not line.playout.audible(line.now)
    line.run(0.02)
    assert line.playout.first_packet_at(1) == 100.0
    assert line.playout.audible(line.now)


def test_a_turn_is_finished_when_its_end_came_and_all_was_heard():
    line = Line(downstream_ms=80)
    line.play(1, 0.1)
    line.run(0.2)
    assert not line.playout.finished(1, line.now), "no end yet"
    assert not line.playout.speaking(line.now), "an underrun is not playing"
    assert not line.playout.idle(line.now), "but the turn is open"
    line.play(1, 0.1)
    line.end(1)
    line.run(0.1)
    sent_at = line.now - FRAME_S
    assert not line.playout.finished(1, sent_at + 0.079)
    assert line.playout.finished(1, sent_at + 0.081)
    assert line.playout.idle(line.now + 0.1)
    assert line.playout.last_heard_at == pytest.approx(sent_at + 0.08)


@pytest.mark.parametrize(
    "what_happens",
    [
        lambda line: line.end(1),
        lambda line: (line.end(1), line.end(1)),
        lambda line: (line.playout.play(1, b"", "", line.now), line.end(1)),
    ],
    ids=["done alone", "done twice", "zero bytes"],
)
def test_a_turn_without_sound_is_finished_at_once(what_happens):
    line = Line()
    what_happens(line)
    assert line.playout.finished(1, line.now)
    assert line.playout.idle(line.now)
    assert line.playout.heard_text(1, line.now) == ""
    line.run(0.1)
    assert line.frames == []


def test_audio_that_comes_after_its_end_is_still_played():
    line = Line()
    line.end(1)
    line.run(0.04)
    line.play(1, 0.1, "Late.")
    line.run(0.3)
    assert line.sent_s == pytest.approx(0.1)
    assert line.playout.heard_text(1, line.now) == "Late."
    line.play(1, 0.1)
    line.run(0.2)
    assert line.sent_s == pytest.approx(0.1), "but not once the turn was over"


def test_a_turn_never_seen_is_not_finished_and_has_no_text():
    line = Line()
    assert not line.playout.finished(7, line.now)
    assert line.playout.heard_text(7, line.now) == line.playout.text(7) == ""
    assert line.playout.heard_ms(7, line.now) == 0
    assert line.playout.first_packet_at(7) is None
    line.playout.forget(7, line.now)


def test_turns_sound_one_after_the_other_and_a_new_one_ends_the_last():
    line = Line()
    line.play(1, 0.1, "First.")
    line.play(2, 0.1, "Second.")
    line.play(1, 0.1, "too late")
    assert line.playout.queued_ms == pytest.approx(200)
    line.run(0.1)
    assert line.playout.last_frame_turn == 1
    line.run(0.1)
    assert line.playout.last_frame_turn == 2
    line.end(2)
    line.run(0.2)
    assert line.playout.finished(1, line.now)
    assert line.playout.text(1) == "First."


def test_half_a_frame_waits_a_moment_for_the_rest_and_is_then_sent_padded():
    line = Line()
    line.play(1, 0.03)
    line.run(0.06)
    assert len(line.frames) == 1
    line.run(0.02)
    assert len(line.frames) == 2
    assert line.frames[1].endswith(MULAW_8K.silence(10))
    line.play(1, 0.01)
    line.run(0.02)
    line.play(1, 0.01)
    line.run(0.02)
    assert line.frames[2] == line.tone(0.02), "the rest came in time"


@FORMATS
def test_a_pause_fades_within_one_frame_and_nothing_follows(format):
    line = Line(format)
    line.play(1, 1.0)
    line.run(0.2)
    line.playout.pause(line.now)
    line.playout.pause(line.now)
    assert line.playout.paused
    line.run(0.2)
    assert line.sent_s == pytest.approx(0.22)
    faded = decode(line.frames[-1], format.encoding)
    assert abs(int(faded[0])) > 1000
    assert abs(faded[round(format.sample_rate_hz * FADE_MS / 1000) :].astype(int)).max() <= 8
    assert not line.playout.speaking(line.now)
    line.playout.resume(line.now)
    line.playout.resume(line.now)
    assert line.playout.speaking(line.now)
    line.run(0.02)
    risen = decode(line.frames[-1], format.encoding)
    assert abs(int(risen[0])) <= 8 < abs(int(risen[-1]))


def test_a_pause_between_two_frames_that_is_taken_back_cuts_nothing():
    line = Line()
    line.play(1, 0.4)
    line.end(1)
    line.run(0.2)
    line.playout.pause(line.now)
    line.playout.resume(line.now)
    line.run(0.4)
    assert line.frames == [line.tone(0.02)] * 20


def test_a_pause_where_nothing_sounds_needs_no_fade():
    line = Line()
    line.play(1, 0.1)
    line.playout.pause(line.now)
    line.run(0.1)
    assert line.frames == []
    line.playout.resume(line.now)
    line.run(0.2)
    assert line.frames[0] == line.tone(0.02)


def test_a_pause_after_everything_was_sent_says_nothing_twice():
    line = Line()
    line.play(1, 0.2, "All of it.")
    line.end(1)
    line.run(0.2)
    line.playout.pause(line.now)
    line.run(0.1)
    line.playout.resume(line.now)
    line.run(0.2)
    assert line.sent_s == pytest.approx(0.2)


def test_after_a_pause_it_goes_on_at_the_word_that_was_cut():
    line = Line()
    line.play(1, 1.0, "aaaa bbbb cccc dddd")  # a word every 263 ms
    line.end(1)
    line.run(0.7)
    line.playout.pause(line.now)
    line.run(0.2)
    heard_ms = line.playout.heard_ms(1, line.now)
    assert line.playout.heard_text(1, line.now) == "aaaa bbbb"
    line.playout.resume(line.now)
    sent_before = len(line.frames)
    line.run(1.0)
    again_ms = 20 * (len(line.frames) - sent_before) - (1000 - 700)
    assert again_ms == pytest.approx(700 - 1000 * 10 / 19, abs=21)
    assert line.playout.heard_ms(1, line.now) == pytest.approx(1000), "what is said twice counts once"
    assert heard_ms < 1000
    assert line.playout.heard_text(1, line.now) == "aaaa bbbb cccc dddd"


def test_what_had_been_heard_a_moment_ago():
    line = Line()
    line.play(1, 1.0, "aaaa bbbb cccc dddd")  # a word every 263 ms
    line.run(0.7)
    assert line.playout.heard_text(1, line.now, ago_s=0.2) == "aaaa"
    assert line.playout.heard_text(1, line.now, ago_s=5.0) == ""
    assert line.playout.heard_text(2, line.now, ago_s=0.1) == ""
    assert line.playout.heard_text(1, line.now) == "aaaa bbbb"


def test_it_goes_on_at_the_gap_between_words_where_there_is_one_near():
    line = Line()
    gap = MULAW_8K.silence(40)
    # 19 characters in a second: the third word is estimated to begin at 526 ms, and begins at 600 ms.
    line.playout.play(1, line.tone(0.56) + gap + line.tone(0.4), "aaaa bbbb cccc dddd", line.now)
    line.end(1)
    line.run(0.7)
    line.playout.pause(line.now)
    line.run(0.2)
    line.playout.resume(line.now)
    sent_before = len(line.frames)
    line.run(1.0)
    assert 1000 - 20 * (len(line.frames) - sent_before) in (560, 580)


def test_flush_drops_what_was_not_sent_and_leaves_what_was_heard():
    line = Line()
    line.play(1, 1.0, "aaaa bbbb cccc dddd")
    line.end(1)
    line.run(0.7)
    line.playout.flush(line.now)
    line.run(0.3)
    assert line.sent_s == pytest.approx(0.72), "one fading frame"
    assert line.playout.finished(1, line.now)
    assert line.playout.idle(line.now)
    assert line.playout.heard_text(1, line.now) == "aaaa bbbb"
    line.play(1, 1.0, "late")
    line.run(0.1)
    assert line.sent_s == pytest.approx(0.72), "late audio of a flushed turn is dropped"
    line.play(2, 0.1)
    line.run(0.1)
    assert line.sent_s == pytest.approx(0.82)


def test_what_fades_is_not_finished_yet():
    line = Line()
    line.play(1, 1.0, "One.")
    line.end(1)
    line.run(0.2)
    line.playout.flush(line.now)
    assert not line.playout.finished(1, line.now + 0.5)
    assert line.playout.speaking(line.now + 0.5)
    assert not line.playout.idle(line.now + 0.5)
    line.run(0.2)
    assert line.playout.finished(1, line.now)


def test_a_flush_ends_a_pause_and_leaves_no_sound_behind():
    line = Line()
    line.play(1, 1.0)
    line.run(0.2)
    line.playout.pause(line.now)
    line.run(0.1)
    line.playout.flush(line.now)
    assert not line.playout.paused
    line.run(0.2)
    assert line.sent_s == pytest.approx(0.22)


def test_a_flush_with_nothing_queued_changes_nothing():
    line = Line()
    line.playout.flush(line.now)
    assert line.playout.idle(line.now)
    line.play(1, 0.2, "One.")
    line.end(1)
    line.run(0.4)
    line.playout.flush(line.now)
    assert line.playout.heard_text(1, line.now) == "One."
    line.playout.pause(line.now)
    line.playout.flush(line.now)
    assert not line.playout.paused
    line.play(2, 0.1, "Two.")
    line.run(0.2)
    assert line.sent_s == pytest.approx(0.3)


def test_a_turn_that_breaks_off_in_a_phrase_has_not_said_all_of_it():
    line = Line()
    line.play(1, 0.5, "One two.")
    line.play(1, 0.5, "Three four five six seven eight nine.")
    line.playout.end_turn(1, line.now, cut_short=True)
    line.run(1.2)
    assert line.playout.finished(1, line.now)
    heard = line.playout.heard_text(1, line.now)
    assert heard.startswith("One two.")
    assert len(heard.split()) < 6, "half a second holds no seven words"


def test_a_turn_that_was_flushed_before_it_sounded_may_be_played_again():
    line = Line()
    line.play(1, 0.1, "first try")
    line.playout.flush(line.now)
    line.play(1, 0.1, "second try")
    line.end(1)
    line.run(0.3)
    assert line.playout.heard_text(1, line.now) == "second try"


def test_a_turn_that_is_forgotten_begins_anew():
    line = Line()
    line.play(1, 0.1, "first try")
    line.run(0.02)
    line.playout.flush(line.now)
    line.playout.forget(1, line.now)
    line.play(1, 0.1, "second try")
    line.end(1)
    line.run(0.3)
    assert line.playout.heard_text(1, line.now) == "second try"


def test_words_count_as_heard_when_their_end_was_heard():
    line = Line(downstream_ms=80)
    line.play(1, 0.5, "One two.")
    line.play(1, 0.25, "Three")
    line.play(1, 0.25, "")
    line.end(1)
    heard = []
    for _ in range(60):
        line.run(0.02)
        heard.append(line.playout.heard_text(1, line.now))
    assert sorted(set(heard), key=len) == ["", "One", "One two.", "One two. Three"]
    assert heard.index("One two.") * 0.02 == pytest.approx(0.5 + 0.08, abs=0.045)
    assert heard.index("One two. Three") * 0.02 == pytest.approx(1.0 + 0.08, abs=0.045)


def test_a_clock_that_jumps_back_moves_all_times_with_it():
    line = Line()
    line.play(1, 0.2, "Hello.")
    line.end(1)
    line.run(0.1)
    line.now -= 50.0
    assert line.playout.audible(line.now)
    line.run(0.2)
    assert line.playout.finished(1, line.now)
    assert line.playout.last_heard_at < line.now
    assert line.playout.heard_text(1, line.now) == "Hello."
    line.now -= 0.1  # two callers' clocks a moment apart
    assert line.playout.finished(1, line.now)


def test_the_level_that_may_echo_is_that_of_the_last_sounds():
    line = Line()
    assert line.playout.loudest_dbfs(line.now, 0.45) == -120.0
    line.play(1, 0.1)
    line.playout.play(1, MULAW_8K.silence(1000), "", line.now)
    line.run(0.06)
    loud = line.playout.loudest_dbfs(line.now, 0.45)
    assert -20 < loud < 0
    line.run(0.4)
    assert line.playout.loudest_dbfs(line.now, 0.45) == loud
    line.run(0.3)
    assert line.playout.loudest_dbfs(line.now, 0.45) < -60


def test_the_loudest_is_the_greatest_of_all_frames_of_the_window():
    line = Line(PCM_8K)
    levels = random.Random(4).sample(range(100, 30000), 120)
    line.playout.play(1, b"".join(level.to_bytes(2, "little") * 160 for level in levels), "", line.now)
    for sent in range(1, len(levels)):
        line.run(FRAME_S)
        begins = [100.0 + FRAME_S * number for number in range(sent)]
        at = line.now - FRAME_S / 2
        in_window = [level for begin, level in zip(begins, levels, strict=False) if begin >= at - 0.45]
        assert line.playout.loudest_dbfs(at, 0.45) == pytest.approx(20 * math.log10(max(in_window) / 32768), abs=0.01)


def test_long_turns_do_not_keep_what_was_sent():
    line = Line()
    line.play(1, 30.0, "long")
    line.run(29.0)
    (record,) = line.playout._queue
    assert len(record.audio) < 8000 * 8
    line.playout.pause(line.now)
    line.playout.resume(line.now)
    line.end(1)
    line.run(2.0)
    assert line.playout.heard_ms(1, line.now) == pytest.approx(30_000)


def test_only_the_last_turns_are_remembered():
    line = Line()
    for turn in range(1, 40):
        line.play(turn, 0.02)
        line.end(turn)
        line.run(0.2)
    assert len(line.playout._turns) <= 16
    for turn in range(40, 80):
        line.play(turn, 0.02)
    assert len(line.playout._turns) > 16, "what still waits is not forgotten"
    assert line.playout.finished(1, line.now)
    line.run(2.0)
    assert line.sent_s == pytest.approx(79 * 0.02)


# --- a peer that buffers ----------------------------------------------------------------------------------------------


def unpaced(line_s=1.0, text="aaaa bbbb cccc dddd"):
    line = Line(paced=False, tail_ms=200)
    line.play(1, line_s, text)
    line.end(1)
    line.run(line_s * 2)
    line.playout.delivered(1, round(8000 * line_s), 200.0)
    return line.playout


def test_unpaced_delivery_is_heard_by_the_byte_formula_and_a_tail():
    playout = unpaced()
    assert playout.first_packet_at(1) == 200.0
    assert playout.speaking(200.0)
    assert playout.loudest_dbfs(200.3, 0.45) > -20
    assert not playout.finished(1, 201.1)
    assert playout.finished(1, 201.25)
    assert playout.heard_text(1, 201.25) == "aaaa bbbb cccc dddd"


def test_unpaced_deliveries_follow_each_other():
    line = Line(paced=False, tail_ms=0)
    line.play(1, 1.0)
    line.run(2.0)
    line.playout.delivered(1, 4000, 200.0)
    line.playout.delivered(1, 4000, 200.0)
    line.playout.delivered(9, 4000, 200.0)
    line.playout.delivered(1, 0, 200.0)
    assert line.playout.heard_ms(1, 200.6) == pytest.approx(600, abs=21)
    assert line.playout.heard_ms(1, 201.01) == pytest.approx(1000)


def test_an_acknowledgement_comes_before_the_estimate():
    playout = unpaced()
    playout.acknowledged(1, 4000, 200.3)
    assert playout.heard_ms(1, 200.39) == pytest.approx(500)
    playout.acknowledged(1, None, 200.6)
    playout.acknowledged(2, None, 200.6)
    assert playout.finished(1, 200.7)


def test_an_unpaced_peer_that_is_paused_does_not_move_on():
    playout = unpaced()
    playout.pause(200.5)
    assert playout.heard_ms(1, 210.0) == pytest.approx(500, abs=40)
    playout.resume(210.0)
    assert not playout.finished(1, 210.6)
    assert playout.finished(1, 210.8)


def test_an_unpaced_flush_drops_what_the_peer_has_not_played():
    playout = unpaced()
    playout.flush(200.5)
    assert playout.finished(1, 200.75)
    assert playout.heard_ms(1, 201.0) == pytest.approx(500, abs=40)
    playout.play(2, b"\x10" * 1600, "", 201.0)
    assert playout.next_frame(201.0) is not None
    playout.delivered(2, 160, 201.0)
    assert playout.first_packet_at(2) == 201.0
    playout.pause(201.0)
    playout.flush(202.0)
    assert playout.idle(203.0)


# --- any order --------------------------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Whatever is called in whatever order, what was heard is a growing prefix of what was sent."""

    def __init__(self):
        super().__init__()
        self.line = Line()
        self.turn = 1
        self.heard = {}

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.02, 0.1, 0.5]), text=st.sampled_from(["", "Yes.", "One two three."]))
    def play(self, seconds, text):
        self.line.play(self.turn, seconds, text)

    @rule(turn=st.integers(1, 8))
    def play_any(self, turn):
        self.line.play(turn, 0.05, "any")

    @rule()
    def next_turn(self):
        self.turn += 1

    @rule()
    def end(self):
        self.line.end(self.turn)

    @rule(ticks=st.sampled_from([1, 2, 10]))
    def run(self, ticks):
        self.line.run(ticks * FRAME_S)

    @rule()
    def pause(self):
        self.line.playout.pause(self.line.now)

    @rule()
    def resume(self):
        self.line.playout.resume(self.line.now)

    @rule()
    def flush(self):
        self.line.playout.flush(self.line.now)
        self.turn += 1

    @precondition(lambda self: self.line.now > 50)
    @rule(seconds=st.sampled_from([0.01, 1.0]))
    def clock_back(self, seconds):
        self.line.now -= seconds

    @invariant()
    def heard_is_a_growing_prefix(self):
        playout, now = self.line.playout, self.line.now
        for turn in range(1, self.turn + 1):
            heard = playout.heard_text(turn, now)
            assert playout.text(turn).startswith(heard)
            assert playout.heard_ms(turn, now) >= self.heard.get(turn, 0.0)
            self.heard[turn] = playout.heard_ms(turn, now)
            if playout.finished(turn, now) and not playout.paused and heard:
                assert playout.first_packet_at(turn) is not None

    @invariant()
    def frames_are_whole(self):
        assert all(len(frame) == 160 for frame in self.line.frames)
        self.line.frames.clear()

    def teardown(self):
        playout = self.line.playout
        playout.resume(self.line.now)
        playout.end_turn(1000, self.line.now)
        self.line.run(30)
        assert playout.idle(self.line.now), "stuck"
        assert not playout.speaking(self.line.now)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
