"""Where an utterance begins and ends in a version-2 client's stream, by the voice-activity network and `voice_core`."""

from __future__ import annotations

from typing import Final

from local_ai_server.turns.sound_buffer import SoundBuffer
from local_ai_server.turns.speech_judge import SpeechJudge, rate_to_judge
from local_ai_server.turns.turn_taking import TurnBegan, TurnEnded, TurnRules, TurnTaking
from voice_wire.audio import Pcm, StreamingResampler

_PRE_ROLL_MS: Final = 300
_ONSET_MS: Final = 250
"""An onset is noticed so late at most."""


class JudgedSplitter:
    """As `utterances.UtteranceSplitter`, for a stream whose sound is judged elsewhere."""

    def __init__(self, rate_hz: int, judge: SpeechJudge, *, silence_ms: float, max_s: float) -> None:
        """`judge`: a stream at `rate_to_judge(rate_hz)`, which is closed by `close`."""
        self.rate_hz = rate_hz
        self._judge = judge
        self._resampler = StreamingResampler(rate_hz, rate_to_judge(rate_hz))
        self._taking = TurnTaking(TurnRules(silence_ms=silence_ms))
        self._sound = SoundBuffer()
        self._start = 0
        self._max_samples = round(max_s * rate_hz)

    @property
    def holds_speech(self) -> bool:
        """Speech has begun and not ended."""
        return self._taking.in_turn

    @property
    def n_held(self) -> int:
        """Samples of the utterance so far, pre-roll included."""
        return self._sound.end - self._start

    def held_since(self, n: int) -> Pcm:
        """What came after the first `n` samples of the utterance; `n` was once `n_held`."""
        return self._sound.between(self._start + n, self._sound.end)

    async def feed(self, pcm: Pcm) -> list[Pcm]:
        """More audio, some seconds at most; the utterances that it ends."""
        self._sound.append(pcm)
        ended = []
        for probability in await self._judge.judge(self._resampler.feed(pcm)):
            changes = self._taking.window(probability)
            at = min(self._place(self._taking.now_ms), self._sound.end)
            for change in changes:
                if isinstance(change, TurnBegan):
                    self._start = max(self._start, self._place(change.at_ms - _PRE_ROLL_MS))
                elif isinstance(change, TurnEnded):
                    ended.append(self._cut(at))
            if self.holds_speech and at - self._start >= self._max_samples:
                self._taking.end()
                ended.append(self._cut(at))
        if not self.holds_speech:
            self._start = max(self._start, self._sound.end - self._place(_PRE_ROLL_MS + _ONSET_MS))
            self._sound.forget_before(self._start)
        return ended

    def flush(self) -> Pcm:
        """All that is held, as one utterance; the next audio begins another."""
        self._taking.end()
        return self._cut(self._sound.end)

    def close(self) -> None:
        """Gives the judge's stream back."""
        self._judge.close()

    def _cut(self, end: int) -> Pcm:
        utterance = self._sound.between(self._start, end)
        self._start = end
        self._sound.forget_before(end)
        return utterance

    def _place(self, ms: float) -> int:
        return round(ms * self.rate_hz / 1000)
