"""The conversation of one call: who has the floor, when a turn is over, and what to do about it.

A plain object: no I/O, no clock, no locks, no awaits. The call's shell feeds it and carries its decisions out, on the
media loop, once per 20 ms:

    frame = transport.receive(now)
    conversation.hear(frame, now)
    conversation.tick(now)
    decisions, conversation.decisions = conversation.decisions, []
    transport.transmit(now)

and hands it, as they come, the voice-activity network's results (`speech_probability`) and the provider's events
(`provider_event`; agent audio already in the transport's format). Nothing may be called after `end`; what arrives late
all the same is ignored.

A caller's turn: speech begins (an `Utterance`; its audio goes to the STT) → a short pause starts a speculative answer
(`Speculate`) → either the caller goes on (`Discard`) or the wait passes and the answer is adopted (`Adopt`) and gets
the floor. Until some of it has been heard, a caller who goes on takes the turn back. From then on, speech is a
suspected interruption: playout pauses, and words or length decide whether the agent goes on or loses the floor.
"""

from __future__ import annotations

from typing import Final

from ai_engine.conversation.agent_floor import AgentFloor, FloorEvent
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.closing import Closing
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import Announce, Decision, Ending, FallBack, HangUp, MessageTaken, SendAudio
from ai_engine.conversation.follow_ups import FollowUps, ToolDone
from ai_engine.conversation.full_duplex import FullDuplex
from ai_engine.conversation.interruptions import Interruptions
from ai_engine.conversation.key_input import KeyRequest, KeyRules, Keys, SecretQuestions
from ai_engine.conversation.keypad import Keypad
from ai_engine.conversation.message_taking import MessageRequest, MessageTaking
from ai_engine.conversation.onsets import Onsets
from ai_engine.conversation.opening import Opening
from ai_engine.conversation.provider_events import ProviderEvents
from ai_engine.conversation.recovery import Recovery
from ai_engine.conversation.set_answers import SetAnswers, SetTurns
from ai_engine.conversation.turns import Reply, ReplyKind, Utterance
from ai_engine.conversation.waiting import Waiting
from ai_engine.media.transport import Frame, FrameKind, MediaTransport
from ai_engine.providers.provider import BackendChanged, CallerSpeech, ProviderEvent, ProviderFailed
from voice_core.end_of_turn import Completeness
from voice_core.gate import Gate
from voice_core.history import History
from voice_core.turn_words import TurnWords
from voice_core.turn_words_en import ENGLISH
from voice_core.voice_activity import AgentSound, VoiceChange
from voice_core.words import is_greeting, tokens

_NO_SOUND_DBFS: Final = -100.0


class Conversation:
    """Turn-taking of one call. Times are monotonic seconds."""

    def __init__(
        self,
        transport: MediaTransport,
        *,
        settings: ConversationSettings | None = None,
        phrases: Phrases | None = None,
        owns_turn_taking: bool = False,
        words: TurnWords = ENGLISH,
        set_answers: SetAnswers | None = None,
        keys: KeyRules | None = None,
    ) -> None:
        """`owns_turn_taking`: the provider decides about turns and interruptions itself; audio passes straight on.

        `words`: those of the language that the caller is expected to speak.
        """
        self.decisions: list[Decision] = []
        """What to do, in order. The shell takes the list and leaves an empty one."""
        self.history = History()
        self.state = "new"
        self._settings = settings = settings or ConversationSettings()
        self._phrases = phrases or Phrases()
        self._transport = transport
        self._playout = transport.played
        self._turn = 0
        self._gate = Gate(capacity_ms=settings.withheld_ms, frame_ms=settings.frame_ms)
        self._caller = CallerFloor(self._gate, self.history, settings, self._next_turn, self._emit, words=words)
        keys = keys or KeyRules()
        questions = SecretQuestions(keys.secret_after)
        self._agent = AgentFloor(
            transport,
            self._gate,
            self.history,
            settings,
            self._emit,
            stirring=self._caller.voice.stirring,
            said=questions.agent_said,
        )
        self._events = ProviderEvents(
            self._agent,
            self._caller,
            self._gate,
            self.history,
            on_failed=self._fail,
            on_words=self._understood,
            emit=self._emit,
        )
        self._recovery = Recovery(
            self._agent,
            self._caller,
            self.history,
            max_failures=settings.max_failures,
            apology=self._phrases.apology,
            say=self._say,
            hand_on=self._hand_on,
            emit=self._emit,
        )
        self._full_duplex = FullDuplex(self._agent, self.history, self._emit) if owns_turn_taking else None
        self._waiting = Waiting(
            self._agent,
            self._caller,
            settings,
            self._phrases,
            fillers=not owns_turn_taking,
            say=self._say,
            close=self._close_with,
        )
        self._silence = self._waiting.silence
        self._opening = Opening(
            self._agent,
            self._caller,
            self._playout,
            settings,
            self._phrases,
            in_turns=not owns_turn_taking,
            is_greeting=lambda text: is_greeting(text, words),
            say=self._say,
        )
        self._set = SetTurns(
            self._agent,
            self._caller,
            self._gate,
            self.history,
            set_answers,
            next_turn=self._next_turn,
            say=self._say,
            close=self._close_with,
            emit=self._emit,
        )
        self._keypad = Keypad(
            self._agent,
            self._caller,
            self.history,
            wait_s=settings.keypad_wait_s,
            next_turn=self._next_turn,
            emit=self._emit,
            rules=keys,
            questions=questions,
        )
        self._closing = Closing(deadline_s=settings.farewell_deadline_s, emit=self._emit)
        self._follow_ups = FollowUps(self._agent, self._caller, self.history, self._closing, emit=self._emit)
        self._transcript_s = (settings.wait.unknown_ms - settings.speculation_ms) / 1000
        self._interruptions = Interruptions(
            transport,
            self._agent,
            self._caller,
            self._gate,
            self._closing,
            on_words=self._silence.caller_heard,
            on_taken=self._floor_taken,
            emit=self._emit,
        )
        self._onsets = Onsets(
            self._agent,
            self._caller,
            self._playout,
            self._gate,
            settings,
            interruptions=self._interruptions,
            on_way_given=self._call_off,
            emit=self._emit,
        )
        self._came_dbfs: tuple[float | None, float | None] = (None, None)
        """Of the last frames, which cover a window of voice activity."""
        self._message: MessageTaking | None = None
        """The caller leaves one, or its last words are being transcribed."""
        self._held = False
        self._ended = False

    # --- the call's life ----------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """The caller is connected."""
        self._waiting.start(now)
        self._opening.start(now)
        self._tell_state(now)

    def hold(self, now: float) -> None:
        """The caller is on hold: nothing is heard, nothing is said, no clock runs."""
        if self._ended or self._held:
            return
        self._held = True
        if self._message is not None:
            self._message.hold()
        self._interruptions.drop(now)
        if self._caller.utterance is not None:
            self._caller.forget(self._caller.utterance)
        self._agent.hold(now)
        self._tell_state(now)

    def unhold(self, now: float) -> None:
        """The caller is back: what was being said goes on."""
        if self._ended or not self._held:
            return
        self._held = False
        self._caller.forget_sound(now)
        self._agent.unhold(now)
        if self._message is not None:
            self._message.unhold(now)
        self._tell_state(now)

    def say_farewell_and_hang_up(
        self, text: str, now: float, *, reason: str = "farewell", rendered_only: bool = False
    ) -> None:
        """Take the floor, say `text`, and hang up once it was heard or `farewell_deadline_s` have passed."""
        if not self._ended:
            self._close_with(HangUp(reason), text, now, rendered_only=rendered_only)

    def say(self, text: str, now: float) -> None:
        """Something the agent has to tell by itself, as a turn of its own: at once, whatever was being said."""
        if self._ended or self._closing.begun:
            return
        if self._caller.utterance is not None:
            self._caller.forget(self._caller.utterance)
        if not self._agent.free:
            self._agent.cut(now)
        self._say(ReplyKind.PROMPT, text, now)

    def hand_on(self, now: float) -> None:
        """There will be no answers in this call: say so, and hand the caller to the fallback."""
        if not self._ended:
            self._hand_on(now)

    def provider_lost(self, now: float) -> None:
        """The provider is gone. Who waits for an answer hears an apology; the next turn is tried again."""
        if self._ended:
            return
        if self._message is not None:
            self._message.provider_lost()
        caller = self._caller
        if caller.interruption is not None:
            caller.interruption.failed()
            caller.probe = None
        if caller.utterance is not None and caller.utterance.attempt is not None:
            caller.utterance.attempt = None
            caller.utterance.speculation_failed = True
        for reply in (self._agent.filler, self._agent.reply):
            if reply is not None and not reply.audio_done and not reply.failed:
                self._fail(reply, now, retryable=False)

    def end(self, now: float) -> None:
        """The call is over (hang-up). The last turns are accounted for; no decision comes after these."""
        if self._ended:
            return
        if self._message is not None:
            self._message.call_over(now)
        self._agent.close(now)
        self._ended = True
        self.state = "ended"
        self._emit(Announce("ended", now))

    def let_go(self) -> None:
        """After `end`: drop the parts. They refer back to this, and would all wait for the garbage collector."""
        history = self.history
        vars(self).clear()
        self.decisions, self.history, self.state, self._ended = [], history, "ended", True

    def told(self, now: float) -> bool:
        """What has to be told to a caller (that he is recorded, that a machine speaks) he has heard to its end."""
        return self._opening.told(now)

    # --- what comes from the caller -----------------------------------------------------------------------------------

    def hear(self, frame: Frame, now: float) -> None:
        """The caller's last 20 ms; every tick, silence too."""
        if self._ended or self._held:
            return
        if self._message is not None:
            self._message.hear(frame.pcm, now)
        if self._full_duplex is not None and not self._takes_message:
            self._emit(SendAudio(self._full_duplex.caller_turn, frame.pcm))
            return
        if frame.kind is FrameKind.SILENCE:
            self._voice_changed(self._caller.voice.silent(now), now)
        self._came_dbfs = (self._came_dbfs[1], frame.came_dbfs)
        self._caller.hear(frame.pcm, now)

    def echo_found(self, now: float) -> None:
        """The caller's line carries the agent's echo, which is taken out from now on: what was suspected was that."""
        if not self._ended and self._caller.interruption is not None:
            self._caller.voice.reset()
            self._interruptions.drop(now)

    def speech_probability(self, probability: float, at: float, now: float) -> None:
        """The network's judgement of the window that ended `at`."""
        if self._ended or self._held or (self._full_duplex is not None and not self._takes_message):
            return
        voice = self._caller.voice
        agent = None
        if probability >= voice.may_be_speech:
            loudest_dbfs = self._playout.loudest_dbfs(now, self._settings.echo_delay_ms / 1000)
            if loudest_dbfs > _NO_SOUND_DBFS:
                agent = AgentSound(loudest_dbfs, self._level_dbfs())
        self._voice_changed(voice.window(probability, at, agent), now)

    def _level_dbfs(self) -> float:
        """How loud the caller is, as far as it may not be the agent's echo.

        Where that was taken out, the line must have been loud before (a canceller that has lost its way lets an echo
        through as it came) and what is left must not be as quiet as a remainder.
        """
        left_dbfs, came = self._caller.level_dbfs(), [level for level in self._came_dbfs if level is not None]
        return min(max(came), left_dbfs + self._settings.cancelled_echo_db) if came else left_dbfs

    def end_of_turn_probability(self, turn: int, revision: int, probability: float, now: float) -> None:
        """A semantic model's opinion on whether the caller has finished; it moves the wait.

        It belongs to the pause in which that revision was begun, and counts in no other.
        """
        if self._ended:
            return
        utterance, voice = self._caller.utterance, self._caller.voice
        attempt = utterance.attempt if utterance is not None else None
        if attempt is None or voice.speaking:
            return
        if (attempt.turn, attempt.revision) == (turn, revision):
            self._caller.end_of_turn.semantic(probability)

    def dtmf(self, digit: str, now: float) -> None:
        """A key was pressed. It takes the floor from an agent that can be interrupted; `#` ends the input."""
        if self._ended or self._held or (self._closing.begun and not self._closing.revocable):
            return
        self._silence.caller_heard()
        if self._message is not None and self._message.has_floor:
            self._key_in_message(self._message, digit, now)
            return
        reply = self._agent.reply
        if self._closing.begun:
            self._interruptions.take_floor(now, "keypad")
        elif self._keypad.request is not None:
            pass  # the agent who speaks is asking for just that
        elif reply is None or self._onsets.may_be_interrupted(reply, now):
            if self._caller.interruption is not None:
                self._interruptions.commit(now, "keypad")
            elif self._agent.sounding:
                self._interruptions.take_floor(now, "keypad")
        self._keypad.press(digit, now)

    def _key_in_message(self, message: MessageTaking, digit: str, now: float) -> None:
        """A key of the message's own, or one that stands for a set phrase: who wants a person needs to leave none."""
        if not message.press(digit, now) and self._set.has_key(digit):
            message.stop("stopped", now)
            self._set.typed(Keys(digit), now)

    @property
    def keys_are_secret(self) -> bool:
        """Whether a key that is pressed now may be kept nowhere."""
        return not self._ended and self._keypad.secret

    def request_keys(self, request: KeyRequest, now: float) -> None:
        """Have the caller's next input told as `KeysTyped` and not answered; keys do not interrupt the agent then."""
        if not self._ended:
            self._keypad.ask(request, now)

    def call_off_keys(self, request_id: str) -> None:
        """Nobody waits for the keys of that request any more."""
        if not self._ended:
            self._keypad.call_off(request_id)

    def take_secret_keys(self) -> str:
        """The digits of the last input that was secret, for a tool that needs them; they are given away once."""
        return "" if self._ended else self._keypad.take_secret()

    # --- a message ----------------------------------------------------------------------------------------------------

    def take_message(self, request: MessageRequest, now: float) -> None:
        """Have the caller leave a message, which is told as `MessageTaken` and not answered."""
        if self._ended or self._closing.begun or self._takes_message:
            self._emit(MessageTaken(request.id, "stopped", kept=False))
            return
        if self._message is not None:
            self._message.call_over(now)
        self._interruptions.drop(now)
        self._caller.kept = None
        if self._caller.utterance is not None:
            self._caller.forget(self._caller.utterance)
        if not self._agent.free:
            self._agent.cut(now)
        self._message = MessageTaking(
            request,
            self._agent,
            self._caller,
            self._gate,
            self._transport,
            transcribes=self._full_duplex is None,
            say=self._say,
            emit=self._emit,
        )
        self._message.begin(now)

    def finish_message(self, now: float) -> None:
        """The caller is gone: what he left of a message counts, and its last words are still transcribed."""
        if not self._ended and self._message is not None:
            self._message.stop("hung_up", now)

    @property
    def _takes_message(self) -> bool:
        return self._message is not None and self._message.has_floor

    # --- what comes from the provider ---------------------------------------------------------------------------------

    @property
    def stale_events(self) -> int:
        """Provider events so far that belonged to no living turn and revision."""
        return self._events.stale

    def provider_event(self, event: ProviderEvent, now: float) -> None:
        """One event of the provider's stream."""
        if self._ended or (self._message is not None and self._message.takes(event, now)):
            return
        if isinstance(event, BackendChanged):
            self._caller.backend_changed(needs_gating=event.needs_gating)
        elif isinstance(event, ProviderFailed) and event.turn == 0:
            self.provider_lost(now)
        elif self._full_duplex is None:
            self._events.take(event, now)
        else:
            if isinstance(event, CallerSpeech):
                self._heard_by_provider(event, now)
            if self._full_duplex.admit(event, now):
                self._events.take(event, now)

    def tool_done(self, done: ToolDone, now: float) -> None:
        """A tool that `RunTool` asked for has ended, well or not. Each is told once, before the provider is."""
        if not self._ended:
            self._follow_ups.done(done, now)

    def tool_told(self, tool_call_id: str, text: str) -> None:
        """What came of a tool that had put something off: the model is told that from now on."""
        if not self._ended:
            self.history.tool_result(tool_call_id, text)

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Every 20 ms, after `hear`: what the passing of time decides."""
        if self._ended:
            return
        if self._held:
            self._waiting.hold(now)
            self._opening.tick(now, on_hold=True)
            self._closing.tick(now, sounding=False, on_hold=True)
            return
        self._voice_changed(self._caller.voice.tick(now), now)
        if not self._agent.free:
            happened = self._agent.tick(now)
            if happened is not None:
                self._floor_event(*happened, now)
        if self._message is not None:
            self._message.tick(now)
            self._message = None if self._message.over else self._message
        taking = self._takes_message
        self._opening.tick(now, on_hold=taking)
        if self._keypad.request is not None and not self._closing.begun:
            self._tick_request(now)
        if self._closing.begun:
            self._tick_closing(now)
        elif taking:
            self._waiting.hold(now)
        elif self._full_duplex is None:
            self._tick_turns(now)
        else:
            self._full_duplex.tick(now)
            if self._keypad.complete(now):
                self._set.typed(self._keypad.take(), now)
        if not taking:
            self._waiting.tick(now, closing=self._closing.begun, greeting_pending=self._opening.greeting_pending)
        self._tell_state(now)

    def _tick_closing(self, now: float) -> None:
        """The farewell is being said; a caller who speaks over one that is for his silence keeps the call."""
        overdue = self._closing.tick(now, sounding=self._playout.speaking(now))
        if self._caller.interruption is not None:
            self._interruptions.tick(now)
        elif overdue:
            self._agent.cut(now)
            self._closing.finish()

    def _tick_request(self, now: float) -> None:
        """Somebody waits for keys: they are his whoever has the floor."""
        self._keypad.tick_request(
            now, speaking=self._playout.speaking(now), is_set=lambda keys: self._set.typed(keys, now)
        )

    def _tick_turns(self, now: float) -> None:
        caller = self._caller
        self._onsets.tick(now)
        if caller.interruption is not None:
            self._interruptions.tick(now)
        utterance = caller.utterance
        if utterance is not None:
            if not caller.voice.speaking:
                self._tick_pause(utterance, now)
        elif caller.interruption is None and self._agent.free and self._keypad.complete(now):
            keys = self._keypad.take()
            if not self._set.typed(keys, now):
                self._opening.turn_adopted(now)
                self._keypad.answer(keys, now)

    def _tick_pause(self, utterance: Utterance, now: float) -> None:
        """The caller pauses: guess at the end of the turn, then decide on it."""
        caller = self._caller
        pause_ms = caller.voice.pause_ms(now)
        if pause_ms < self._settings.speculation_ms:
            return
        if utterance.attempt is None and not utterance.speculation_failed:
            caller.speculate(utterance, now)
        if pause_ms < caller.end_of_turn.wait_ms and now - utterance.started_at < self._settings.long_turn_s:
            return
        if caller.voice.stirring(now):
            return
        if utterance.attempt is not None and self._awaits_words(utterance.attempt, now):
            return
        text = utterance.attempt.caller_text if utterance.attempt is not None else None
        text = utterance.streamed_text if text is None else text
        if text and self._set.finished(utterance, text, now):
            self._silence.caller_heard()
            self._keypad.caller_spoke()
            return
        if text and self._opening.answers(text, now):
            caller.forget(utterance)
            self._silence.caller_heard()
            return
        reply = caller.finish(utterance, now)
        if reply is None:
            return
        self._silence.caller_heard()
        self._keypad.caller_spoke()
        self._opening.turn_adopted(now)
        self._agent.take(reply, now)

    def _awaits_words(self, attempt: Reply, now: float) -> bool:
        """What was said over the agent may lie long back, but its transcript gets the usual time all the same."""
        if self._caller.end_of_turn.completeness is not Completeness.UNKNOWN:
            return False
        begun_late = attempt.begun_at - self._caller.voice.voiced_until > self._transcript_s
        return begun_late and now - attempt.begun_at < self._transcript_s

    # --- the caller's voice -------------------------------------------------------------------------------------------

    def _voice_changed(self, change: VoiceChange | None, now: float) -> None:
        if self._message is not None and self._message.has_floor:
            self._message.voice(change, now)
            return
        if change is VoiceChange.ONSET and (not self._closing.begun or self._closing.revocable):
            self._onsets.onset(now)
        elif change is VoiceChange.OFFSET:
            self._caller.paused()

    # --- the agent's floor --------------------------------------------------------------------------------------------

    def _say(
        self, kind: ReplyKind, text: str, now: float, *, interruptible: bool = True, rendered_only: bool = False
    ) -> Reply:
        turn = self._next_turn()
        reply = Reply(turn, 1, kind, now, text=text, interruptible=interruptible, rendered_only=rendered_only)
        self._agent.asked_for(reply, now)
        return reply

    def _floor_event(self, event: FloorEvent, reply: Reply, now: float) -> None:
        if event is FloorEvent.TIMED_OUT:
            self._fail(reply, now, retryable=False)
            return
        if self._follow_ups.follow(reply, now):
            return
        self._caller.adopted = None
        if self._closing.revocable and self._caller.interruption is not None:
            self._call_off()  # he began to speak before the last word was out
        elif self._closing.begun:
            self._closing.finish()
        else:
            self._recovery.finished(reply, now)

    def _fail(self, reply: Reply, now: float, *, retryable: bool) -> None:
        """Nothing more will come of `reply`, which has or should have had the floor."""
        if reply is self._agent.reply and not reply.sounded and reply.follow_up is not None:
            self._agent.drop(reply)  # what was to be said of it cannot be; it is done all the same
            self._follow_ups.follow(reply, now)
            return
        self._recovery.failed(reply, now, retryable=retryable)
        if self._closing.begun and self._agent.reply is None:
            self._closing.finish()  # the last sentence cannot be said

    def _hand_on(self, now: float) -> None:
        """There is no getting answers any more."""
        self._close_with(FallBack("the provider failed"), self._phrases.giving_up, now, rendered_only=True)

    def _close_with(
        self, decision: Ending, text: str, now: float, *, rendered_only: bool = False, revocable: bool = False
    ) -> None:
        """Say the last sentence; `decision` follows when it was heard."""
        if self._closing.begun:
            if not revocable:
                self._closing.insist()
                self._interruptions.drop(now)  # who has begun to speak over the farewell no longer keeps the call
            return
        self.unhold(now)
        if self._message is not None:
            self._message.stop("stopped", now)
        self._interruptions.drop(now)
        self._caller.kept = None
        if self._caller.utterance is not None:
            self._caller.forget(self._caller.utterance)
        if not self._agent.free or self._playout.speaking(now):
            self._agent.cut(now)
        self._closing.begin(decision, now, revocable=revocable)
        if text:
            self._say(ReplyKind.FAREWELL, text, now, interruptible=revocable, rendered_only=rendered_only)
        else:
            self._closing.finish()

    def _floor_taken(self) -> None:
        """By the caller, from the agent."""
        self._call_off()
        self._silence.caller_heard()

    def _call_off(self) -> None:
        """The caller is there after all."""
        if self._closing.begun:
            self._closing.call_off()
            self._silence.call_off()

    # --- what is done without the model -------------------------------------------------------------------------------

    def _understood(self, reply: Reply, text: str, now: float) -> bool:
        """The words of a turn that was adopted without them."""
        return not self._closing.begun and self._set.understood(reply, text, now)

    def _heard_by_provider(self, event: CallerSpeech, now: float) -> None:
        """What a provider that takes turns by itself has heard; nobody else listens to the caller."""
        assert self._full_duplex is not None
        self._silence.caller_heard()
        self._opening.caller_spoke()
        if event.final and tokens(event.text):
            self._keypad.caller_spoke()
        if self._closing.begun:
            if self._closing.revocable and tokens(event.text):
                self._interruptions.take_floor(now, event.text)
        elif event.final:
            self._turn = max(self._turn, event.turn)
            if self._set.heard_by_provider(event.turn, event.text, now):
                self._full_duplex.refuse(event.turn)

    # --- small things -------------------------------------------------------------------------------------------------

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _emit(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def _tell_state(self, now: float) -> None:
        if self._held:
            state = "held"
        elif self._takes_message:
            state = "message"
        elif self._caller.interruption is not None:
            state = "paused"
        elif self._agent.sounding:
            state = "speaking"
        elif self._caller.utterance is not None:
            state = "hearing"
        elif self._agent.reply is not None and self._agent.reply.answers:
            state = "thinking"
        else:
            state = "listening"
        if state != self.state:
            self.state = state
            self._emit(Announce(state, now))
