"""A call on virtual time: turns with pauses, spoken to a real `Conversation`.

Real are the conversation with all its policies, the playout, the sound with its G.711, what the voice-activity network
makes of it and the words that the recogniser finds in what it was sent. Made up are the times: how long a decode takes
(one after the other, as the worker has it; one that has begun cannot be stopped) and how long after the words the
answer's sound comes. So what is measured does not depend on how busy the machine is.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Final, Protocol

from ai_engine.conversation import decisions as d
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.full_duplex import TurnEvent
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    BackendChanged,
    CallerSpeech,
    StageReached,
    WordsRead,
)
from benchmarks.paused_speech import FRAME, SpokenTurn
from benchmarks.turn_figures import LATE_MS
from benchmarks.virtual_line import SoundingLine
from tools.call.wav import Pcm
from voice_core.end_of_turn import WaitLimits
from voice_wire.audio import MULAW_8K

_TICK_S: Final = 0.02
_WINDOW_S: Final = 0.032
_RESULT_S: Final = 0.002
"""What the network says of a tick's sound is there so long after the tick."""
_GIVE_UP_S: Final = 6.0
_ANSWER: Final = bytes([0x34, 0xB4]) * 4000
"""One second of a tone at the level of speech (-20 dBFS)."""
_NO_WAITS: Final = frozenset({"semantic_span_ms"})
_SPREAD: Final = 0.15
"""Of the times, as a standard deviation of their logarithm."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of what is not run here, in milliseconds: medians of turn_stages and turn_latency on the reference machine."""

    stt_ms: float = 140.0
    llm_ms: float = 350.0
    """From the words to the answer's first sound."""
    known_ms: float = 30.0
    """The same, for known answers."""
    ending_ms: float = 80.0
    """The semantic end-of-turn model's opinion, where it is asked."""

    def as_dict(self) -> dict[str, float]:
        """For the report."""
        return asdict(self)


@dataclass(slots=True)
class Outcome:
    """What became of one turn. Milliseconds, from the caller's last voiced sample."""

    turn: SpokenTurn
    wait_ms: float | None = None
    """Until the turn was taken to be over, for good."""
    answer_ms: float | None = None
    """Until the first sound of the answer."""
    spoken_over_ms: float = 0.0
    """Sound of the agent before the caller had finished."""
    replies: int = 0
    caller_turns: int = 0
    taken_back: int = 0
    """Ends that were found in the pause and given back before anything was heard: the caller notices nothing."""
    heard_as: list[str] = field(default_factory=list)
    """Each of the recogniser's guesses."""

    @property
    def cut_off(self) -> bool:
        return self.spoken_over_ms > 0 or self.replies > 1 or self.caller_turns > 1

    @property
    def missed(self) -> bool:
        """Never answered, or its end found far too late."""
        return self.answer_ms is None or self.wait_ms is None or self.wait_ms > LATE_MS


@dataclass(slots=True)
class _Decode:
    turn: int
    revision: int
    audio: bytes
    answered: bool
    """An answer is wanted, not only the words."""


class Ears(Protocol):
    """What the provider makes of the caller's sound."""

    def words(self, pcm: bytes) -> str:
        """Those in 8 kHz PCM16."""

    def known(self, text: str) -> bool:
        """There is a ready answer to it."""

    def settled(self, text: str) -> bool | None:
        """Whether more words would not change the answer; None: it cannot be told."""

    def ending(self, pcm: bytes) -> float | None:
        """How probable it is, by the voice, that the turn is over (0-1); None: no model is asked."""


class VirtualCall:
    """One caller's call."""

    def __init__(self, ears: Ears, *, waits: WaitLimits, latencies: Latencies, rng: random.Random) -> None:
        self._ears = ears
        self._latencies = latencies
        self._rng = rng
        self._line = SoundingLine()
        self._conversation = Conversation(
            self._line, settings=ConversationSettings(wait=waits), phrases=Phrases(greeting="", filler="")
        )
        self._now = 100.0
        self._judged_until = self._now
        self._order = itertools.count()
        self._coming: list[tuple[float, int, TurnEvent]] = []
        self._audio: dict[int, bytearray] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._over: set[tuple[int, int]] = set()
        self._over_turns: set[int] = set()
        self._adopted: set[tuple[int, int]] = set()
        self._decodes: deque[_Decode] = deque()
        self._opinions: deque[tuple[float, int, int, float]] = deque()
        """When, of what, which: those of the semantic model, on their way."""
        self._decode_ends = self._now
        self._decoding: _Decode | None = None
        self._at_hand: Outcome | None = None
        self._end_at = 0.0
        self._conversation.start(self._now)
        self._conversation.provider_event(BackendChanged("recogniser", True), self._now)

    def ask(self, turn: SpokenTurn) -> Outcome:
        """Say it and listen to the answer's end."""
        for _ in range(self._rng.randrange(20, 60)):
            self._tick(bytes(2 * FRAME))
        began = self._now
        outcome = self._at_hand = Outcome(turn)
        self._end_at = began + turn.end_s
        windows = deque(turn.windows)
        for frame in _frames(turn.pcm):
            self._tick(frame, windows, began)
        while not self._settled(outcome) and self._now < self._end_at + _GIVE_UP_S:
            self._tick(bytes(2 * FRAME))
        self._at_hand = None
        return outcome

    def _settled(self, outcome: Outcome) -> bool:
        quiet = self._conversation.state == "listening" and self._line.played.idle(self._now)
        return quiet and outcome.answer_ms is not None

    # --- time ---------------------------------------------------------------------------------------------------------

    def _tick(self, pcm: bytes, windows: deque[tuple[float, float]] | None = None, began: float = 0.0) -> None:
        self._now = now = self._now + _TICK_S
        while self._coming and self._coming[0][0] <= now:
            event = heapq.heappop(self._coming)[2]
            if (event.turn, event.revision) not in self._over and event.turn not in self._over_turns:
                self._conversation.provider_event(event, now)
                self._carry_out()
        self._recogniser_works()
        while self._opinions and self._opinions[0][0] <= now:
            _, turn, revision, probability = self._opinions.popleft()
            self._conversation.end_of_turn_probability(turn, revision, probability, now)
        self._conversation.hear(Frame(pcm, FrameKind.SPEECH), now)
        self._conversation.tick(now)
        self._carry_out()
        self._line.transmit(now)
        if self._line.sounding:
            self._heard_sound()
        while windows and began + windows[0][0] <= now + 1e-6:
            at, probability = windows.popleft()
            self._judged_until = began + at
            self._judged(probability)
        while windows is None and self._judged_until + _WINDOW_S <= now:
            self._judged_until += _WINDOW_S
            self._judged(0.0)

    def _judged(self, probability: float) -> None:
        self._conversation.speech_probability(probability, self._judged_until, self._now + _RESULT_S)
        self._carry_out()

    def _heard_sound(self) -> None:
        outcome = self._at_hand
        if outcome is None:
            return
        if self._now < self._end_at:
            outcome.spoken_over_ms += 1000 * _TICK_S
        elif outcome.answer_ms is None:
            outcome.answer_ms = 1000 * (self._now - self._end_at)

    # --- the provider -------------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        taken, self._conversation.decisions = self._conversation.decisions, []
        for decision in taken:
            match decision:
                case d.SendAudio(turn, audio):
                    self._audio.setdefault(turn, bytearray()).extend(audio)
                case d.Speculate(turn, revision) | d.Transcribe(turn, revision):
                    answered = isinstance(decision, d.Speculate)
                    heard = bytes(self._audio.get(turn, b""))
                    self._decodes.append(_Decode(turn, revision, heard, answered))
                    if answered and (probability := self._ears.ending(heard)) is not None:
                        at = self._now + self._drawn_s(self._latencies.ending_ms)
                        self._opinions.append((at, turn, revision, probability))
                case d.Adopt(turn, revision):
                    self._adopt(turn, revision)
                case d.Discard(turn, revision):
                    self._over.add((turn, revision))
                    if (turn, revision) in self._adopted and self._at_hand is not None:
                        self._at_hand.taken_back += 1
                case d.Forget(turn) | d.Interrupt(turn):
                    self._over_turns.add(turn)
                case d.Say(turn, revision, text):
                    self._answer(turn, revision, text, 0.1)
                case d.CallerTurn() if self._at_hand is not None:
                    self._at_hand.caller_turns += 1
                case d.AgentTurn(source=source) if self._at_hand is not None and source != "said":
                    self._at_hand.replies += 1
                case _:
                    pass

    def _adopt(self, turn: int, revision: int) -> None:
        self._adopted.add((turn, revision))
        if self._at_hand is not None:
            self._at_hand.wait_ms = 1000 * (self._now - self._end_at)
        text = self._texts.get((turn, revision))
        if text is not None:
            self._later(0.0, CallerSpeech(turn, revision, text, True, "recogniser"))

    def _recogniser_works(self) -> None:
        while True:
            if self._decoding is not None:
                if self._now < self._decode_ends:
                    return
                self._decoded(self._decoding)
            self._decoding = None
            while self._decodes and (self._decodes[0].turn, self._decodes[0].revision) in self._over:
                self._decodes.popleft()
            if not self._decodes:
                return
            self._decoding = self._decodes.popleft()
            self._decode_ends = self._now + self._drawn_s(self._latencies.stt_ms)

    def _decoded(self, decode: _Decode) -> None:
        turn, revision = decode.turn, decode.revision
        if (turn, revision) in self._over or turn in self._over_turns:
            return
        text = self._ears.words(decode.audio)
        self._texts[turn, revision] = text
        if self._at_hand is not None:
            self._at_hand.heard_as.append(text)
        self._later(0.0, StageReached(turn, revision, "stt_done", self._now))
        final = (turn, revision) in self._adopted
        self._later(0.0, CallerSpeech(turn, revision, text, final, "recogniser"))
        if not decode.answered:
            return
        if not text:
            self._later(0.0, AgentAudioDone(turn, revision))
            return
        settled = self._ears.settled(text)
        if settled is not None:
            self._later(0.0, WordsRead(turn, revision, settled))
        latencies = self._latencies
        after_ms = latencies.known_ms if self._ears.known(text) else latencies.llm_ms
        self._answer(turn, revision, "Certainly.", self._drawn_s(after_ms))

    def _answer(self, turn: int, revision: int, text: str, after_s: float) -> None:
        self._later(after_s, AgentAudio(turn, revision, _ANSWER, MULAW_8K, text))
        self._later(after_s, AgentAudioDone(turn, revision))

    def _later(self, delay_s: float, event: TurnEvent) -> None:
        heapq.heappush(self._coming, (self._now + delay_s, next(self._order), event))

    def _drawn_s(self, median_ms: float) -> float:
        return median_ms / 1000 * self._rng.lognormvariate(0.0, _SPREAD)


def _frames(pcm: Pcm) -> list[bytes]:
    return [pcm[at : at + FRAME].tobytes() for at in range(0, pcm.size, FRAME)]


def scaled(limits: WaitLimits, factor: float) -> WaitLimits:
    """Every wait of the policy `factor` times as long."""
    waits = {f.name: getattr(limits, f.name) * factor for f in fields(limits) if f.name not in _NO_WAITS}
    return replace(limits, **waits)


def run_calls(
    turns: Sequence[SpokenTurn],
    ears: Ears,
    *,
    turns_per_call: int,
    waits: WaitLimits,
    latencies: Latencies,
    seed: int,
) -> list[Outcome]:
    """All of `turns`, so many on a call, each call by a caller of whom nothing is known."""
    outcomes = []
    for at in range(0, len(turns), turns_per_call):
        rng = random.Random(f"{seed} {at}")
        call = VirtualCall(ears, waits=waits, latencies=latencies, rng=rng)
        outcomes += [call.ask(turn) for turn in turns[at : at + turns_per_call]]
    return outcomes
