"""The two halves of a turn while it lasts: what the caller is saying, and an attempt at answering it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from ai_engine.conversation.decisions import CarryOut, Ending
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, ToolCall


class TurnNumbers:
    """Of one conversation: upwards from 1, whoever's turn it is."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last

    def reached(self, turn: int) -> None:
        """A provider that numbers turns by itself has come to `turn`."""
        self._last = max(self._last, turn)


class ReplyKind(Enum):
    ANSWER = "answer"
    """To what the caller said."""
    PROBE = "probe"
    """No answer, only a transcript of what was said over the agent."""
    GREETING = "greeting"
    PROMPT = "prompt"
    """Are you there?"""
    SET_ANSWER = "set_answer"
    """To a set phrase."""
    FILLER = "filler"
    DISCLOSURE = "disclosure"
    """Said before the first answer, in the filler's place, and not left out when the answer is quick."""
    APOLOGY = "apology"
    FAREWELL = "farewell"


@dataclass(slots=True, eq=False)
class Reply:
    """One revision of what the agent says in one turn; speculative until it is adopted."""

    turn: int
    revision: int
    kind: ReplyKind
    begun_at: float
    text: str = ""
    """For what is said as it is."""
    interruptible: bool = True
    locked_text: str = ""
    """The beginning of it that cannot be interrupted, where the rest can."""
    rendered_only: bool = False
    caller_text: str | None = None
    """What the STT made of the caller's turn; None until it says."""
    caller_reported: bool = False
    source: str = ""
    timeline: dict[str, float] = field(default_factory=dict)
    backlog: list[AgentAudio | AgentAudioDone | ToolCall] = field(default_factory=list)
    """What came before it may be used."""
    sounded: bool = False
    """Some of its audio has been queued for playing."""
    audio_done: bool = False
    done_first: bool = False
    """Its end came before any of its audio."""
    cut_short: bool = False
    """Its sound may have ended in the middle of a phrase."""
    failed: bool = False
    retried: bool = False
    used_tools: bool = False
    tools_running: int = 0
    """They have time limits of their own: meanwhile the reply is not late."""
    follow_up: tuple[str, Ending | CarryOut] | None = None
    """What a tool, by the id of its call, wants done when the reply was heard."""
    false_alarms: int = 0
    """How often it was paused for a sound without words."""
    last_event_at: float = 0.0

    @property
    def answers(self) -> bool:
        return self.kind is ReplyKind.ANSWER

    @property
    def gives_way(self) -> bool:
        """Before it sounds it is simply dropped when the caller begins to speak."""
        return self.kind in (ReplyKind.PROMPT, ReplyKind.SET_ANSWER, ReplyKind.FAREWELL)

    def once_more(self, revision: int, now: float) -> Reply:
        """A second attempt at what failed, under a new revision."""
        again = Reply(self.turn, revision, self.kind, now, text=self.text, caller_text=self.caller_text, retried=True)
        again.timeline = {stage: self.timeline[stage] for stage in ("speech_end", "end_of_turn")}
        return again


@dataclass(slots=True, eq=False)
class Utterance:
    """What the caller is saying, from the onset until the turn is adopted or forgotten."""

    turn: int
    started_at: float
    sent_until: float
    """The end of the last frame that was sent of it, or before which nothing is to be sent."""
    earliest: float = math.inf
    """What `sent_until` was at first."""
    sending: bool = False
    """Each frame goes to the STT as it comes."""
    sent_any: bool = False
    revision: int = 0
    attempt: Reply | None = None
    """The live speculation."""
    voiced_until: float = -math.inf
    finals: list[str] = field(default_factory=list)
    """What a streaming STT has finished of it, without saying for which revision."""
    partial: str = ""
    kept_words: str = ""
    """An answer in it that was said over the agent and waits."""
    taken_back: int = 0
    """How often it was adopted and then gone on with."""
    speculation_failed: bool = False
    """Not tried again before the caller has finished."""

    @property
    def streamed_text(self) -> str:
        """The words that came without a revision."""
        return " ".join(part for part in (*self.finals, self.partial) if part)

    def hear_streamed(self, text: str, *, final: bool) -> None:
        text = text.strip()
        if final:
            if text:
                self.finals.append(text)
            self.partial = ""
        else:
            self.partial = text
