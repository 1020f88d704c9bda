"""Who waits for whom: the agent for a caller who says nothing, or the caller for an answer that is slow."""

from __future__ import annotations

from typing import Final, Protocol

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import Ending, HangUp
from ai_engine.conversation.recovery import Say
from ai_engine.conversation.turns import ReplyKind
from voice_core.silence import FillerPolicy, SilencePolicy, SilenceVerdict
from voice_core.words import END_MARKS

_SENTENCE_S: Final = 6.0
"""When the call's time is up, so long the agent may take to finish his sentence."""


class Alternatives:
    """Wordings of one sentence, used in turn, so that none is heard twice running where there are two."""

    def __init__(self, wordings: str | tuple[str, ...]) -> None:
        self._wordings = tuple(
            wording for wording in ((wordings,) if isinstance(wordings, str) else wordings) if wording
        )
        self._used = 0

    def __bool__(self) -> bool:
        return bool(self._wordings)

    def next(self) -> str:
        """The next wording; there has to be one."""
        wording = self._wordings[self._used % len(self._wordings)]
        self._used += 1
        return wording


class Close(Protocol):
    """Say the last sentence; `decision` follows when it was heard. `revocable`: unless the caller says something."""

    def __call__(self, decision: Ending, text: str, now: float, *, revocable: bool = False) -> None: ...


def silence_policy(settings: ConversationSettings, phrases: Phrases) -> SilencePolicy:
    """What the caller's silence leads to, as far as there are words for it."""
    return SilencePolicy(
        ask_after_s=settings.ask_after_s if Alternatives(phrases.are_you_there) else 0.0,
        ask_times=settings.ask_times,
        give_up_after_s=settings.give_up_after_s,
        max_call_s=settings.max_call_s,
        warn_before_s=settings.time_warning_s if phrases.time_warning else 0.0,
    )


class Waiting:
    """Silence, the greatest length of a call, and fillers."""

    def __init__(
        self,
        agent: AgentFloor,
        caller: CallerFloor,
        settings: ConversationSettings,
        phrases: Phrases,
        silence: SilencePolicy,
        *,
        fillers: bool,
        say: Say,
        close: Close,
    ) -> None:
        """`fillers`: False where the provider bridges its own pauses."""
        self._agent = agent
        self._caller = caller
        self._phrases = phrases
        self._say = say
        self._close = close
        self._questions = Alternatives(phrases.are_you_there)
        self._fillers = Alternatives(phrases.filler)
        self._silence = silence
        self._time_up_at: float | None = None
        self._heard: str | None = None
        """Of what the agent says, since the time is up."""
        self._filler = FillerPolicy(
            after_s=settings.filler_after_s if self._fillers and fillers else 0.0,
            again_after_s=settings.filler_again_after_s,
        )

    def _sentence_over(self, since: float, now: float) -> bool:
        """The agent says nothing, or has just finished a sentence, or has gone on for long enough."""
        heard, before = self._agent.heard_so_far(now), self._heard
        self._heard = heard
        ended = before is not None and heard != before and heard is not None and heard.endswith(END_MARKS)
        return heard is None or ended or now - since >= _SENTENCE_S

    def start(self, now: float) -> None:
        """The call's time begins."""
        self._silence.tick(now, quiet=False)

    def hold(self, now: float) -> None:
        """A tick on hold: no time passes."""
        self._silence.tick(now, quiet=False, on_hold=True)
        self._filler.tick(now, waiting_for=None, caller_speaking=False, on_hold=True)

    def tick(self, now: float, *, closing: bool, greeting_pending: bool = False) -> None:
        agent, caller = self._agent, self._caller
        speaking = caller.voice.speaking
        quiet = agent.free and caller.utterance is None and caller.interruption is None and not speaking
        verdict = self._silence.tick(now, quiet=quiet and not (closing or greeting_pending))
        if closing:
            return
        if verdict is SilenceVerdict.ASK:
            self._say(ReplyKind.PROMPT, self._questions.next(), now)
        elif verdict is SilenceVerdict.WARN:
            self._say(ReplyKind.PROMPT, self._phrases.time_warning, now)
        elif verdict is SilenceVerdict.GIVE_UP:
            self._close(HangUp("silence"), self._phrases.farewell, now, revocable=True)
        elif verdict is SilenceVerdict.TIME_UP:
            self._time_up_at = now
        if self._time_up_at is not None and self._sentence_over(self._time_up_at, now):
            self._close(HangUp("time_up"), self._phrases.time_up, now)
            return
        reply = agent.reply
        waits = reply is not None and reply.answers and not reply.sounded and agent.filler is None
        waiting_for = reply.turn if reply is not None and waits else None
        if self._filler.tick(now, waiting_for=waiting_for, caller_speaking=speaking):
            self._say(ReplyKind.FILLER, self._fillers.next(), now)
