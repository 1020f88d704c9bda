"""Between a call's provider and its conversation: what is decided is carried out, what the provider tells is passed on.

Lives on the control loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from ai_engine.asterisk.reconcile import Fallback
from ai_engine.call_report import CallReport
from ai_engine.call_services import Outcome
from ai_engine.call_tools import CallTools
from ai_engine.conversation.decisions import (
    AgentTurn,
    Announce,
    CallerTurn,
    CarryOut,
    Decision,
    FallBack,
    HangUp,
    KeysTyped,
    MessageTaken,
    RunTool,
    Say,
    Transfer,
)
from ai_engine.conversation.semantic_end_of_turn import SemanticEndOfTurn, TurnEnding
from ai_engine.key_requests import KeyRequests
from ai_engine.media.call_media import CallMedia
from ai_engine.media.caller_audio import CallerAudioConverter
from ai_engine.messages.call_messages import CallMessages
from ai_engine.provider_steering import steer
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, CallInfo, Provider, ProviderError, ProviderFailed
from voice_wire.audio import AudioFormat

log = structlog.get_logger(__name__)


class CallDialogue:
    """One call's. `close` it once the conversation decides nothing more."""

    def __init__(
        self,
        call_id: str,
        provider: Provider,
        *,
        tools: CallTools,
        keys: KeyRequests,
        messages: CallMessages | None,
        report: CallReport,
        rendered: Callable[[str, AudioFormat], bytes | None],
        audio_format: AudioFormat,
        on_state: Callable[[str], None],
        finish: Callable[[Outcome], None],
        ended: Callable[[], bool],
    ) -> None:
        """`rendered` gives sound made ahead of any call; `audio_format` is that of the agent's on this call's line.

        `finish` ends the call. `ended()`: it has ended, and what is decided now only counts for a message being left.
        """
        self._call_id = call_id
        self._provider = provider
        self._tools = tools
        self._keys = keys
        self._messages = messages
        self._report = report
        self._rendered = rendered
        self._audio_format = audio_format
        self._on_state = on_state
        self._finish = finish
        self._ended = ended
        self._caller_audio = CallerAudioConverter(audio_format.sample_rate_hz)
        self._media: CallMedia | None = None
        self._semantic: SemanticEndOfTurn | None = None
        self._pump: asyncio.Task[None] | None = None
        self.transfer_to: Fallback | None = None
        """Where the caller goes whose call ends as `TRANSFERRED` by what is set for his words."""
        self._log = log.bind(call_id=call_id)

    async def start(self, info: CallInfo) -> ProviderError | None:
        """Connect the provider.

        The failure, rather than raising it: a caller who has been answered hears an apology first.
        """
        try:
            await self._provider.start(info)
        except ProviderError as error:
            return error
        return None

    def begin(self, media: CallMedia, turn_ending: TurnEnding | None) -> None:
        """The caller is connected. `turn_ending`: None where only words and pauses tell when he has finished."""
        rate_hz = media.transport.pcm_rate_hz
        self._media = media
        self._caller_audio = CallerAudioConverter(rate_hz)
        if turn_ending is not None:
            self._semantic = SemanticEndOfTurn(turn_ending, self._turn_may_be_over, rate_hz=rate_hz)
        self._pump = asyncio.create_task(self._pump_events(media), name=f"pump-{self._call_id}")

    def rendered(self, text: str) -> bytes | None:
        """Sound made ahead of any call: it needs no provider that works."""
        return self._rendered(text, self._audio_format)

    def carry_out(self, decisions: list[Decision]) -> None:
        """What the conversation has decided, in order."""
        for decision in decisions:
            if isinstance(decision, CallerTurn | AgentTurn | Announce):
                self._note(decision)
            elif not self._ended():
                if self._semantic is not None:
                    self._semantic.note(decision)
                self._steer(decision)
            elif self._messages is not None and self._messages.taking:
                self._end_message(self._messages, decision)

    async def close(self) -> None:
        """Give the provider back, and what else was begun. Lets go of the call.

        All is given back, whatever one of the parts raises; that is raised then.
        """
        semantic, self._semantic = self._semantic, None
        self._on_state = self._finish = _nothing
        async with contextlib.AsyncExitStack() as steps:
            steps.push_async_callback(self._end_pump)
            steps.push_async_callback(self._provider.stop)
            if semantic is not None:
                steps.push_async_callback(semantic.close)

    # --- what the conversation decides --------------------------------------------------------------------------------

    def _note(self, decision: CallerTurn | AgentTurn | Announce) -> None:
        if isinstance(decision, Announce):
            self._on_state(decision.state)
        self._report.note(decision)
        if not isinstance(decision, Announce):
            self._tools.note(decision)

    def _steer(self, decision: Decision) -> None:
        if steer(self._provider, decision, self._caller_audio):
            return
        match decision:
            case Say():
                self._say(decision)
            case RunTool():
                self._tools.begin(decision)
            case CarryOut():
                self._tools.carry_out(decision)
            case KeysTyped():
                self._keys.ended(decision)
            case MessageTaken() if self._messages is not None:
                self._messages.ended(decision)
            case HangUp(reason):
                self._log.info("agent_hangs_up", reason=reason)
                self._finish(Outcome.AGENT_HUNG_UP)
            case FallBack(reason):
                self._log.warning("falling_back", reason=reason)
                self._report.know(error=reason)
                self._finish(Outcome.FELL_BACK)
            case Transfer(extension, dialplan_context, reason):
                self._log.info("transferring", extension=extension, dialplan_context=dialplan_context, reason=reason)
                self.transfer_to = Fallback(dialplan_context or None, extension, 1)
                self._report.transferred(extension)
                self._finish(Outcome.TRANSFERRED)

    def _say(self, decision: Say) -> None:
        if not decision.rendered_only:
            self._provider.say(decision.turn, decision.revision, decision.text)
            return
        if self._media is None:
            return
        if (audio := self.rendered(decision.text)) is None:
            self._log.error("not_rendered", turn=decision.turn)  # its text may hold the caller's name
        else:
            event = AgentAudio(decision.turn, decision.revision, audio, self._audio_format, decision.text)
            self._media.provider_event(event)
        self._media.provider_event(AgentAudioDone(decision.turn, decision.revision))

    def _end_message(self, messages: CallMessages, decision: Decision) -> None:
        """The caller is gone: of a message that he left the last words are still transcribed."""
        if isinstance(decision, MessageTaken):
            messages.ended(decision)
        else:
            steer(self._provider, decision, self._caller_audio)

    # --- what is told to the conversation -----------------------------------------------------------------------------

    def _turn_may_be_over(self, turn: int, revision: int, probability: float) -> None:
        if self._media is not None:
            self._media.run(
                lambda conversation, now: conversation.end_of_turn_probability(turn, revision, probability, now)
            )

    async def _pump_events(self, media: CallMedia) -> None:
        """The provider's events, in order, sound already in the line's format."""
        try:
            async for event in self._provider.events():
                if isinstance(event, ProviderFailed):
                    self._log.warning(
                        "provider_failed", component=event.component, error=event.message, turn=event.turn
                    )
                    self._report.provider_failed(event.component)
                media.provider_event(event)
        except Exception:  # noqa: BLE001 - root of the pump's task: the caller hears an apology instead of nothing
            self._log.exception("provider_events_failed")
            media.provider_event(ProviderFailed(0, 0, "connection", "the provider's events broke off", retryable=True))

    async def _end_pump(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump


def _nothing(_: object) -> None:
    """For a call that is over."""
