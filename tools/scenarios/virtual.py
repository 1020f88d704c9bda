"""A scenario on virtual time: the real conversation, playout, gate, voice activity, jitter buffer and concealment, with
a caller, a network and a provider by script.

    observed = run(scenario)
    print(complaints(scenario, observed, "virtual"))

What the scripted recogniser understands is what really reached it: a word counts when most of its frames were sent for
the turn, so one that was lost by the gate, the network or a key press is missing in the transcript.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from ai_engine.call_setup import phrases_for, settings_for
from ai_engine.context_parts import set_answers
from ai_engine.contexts import Context
from ai_engine.conversation import decisions as d
from ai_engine.conversation_section import conversation_settings
from ai_engine.media.transport import Frame
from tools.call.measure import voiced_segments
from tools.call.wav import Pcm, read_wav
from tools.line_noise import example
from tools.scenarios import judge
from tools.scenarios.load import FOLDER
from tools.scenarios.model import (
    LINES,
    SPEECH_DBFS,
    Freeze,
    Interrupt,
    Keys,
    Outcome,
    Say,
    Scenario,
    Sound,
    Step,
    Trouble,
    Until,
    plain,
)
from tools.scenarios.virtual_call import TICK_S, WINDOW_S, WORD_S, VirtualCall
from tools.scenarios.virtual_line import (
    NOT_SPEECH,
    RATE_HZ,
    Signal,
    Truth,
    VirtualLine,
    echo_of,
    voice_like_sound,
)
from tools.scenarios.virtual_parts import ScriptedProvider

SPEECH: Final = 0.95
"""What the network says of a voice."""
WHOLE: Final = 0.6
"""A recogniser understands a word of which it got this share."""
KEY_S: Final = 0.1
_OVERHEARD_DB: Final = -15.0
"""A second voice below this is not understood."""
_NEVER_STOPS_GAP_S: Final = 0.2
_SETTLE_S: Final = 0.1
_NOW: Final = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
_AFTER_S: Final = 0.5
"""After the script's end, so that what was told last is told."""

Speak = Callable[[str], Pcm]
"""Words → 8 kHz samples; for the option of real sound."""
VoiceNetwork = Callable[[bytes, float], list[tuple[float, float]]]
"""(20 ms of PCM16, when they ended) → (probability, when its window ended) of what was judged by now."""


@dataclass(slots=True)
class _Word:
    text: str
    begins: float
    ends: float
    understood: bool


class PersonaProvider(ScriptedProvider):
    """Answers as the persona knows, then as the scenario says."""

    scenario: Scenario

    def reply_to(self, understood: str) -> str:
        heard = plain(understood)
        for answer in self.scenario.persona.answers:
            if any(plain(question) == heard for question in answer.ask):
                return answer.say
        replies = self.scenario.provider.replies
        return next(
            (reply for said, reply in replies.items() if plain(said) == heard), self.scenario.provider.otherwise
        )


def provider_of(scenario: Scenario) -> PersonaProvider:
    script = scenario.provider
    provider = PersonaProvider(
        stt_s=script.stt_ms / 1000,
        first_audio_s=script.first_audio_ms / 1000,
        phrase_gap_s=script.phrase_gap_ms / 1000,
        say_s=script.say_ms / 1000,
        streaming=script.stt == "streaming",
        keep_going=script.ignores_cancels,
    )
    provider.scenario = scenario
    return provider


class ScenarioCall(VirtualCall):
    """One scenario being run."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        folder: Path = FOLDER,
        speak: Speak | None = None,
        network: VoiceNetwork | None = None,
    ) -> None:
        persona = scenario.persona
        context = Context.model_validate(persona.context_fields())
        super().__init__(
            (),
            provider=provider_of(scenario),
            settings=settings_for(context, conversation_settings(persona.conversation)),
            phrases=phrases_for(context.for_call(call_id="scenario", now=_NOW)),
            set_answers=set_answers(context.set_phrases, context.language),
        )
        self.scenario = scenario
        self.line = VirtualLine(scenario.line, self.now)
        self._folder = folder
        self._voice = speak
        self._network = network
        self._kinds = {persona.greeting: "greeting"} | {persona.line(name): name for name in LINES}
        self._spoken_words: list[_Word] = []
        self._got: defaultdict[int, Counter[int]] = defaultdict(Counter)  # turn → word → frames of it
        self._got_at: defaultdict[int, set[float]] = defaultdict(set)
        self._spoken: list[tuple[float, float]] = []
        self._first_sound: dict[int, float] = {}
        self._frames_of: Counter[int] = Counter()
        self._said: dict[int, str] = {}
        self._outcome: Outcome = "talking"
        self._frames: list[tuple[float, float]] = []
        self._hung_up_by_caller = False

    # --- the script ---------------------------------------------------------------------------------------------------

    def play_through(self) -> judge.Observed:
        """Run the whole script; says what came of it. What cannot go on is told under `broken`."""
        broken: list[str] = []
        self.steps = []
        try:
            self.run()
            for number, step in enumerate(self.scenario.caller, start=1):
                try:
                    self._carry_out_step(step)
                except AssertionError as failed:
                    broken.append(f"step {number} ({step.kind}): {failed}")
                    break
                if self.ended:
                    break
            self.advance(_AFTER_S)
        except AssertionError as failed:
            broken.append(str(failed))
        return self._observed(broken)

    def _carry_out_step(self, step: Step) -> None:
        now, value = self.now, step.value
        match value:
            case Say():
                self._say(value)
            case Interrupt(say=say, after_ms=after_ms):
                self._until_spoken(after_ms)
                self._say(say)
            case Until(what="end", limit_s=limit_s):
                self.advance_until(lambda: self.ended, limit_s)
            case Until(what="quiet", limit_s=limit_s):
                self.advance(_SETTLE_S)
                self.advance_until(self._quiet, limit_s)
                assert not self.ended, "the agent hung up"
            case Until(what=what, limit_s=limit_s):
                self._until(what, limit_s)
                assert not self.ended, "the agent hung up"
            case Sound():
                self._sound(value)
            case Keys():
                self._keys(value)
            case Freeze(seconds=seconds, lost=lost, go_on=go_on):
                self.line.freeze(seconds, now, lost=lost)
                if not go_on:
                    self.advance(seconds)
            case Trouble():
                self._trouble(value)
            case float():
                self.advance(value)
            case _ if step.kind == "hold":
                self.conversation.hold(now)
            case _ if step.kind == "unhold":
                self.conversation.unhold(now)
            case _:
                self._outcome = "caller_hung_up"
                self._step("hangup", 0.0)

    def _say(self, say: Say) -> None:
        until, begin = self.now + say.for_s, self.now
        while True:
            at = self._speak_once(say, begin)
            if at >= until:
                break
            begin = at + _NEVER_STOPS_GAP_S
        if not say.go_on:
            self.advance(at - self.now)

    def _speak_once(self, say: Say, begin: float) -> float:
        """Schedule one saying of it; returns when it ends."""
        if say.wav:
            return self._speak_sound(read_wav(self._folder / say.wav), say.text, say, begin)
        for words, pause_s in say.pieces():
            if words and self._voice is not None:
                begin = self._speak_sound(self._voice(words), words, say, begin)
            elif words:
                seconds = WORD_S * len(words.split())
                self._speech(words, begin, begin + seconds, say)
                sound = voice_like_sound(seconds, louder_db=say.louder_db)
                self.line.play(sound, (Truth(begin, begin + seconds, SPEECH),), after_s=begin - self.now)
                begin += seconds
            begin += pause_s
        return begin

    def _speak_sound(self, pcm: Pcm, words: str, say: Say, begin: float) -> float:
        segments = [(begin + v.begin_s, begin + v.end_s) for v in voiced_segments(pcm)]
        truths = [Truth(a, b, SPEECH) for a, b in segments]
        sound: Signal = pcm.astype(np.float32) * np.float32(10 ** (say.louder_db / 20))
        self.line.play(sound, truths, after_s=begin - self.now)
        if segments:
            self._speech(words, segments[0][0], segments[-1][1], say)
        return begin + len(pcm) / RATE_HZ

    def _speech(self, words: str, begin: float, end: float, say: Say) -> None:
        understood = not say.second_voice or say.louder_db > _OVERHEARD_DB
        each_s = (end - begin) / max(1, len(words.split()))
        for index, text in enumerate(words.split()):
            self._spoken_words.append(_Word(text, begin + index * each_s, begin + (index + 1) * each_s, understood))
        if not say.second_voice:
            self._spoken.append((begin, end))

    def _sound(self, sound: Sound) -> None:
        begin, end = self.now, self.now + sound.seconds
        made = example(sound.kind, sound.seconds, SPEECH_DBFS - sound.below_speech_db)
        self.line.play(made.pcm.astype(np.float32), (Truth(begin, end, sound.voice_like),))
        if not sound.go_on:
            self.advance(sound.seconds)

    def _keys(self, keys: Keys) -> None:
        for digit in keys.digits:
            if keys.in_band:
                self._sound(Sound(kind="DTMF", seconds=KEY_S, voice_like=NOT_SPEECH, go_on=True))
            else:
                self.line.press(KEY_S, self.now)
            self.advance(KEY_S)
            if not keys.in_band and not self.ended:
                self.conversation.dtmf(digit, self.now)
            self.advance(KEY_S)

    def _trouble(self, trouble: Trouble) -> None:
        if trouble.backend is not None:
            self._step(f"backend {trouble.backend}", 0.0)
        if trouble.first_audio_ms is not None:
            self.provider.first_audio_s = trouble.first_audio_ms / 1000
        if trouble.fail is not None:
            self.provider.silent = trouble.fail == "silent"
            self.provider.failing = trouble.fail if trouble.fail in ("stt", "llm", "tts") else ""
        if trouble.lost:
            self.provider.failing = "connection"
            self._step("lost", 0.0)

    def _quiet(self) -> bool:
        """The agent has been heard to the end, and there is nothing it is about to say."""
        conversation = self.conversation
        return conversation.state == "listening" and conversation._agent.free and self.transport.played.idle(self.now)

    def _until_spoken(self, after_ms: float) -> None:
        """The agent has spoken so long of the turn at hand, or of the next one if it is quiet."""
        playout = self.transport.played
        over = 0 if playout.speaking(self.now) else playout.last_frame_turn

        def spoken() -> bool:
            turn = playout.last_frame_turn
            return turn != over and playout.speaking(self.now) and self._frames_of[turn] * TICK_S * 1000 >= after_ms

        self.advance_until(spoken, 60.0)

    # --- sound and its truth ------------------------------------------------------------------------------------------

    def _caller_frame(self, now: float) -> Frame:
        echo = self.scenario.line.echo
        returned = (
            None
            if echo is None
            else echo_of(self.transport.wire, now, loss_db=echo.loss_db, delay_s=echo.delay_ms / 1000)
        )
        frame = self.line.frame(now, returned)
        self._frame = frame
        return frame

    def _voice_activity(self, now: float) -> None:
        due, self.vad_due = self.vad_due, []
        for probability, at, _ in due:  # one tick late
            self.conversation.speech_probability(probability, at, now)
        if self._network is not None:
            self.vad_due = [(probability, at, now) for probability, at in self._network(self._frame.pcm, now)]
            return
        self._frames = (self._frames + self.line.received)[-4:]
        self.line.received.clear()
        while self.window_ends + WINDOW_S <= now:
            begins, self.window_ends = self.window_ends, self.window_ends + WINDOW_S
            voiced_s, highest = 0.0, NOT_SPEECH
            for ended, probability in self._frames:
                overlap = min(ended, self.window_ends) - max(ended - TICK_S, begins)
                if probability > NOT_SPEECH and overlap > 0:
                    voiced_s += overlap
                    highest = max(highest, probability)
            self.vad_due.append((highest if voiced_s > WINDOW_S / 2 else NOT_SPEECH, self.window_ends, now))

    # --- the recogniser -----------------------------------------------------------------------------------------------

    def _receive(self, turn: int, audio: bytes) -> None:
        for begin in range(0, len(audio), 320):
            made_at = self.line.by_sound.get(audio[begin : begin + 320])
            if made_at is None:
                continue
            assert made_at not in self._got_at[turn], "a frame was sent twice"
            self._got_at[turn].add(made_at)
            middle = made_at - TICK_S / 2
            for index in range(len(self._spoken_words) - 1, -1, -1):
                word = self._spoken_words[index]
                if word.begins <= middle < word.ends:
                    self._got[turn][index] += 1
                if word.ends < middle - 5.0:
                    break

    def understood(self, turn: int) -> str:
        got = self._got[turn]
        words = [word for index, word in enumerate(self._spoken_words) if self._whole(got[index], word)]
        text = " ".join(word.text for word in sorted(words, key=lambda word: word.begins) if word.understood)
        script = self.scenario.provider
        for said, heard in script.hears.items():
            if text and plain(said) == plain(text):
                text = heard.text
        if script.marks_fragments and text and text[-1] not in ".?!":
            text += "."
        return text

    def confidence(self, text: str) -> float | None:
        hears = self.scenario.provider.hears.values()
        return next((heard.confidence for heard in hears if plain(heard.text) == plain(text)), None)

    def _whole(self, frames: int, word: _Word) -> bool:
        return frames >= WHOLE * (word.ends - word.begins) / TICK_S

    # --- what came of it ----------------------------------------------------------------------------------------------

    def _check_frame(self, frame: bytes) -> None:
        super()._check_frame(frame)
        turn = self.transport.played.last_frame_turn
        self._frames_of[turn] += 1
        self._first_sound.setdefault(turn, self.now)

    def _observed(self, broken: list[str]) -> judge.Observed:
        observed = judge.Observed(self.started_at, spoken=sorted(self._spoken), broken=broken)
        observed.history = tuple(self.history())
        said: dict[int, str] = {}
        for at, decision in self.log:
            match decision:
                case d.Say(turn, _, text, _):
                    said[turn] = self._kinds.get(text, "answer")
                case d.CallerTurn(_, text, _):
                    observed.happened.append(judge.CallerTurn(at, text))
                case d.AgentTurn(turn, text, interrupted, _, _):
                    began = self._first_sound.get(turn)
                    observed.happened.append(judge.AgentTurn(at, text, interrupted, began, said.get(turn, "answer")))
                case d.Announce(state, when, detail):
                    observed.happened.append(judge.StateChange(when, state, detail))
                    if state == "barge_in" and detail != "keypad":
                        observed.agent_silent_at.append(self._silence_after(when))
                case d.HangUp():
                    self._outcome = "agent_hung_up"
                case d.FallBack():
                    self._outcome = "fell_back"
                case d.Transfer():
                    self._outcome = "transferred"
                case _:
                    pass
        observed.outcome = self._outcome
        reached = {
            index for got in self._got.values() for index in got if self._whole(got[index], self._spoken_words[index])
        }
        if self._spoken_words:
            observed.words_kept_percent = 100 * len(reached) / len(self._spoken_words)
        return observed

    def _silence_after(self, committed_at: float) -> tuple[float, float]:
        began = max((begin for begin, _ in self._spoken if begin <= committed_at), default=committed_at)
        sounded = [at for at, _ in self.transport.wire if at <= committed_at + _SETTLE_S]
        return began, max(sounded, default=began)


def run(
    scenario: Scenario,
    *,
    folder: Path = FOLDER,
    speak: Speak | None = None,
    network: VoiceNetwork | None = None,
) -> judge.Observed:
    """Run `scenario` on virtual time. `folder`: where its WAV files lie. `speak` and `network` put real sound and the
    real voice-activity network in the place of the truth."""
    return ScenarioCall(scenario, folder=folder, speak=speak, network=network).play_through()
