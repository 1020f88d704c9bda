"""The parts of a conversation and how they hang together: each is made with those it uses, and none refers back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.closing import Closing
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import Decision
from ai_engine.conversation.follow_ups import FollowUps
from ai_engine.conversation.full_duplex import FullDuplex
from ai_engine.conversation.interruptions import Interruptions
from ai_engine.conversation.key_input import KeyRules, SecretQuestions
from ai_engine.conversation.keypad import Keypad
from ai_engine.conversation.leave_taking import LeaveTaking
from ai_engine.conversation.message_floor import MessageFloor
from ai_engine.conversation.onsets import Onsets
from ai_engine.conversation.opening import Opening
from ai_engine.conversation.provider_events import ProviderEvents
from ai_engine.conversation.recovery import Recovery
from ai_engine.conversation.reply_ends import ReplyEnds
from ai_engine.conversation.set_answers import SetAnswers, SetTurns
from ai_engine.conversation.turn_taking import TurnTaking
from ai_engine.conversation.turns import TurnNumbers
from ai_engine.conversation.waiting import Waiting, silence_policy
from ai_engine.media.transport import MediaTransport
from voice_core.gate import Gate
from voice_core.history import History
from voice_core.turn_words import TurnWords
from voice_core.words import is_greeting


@dataclass(frozen=True, slots=True)
class Given:
    """What a conversation is made with."""

    transport: MediaTransport
    settings: ConversationSettings
    phrases: Phrases
    owns_turn_taking: bool
    words: TurnWords
    set_answers: SetAnswers | None
    keys: KeyRules
    history: History
    emit: Callable[[Decision], None]
    unhold: Callable[[float], None]


class Floors:
    """Who speaks: the two sides, what the agent's sound withholds, and what the caller says over it."""

    def __init__(self, given: Given) -> None:
        settings, history, emit = given.settings, given.history, given.emit
        self.turns = TurnNumbers()
        self.questions = SecretQuestions(given.keys.secret_after)
        self.silence = silence_policy(settings, given.phrases)
        self.closing = Closing(deadline_s=settings.farewell_deadline_s, on_called_off=self.silence.call_off, emit=emit)
        self.gate = Gate(capacity_ms=settings.withheld_ms, frame_ms=settings.frame_ms)
        self.caller = CallerFloor(self.gate, history, settings, self.turns.next, emit, words=given.words)
        self.agent = AgentFloor(
            given.transport,
            self.gate,
            history,
            settings,
            emit,
            next_turn=self.turns.next,
            stirring=self.caller.voice.stirring,
            said=self.questions.agent_said,
        )
        self.interruptions = Interruptions(
            given.transport,
            self.agent,
            self.caller,
            self.gate,
            self.closing,
            on_words=self.silence.caller_heard,
            emit=emit,
        )
        self.messages = MessageFloor(
            given.transport,
            self.agent,
            self.caller,
            self.gate,
            self.interruptions,
            transcribes=not given.owns_turn_taking,
            emit=emit,
        )


class Endings:
    """How the agent's replies end, and the call."""

    def __init__(self, given: Given, floors: Floors) -> None:
        agent, caller, closing = floors.agent, floors.caller, floors.closing
        self.leave_taking = LeaveTaking(
            given.transport.played,
            agent,
            caller,
            closing,
            floors.interruptions,
            messages=floors.messages,
            giving_up=given.phrases.giving_up,
            unhold=given.unhold,
        )
        self.follow_ups = FollowUps(agent, caller, given.history, closing, emit=given.emit)
        recovery = Recovery(
            agent,
            caller,
            given.history,
            max_failures=given.settings.max_failures,
            apology=given.phrases.apology,
            say=agent.say,
            hand_on=self.leave_taking.hand_on,
            emit=given.emit,
        )
        self.replies = ReplyEnds(agent, caller, closing, self.follow_ups, recovery)


class Turns:
    """What makes a turn, of the caller's or the agent's: words, keys, silence, and the call's beginning."""

    def __init__(self, given: Given, floors: Floors, endings: Endings) -> None:
        settings, phrases, words = given.settings, given.phrases, given.words
        agent, caller, close = floors.agent, floors.caller, endings.leave_taking.close
        self.waiting = Waiting(
            agent,
            caller,
            settings,
            phrases,
            floors.silence,
            fillers=not given.owns_turn_taking,
            say=agent.say,
            close=close,
        )
        self.opening = Opening(
            agent,
            caller,
            given.transport.played,
            settings,
            phrases,
            in_turns=not given.owns_turn_taking,
            is_greeting=lambda text: is_greeting(text, words),
            say=agent.say,
        )
        self.set_turns = SetTurns(
            agent,
            caller,
            floors.gate,
            given.history,
            given.set_answers,
            closing=floors.closing,
            next_turn=floors.turns.next,
            say=agent.say,
            close=close,
            emit=given.emit,
        )
        self.keypad = Keypad(
            agent,
            caller,
            given.history,
            wait_s=settings.keypad_wait_s,
            next_turn=floors.turns.next,
            emit=given.emit,
            rules=given.keys,
            questions=floors.questions,
        )


class Parts:
    """All of them."""

    def __init__(self, given: Given) -> None:
        self.floors = floors = Floors(given)
        self.endings = Endings(given, floors)
        self.turns = turns = Turns(given, floors, self.endings)
        agent, caller, gate, emit = floors.agent, floors.caller, floors.gate, given.emit
        self.events = ProviderEvents(
            agent,
            caller,
            gate,
            given.history,
            on_failed=self.endings.replies.failed,
            on_words=turns.set_turns.understood,
            emit=emit,
        )
        self.onsets = Onsets(
            agent,
            caller,
            given.transport.played,
            gate,
            given.settings,
            interruptions=floors.interruptions,
            on_way_given=floors.closing.call_off,
            emit=emit,
        )
        self.turn_taking = TurnTaking(
            agent,
            caller,
            given.settings,
            interruptions=floors.interruptions,
            onsets=self.onsets,
            opening=turns.opening,
            set_turns=turns.set_turns,
            keypad=turns.keypad,
            silence=floors.silence,
        )
        self.full_duplex = FullDuplex(agent, given.history, emit) if given.owns_turn_taking else None
