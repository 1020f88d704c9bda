"""Random interleavings of everything that can happen to a conversation, and what must hold whatever happens.

One `Chaos` is one call. Its `step` makes one thing happen and then lets some time pass; every check runs on every
tick. The provider is of no help: it answers late, twice, in the wrong order, for turns long gone, or not at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from ai_engine.conversation import decisions as d
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, GreetingMode, Phrases
from ai_engine.conversation.set_answers import SetAnswer, SetAnswers
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    AgentText,
    BackendChanged,
    CallerSpeech,
    ProviderFailed,
    StageReached,
    ToolCall,
)
from tests.ai_engine.conversation.virtual_call import VirtualTransport
from voice_core.gate import Opened
from voice_core.set_phrases import SetPhrase, SetPhrases
from voice_wire.audio import MULAW_8K

FRAME = Frame(b"\x01\x00" * 160, FrameKind.SPEECH)
NO_FRAME = Frame(bytes(320), FrameKind.SILENCE)
TEXTS = [
    "",
    "yes",
    "uh-huh",
    "What is the price?",
    "and the",
    "no wait stop that",
    "12",
    "Hello",
    "um",
    "Operator.",
    "nobody",
]
WORDS = ["Certainly, we can do that.", "Is that all?", "One two three", "", "We open at nine"]
SETTINGS = ConversationSettings(
    ask_after_s=3.0, give_up_after_s=9.0, max_call_s=60.0, filler_after_s=1.0, answer_timeout_s=4.0, stall_s=2.0,
    farewell_deadline_s=2.0, keypad_wait_s=0.5,
)  # fmt: skip

SET = SetAnswers(
    SetPhrases([SetPhrase("person", meaning="person", keys="11"), SetPhrase("nobody", said=("nobody",))]),
    {"person": SetAnswer("I will put you through.", d.Transfer("600")), "nobody": SetAnswer("Who, then?")},
)


class Chaos:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 50.0
        self.transport = VirtualTransport()
        settings = SETTINGS
        greeting = rng.choice(["", "Hello, this is Parley.", "Hello. How can I help?"])
        if rng.random() < 0.2:
            settings = replace(SETTINGS, greeting_interruptible=False)
        mode = rng.choice((GreetingMode.AGENT, GreetingMode.AGENT, GreetingMode.WAIT, GreetingMode.NONE))
        settings = replace(settings, greeting_mode=mode, greeting_wait_s=2.0, greeting_delay_s=rng.choice((0.0, 0.5)))
        disclosure = rng.choice(("", "", "You are talking with a machine."))
        self.conversation = Conversation(
            self.transport,
            settings=settings,
            phrases=Phrases(greeting=greeting, disclosure=disclosure),
            set_answers=SET,
        )
        self.requests: list[tuple[int, int]] = []
        self.allowed: set[tuple[int, int]] = set()
        self.discarded: set[tuple[int, int]] = set()
        self.reported: set[int] = set()
        self.interrupted: set[int] = set()
        """Turns that the caller cut: nothing of them is delivered any more."""
        self.delivered: dict[tuple[int, int], str] = {}
        self.sounded: list[int] = []
        self.opened: Opened | None = None
        self.ended = False
        self.trace: list[str] = []
        self._tell(self.conversation.start)

    # --- what can happen ----------------------------------------------------------------------------------------------

    def step(self) -> None:
        action: Callable[[], str]
        (action,) = self.rng.choices(ACTIONS, WEIGHTS)
        self.trace.append(action(self))
        self.tick(self.rng.choice((0.02, 0.02, 0.02, 0.04, 0.1, 0.3)))

    def voice(self) -> str:
        windows = self.rng.choice((1, 2, 3, 6))
        for _ in range(windows):
            self._tell(lambda now: self.conversation.speech_probability(0.9, now, now))
            self.tick(0.032)
        return f"voice {windows}"

    def silence(self) -> str:
        seconds = self.rng.choice((0.15, 0.4, 0.8, 1.5))
        self._tell(lambda now: self.conversation.speech_probability(0.01, now + seconds, now))
        self.tick(seconds)
        return f"silence {seconds}"

    def chunk(self) -> str:
        turn, revision = self._request()
        text = self.rng.choice(WORDS)
        frames = self.rng.choice((0, 1, 3, 10))
        audio = bytes([1 + (turn * 7 + revision) % 0x50]) * (160 * frames + self.rng.choice((0, 0, 37)))
        if self._tell(
            lambda now: self.conversation.provider_event(AgentAudio(turn, revision, audio, MULAW_8K, text), now)
        ):
            assert turn not in self.interrupted, "audio of an answer that was interrupted"
            self.delivered[turn, revision] = f"{self.delivered.get((turn, revision), '')} {text}".strip()
        return f"chunk {turn}.{revision} {frames} {text!r}"

    def done(self) -> str:
        turn, revision = self._request()
        self._tell(lambda now: self.conversation.provider_event(AgentAudioDone(turn, revision), now))
        return f"done {turn}.{revision}"

    def transcript(self) -> str:
        turn, revision = self._request()
        revision = self.rng.choice((revision, revision, revision, 0))
        event = CallerSpeech(turn, revision, self.rng.choice(TEXTS), self.rng.random() < 0.5, "chaos")
        self._tell(lambda now: self.conversation.provider_event(event, now))
        return f"transcript {turn}.{revision} {event.text!r} {event.final}"

    def tokens(self) -> str:
        """Text as it is written, in step with nothing."""
        turn, revision = self._request()
        event = AgentText(turn, revision, self.rng.choice(WORDS))
        alive = self._tell(lambda now: self.conversation.provider_event(event, now))
        assert not (alive and turn in self.interrupted), "words of an answer that was interrupted"
        return f"tokens {turn}.{revision}"

    def stage(self) -> str:
        turn, revision = self._request()
        event = StageReached(turn, revision, "llm_first_token", self.now, "llm")
        self._tell(lambda now: self.conversation.provider_event(event, now))
        return f"stage {turn}.{revision}"

    def tool(self) -> str:
        turn, revision = self._request()
        event = ToolCall(turn, revision, "t1", "transfer", {})
        alive = self._tell(lambda now: self.conversation.provider_event(event, now))
        assert not (alive and turn in self.interrupted), "a tool of an answer that was interrupted"
        return f"tool {turn}.{revision}"

    def failure(self) -> str:
        turn, revision = self._request()
        turn = self.rng.choice((turn, turn, 0))
        event = ProviderFailed(turn, revision, "llm", "chaos", self.rng.random() < 0.5)
        self._tell(lambda now: self.conversation.provider_event(event, now))
        return f"failure {turn}.{revision} {event.retryable}"

    def lost(self) -> str:
        self._tell(self.conversation.provider_lost)
        return "lost"

    def backend(self) -> str:
        gated = self.rng.random() < 0.6
        self._tell(lambda now: self.conversation.provider_event(BackendChanged("chaos", gated), now))
        return f"backend gated={gated}"

    def hold(self) -> str:
        self._tell(self.conversation.hold)
        return "hold"

    def unhold(self) -> str:
        self._tell(self.conversation.unhold)
        return "unhold"

    def key(self) -> str:
        self._tell(lambda now: self.conversation.dtmf(self.rng.choice("1#"), now))
        return "key"

    def farewell(self) -> str:
        self._tell(lambda now: self.conversation.say_farewell_and_hang_up("Goodbye.", now))
        return "farewell"

    def clock_back(self) -> str:
        self.now -= self.rng.choice((0.01, 0.2, 3.0))
        return "clock back"

    def hang_up(self) -> str:
        self._end()
        return "hang up"

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self._tell(lambda now: self.conversation.hear(FRAME if self.rng.random() < 0.9 else NO_FRAME, now))
        self._tell(self.conversation.tick)
        frame = self.transport.transmit(self.now)
        if frame is not None:
            self._check_frame(frame)

    def settle(self) -> None:
        """Nothing more comes from anywhere: the conversation has to find back by itself."""
        self._tell(self.conversation.unhold)
        for _ in range(900):
            if self.ended:
                return
            self.tick(0.1)
            if self.conversation.state == "listening" and self.conversation._agent.free:
                assert self.conversation._gate.passes, "idle, and the gate is closed"
                return
        raise AssertionError(f"stuck in {self.conversation.state}")

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _tell(self, call: Callable[[float], None]) -> bool:
        """Make a call to the conversation, carry its decisions out, and check."""
        if self.ended:
            flushes = len(self.conversation.decisions)
            call(self.now)
            assert len(self.conversation.decisions) == flushes == 0, "a decision after the end"
            return False
        conversation, playout = self.conversation, self.transport.played
        flushes = self.transport.flushes
        stale = conversation.stale_events
        call(self.now)
        opened = conversation._gate.opened
        if opened is not self.opened and opened is not None:
            if opened is Opened.HEARD:
                assert playout.idle(self.now), "the gate opened while the agent was still to be heard"
            else:
                assert self.transport.flushes > flushes, "the gate opened without a flush"
        self.opened = opened
        taken, conversation.decisions = conversation.decisions, []
        for decision in taken:
            self._carry_out(decision)
        return conversation.stale_events == stale

    def _carry_out(self, decision: d.Decision) -> None:
        match decision:
            case d.SendAudio():
                gate = self.conversation._gate
                if gate.needs_gating and gate.opened is None:
                    assert self.transport.played.paused, "withheld audio was sent while the agent spoke"
            case d.Transcribe(turn, revision) | d.Speculate(turn, revision, _, _):
                assert (turn, revision) not in self.requests, "a revision was used twice"
                self.requests.append((turn, revision))
            case d.Say(turn, revision, _, _):
                self.requests.append((turn, revision))
                self.allowed.add((turn, revision))
            case d.Adopt(turn, revision):
                assert (turn, revision) in self.requests, "adopted without having been asked for"
                assert (turn, revision) not in self.discarded, "adopted after it was discarded"
                self.allowed.add((turn, revision))
            case d.Discard(turn, revision):
                self.discarded.add((turn, revision))
            case d.Interrupt(turn, heard):
                assert self._was_delivered(turn, heard), "heard what was never sent"
                self.interrupted.add(turn)
            case d.RunTool(turn, revision, _, _, _):
                assert (turn, revision) in self.allowed - self.discarded, "a tool of an answer nobody adopted"
                assert turn not in self.interrupted, "a tool of an answer that was interrupted"
            case d.AgentTurn(turn, text, _, _, _):
                assert turn not in self.reported, "an agent turn was reported twice"
                self.reported.add(turn)
                assert self._was_delivered(turn, text), "history of what was never sent"
            case d.HangUp() | d.FallBack() | d.Transfer():
                self._end()
            case _:
                pass

    def _check_frame(self, frame: bytes) -> None:
        octets = set(frame[:160]) - {0xFF}
        if len(octets) != 1 or frame.count(0xFF) > 150:
            return  # fading
        (octet,) = octets
        assert self.conversation.state != "held", "sound while on hold"
        playing = self.transport.played.last_frame_turn
        matches = [key for key in self.allowed - self.discarded if 1 + (key[0] * 7 + key[1]) % 0x50 == octet]
        assert any(turn == playing for turn, _ in matches), "sound that nobody adopted"
        assert playing not in self.interrupted, "sound of an answer that was interrupted"
        if not self.sounded or self.sounded[-1] != playing:
            assert playing not in self.sounded, "two turns sounded at once"
            self.sounded.append(playing)
        assert not self.ended, "sound after the end"

    def _end(self) -> None:
        if self.ended:
            return
        self.conversation.end(self.now)
        self.ended = True
        taken, self.conversation.decisions = self.conversation.decisions, []
        for decision in taken:
            assert not isinstance(
                decision, d.HangUp | d.FallBack | d.Transfer | d.Say | d.SendAudio | d.Adopt | d.Speculate
            )
            self._carry_out(decision)

    def _was_delivered(self, turn: int, text: str) -> bool:
        return not text or any(sent.startswith(text) for (number, _), sent in self.delivered.items() if number == turn)

    def _request(self) -> tuple[int, int]:
        if not self.requests:
            return (1, 1)
        if self.rng.random() < 0.8:
            return self.requests[-1]
        return self.rng.choice(self.requests)


_MENU: list[tuple[Callable[[Chaos], str], float]] = [
    (Chaos.voice, 20), (Chaos.silence, 18), (Chaos.chunk, 20), (Chaos.done, 8), (Chaos.transcript, 12),
    (Chaos.stage, 1), (Chaos.tool, 1), (Chaos.tokens, 2), (Chaos.failure, 3), (Chaos.lost, 1), (Chaos.backend, 2),
    (Chaos.hold, 1.5), (Chaos.unhold, 3), (Chaos.key, 1), (Chaos.farewell, 0.5), (Chaos.clock_back, 0.5),
    (Chaos.hang_up, 0.5),
]  # fmt: skip
ACTIONS = [action for action, _ in _MENU]
WEIGHTS = [weight for _, weight in _MENU]


def interleaving(seed: int, *, steps: int = 16) -> None:
    """One random call. A failure names its seed and what led to it."""
    chaos = Chaos(random.Random(seed))
    try:
        for _ in range(steps):
            chaos.step()
            if chaos.ended:
                chaos.trace.append("(ended)")
                chaos.voice()
                chaos.chunk()
                chaos.tick(0.02)
                return
        if seed % 20 == 0:
            chaos.settle()
    except AssertionError as wrong:
        raise AssertionError(f"seed {seed}: {wrong}\n  " + "\n  ".join(chaos.trace)) from wrong
