"""How the agent's replies end, and what comes after: a tool's follow-up, the end of the call, another attempt."""

from __future__ import annotations

from ai_engine.conversation.agent_floor import AgentFloor, FloorEvent
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.closing import Closing
from ai_engine.conversation.follow_ups import FollowUps
from ai_engine.conversation.recovery import Recovery
from ai_engine.conversation.turns import Reply


class ReplyEnds:
    """Decides who is to deal with the end of a reply, heard or not."""

    def __init__(
        self, agent: AgentFloor, caller: CallerFloor, closing: Closing, follow_ups: FollowUps, recovery: Recovery
    ) -> None:
        self._agent = agent
        self._caller = caller
        self._closing = closing
        self._follow_ups = follow_ups
        self._recovery = recovery

    def ended(self, event: FloorEvent, reply: Reply, now: float) -> None:
        """What the agent's floor saw become of `reply`."""
        if event is FloorEvent.TIMED_OUT:
            self.failed(reply, now, retryable=False)
            return
        if self._follow_ups.follow(reply, now):
            return
        self._caller.adopted = None
        if self._closing.revocable and self._caller.interruption is not None:
            self._closing.call_off()  # he began to speak before the last word was out
        elif self._closing.begun:
            self._closing.finish()
        else:
            self._recovery.finished(reply, now)

    def failed(self, reply: Reply, now: float, *, retryable: bool) -> None:
        """Nothing more will come of `reply`, which has or should have had the floor."""
        if reply is self._agent.reply and not reply.sounded and reply.follow_up is not None:
            self._agent.drop(reply)  # what was to be said of it cannot be; it is done all the same
            self._follow_ups.follow(reply, now)
            return
        self._recovery.failed(reply, now, retryable=retryable)
        if self._closing.begun and self._agent.reply is None:
            self._closing.finish()  # the last sentence cannot be said

    def provider_lost(self, now: float) -> None:
        """Nothing that the provider was asked for will come."""
        caller = self._caller
        if caller.interruption is not None:
            caller.interruption.failed()
            caller.probe = None
        if caller.utterance is not None and caller.utterance.attempt is not None:
            caller.utterance.attempt = None
            caller.utterance.speculation_failed = True
        for reply in (self._agent.filler, self._agent.reply):
            if reply is not None and not reply.audio_done and not reply.failed:
                self.failed(reply, now, retryable=False)
