"""A whole call on virtual time: caller, voice activity, provider and transport around a real `Conversation`.

Scripts are text, one step per line:

    say WORDS            the caller speaks, `WORD_S` per word
    cough SECONDS        a sound without words
    pause SECONDS        nothing, for that long
    until agent          until a new agent turn has begun to sound
    until question       until the agent has said a question mark
    until quiet          until the agent has been heard to the end and nothing is pending
    hold | unhold | lost | hangup | key DIGITS | backend gated | backend streaming
    fail stt | fail llm  the provider's next answers fail (`fail none` ends that)
    mute SECONDS         no packets at all for that long

The scripted provider really "decodes": each caller frame carries its number in its first samples, and a word is
understood when nearly all frames it was spoken in have been sent for the turn. So a word lost by the gate is a word
missing in the transcript.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from ai_engine.conversation import decisions as d
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.key_input import KeyRules
from ai_engine.conversation.set_answers import SetAnswers
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    BackendChanged,
    CallerSpeech,
    ProviderEvent,
    ProviderFailed,
    StageReached,
)
from tools.scenarios.virtual_parts import ScriptedProvider, VirtualTransport, sentences, tag
from voice_wire.audio import MULAW_8K, decode

D = TypeVar("D", bound=d.Decision)

TICK_S = 0.02
WORD_S = 0.3
WINDOW_S = 0.032
MS_PER_CHARACTER = 60
VOICE_LEVEL = 4000


@dataclass
class Word:
    text: str
    begins: float
    ends: float


class VirtualCall:
    """`run()` plays the script; then `history()`, `log` and the invariants checked on the way tell what happened."""

    def __init__(
        self,
        script: str | Iterable[str],
        *,
        greeting: str = "",
        provider: ScriptedProvider | None = None,
        settings: ConversationSettings | None = None,
        phrases: Phrases | None = None,
        set_answers: SetAnswers | None = None,
        keys: KeyRules | None = None,
        echo_db: float | None = None,
        echo_delay_s: float = 0.2,
        start_at: float = 100.0,
        transport: VirtualTransport | None = None,
    ) -> None:
        lines = script.strip().splitlines() if isinstance(script, str) else script
        self.steps = [line.strip() for line in lines if line.strip()]
        self.provider = provider or ScriptedProvider()
        self.transport = transport or VirtualTransport()
        self.conversation = Conversation(
            self.transport,
            settings=settings,
            phrases=phrases or Phrases(greeting=greeting, filler=""),
            set_answers=set_answers,
            keys=keys,
        )
        self.now = start_at
        self.started_at = start_at
        self.log: list[tuple[float, d.Decision]] = []
        self.words: list[Word] = []
        self.sounds: list[tuple[float, float]] = []
        self.muted_until = -1.0
        self.mouth_free_at = start_at
        self.frame_number = itertools.count(1)
        self.frame_times: dict[int, float] = {}
        self.received: dict[int, set[int]] = {}
        self.cancelled: set[tuple[int, int]] = set()
        self.dead_turns: set[int] = set()
        self.rendered: set[int] = set()
        """Turns that come from the pre-rendered store, whatever the provider does."""
        self.transcripts: dict[tuple[int, int], str] = {}
        self.discarded: set[tuple[int, int]] = set()
        self.adopted: list[tuple[int, int]] = []
        self.tags: dict[int, tuple[int, int]] = {}
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.vad_due: list[tuple[float, float, float]] = []
        self.window_ends = start_at
        self.echo_db = echo_db
        self.echo_delay_s = echo_delay_s
        self.ended = False
        self.hung_up: str | None = None
        self.agent_turns_sounding = 0
        self.seen_sounding: set[int] = set()
        self.waits: list[str] = []

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, *, tail_s: float = 0.0, limit_s: float = 120.0) -> VirtualCall:
        self.conversation.start(self.now)
        self.conversation.provider_event(BackendChanged("scripted", not self.provider.streaming), self.now)
        for step in self.steps:
            self._step(step, limit_s)
            if self.ended:
                return self
        self.advance(tail_s)
        return self

    def advance(self, seconds: float) -> None:
        until = self.now + seconds - 1e-9
        while self.now < until and not self.ended:
            self.tick()

    def advance_until(self, condition: Callable[[], bool], limit_s: float) -> None:
        deadline = self.now + limit_s
        while not condition() and not self.ended:
            assert self.now < deadline, f"nothing came of it within {limit_s} s; state {self.conversation.state}"
            self.tick()

    def _step(self, step: str, limit_s: float) -> None:
        verb, _, rest = step.partition(" ")
        now = self.now
        if verb == "say":
            at = now
            for word in rest.split():
                self.words.append(Word(word, at, at + WORD_S))
                at += WORD_S
            self.sounds.append((now, at))
            self.advance(at - now)
        elif verb == "cough":
            self.sounds.append((now, now + float(rest)))
            self.advance(float(rest))
        elif verb == "pause":
            self.advance(float(rest))
        elif verb == "until":
            self._until(rest, limit_s)
        elif verb == "hold":
            self.conversation.hold(now)
        elif verb == "unhold":
            self.conversation.unhold(now)
        elif verb == "lost":
            self.cancel_all()
            self.conversation.provider_lost(now)
        elif verb == "hangup":
            self.conversation.end(now)
            self.drain()
            self.ended = True
        elif verb == "key":
            for digit in rest:
                self.conversation.dtmf(digit, self.now)
                self.advance(0.1)
        elif verb == "backend":
            self.provider.streaming = rest == "streaming"
            self.conversation.provider_event(BackendChanged("other", rest == "gated"), now)
        elif verb == "fail":
            self.provider.failing = "" if rest == "none" else rest
        elif verb == "mute":
            self.muted_until = now + float(rest)
            self.advance(float(rest))
        else:
            raise ValueError(f"no such step: {step!r}")

    def _until(self, what: str, limit_s: float) -> None:
        if what == "agent":
            before = set(self.seen_sounding)
            self.advance_until(lambda: bool(self.seen_sounding - before), limit_s)
        elif what == "question":
            playout = self.transport.played
            self.advance_until(lambda: "?" in playout.heard_text(playout.last_frame_turn, self.now + 0.1), limit_s)
        elif what == "quiet":
            self.advance(0.1)
            self.advance_until(
                lambda: self.conversation.state == "listening" and self.transport.played.idle(self.now), limit_s
            )
        else:
            raise ValueError(f"no such condition: {what!r}")

    def tick(self) -> None:
        self.now = round(self.now + TICK_S, 6)
        now = self.now
        while self.queue and self.queue[0][0] <= now:
            heapq.heappop(self.queue)[2]()
        self.conversation.hear(self._caller_frame(now), now)
        self.drain()  # here already, while the gate is as it was when the frame was let through
        self._voice_activity(now)
        self.conversation.tick(now)
        self.drain()
        frame = self.transport.transmit(now)
        if frame is not None:
            self._check_frame(frame)
        self._check()

    # --- the caller ---------------------------------------------------------------------------------------------------

    def _caller_frame(self, now: float) -> Frame:
        middle = now - TICK_S / 2
        voiced = any(begins <= middle < ends for begins, ends in self.sounds)
        if now < self.muted_until:
            return Frame(bytes(320), FrameKind.SILENCE)
        number = next(self.frame_number)
        self.frame_times[number] = now
        samples = np.zeros(160, np.int16)
        if voiced:
            samples[:] = VOICE_LEVEL
            samples[::2] = -VOICE_LEVEL
        samples += self._echo(now)
        samples[:4] = [number >> shift & 63 for shift in (0, 6, 12, 18)]  # too small to count as sound
        return Frame(samples.tobytes(), FrameKind.SPEECH)

    def _echo(self, now: float) -> np.ndarray:
        if self.echo_db is None:
            return np.zeros(160, np.int16)
        for sent_at, frame in reversed(self.transport.wire):
            if abs(sent_at + self.echo_delay_s - now) < TICK_S / 2:
                return (decode(frame, "mulaw") * 10 ** (-self.echo_db / 20)).astype(np.int16)
            if sent_at + self.echo_delay_s < now - TICK_S:
                break
        return np.zeros(160, np.int16)

    def _voice_activity(self, now: float) -> None:
        due, self.vad_due = self.vad_due, []
        for probability, at, _ in due:  # one tick late
            self.conversation.speech_probability(probability, at, now)
        while self.window_ends + WINDOW_S <= now:
            begins, self.window_ends = self.window_ends, self.window_ends + WINDOW_S
            overlap = sum(max(0.0, min(ends, self.window_ends) - max(start, begins)) for start, ends in self.sounds)
            probability = 0.95 if overlap > WINDOW_S / 2 else 0.02
            if probability < 0.5 and self._echo(now).any():
                probability = 0.9  # a network hears speech in an echo
            if self.window_ends < self.muted_until:
                continue
            self.vad_due.append((probability, self.window_ends, now))

    # --- the provider -------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        taken, self.conversation.decisions = self.conversation.decisions, []
        for decision in taken:
            self.log.append((self.now, decision))
            self._carry_out(decision)

    def _carry_out(self, decision: d.Decision) -> None:
        provider = self.provider
        match decision:
            case d.SendAudio(turn, audio):
                self._check_admitted(turn)
                self._receive(turn, audio)
                if provider.streaming:
                    self._later(provider.stt_s, turn, 0, lambda: self._partial(turn))
            case d.Transcribe(turn, revision):
                self._later(provider.stt_s, turn, revision, self._heard(turn, revision, final=False))
            case d.Speculate(turn, revision, _, text):
                self._answer(turn, revision, text)
            case d.Adopt(turn, revision):
                assert (turn, revision) not in self.discarded
                self.adopted.append((turn, revision))
                if (turn, revision) in self.transcripts:
                    self._later(0.0, turn, revision, self._heard(turn, revision, final=True))
            case d.Discard(turn, revision):
                self.discarded.add((turn, revision))
                self.cancelled.add((turn, revision))
            case d.Forget(turn):
                self.dead_turns.add(turn)
            case d.Say(turn, revision, text, _):
                if decision.rendered_only:
                    self.rendered.add(turn)
                if provider.failing not in ("tts", "connection") or decision.rendered_only:
                    self._speak(turn, revision, text, provider.say_s)
                else:
                    self._fails(turn, revision, provider.failing, provider.say_s)
            case d.Interrupt(turn, heard):
                assert heard in self.transport.played.text(turn)
                self.dead_turns.add(turn)
            case d.HangUp(reason) | d.FallBack(reason) | d.Transfer(reason=reason):
                self.hung_up = reason
                self.conversation.end(self.now)
                self.ended = True
                self.drain()
            case _:
                pass

    def _later(self, delay_s: float, turn: int, revision: int, then: Callable[[], ProviderEvent | None]) -> None:
        def fire() -> None:
            stale = (turn, revision) in self.cancelled or turn in self.dead_turns
            if (self.provider.silent and turn not in self.rendered) or (stale and not self.provider.keep_going):
                return
            event = then()
            if event is not None:
                self.conversation.provider_event(event, self.now)
                self.drain()

        heapq.heappush(self.queue, (self.now + delay_s, next(self.order), fire))

    def cancel_all(self) -> None:
        self.queue.clear()

    def _receive(self, turn: int, audio: bytes) -> None:
        """Caller audio that the gate let through: the recogniser of `turn` has these frames now."""
        samples = np.frombuffer(audio, np.int16).reshape(-1, 160)
        numbers = samples[:, :4].astype(int) @ [1, 1 << 6, 1 << 12, 1 << 18]
        kept = self.received.setdefault(turn, set())
        for number in numbers.tolist():
            if number:
                assert number not in kept, "a frame was sent twice"
                kept.add(number)

    def understood(self, turn: int) -> str:
        times = sorted(self.frame_times[number] for number in self.received.get(turn, ()))
        words = []
        for word in self.words:
            wanted = (word.ends - word.begins) / TICK_S
            got = sum(1 for at in times if word.begins < at <= word.ends + 1e-6)
            if got >= 0.8 * wanted:
                words.append(word.text)
        return " ".join(words)

    def _heard(self, turn: int, revision: int, *, final: bool) -> Callable[[], ProviderEvent]:
        decoded = self.understood(turn) if (turn, revision) not in self.transcripts else ""

        def event() -> ProviderEvent:
            if self.provider.failing in ("stt", "connection"):
                return ProviderFailed(turn, revision, self.provider.failing, "scripted", True)
            text = self.transcripts.setdefault((turn, revision), decoded)
            return CallerSpeech(turn, revision, text, final, "scripted", self.confidence(text))

        return event

    def confidence(self, text: str) -> float | None:
        """What the recogniser says of how sure it is."""
        return None

    def _fails(self, turn: int, revision: int, component: str, delay_s: float) -> None:
        failed = ProviderFailed(turn, revision, component, "scripted", True)
        self._later(delay_s, turn, revision, lambda: failed)

    def _partial(self, turn: int) -> ProviderEvent | None:
        text = self.understood(turn)
        if not text or self.transcripts.get((turn, 0)) == text:
            return None
        self.transcripts[turn, 0] = text
        return CallerSpeech(turn, 0, text, False, "scripted")

    def _answer(self, turn: int, revision: int, text: str) -> None:
        provider = self.provider
        if text:
            understood = text
            self.transcripts[turn, revision] = text
        else:
            understood = self.understood(turn)
            self._later(provider.stt_s, turn, revision, self._heard(turn, revision, final=False))
        if provider.failing in ("llm", "tts", "connection"):
            self._fails(turn, revision, provider.failing, provider.stt_s + 0.05)
        elif understood and provider.failing != "stt":
            self._later(
                provider.stt_s,
                turn,
                revision,
                partial(_itself, StageReached(turn, revision, "stt_done", self.now + provider.stt_s)),
            )
            self._speak(turn, revision, provider.reply_to(understood), provider.stt_s + provider.first_audio_s)

    def _speak(self, turn: int, revision: int, text: str, delay_s: float) -> None:
        self.tags[tag(turn, revision)] = (turn, revision)
        phrases = [part + mark for part, mark in sentences(text)]
        for phrase in phrases:
            audio = bytes([tag(turn, revision)]) * (len(phrase) * MS_PER_CHARACTER * 8)
            event = AgentAudio(turn, revision, audio, MULAW_8K, phrase)
            self._later(delay_s, turn, revision, partial(_itself, event))
            delay_s += self.provider.phrase_gap_s
        self._later(delay_s, turn, revision, lambda: AgentAudioDone(turn, revision))

    # --- what must always hold ----------------------------------------------------------------------------------------

    def _check_admitted(self, turn: int) -> None:
        gate = self.conversation._gate
        if gate.needs_gating and gate.opened is None:
            assert self.transport.played.paused, "withheld audio was sent while the agent spoke"

    def _check_frame(self, frame: bytes) -> None:
        loud = [octet for octet in frame if octet in self.tags]
        if len(loud) < len(frame) // 2:
            return  # a fade
        assert len(set(loud)) == 1, "two agent turns in one frame"
        turn, revision = self.tags[loud[0]]
        assert (turn, revision) not in self.discarded, "audio of a discarded revision was sent"
        self.seen_sounding.add(turn)

    def _check(self) -> None:
        conversation, playout = self.conversation, self.transport.played
        if conversation._agent.reply is None and conversation._agent.filler is None:
            assert not playout.queued_ms, "sound without an owner"

    # --- what happened ------------------------------------------------------------------------------------------------

    def history(self) -> list[str]:
        return [f"{message.role}: {message.content}" for message in self.conversation.history.messages()]

    def of(self, *kinds: type[D]) -> list[D]:
        return [decision for _, decision in self.log if isinstance(decision, kinds)]

    def states(self) -> list[str]:
        return [decision.state for decision in self.of(d.Announce)]

    def steps_taken(self) -> str:
        """The turn-taking decisions as a line: S1.1 (speculate turn 1 revision 1) D1.1 S1.2 A1.2 …"""
        letters = {
            d.Speculate: "S", d.Adopt: "A", d.Discard: "D", d.Forget: "F", d.Say: "Y", d.Interrupt: "I",
            d.Transcribe: "T", d.HangUp: "H", d.FallBack: "B", d.Transfer: "X",
        }  # fmt: skip
        parts = []
        for _, decision in self.log:
            letter = letters.get(type(decision))
            if letter:
                turn = getattr(decision, "turn", "")
                revision = getattr(decision, "revision", None)
                parts.append(f"{letter}{turn}" + (f".{revision}" if revision is not None and letter != "Y" else ""))
        return " ".join(parts)

    def time_of(self, kind: type, nth: int = 0) -> float:
        return [at for at, decision in self.log if isinstance(decision, kind)][nth]


def _itself(event: ProviderEvent) -> ProviderEvent:
    return event
