"""What all calls share, and the reasons for which one ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.ids import OwnIds
from ai_engine.asterisk.reconcile import Fallback
from ai_engine.call_report import CallReport
from ai_engine.contexts import Context
from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.conversation.semantic_end_of_turn import TurnEnding
from ai_engine.media.agent_level import VoiceLevels
from ai_engine.media.echo import GuardMaker
from ai_engine.media.line_choice import EchoChoice, LineChoice
from ai_engine.media.line_registry import Lines
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.recorder import Recorder
from ai_engine.messages.desk import MessageDesk
from ai_engine.providers.services import ProviderFactory
from ai_engine.tools.call_hooks import AfterCalls
from ai_engine.tools.registry import Toolbox, ToolServices
from speech_detection.detector import SpeechDetector
from voice_wire.audio import AudioFormat


class Outcome(Enum):
    """Why a call ended."""

    CALLER_HUNG_UP = "caller_hung_up"
    AGENT_HUNG_UP = "agent_hung_up"
    FELL_BACK = "fell_back"
    """The caller was sent to the fallback: the dialplan's, or what his context says."""
    TRANSFERRED = "transferred"
    """The caller asked for it in words that are set for that, and was sent to an extension."""
    LINE_LOST = "line_lost"
    """Asterisk lost the channel while we could not see it."""
    FAILED = "failed"
    """A fault of ours; the caller was sent to the fallback."""
    REFUSED = "refused"
    """There was no media port for it; the caller was sent to the dialplan's fallback."""


@dataclass(frozen=True, slots=True)
class CallServices:
    """What all calls share."""

    ari: AriClient
    ids: OwnIds
    media: MediaLoop
    detector: SpeechDetector
    lines: Lines
    line: LineChoice
    """What a call has whose dialplan asks for nothing else."""
    line_profiles: Mapping[str, LineChoice]
    contexts: Mapping[str, Context]
    default_context: str
    factories: Mapping[str, ProviderFactory]
    conversation: ConversationSettings
    fallback: Fallback
    answer_timeout_s: float
    report: Callable[[str], CallReport]
    """Makes the report of the call with that id."""
    turn_ending: TurnEnding | None = None
    """None: only words and pauses tell when a caller has finished."""
    recorder: Recorder | None = None
    """None: no call is recorded."""
    voice_levels: VoiceLevels = field(default_factory=lambda: VoiceLevels(None))
    guard_echo: Mapping[EchoChoice, GuardMaker | None] = field(default_factory=dict)
    """For each choice of a line; None, or nothing: no canceller."""
    toolbox: Toolbox = field(default_factory=lambda: Toolbox({}, ToolServices()))
    """The tools of the configuration."""
    after_calls: AfterCalls = field(default_factory=AfterCalls)
    """What is still to be delivered of calls that have ended."""
    messages: MessageDesk | None = None
    """None: no messages can be left."""
    format_used: Callable[[str, AudioFormat], None] = lambda _context, _format: None
    """Told of each call's context and format, so that what is said often can be rendered in it."""
