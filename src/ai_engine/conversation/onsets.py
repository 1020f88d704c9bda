"""The caller begins to speak: whose turn that is, and what becomes of what the agent says or was about to say."""

from __future__ import annotations

from collections.abc import Callable

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.conversation.decisions import Announce, Decision
from ai_engine.conversation.interruptions import Interruptions
from ai_engine.conversation.turns import Reply
from voice_core.gate import Gate
from voice_core.playout import Playout


class Onsets:
    """Emits `Announce`; whatever else is decided goes through the two floors."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        playout: Playout,
        gate: Gate,
        settings: ConversationSettings,
        *,
        interruptions: Interruptions,
        on_way_given: Callable[[], None],
        emit: Callable[[Decision], None],
    ) -> None:
        """`on_way_given`: a sentence of the agent's own that did not sound yet was dropped for the caller."""
        self._agent = agent
        self._caller = caller
        self._playout = playout
        self._gate = gate
        self._interruptions = interruptions
        self._max_false_alarms = settings.max_false_alarms
        self._max_take_backs = settings.max_take_backs
        self._withheld_s = settings.withheld_ms / 1000
        self._on_way_given = on_way_given
        self._emit = emit
        self._spoke_over_at: float | None = None
        """Onset of what was said over speech that cannot be interrupted."""

    def onset(self, now: float) -> None:
        caller, agent = self._caller, self._agent
        reply, started_at = agent.reply, caller.voice.started_at
        if caller.utterance is not None:
            caller.goes_on(caller.utterance)
        elif caller.interruption is not None:
            pass  # the interruption asks the voice activity itself
        elif agent.free:
            caller.begin(started_at)
        elif reply is None:
            self._interruptions.suspect(now)
        elif not self.may_be_interrupted(reply, now) or reply.false_alarms >= self._max_false_alarms:
            self._spoke_over(started_at)
        elif reply.answers and not self._was_heard(reply, now):
            self._take_back(reply, now)
        elif reply.gives_way and not reply.sounded:
            agent.cut(now)
            self._on_way_given()
            self._gate.committed()
            caller.begin(started_at)
        else:
            self._interruptions.suspect(now)

    def may_be_interrupted(self, reply: Reply, now: float) -> bool:
        if not reply.interruptible or not reply.locked_text:
            return reply.interruptible
        return len(self._playout.heard_text(reply.turn, now)) >= len(reply.locked_text)

    def tick(self, now: float) -> None:
        """What was said over the agent has its turn when the agent has been heard, or may be interrupted again."""
        if self._agent.free and self._gate.opened is None and self._playout.idle(now):
            self._heard_to_the_end(now)
        reply = self._agent.reply
        if reply is None or not reply.locked_text or not self._caller.voice.speaking:
            return
        if self.may_be_interrupted(reply, now):
            reply.locked_text = ""  # he who has gone on speaking until here interrupts now
            if self._spoke_over_at is not None:
                self._spoke_over_at = None
                self.onset(now)

    def _heard_to_the_end(self, now: float) -> None:
        self._gate.heard()
        caller = self._caller
        if caller.interruption is not None or caller.utterance is not None:
            return
        started_at, self._spoke_over_at = self._spoke_over_at, None
        if caller.kept is not None:
            caller.begin(caller.kept.started_at)
        elif started_at is not None and now - caller.voice.voiced_until < self._withheld_s:
            caller.begin(started_at)

    def _was_heard(self, reply: Reply, now: float) -> bool:
        """Some of `reply` had been heard when the caller began to speak."""
        heard_at = self._playout.first_heard_at(reply.turn, now) if reply.sounded else None
        return heard_at is not None and self._caller.voice.started_at >= heard_at

    def _spoke_over(self, started_at: float) -> None:
        """The caller begins to speak over what cannot be interrupted: it has its turn later, as far as it is kept."""
        earlier = self._spoke_over_at
        if earlier is None or started_at - earlier > self._withheld_s:
            self._spoke_over_at = started_at

    def _take_back(self, reply: Reply, now: float) -> None:
        """The caller goes on before any of the answer was heard: the turn was not over."""
        utterance = self._caller.adopted
        if reply.used_tools:
            self._interruptions.suspect(now)  # what a tool does cannot be taken back, and its result is worth a cough
            return
        if utterance is None or utterance.turn != reply.turn:
            self._interruptions.take_floor(now, "before the answer")
            self._caller.begin(self._caller.voice.started_at)
            return
        if utterance.taken_back >= self._max_take_backs:
            self._spoke_over(self._caller.voice.started_at)
            return
        self._agent.withdraw(now)
        self._gate.committed()
        self._caller.take_back(utterance, reply)
        self._emit(Announce("took_back", now))
