"""A client's sound on its way to turns, and each turn's on its way to text.

Where turns are the client's own business the sound is kept until it is committed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

from local_ai_server.speech_stream import SpeechStream
from local_ai_server.turns.sound_buffer import SoundBuffer
from local_ai_server.turns.speech_judge import SpeechJudge, SpeechJudges, rate_to_judge
from local_ai_server.turns.turn_taking import TurnBegan, TurnEnded, TurnRules, TurnTaking, WordsWanted
from local_ai_server.turns.utterance_streams import UtteranceStreams
from voice_wire.audio import AudioFormat, Pcm, StreamingResampler, decode

_PIECE_MS: Final = 1000
"""Sound is judged in pieces of this length: other sessions have their turn in between."""
_TAIL_MS: Final = 200
"""Of the silence behind a turn is decoded with it: recognisers take a sudden end for half a word."""
LEAST_MS: Final = 100
"""Of sound make something that can be committed."""


@dataclass(frozen=True, slots=True)
class Began:
    """A turn has begun, with what lies before its first speech, at `at_ms` of the stream."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Draft:
    """The words so far are wanted (`Hearing.words`): the sound to be decoded. Whoever takes it releases it."""

    stream: SpeechStream


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn has ended. Whoever takes the stream releases it."""

    at_ms: int
    stream: SpeechStream
    seconds: float


@dataclass(frozen=True, slots=True)
class Full:
    """More waits to be committed than may be kept: the rest is left out. Said once."""


Heard = Began | Draft | Ended | Full


class Hearing:
    """One session's. Sound is handed over with `hear`, whose generator has to be read to its end."""

    def __init__(
        self,
        streams: UtteranceStreams,
        judges: SpeechJudges,
        *,
        audio_format: AudioFormat,
        max_utterance_s: float,
        agent_audible: Callable[[], bool] = lambda: False,
    ) -> None:
        """`streams` are the session's, which may outlive this. `agent_audible`: whether the sound may carry the
        agent's own."""
        self.format = audio_format
        self._judges = judges
        self._agent_audible = agent_audible
        self._max_samples = round(max_utterance_s * audio_format.sample_rate_hz)
        self._streams = streams
        self._sound = SoundBuffer()
        self._start = 0
        """Where what is to be committed begins."""
        self._told = 0
        """Up to here a streaming engine has heard it."""
        self._full = False
        self._rules: TurnRules | None = None
        self._prefix = 0
        self._taking: TurnTaking | None = None
        self._judge: SpeechJudge | None = None
        self._judged_from = 0
        self._resampler: StreamingResampler | None = None

    @property
    def in_turn(self) -> bool:
        return self._taking is not None and self._taking.in_turn

    def use(self, rules: TurnRules | None, *, prefix_ms: float = 300.0, language: str | None = None) -> None:
        """From now on. `rules`: what makes a turn; None: the client does. A turn that is open under other rules is
        what waits to be committed."""
        self._streams.language = language
        self._prefix = self._samples(prefix_ms)
        if rules == self._rules:
            return
        self._rules = rules
        self._stop_judging()

    async def hear(self, audio: bytes) -> AsyncGenerator[Heard, None]:
        """Takes sound in, whole samples of `format`; what becomes of it, in order."""
        step = self.format.bytes_for_ms(_PIECE_MS)
        for at in range(0, len(audio), step):
            pcm = decode(audio[at : at + step], self.format.encoding)
            if self._rules is None:
                if self._keep(pcm):
                    yield Full()
                continue
            self._sound.append(pcm)
            async for heard in self._judged(pcm, self._rules):
                yield heard

    def words(self, text: str) -> None:
        """What a `Draft` says."""
        if self._taking is not None:
            self._taking.words(text)

    def commit(self) -> Ended | None:
        """All that waits is a turn, complete or not; None where that is (nearly) nothing."""
        end = self._sound.end
        if self._taking is not None and not self._taking.in_turn:
            return None
        if end - self._start < self._samples(LEAST_MS):
            return None
        if self._taking is not None:
            self._taking.end()
        return self._ended(end, end)

    def clear(self) -> None:
        """Forgets what waits."""
        self._streams.forget()
        if self._taking is not None:
            self._taking.end()
        self._begin_after(self._sound.end)

    def close(self) -> None:
        """Forgets what waits; `hear` is not called again."""
        self._stop_judging()

    # --- the client decides

    def _keep(self, pcm: Pcm) -> bool:
        room = self._max_samples - (self._sound.end - self._start)
        self._sound.append(pcm[: max(0, room)])
        newly = pcm.size > room and not self._full
        self._full = self._full or newly
        return newly

    # --- the voice decides

    async def _judged(self, pcm: Pcm, rules: TurnRules) -> AsyncGenerator[Heard, None]:
        for probability in await self._probabilities(pcm, rules):
            assert self._taking is not None
            for change in self._taking.window(probability, agent_audible=self._agent_audible()):
                match change:
                    case TurnBegan(at_ms):
                        begins = self._place(at_ms)
                        self._start = self._told = max(self._start, self._sound.first, begins - self._prefix)
                        yield Began(self._ms(begins))
                    case WordsWanted(until_ms):
                        draft = self._draft(self._place(until_ms))
                        if draft is not None:
                            yield draft
                    case TurnEnded(at_ms):
                        voiced = self._place(at_ms)
                        yield self._ended(voiced, min(voiced + self._samples(_TAIL_MS), self._sound.end))
            if self.in_turn and self._place(self._taking.now_ms) - self._start >= self._max_samples:
                end = self._place(self._taking.now_ms)
                self._taking.end()
                yield self._ended(end, end)
        self._tell_more()

    async def _probabilities(self, pcm: Pcm, rules: TurnRules) -> list[float]:
        rate_hz = rate_to_judge(self.format.sample_rate_hz)
        if self._judge is None:
            self._judge = await self._judges.open(rate_hz)
            self._judged_from = self._sound.end - pcm.size
            self._resampler = StreamingResampler(self.format.sample_rate_hz, rate_hz)
            self._taking = TurnTaking(rules)
        assert self._resampler is not None
        return await self._judge.judge(self._resampler.feed(pcm))

    def _tell_more(self) -> None:
        """Hands on what belongs to an open turn; forgets what belongs to none."""
        if self.in_turn:
            if self._sound.end > self._told:
                more = self._sound.between(self._told, self._sound.end)
                self._streams.goes_on(more, self.format.sample_rate_hz, begins=self._told == self._start)
                self._told = self._sound.end
        else:
            # An onset is noticed some windows late, and then asks for what lay before it.
            self._sound.forget_before(self._sound.end - self._prefix - self._samples(_PIECE_MS))

    def _draft(self, voiced: int) -> Draft | None:
        if self._streams.live:
            self.words(self._streams.live_text)
            return None
        end = min(voiced + self._samples(_TAIL_MS), self._sound.end)
        return Draft(self._streams.recorded(self._sound.between(self._start, end), self.format.sample_rate_hz))

    def _ended(self, voiced: int, end: int) -> Ended:
        pcm = self._sound.between(self._start, end)
        told = self._told - self._start if self._taking is not None else 0
        stream = self._streams.ended(pcm, self.format.sample_rate_hz, n_told=told)
        self._begin_after(end)
        return Ended(self._ms(voiced), stream, pcm.size / self.format.sample_rate_hz)

    def _begin_after(self, place: int) -> None:
        self._start = self._told = place
        self._full = False
        self._sound.forget_before(place)

    def _stop_judging(self) -> None:
        self._streams.forget()
        self._taking = None
        if self._judge is not None:
            self._judge.close()
            self._judge = None

    def _samples(self, ms: float) -> int:
        return round(ms * self.format.sample_rate_hz / 1000)

    def _place(self, ms: float) -> int:
        """Where a time of the judged stream lies."""
        return self._judged_from + self._samples(ms)

    def _ms(self, place: int) -> int:
        return round(1000 * place / self.format.sample_rate_hz)
