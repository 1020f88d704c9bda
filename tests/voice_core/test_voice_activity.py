"""From probabilities to onset and offset. A line of probabilities is one window of 32 ms per character."""

from __future__ import annotations

import math

import pytest

from voice_core.voice_activity import AgentSound, VoiceActivity, VoiceChange

WINDOW_S = 0.032
LEVELS = {"#": 0.95, "+": 0.55, "-": 0.4, ".": 0.05}


def changes(line, agent=None, **knobs):
    """The changes as (window number, change); window 1 is the first."""
    voice = VoiceActivity(**{"offset_ms": 100.0, **knobs})
    found = []
    for number, character in enumerate(line, 1):
        change = voice.window(LEVELS[character], 10 + number * WINDOW_S, agent)
        if change is not None:
            found.append((number, change.value))
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("....", []),
        ("#...", []),
        ("##..", [(2, "onset")]),
        ("#.#.#.", []),
        ("#-#", [(3, "onset")]),
        ("#--#", []),
        ("-----", []),
        ("##----....", [(2, "onset"), (10, "offset")]),
        ("##....", [(2, "onset"), (6, "offset")]),
        ("##...##....", [(2, "onset"), (11, "offset")]),
        ("##....##....", [(2, "onset"), (6, "offset"), (8, "onset"), (12, "offset")]),
        ("##....#.....", [(2, "onset"), (6, "offset")]),
    ],
)
def test_hysteresis(line, expected):
    assert changes(line) == expected


def test_a_voiced_window_stirs_until_it_has_become_speech_or_nothing():
    voice = VoiceActivity(onset_windows=2)
    assert not voice.stirring(10.0)
    voice.window(0.95, 10.032)
    assert voice.stirring(10.05)
    assert not voice.stirring(10.5), "no more windows came: the line is dead"
    voice.window(0.05, 10.064)
    assert not voice.stirring(10.07)
    for number in (3, 4):
        voice.window(0.95, 10 + number * WINDOW_S)
    assert voice.speaking
    assert not voice.stirring(10.13)


LOUD_CALLER = AgentSound(loudest_dbfs=-20.0, caller_dbfs=-25.0)
ECHO = AgentSound(loudest_dbfs=-20.0, caller_dbfs=-40.0)


@pytest.mark.parametrize(
    ("line", "agent", "expected"),
    [
        ("##..", LOUD_CALLER, []),
        ("###.", LOUD_CALLER, [(3, "onset")]),
        ("++++++", LOUD_CALLER, []),
        ("########", ECHO, []),
    ],
)
def test_more_is_asked_while_the_agent_can_be_heard(line, agent, expected):
    assert changes(line, agent) == expected


def test_false_alarms_raise_the_echo_threshold_and_confirmed_speech_lowers_it():
    borderline = AgentSound(loudest_dbfs=-20.0, caller_dbfs=-36.0)
    voice = VoiceActivity()

    def onset():
        voice.reset()
        return any(voice.window(0.95, 1 + n * WINDOW_S, borderline) for n in range(4))

    assert onset()
    voice.false_alarm()
    assert not onset()
    voice.confirmed()
    assert onset()
    for _ in range(10):
        voice.false_alarm()
    voice.reset()
    assert any(voice.window(0.95, 2 + n * WINDOW_S, LOUD_CALLER) for n in range(4)), "never deaf to a loud caller"


def test_speech_began_with_its_first_window():
    voice = VoiceActivity()
    for number in range(1, 5):
        voice.window(0.95, 10 + number * WINDOW_S)
    assert voice.speaking
    assert voice.started_at == pytest.approx(10.0)
    assert voice.voiced_until == pytest.approx(10 + 4 * WINDOW_S)


def test_a_pause_is_measured_by_evidence_and_late_results_are_no_silence():
    voice = VoiceActivity()
    assert voice.pause_ms(1.0) == math.inf
    for number in range(1, 5):
        voice.window(0.95, 10 + number * WINDOW_S)
    end = voice.voiced_until
    assert voice.pause_ms(end) == 0
    assert voice.pause_ms(end + 0.05) == pytest.approx(50)
    assert voice.pause_ms(end + 0.15) == pytest.approx(80), "the next result is late"
    assert voice.pause_ms(end + 1.0) == pytest.approx(500), "no results at all: the clock stands in"
    voice.window(0.01, end + 0.9)
    assert voice.pause_ms(end + 0.9) == pytest.approx(900)


def test_a_caller_who_sends_nothing_is_silent():
    voice = VoiceActivity()
    for number in range(1, 5):
        voice.window(0.95, 10 + number * WINDOW_S)
    end = voice.voiced_until
    assert voice.silent(end + 0.06) is None
    assert voice.silent(end + 0.101) is VoiceChange.OFFSET
    assert voice.silent(end + 0.12) is None


def test_without_any_evidence_the_clock_ends_the_speech():
    voice = VoiceActivity()
    assert voice.tick(1.0) is None
    for number in range(1, 5):
        voice.window(0.95, 10 + number * WINDOW_S)
    end = voice.voiced_until
    assert voice.tick(end + 0.55) is None
    assert voice.tick(end + 0.61) is VoiceChange.OFFSET
    assert not voice.speaking


def test_only_what_may_be_speech_needs_its_level_measured():
    assert VoiceActivity(offset_probability=0.3).may_be_speech == 0.3
