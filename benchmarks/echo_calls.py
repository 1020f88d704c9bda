"""Calls with an echo on virtual time: the real media tick, conversation, playout and voice-activity network.

The caller's telephone sends the agent back through a small room (60 ms of reverberation), some decibels down and some
milliseconds late, over mu-law both ways; now and then its owner speaks over the agent. What the conversation has
transcribed to decide about an interruption is decoded by the real Whisper; what the caller says in his own turns is
taken as known. Time stands still meanwhile: a transcript counts as having taken `STT_S`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from ai_engine.conversation import decisions as d
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.media.call_media import CallMedia
from ai_engine.media.echo import EchoGuard, MakeCanceller
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, BackendChanged, CallerSpeech, ProviderEvent
from speech_detection.detector import SpeechDetector
from tools.hand_paced import HandPacedTransport
from voice_wire.audio import MULAW_8K, Pcm, decode_mulaw, encode_mulaw

RATE_HZ: Final = 8000
TICK_S: Final = 0.02
FRAME: Final = 160
STT_S: Final = 0.25
ANSWER_S: Final = 0.3
TURNS_PER_CALL: Final = 6
_ROOM_S: Final = 0.06
_NOISE_RMS: Final = 12.0
_CALLER_DBFS: Final = (-24.0, -12.0)
"""The loudest 20 ms of what a caller says."""
_SETTLED_S: Final = 0.6
_NOTHING_S: Final = 30.0
_ECHO_OF_WORDS_S: Final = 0.5
_LEFT_OF_ANSWER_S: Final = 1.5
"""An interruption begins no later than this before the agent's end, or there would be nothing to interrupt."""
_SILENT_PHRASES: Final = Phrases("", "", "", "", "", "", "")
_SETTINGS: Final = ConversationSettings(ask_after_s=0.0, give_up_after_s=0.0, max_call_s=0.0, filler_after_s=0.0)

_Signal = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """Something that is said."""

    text: str
    pcm: npt.NDArray[Any]

    @property
    def seconds(self) -> float:
        return self.pcm.size / RATE_HZ


@dataclass(frozen=True, slots=True)
class Stock:
    """All that is said in these calls."""

    answers: Sequence[Line]
    questions: Sequence[Line]
    interruptions: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of echo."""

    loss_db: float
    delay_ms: float
    wanders: bool = False
    """The delay moves by a packet every few seconds, as a jitter buffer makes it."""


@dataclass(slots=True)
class Tally:
    """What happened in a cell."""

    turns: int = 0
    interrupted: int = 0
    """Turns of the agent that the caller spoke into."""
    missed: int = 0
    """Of these, those that the agent spoke on to their end."""
    self_pauses: int = 0
    self_interruptions: int = 0
    """The agent gave the floor to its own echo, or answered it."""
    pause_ms: list[float] = field(default_factory=list)
    """From the onset of an interruption to the agent's pause."""


Hear = Callable[[Pcm], tuple[str, float | None]]
"""Words and confidence of 8 kHz samples."""


class SteppedDetector(SpeechDetector):
    """The voice-activity network without its thread: `step` judges what came, at once."""

    def __init__(self, model_path: Any, capacity: int) -> None:
        super().__init__(model_path, _at_once, batch_capacity=capacity)

    def step(self) -> None:
        inbox = [self._inbox.popleft() for _ in range(len(self._inbox))]
        if inbox:
            self._judge(inbox)


def _at_once(function: Callable[..., object], *args: object) -> bool:
    function(*args)
    return True


class _SteppedLoop:
    """In place of the media thread and of the control loop: what is posted runs at once."""

    post = staticmethod(_at_once)
    call_soon_threadsafe = staticmethod(_at_once)

    def add(self, session: object) -> None:
        """The call is ticked by its owner."""

    remove = add


class EchoLine(HandPacedTransport):
    """The caller's line as a `MediaTransport`: what is sent comes back."""

    def __init__(self, cell: Cell, rng: np.random.Generator) -> None:
        super().__init__()
        self._cell = cell
        self._rng = rng
        self._room = _room(rng) * 10 ** (-cell.loss_db / 20)
        self._delay = round(cell.delay_ms * RATE_HZ / 1000)
        self._kept = RATE_HZ // 2 + self._room.size
        self._far: _Signal = np.zeros(self._kept)
        self._said: list[Pcm] = []
        self._said_at = 0
        self._ticks = 0

    def say(self, pcm: Pcm) -> None:
        self._said.append(pcm)

    def receive(self, now: float) -> Frame:
        self._ticks += 1
        if self._cell.wanders and self._ticks % 200 == 0:
            self._delay = round(self._cell.delay_ms * 8) + FRAME * int(self._rng.integers(-1, 2))
        end = self._far.size - max(self._delay - FRAME, 0)
        heard = self._far[end - FRAME - self._room.size + 1 : end]
        near = np.convolve(heard, self._room, "valid") + self._rng.normal(0, _NOISE_RMS, FRAME)
        if self._said:
            piece = self._said[0][self._said_at : self._said_at + FRAME]
            near[: piece.size] += piece
            self._said_at += FRAME
            if self._said_at >= self._said[0].size:
                self._said.pop(0)
                self._said_at = 0
        pcm = np.clip(np.rint(near), -32768, 32767).astype(np.int16)
        return Frame(decode_mulaw(encode_mulaw(pcm)).tobytes(), FrameKind.SPEECH)

    def transmit(self, now: float) -> bytes | None:
        frame = super().transmit(now)
        self._far[:-FRAME] = self._far[FRAME:]
        self._far[-FRAME:] = 0 if frame is None else decode_mulaw(frame)
        return frame


def _room(rng: np.random.Generator) -> _Signal:
    """An impulse response of unit energy: the direct sound, then reflections that die away."""
    n = round(_ROOM_S * RATE_HZ)
    response = 0.35 * rng.normal(0, 1, n) * np.exp(-5 * np.arange(n) / n)
    response[0] = 1.0
    return np.asarray(response / np.sqrt(response @ response), np.float64)


class EchoCall:
    """One call of up to `most_turns` turns of the agent; every second one is spoken into."""

    def __init__(
        self,
        cell: Cell,
        stock: Stock,
        tally: Tally,
        *,
        seed: Sequence[int],
        detector: SteppedDetector,
        hear: Hear,
        make_canceller: MakeCanceller | None,
        most_turns: int = TURNS_PER_CALL,
    ) -> None:
        self.over = False
        self._rng = np.random.default_rng(seed)
        self._stock, self._tally, self._hear = stock, tally, hear
        self._now = 0.0
        self._most_turns = most_turns
        self._line = EchoLine(cell, np.random.default_rng([*seed, 1]))
        conversation = Conversation(self._line, settings=_SETTINGS, phrases=_SILENT_PHRASES)
        loop = _SteppedLoop()
        self._media = CallMedia(
            cast("MediaLoop", loop),
            self._line,
            conversation,
            call_id="echo",
            detector=detector,
            control=cast("asyncio.AbstractEventLoop", loop),
            on_decisions=self._carry_out,
            on_failed=self._failed,
            echo=EchoGuard(make_canceller(RATE_HZ), MULAW_8K) if make_canceller else None,
            clock=lambda: self._now,
        )
        self._due: list[tuple[float, int, tuple[int, int], ProviderEvent]] = []
        self._order = itertools.count()
        self._dead: set[tuple[int, int]] = set()
        self._audio: dict[int, bytearray] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._clip = Line("", np.zeros(0, np.int16))
        self._clip_begin = self._clip_end = -1e9
        self._clip_pending = False
        """What the caller said last has not been answered yet."""
        self._answer = Line("", self._clip.pcm)
        self._agent_turn = 0
        self._turns = 0
        self._interrupt_at: float | None = None
        self._interrupting = False
        self._changed_at = self._now
        self._quiet_since = self._now
        self._media.start()
        self._media.provider_event(BackendChanged("faster_whisper", needs_gating=True))

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """20 ms pass, up to where the detector has to judge."""
        self._now = round(self._now + TICK_S, 6)
        while self._due and self._due[0][0] <= self._now:
            _, _, revision, event = heapq.heappop(self._due)
            if revision not in self._dead:
                self._media.provider_event(event)
        self._script()
        if not self.over:
            self._media.tick(self._now)

    def close(self) -> None:
        """No probabilities are wanted any more."""
        stream = self._media._stream
        if stream is not None:
            stream.close()

    def _script(self) -> None:
        now, played = self._now, self._line.played
        if now - self._changed_at > _NOTHING_S:
            self._give_up()  # it pauses again and again and does not get to its end: the same to a caller
        if self._agent_turn and played.first_packet_at(self._agent_turn) is not None:
            self._during_answer(played.first_packet_at(self._agent_turn) or now)
        elif self._media.conversation.state != "listening" or now < self._clip_end or not played.idle(now):
            self._quiet_since = now
        elif now - self._quiet_since >= _SETTLED_S:
            if self._turns >= self._most_turns:
                self.over = True
            else:
                self._say(self._pick(self._stock.questions))

    def _during_answer(self, began: float) -> None:
        now = self._now
        if self._interrupt_at is None:
            self._turns += 1
            self._tally.turns += 1
            self._interrupting = self._turns % 2 == 0
            latest = max(self._answer.seconds - _LEFT_OF_ANSWER_S, 0.9)
            self._interrupt_at = began + float(self._rng.uniform(0.8, latest))
        if self._interrupting and now >= self._interrupt_at and self._clip_begin < began:
            self._tally.interrupted += 1
            self._say(self._pick(self._stock.interruptions))
        if self._line.played.finished(self._agent_turn, now):
            self._tally.missed += self._interrupting
            self._end_turn()

    def _end_turn(self) -> None:
        self._agent_turn = 0
        self._changed_at = self._quiet_since = self._now

    def _pick(self, lines: Sequence[Line]) -> Line:
        return lines[int(self._rng.integers(len(lines)))]

    def _say(self, line: Line) -> None:
        level = 10 ** (float(self._rng.uniform(*_CALLER_DBFS)) / 20)
        self._line.say((line.pcm * level).astype(np.int16))
        self._clip, self._clip_begin, self._clip_end = line, self._now, self._now + line.seconds
        self._clip_pending = True
        self._changed_at = self._quiet_since = self._now

    # --- the provider -------------------------------------------------------------------------------------------------

    def _carry_out(self, decisions: list[d.Decision]) -> None:
        for decision in decisions:
            match decision:
                case d.SendAudio(turn, audio):
                    self._audio.setdefault(turn, bytearray()).extend(audio)
                case d.Transcribe(turn, revision):
                    text, confidence = self._hear(np.frombuffer(bytes(self._audio.get(turn, b"")), np.int16))
                    self._later(STT_S, CallerSpeech(turn, revision, text, final=False, confidence=confidence))
                case d.Speculate(turn, revision):
                    self._speculate(turn, revision)
                case d.Adopt(turn, revision):
                    self._adopt(turn, revision)
                case d.Discard(turn, revision):
                    self._dead.add((turn, revision))
                case d.Announce("paused", at):
                    if self._over_words(at):
                        self._tally.pause_ms.append(1000 * (at - self._clip_begin))
                    else:
                        self._tally.self_pauses += 1
                case d.Announce("barge_in", at):
                    if self._agent_turn and not self._over_words(at):
                        self._give_up()
                    self._end_turn()
                case _:
                    pass

    def _over_words(self, at: float) -> bool:
        return self._interrupting and self._clip_begin <= at and at <= self._clip_end + _ECHO_OF_WORDS_S

    def _speculate(self, turn: int, revision: int) -> None:
        if self._clip_pending:
            text: str = self._clip.text
        else:
            text, _ = self._hear(np.frombuffer(bytes(self._audio.get(turn, b"")), np.int16))
        self._texts[turn, revision] = text
        self._later(STT_S, CallerSpeech(turn, revision, text, final=False))
        if text:
            answer = self._answer = self._pick(self._stock.answers)
            audio = encode_mulaw(answer.pcm)
            self._later(STT_S + ANSWER_S, AgentAudio(turn, revision, audio, MULAW_8K, answer.text))
            self._later(STT_S + ANSWER_S, AgentAudioDone(turn, revision))

    def _adopt(self, turn: int, revision: int) -> None:
        text = self._texts.get((turn, revision), "")
        self._later(0.0, CallerSpeech(turn, revision, text, final=True))
        if text and not self._clip_pending:
            self._give_up()
        elif text:
            self._clip_pending = False
            self._agent_turn, self._interrupt_at = turn, None
            self._interrupting = False
        self._changed_at = self._now

    def _give_up(self) -> None:
        """The agent took its echo for the caller: the call is not to be gone on with."""
        self._tally.self_interruptions += 1
        self.over = True

    def _later(self, delay_s: float, event: Any) -> None:
        heapq.heappush(self._due, (self._now + delay_s, next(self._order), (event.turn, event.revision), event))

    def _failed(self, error: Exception) -> None:
        raise error


def whisper(threads: int = 1) -> Hear:
    """The default STT in this process, with its guards."""
    from local_ai_server.backends.backend import Machine  # noqa: PLC0415 - heavy
    from local_ai_server.backends.stt import faster_whisper  # noqa: PLC0415

    options = faster_whisper.Options(threads=threads)
    model = faster_whisper.FasterWhisperModel()
    model.load(**faster_whisper.BACKEND.plan(options, Machine()).load)
    never = threading.Event()

    def hear(pcm: Pcm) -> tuple[str, float | None]:
        answer, _ = model.transcribe(pcm.tobytes(), never, encoding="linear16", sample_rate_hz=RATE_HZ)
        return str(answer["text"]), answer["confidence"]

    return hear
