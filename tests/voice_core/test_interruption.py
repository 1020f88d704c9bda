"""What becomes of a sound over the agent's speech. Times are milliseconds from its beginning."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from voice_core.interruption import Interruption

TICK_MS = 20


@dataclass
class Case:
    name: str
    length_ms: int
    """Of the caller's sound."""
    words: str | None
    """What the STT makes of all of it; None: no transcript ever comes."""
    expected: str
    latest_ms: int
    early_words: str | None = None
    """What it makes of a beginning only; the same where not given."""
    options: dict = field(default_factory=dict)
    stt_ms: int = 150
    fails: bool = False
    confidence: float | None = None


def run(case):
    """The verdict, when it came, and how often a transcript was asked for."""
    started_at = 50.0
    interruption = Interruption(started_at, **{"after_question": False, **case.options})
    pending = []
    asked = 0
    for ms in range(100, 4000, TICK_MS):
        now = started_at + ms / 1000
        for due, text in [item for item in pending if item[0] <= ms]:
            pending.remove((due, text))
            if case.fails:
                interruption.failed()
            elif text is not None:
                interruption.transcript(text, case.confidence)
        if case.options.get("streaming") and case.words is not None and ms >= case.length_ms:
            interruption.transcript(case.words)
        voiced_until = started_at + min(ms, case.length_ms) / 1000
        speaking = ms < case.length_ms + 100
        verdict = interruption.tick(now, speaking=speaking, voiced_until=voiced_until)
        if verdict is None:
            continue
        if verdict.value != "transcribe":
            return verdict.value, ms, asked
        asked += 1
        complete = ms >= case.length_ms
        early = case.words if case.early_words is None else case.early_words
        pending.append((ms + case.stt_ms, case.words if complete else early))
    return "nothing", 4000, asked


CASES = [
    Case("a cough", 200, "", "resume", 600),
    Case("uh-huh", 350, "Uh-huh.", "resume", 750),
    Case("okay", 400, "Okay.", "resume", 800),
    Case("okay after a question", 400, "Okay.", "commit", 800, options={"after_question": True}),
    Case("hello over the greeting", 400, "Hello?", "resume", 800, options={"greeting": True}),
    Case("okay over a greeting that asks", 400, "Okay.", "resume", 800,
         options={"greeting": True, "after_question": True}),
    Case("hello over an answer", 400, "Hello, hello?", "commit", 800),
    Case("yes", 300, "Yes.", "keep", 700),
    Case("no", 180, "No.", "keep", 600),
    Case("yes after a question", 300, "Yes.", "commit", 700, options={"after_question": True}),
    Case("a long yes after a question", 700, "Yes, please.", "commit", 600, options={"after_question": True}),
    Case("a digit", 300, "Seven.", "keep", 700),
    Case("a digit after a question", 300, "Seven.", "commit", 700, options={"after_question": True}),
    Case("a sentence", 2500, "No wait I mean Sunday", "commit", 600),
    Case("a sentence, one word of it decoded first", 2500, "Wait, stop it", "commit", 1100, early_words="Wait"),
    Case("a single real word", 400, "Wait.", "commit", 800),
    Case("uh-huh and then more", 1000, "Uh-huh, but when?", "commit", 1400, early_words="Uh-huh"),
    Case("talking on and on about nothing", 2500, "yeah yeah", "commit", 1120),
    Case("a fit of coughing", 1500, "", "resume", 2000),
    Case("an endless noise", 3500, "", "commit", 2020),
    Case("long speech and no transcript", 2500, None, "commit", 1120),
    Case("short speech and no transcript", 300, None, "resume", 1620),
    Case("longer speech and no transcript", 700, None, "commit", 1940),
    Case("speech, and the STT failed", 2500, None, "commit", 820, fails=True),
    Case("a short sound, and the STT failed", 300, None, "resume", 700, fails=True),
    Case("mm-hmm taken for words", 530, "and Emma.", "resume", 950, confidence=0.42),
    Case("a short word that was understood", 530, "Operator.", "commit", 950, confidence=0.63),
    Case("a guess after a question", 530, "and Emma.", "commit", 950, confidence=0.42,
         options={"after_question": True}),
    Case("a mumbled sentence", 2500, "I want the order", "commit", 1120, confidence=0.3),
    Case("a mumbled remark of a second", 1000, "I want it", "commit", 1400, confidence=0.3),
    Case("streaming: words", 500, "no wait I mean", "commit", 520, options={"streaming": True}),
    Case("streaming: uh-huh", 300, "uh-huh", "resume", 520, options={"streaming": True}),
    Case("streaming: a cough", 200, None, "resume", 720, options={"streaming": True}),
    Case("streaming: long speech without words", 2000, None, "commit", 820, options={"streaming": True}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict(case):
    verdict, at_ms, _ = run(case)
    assert verdict == case.expected
    assert at_ms <= case.latest_ms


def test_what_was_withheld_is_decoded_400_to_600_ms_after_the_onset():
    interruption = Interruption(50.0, after_question=False)
    asked_at = next(
        ms
        for ms in range(100, 2000, TICK_MS)
        if interruption.tick(50 + ms / 1000, speaking=True, voiced_until=50 + ms / 1000) is not None
    )
    assert 400 <= asked_at <= 600
    assert interruption.text is None


def test_nothing_is_decoded_twice_that_has_not_grown():
    assert run(Case("", 350, "Uh-huh.", "resume", 800))[2] == 1
    assert run(Case("", 200, "", "resume", 800))[2] == 1
    assert run(Case("", 900, "Uh-huh, but when?", "commit", 1200, early_words="Uh-huh"))[2] == 2
