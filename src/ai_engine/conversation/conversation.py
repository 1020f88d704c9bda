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

from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import Announce, Decision, HangUp, MessageTaken, SendAudio
from ai_engine.conversation.follow_ups import ToolDone
from ai_engine.conversation.key_input import KeyRequest, KeyRules, Keys
from ai_engine.conversation.message_taking import MessageRequest, MessageTaking
from ai_engine.conversation.parts import Given, Parts
from ai_engine.conversation.set_answers import SetAnswers
from ai_engine.conversation.turns import ReplyKind
from ai_engine.media.transport import Frame, FrameKind, MediaTransport
from ai_engine.providers.provider import BackendChanged, CallerSpeech, ProviderEvent, ProviderFailed
from voice_core.history import History
from voice_core.turn_words import TurnWords
from voice_core.turn_words_en import ENGLISH
from voice_core.voice_activity import AgentSound, VoiceChange
from voice_core.words import tokens

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
        self._playout = transport.played
        self._settings = settings = settings or ConversationSettings()
        given = Given(
            transport,
            settings,
            phrases or Phrases(),
            owns_turn_taking,
            words,
            set_answers,
            keys or KeyRules(),
            self.history,
            emit=self._emit,
            unhold=self.unhold,
        )
        parts = Parts(given)
        floors, endings, turns = parts.floors, parts.endings, parts.turns
        self._gate = floors.gate
        self._caller = floors.caller
        self._agent = floors.agent
        self._interruptions = floors.interruptions
        self._closing = floors.closing
        self._silence = floors.silence
        self._messages = floors.messages
        self._turns = floors.turns
        self._leave_taking = endings.leave_taking
        self._reply_ends = endings.replies
        self._follow_ups = endings.follow_ups
        self._waiting = turns.waiting
        self._opening = turns.opening
        self._set = turns.set_turns
        self._keypad = turns.keypad
        self._events = parts.events
        self._onsets = parts.onsets
        self._turn_taking = parts.turn_taking
        self._full_duplex = parts.full_duplex
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
        if self._messages.message is not None:
            self._messages.message.hold()
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
        if self._messages.message is not None:
            self._messages.message.unhold(now)
        self._tell_state(now)

    def say_farewell_and_hang_up(
        self, text: str, now: float, *, reason: str = "farewell", rendered_only: bool = False
    ) -> None:
        """Take the floor, say `text`, and hang up once it was heard or `farewell_deadline_s` have passed."""
        if not self._ended:
            self._leave_taking.close(HangUp(reason), text, now, rendered_only=rendered_only)

    def say(self, text: str, now: float) -> None:
        """Something the agent has to tell by itself, as a turn of its own: at once, whatever was being said."""
        if self._ended or self._closing.begun:
            return
        if self._caller.utterance is not None:
            self._caller.forget(self._caller.utterance)
        if not self._agent.free:
            self._agent.cut(now)
        self._agent.say(ReplyKind.PROMPT, text, now)

    def hand_on(self, now: float) -> None:
        """There will be no answers in this call: say so, and hand the caller to the fallback."""
        if not self._ended:
            self._leave_taking.hand_on(now)

    def provider_lost(self, now: float) -> None:
        """The provider is gone. Who waits for an answer hears an apology; the next turn is tried again."""
        if self._ended:
            return
        if self._messages.message is not None:
            self._messages.message.provider_lost()
        self._reply_ends.provider_lost(now)

    def end(self, now: float) -> None:
        """The call is over (hang-up). The last turns are accounted for; no decision comes after these."""
        if self._ended:
            return
        if self._messages.message is not None:
            self._messages.message.call_over(now)
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
        if self._messages.message is not None:
            self._messages.message.hear(frame.pcm, now)
        if self._full_duplex is not None and not self._messages.taken:
            self._emit(SendAudio(self._full_duplex.caller_turn, frame.pcm))
            return
        if frame.kind is FrameKind.SILENCE:
            self._voice_changed(self._caller.voice.silent(now), now)
        self._caller.hear(frame.pcm, frame.came_dbfs, now)

    def echo_found(self, now: float) -> None:
        """The caller's line carries the agent's echo, which is taken out from now on: what was suspected was that."""
        if not self._ended and self._caller.interruption is not None:
            self._caller.voice.reset()
            self._interruptions.drop(now)

    def speech_probability(self, probability: float, at: float, now: float) -> None:
        """The network's judgement of the window that ended `at`."""
        if self._ended or self._held or (self._full_duplex is not None and not self._messages.taken):
            return
        voice = self._caller.voice
        agent = None
        if probability >= voice.may_be_speech:
            loudest_dbfs = self._playout.loudest_dbfs(now, self._settings.echo_delay_ms / 1000)
            if loudest_dbfs > _NO_SOUND_DBFS:
                agent = AgentSound(loudest_dbfs, self._caller.level_dbfs())
        self._voice_changed(voice.window(probability, at, agent), now)

    def end_of_turn_probability(self, turn: int, revision: int, probability: float, now: float) -> None:
        """A semantic model's opinion on whether the caller has finished; it moves the wait.

        It belongs to the pause in which that revision was begun, and counts in no other.
        """
        if not self._ended:
            self._turn_taking.probably_over(turn, revision, probability)

    def dtmf(self, digit: str, now: float) -> None:
        """A key was pressed. It takes the floor from an agent that can be interrupted; `#` ends the input."""
        if self._ended or self._held or (self._closing.begun and not self._closing.revocable):
            return
        self._silence.caller_heard()
        message = self._messages.message
        if message is not None and message.has_floor:
            self._key_in_message(message, digit, now)
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
        if self._ended or self._closing.begun or not self._messages.take(request, now):
            self._emit(MessageTaken(request.id, "stopped", kept=False))

    def finish_message(self, now: float) -> None:
        """The caller is gone: what he left of a message counts, and its last words are still transcribed."""
        if not self._ended and self._messages.message is not None:
            self._messages.message.stop("hung_up", now)

    # --- what comes from the provider ---------------------------------------------------------------------------------

    @property
    def stale_events(self) -> int:
        """Provider events so far that belonged to no living turn and revision."""
        return self._events.stale

    def provider_event(self, event: ProviderEvent, now: float) -> None:
        """One event of the provider's stream."""
        if self._ended or (self._messages.message is not None and self._messages.message.takes(event, now)):
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
                self._reply_ends.ended(*happened, now)
        if self._messages.message is not None:
            self._messages.tick(now)
        taking = self._messages.taken
        self._opening.tick(now, on_hold=taking)
        if self._keypad.request is not None and not self._closing.begun:
            self._tick_request(now)
        if self._closing.begun:
            self._leave_taking.tick(now)
        elif taking:
            self._waiting.hold(now)
        elif self._full_duplex is None:
            self._turn_taking.tick(now)
        else:
            self._full_duplex.tick(now)
            if self._keypad.complete(now):
                self._set.typed(self._keypad.take(), now)
        if not taking:
            self._waiting.tick(now, closing=self._closing.begun, greeting_pending=self._opening.greeting_pending)
        self._tell_state(now)

    def _tick_request(self, now: float) -> None:
        """Somebody waits for keys: they are his whoever has the floor."""
        self._keypad.tick_request(
            now, speaking=self._playout.speaking(now), is_set=lambda keys: self._set.typed(keys, now)
        )

    # --- the caller's voice -------------------------------------------------------------------------------------------

    def _voice_changed(self, change: VoiceChange | None, now: float) -> None:
        message = self._messages.message
        if message is not None and message.has_floor:
            message.voice(change, now)
            return
        if change is VoiceChange.ONSET and (not self._closing.begun or self._closing.revocable):
            self._onsets.onset(now)
        elif change is VoiceChange.OFFSET:
            self._caller.paused()

    # --- small things -------------------------------------------------------------------------------------------------

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
            self._turns.reached(event.turn)
            if self._set.heard_by_provider(event.turn, event.text, now):
                self._full_duplex.refuse(event.turn)

    def _emit(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def _tell_state(self, now: float) -> None:
        if self._held:
            state = "held"
        elif self._messages.taken:
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
