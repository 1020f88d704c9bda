"""One call: its line, its conversation, its provider, and its end.

Lives on the control loop; the conversation lives on the media loop inside a `CallMedia`, which hands over what it has
decided. A call ends once, for one reason, and then gives back everything it made, whatever state it was in.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any, Final

import structlog

from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.dispatch import CUT_OFF, Lane
from ai_engine.asterisk.errors import AriError
from ai_engine.asterisk.events import (
    Channel,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelHangupRequest,
    ChannelHold,
    ChannelUnhold,
    Event,
    StasisEnd,
    StasisStart,
)
from ai_engine.asterisk.ids import OwnIds
from ai_engine.asterisk.reconcile import Fallback, LiveCall
from ai_engine.briefing import Persona
from ai_engine.call_control import TelephoneControl
from ai_engine.call_line import CallLine
from ai_engine.call_report import CallReport
from ai_engine.call_setup import Choice, choose_context, destination, phrases_for, settings_for
from ai_engine.call_tools import CallTools
from ai_engine.caller_leg import CallerLeg
from ai_engine.context_hooks import call_facts, call_record
from ai_engine.context_parts import set_answers
from ai_engine.contexts import CallTexts, Context
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings
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
from ai_engine.destinations import Target
from ai_engine.key_requests import KeyRequests
from ai_engine.media.agent_level import VoiceLevels
from ai_engine.media.call_media import CallMedia
from ai_engine.media.call_recording import CallRecording
from ai_engine.media.caller_audio import CallerAudioConverter
from ai_engine.media.echo import GuardMaker
from ai_engine.media.line_choice import EchoChoice, LineChoice, choose_line
from ai_engine.media.line_registry import Lines
from ai_engine.media.lines import MediaError
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import PortError
from ai_engine.media.recorder import Recorder
from ai_engine.media.transport import MediaTransport
from ai_engine.messages.call_messages import CallMessages
from ai_engine.messages.desk import MessageDesk
from ai_engine.provider_steering import steer
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    CallInfo,
    Provider,
    ProviderError,
    ProviderFailed,
)
from ai_engine.providers.services import ProviderFactory
from ai_engine.recording_setup import Action, act, press_key, recording_for
from ai_engine.tools.call_hooks import AfterCalls, CallFacts, look_up_all
from ai_engine.tools.registry import Toolbox, ToolServices
from ai_engine.tools.runner import ToolRunner
from ai_engine.tools.tool import ToolCallScope
from ai_engine.transfer import Result
from speech_detection.detector import SpeechDetector
from voice_core.turn_words_by_language import turn_words
from voice_wire.audio import MULAW_8K, AudioFormat

log = structlog.get_logger(__name__)


_CHANNEL_GONE: Final = frozenset({400, 404, 409, 422})
"""How Asterisk refuses what is asked for a channel that has just ended: which of them depends on the request."""
_END_COMES_WITHIN_S: Final = 2.0


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


_WITHOUT_CALLER: Final = frozenset({Outcome.CALLER_HUNG_UP, Outcome.LINE_LOST, Outcome.TRANSFERRED})


class Call:
    """Made for a caller's StasisStart; `run` is its one task, `on_event` its lane's handler."""

    def __init__(self, start: StasisStart, lane: Lane, services: CallServices) -> None:
        self.call_id = uuid.uuid4().hex[:12]
        self.channel: Channel = start.channel
        self.state = "ringing"
        self.context_name = ""
        self.began_at = time.time()
        self._cut_off = CUT_OFF in start.args
        self._services = services
        self._lane = lane
        self._line = CallLine(
            self.call_id, start.channel.id, ari=services.ari, ids=services.ids, lane=lane, media=services.media
        )
        self._ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._provider: Provider | None = None
        self._media: CallMedia | None = None
        self._recording: CallRecording | None = None
        self._context: Context | None = None
        self._texts: CallTexts | None = None
        self._audio_format = MULAW_8K
        """Of the agent's sound on this call's line."""
        self._caller_audio = CallerAudioConverter(self._audio_format.sample_rate_hz)
        self._transfer_to: Fallback | None = None
        self._factory: ProviderFactory | None = None
        self._pump: asyncio.Task[None] | None = None
        self._semantic: SemanticEndOfTurn | None = None
        self._tools: CallTools | None = None
        self._messages: CallMessages | None = None
        self._caller_leg = CallerLeg(services.ari, start.channel.id)
        self.keys = KeyRequests(self._to_conversation)
        """For whoever needs digits that the caller types."""
        self.control = TelephoneControl(
            self.call_id,
            self._line,
            start.channel,
            services=services,
            lane=lane,
            to_conversation=self._to_conversation,
            on_consulted=self._consulted,
        )
        """What tools may do with this call."""
        self._report = services.report(self.call_id)
        self._log = log.bind(call_id=self.call_id)

    # --- what the engine asks and tells -------------------------------------------------------------------------------

    @property
    def live_call(self) -> LiveCall:
        line = self._line
        reserved = frozenset((line.media_channel_id, line.bridge_id)) | self.control.reserved_ids
        return LiveCall(self.call_id, line.caller_channel_id, reserved, line.made_ids)

    def describe(self) -> dict[str, Any]:
        """For `/sessions`."""
        return {
            "call_id": self.call_id,
            "context": self.context_name,
            "state": self.state,
            "caller_number": self.channel.caller_number,
            "dialed_number": self.channel.exten,
            "seconds": round(time.time() - self.began_at, 1),
            "turns": self._report.turns,
            "line": self._line.transport.line_quality().known() if self._line.transport is not None else None,
            "caller_line": self._caller_leg.quality.known() if self._caller_leg.quality is not None else None,
            "recording": self._recording.state if self._recording is not None else None,
        }

    async def record(self, action: Action) -> str | None:
        """Pause, resume, stop or discard the recording; done when this returns its state. None: there is none."""
        if self._media is None:
            return None
        return await self._media.record(lambda recording, _now: act(recording, action))

    async def on_event(self, event: Event) -> None:
        """One event of the caller's channel, the media channel or the bridge, in order."""
        if event.channel_id == self._line.media_channel_id:
            self._on_media_channel_event(event)
            return
        if self.control.takes(event):
            return
        match event:
            case StasisEnd() | ChannelDestroyed():
                self._line.caller_in_stasis = False
                self.finish(Outcome.CALLER_HUNG_UP)
            case ChannelHangupRequest():
                self.finish(Outcome.CALLER_HUNG_UP)
            case ChannelDtmfReceived(digit=digit):
                self._to_conversation(lambda conversation, now: self._pressed(conversation, digit, now))
            case ChannelHold() if not self.control.consulting:
                self._to_conversation(Conversation.hold)
            case ChannelUnhold() if not self.control.consulting:
                self._to_conversation(Conversation.unhold)

    def finish(self, outcome: Outcome) -> None:
        """End the call; the first reason stands."""
        if not self._ended.done():
            self._ended.set_result(outcome)

    def caller_is_gone(self) -> None:
        """Reconciling found no caller's channel."""
        self._line.caller_in_stasis = False
        self.finish(Outcome.LINE_LOST)

    def say_farewell(self) -> None:
        """The engine stops: take leave and hang up when it was heard. A call not yet connected ends at once."""
        if self._media is None or self._texts is None:
            self.finish(Outcome.FELL_BACK)
            return
        self.control.stop()
        farewell = self._texts.farewell
        rendered = self._rendered(farewell) is not None
        self._to_conversation(
            lambda conversation, now: conversation.say_farewell_and_hang_up(farewell, now, rendered_only=rendered)
        )

    # --- the one task -------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """From StasisStart to the last thing given back. Never raises but for its own cancellation."""
        outcome = Outcome.FAILED
        with structlog.contextvars.bound_contextvars(call_id=self.call_id):
            try:
                outcome = await self._serve()
            except PortError as error:
                outcome = Outcome.REFUSED
                self._log.error("no_media_port", error=str(error))
                self._report.know(error=str(error))
            except (AriError, MediaError, ProviderError, TimeoutError) as error:
                reason = str(error) or f"not connected within {self._services.answer_timeout_s:g} s"
                self._log.error("call_failed", error=reason)
                self._report.know(error=reason)
            except Exception:  # noqa: BLE001 - root of the call's task: the caller goes to the fallback, others go on
                self._log.exception("call_failed")
                self._report.know(error="a fault of the engine: see its log")
            finally:
                self.state = "ending"
                await self._give_back(outcome)
                self._report.ended(outcome.value)
                self._tell_hooks(outcome)
        return outcome

    def _tell_hooks(self, outcome: Outcome) -> None:
        """Whoever the context wants told of the call: that goes on without it."""
        context, texts = self._context, self._texts
        if context is None or texts is None or not context.after_call:
            return
        facts = call_facts(self.call_id, self.context_name, context.language, self.channel, texts.variables)
        record = call_record(facts, outcome.value, self.began_at, self._report.spoken)
        self._services.after_calls.call_ended(record, self._services.toolbox.after_call(context.after_call))

    async def _serve(self) -> Outcome:
        connecting = asyncio.create_task(self._connect(), name=f"connect-{self.call_id}")
        try:
            async with asyncio.timeout(self._services.answer_timeout_s):
                await asyncio.wait((connecting, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if connecting.done() and not await self._caller_left(connecting.exception()):
                connecting.result()
        finally:
            if not connecting.done():
                connecting.cancel()
                with contextlib.suppress(asyncio.CancelledError, AriError, MediaError, PortError, ProviderError):
                    await connecting
        return await self._ended

    async def _caller_left(self, error: BaseException | None) -> bool:
        """Whether connecting failed because the caller hung up meanwhile: then his channel's end is on its way."""
        if not isinstance(error, AriError) or error.status not in _CHANNEL_GONE:
            return False
        await asyncio.wait((self._ended,), timeout=_END_COMES_WITHIN_S)
        return self._ended.done()

    async def _connect(self) -> None:
        services = self._services
        variables = await self._variables()
        now = datetime.now().astimezone()
        choice = self._choose_context(variables, now)
        self.context_name, context = choice.name, choice.context
        self._context = context
        facts = call_facts(self.call_id, choice.name, context.language, self.channel, variables)
        asked = services.toolbox.before_call(context.before_call)
        texts = context.for_call(
            call_id=self.call_id,
            now=now,
            hours=choice.hours,
            caller_name=self.channel.caller_name,
            caller_number=self.channel.caller_number,
            dialed_number=self.channel.exten,
            dialplan=variables,
            lookups=await look_up_all(asked, facts, deadline_s=context.before_call_s),
        )
        self._texts = texts
        self._report.started(self.channel, self.context_name)
        wanted, misfits = choose_line(variables, services.line, services.line_profiles)
        for misfit in misfits:
            self._log.warning("dialplan_variable_ignored", **misfit.facts, used=str(wanted))
        line = await self._line.open(services.lines, wanted, otherwise=services.line)
        self._audio_format = line.audio_format
        self._report.know(provider=context.provider, transport=line.transport, media_format=line.media_format)
        self.control.connected(Persona(context, self.context_name, texts), line)
        services.format_used(self.context_name, line.audio_format)
        info = CallInfo(
            call_id=self.call_id,
            context=self.context_name,
            system_prompt=texts.system_prompt,
            language=context.language,
            voice=context.voice,
            output_format=self._audio_format,
            variables=texts.variables,
            tools=(runner := self._tool_runner(context)).specs,
        )
        self._factory = services.factories[context.provider]
        provider = self._factory.create(info, context, no_information=texts.no_information)
        self._provider = provider
        self._messages = self._message_taker(facts)
        scope = ToolCallScope(
            call_id=self.call_id,
            context=self.context_name,
            caller_number=self.channel.caller_number,
            caller_name=self.channel.caller_name,
            dialed_number=self.channel.exten,
            language=context.language,
            line=self.control,
            variables=texts.variables,
            collect_keys=self.keys.collect,
            secrets=self.keys,
            messages=self._messages,
        )
        self._tools = CallTools(runner, scope, provider, self._to_conversation)
        starting = asyncio.create_task(self._start_provider(provider, info), name=f"provider-{self.call_id}")
        try:
            transport = await self._line.connect()
            failure = await starting
        finally:
            if not starting.done():
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
        await self._begin(context, texts, line, transport, provider)
        if failure is not None:
            self._log.error("provider_start_failed", error=str(failure), retryable=failure.retryable)
            self._report.provider_failed("connection")
            self._to_conversation(Conversation.provider_lost if failure.retryable else Conversation.hand_on)

    def _tool_runner(self, context: Context) -> ToolRunner:
        """For the tools that the context allows; no other can be run in this call."""
        return ToolRunner(self._services.toolbox.allowed(context.tools), on_done=self._report.tool_ran)

    def _message_taker(self, facts: CallFacts) -> CallMessages | None:
        """Once the line is open."""
        desk, transport = self._services.messages, self._line.transport
        if desk is None or transport is None:
            return None
        return CallMessages(
            desk,
            self._to_conversation,
            facts,
            rate_hz=transport.pcm_rate_hz,
            line_format=self._audio_format,
            report=self._report,
        )

    async def _start_provider(self, provider: Provider, info: CallInfo) -> ProviderError | None:
        """The failure, rather than raising it: a caller who has been answered hears an apology first."""
        try:
            await provider.start(info)
        except ProviderError as error:
            return error
        return None

    async def _begin(
        self, context: Context, texts: CallTexts, line: LineChoice, transport: MediaTransport, provider: Provider
    ) -> None:
        services = self._services
        guard_echo = services.guard_echo.get(line.echo)
        conversation = Conversation(
            transport,
            settings=settings_for(context, services.conversation, cut_off=self._cut_off),
            phrases=phrases_for(texts, cut_off=self._cut_off),
            owns_turn_taking=provider.capabilities.owns_turn_taking,
            words=turn_words(context.language),
            set_answers=set_answers(context.set_phrases, context.language),
            keys=context.keypad.rules(),
        )
        self._recording = recording_for(services.recorder, context, self.call_id, transport, conversation)
        media = CallMedia(
            services.media,
            transport,
            conversation,
            call_id=self.call_id,
            detector=services.detector,
            control=asyncio.get_running_loop(),
            on_decisions=self._carry_out,
            on_failed=lambda _error: self.finish(Outcome.FAILED),
            recording=self._recording,
            level=services.voice_levels.of(context.provider, context.voice or ""),
            echo=guard_echo(transport) if guard_echo is not None else None,
        )
        self._media = media
        self._caller_audio = CallerAudioConverter(transport.pcm_rate_hz)
        if services.turn_ending is not None:
            self._semantic = SemanticEndOfTurn(
                services.turn_ending, self._turn_may_be_over, rate_hz=transport.pcm_rate_hz
            )
        self._pump = asyncio.create_task(self._pump_events(provider, media), name=f"pump-{self.call_id}")
        self.state = "talking"
        self._caller_leg.start()
        media.start()

    def _pressed(self, conversation: Conversation, digit: str, now: float) -> None:
        """A key; on the media thread."""
        pause_s = self._context.recording.pause_on_keys_s if self._context is not None else 0.0
        press_key(conversation, digit, now, recording=self._recording, pause_s=pause_s)

    async def _variables(self) -> dict[str, str]:
        """The channel's AI_* variables: those that choose, and those that some persona's texts name."""
        named = {name.upper() for context in self._services.contexts.values() for name in context.dialplan_variables}
        named |= {name.upper() for name in self._services.toolbox.dialplan_variables}
        wanted = (*channels.CALL_VARIABLES, *sorted(named))
        return await channels.get_variables(self._services.ari, self.channel.id, wanted)

    def _choose_context(self, variables: Mapping[str, str], now: datetime) -> Choice:
        services = self._services
        choice = choose_context(
            services.contexts, services.default_context, variables.get("AI_CONTEXT"), now, dialed=self.channel.exten
        )
        if choice.unknown:
            self._log.warning("unknown_context", context=choice.unknown, used=choice.name)
        provider = variables.get("AI_PROVIDER")
        if provider and provider not in services.factories:
            self._log.warning("unknown_provider", provider=provider, used=choice.context.provider)
        elif provider:
            choice = replace(choice, context=choice.context.model_copy(update={"provider": provider}))
        return choice

    # --- between provider and conversation ----------------------------------------------------------------------------

    async def _pump_events(self, provider: Provider, media: CallMedia) -> None:
        """The provider's events to the conversation, in order, sound already in the line's format."""
        try:
            async for event in provider.events():
                if isinstance(event, ProviderFailed):
                    self._log.warning(
                        "provider_failed", component=event.component, error=event.message, turn=event.turn
                    )
                    self._report.provider_failed(event.component)
                media.provider_event(event)
        except Exception:  # noqa: BLE001 - root of the pump's task: the caller hears an apology instead of nothing
            self._log.exception("provider_events_failed")
            media.provider_event(ProviderFailed(0, 0, "connection", "the provider's events broke off", retryable=True))

    def _carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, CallerTurn | AgentTurn | Announce):
                self.state = decision.state if isinstance(decision, Announce) else self.state
                self._report.note(decision)
                if self._tools is not None and not isinstance(decision, Announce):
                    self._tools.note(decision)
            elif self._provider is not None and not self._ended.done():
                if self._semantic is not None:
                    self._semantic.note(decision)
                self._steer(self._provider, decision)
            elif self._provider is not None and self._messages is not None and self._messages.taking:
                self._end_message(self._messages, self._provider, decision)

    def _end_message(self, messages: CallMessages, provider: Provider, decision: Decision) -> None:
        """The caller is gone: of a message that he left the last words are still transcribed."""
        if isinstance(decision, MessageTaken):
            messages.ended(decision)
        else:
            steer(provider, decision, self._caller_audio)

    def _turn_may_be_over(self, turn: int, revision: int, probability: float) -> None:
        self._to_conversation(
            lambda conversation, now: conversation.end_of_turn_probability(turn, revision, probability, now)
        )

    def _steer(self, provider: Provider, decision: Decision) -> None:
        if steer(provider, decision, self._caller_audio):
            return
        match decision:
            case Say():
                self._say(provider, decision)
            case RunTool() if self._tools is not None:
                self._tools.begin(decision)
            case CarryOut() if self._tools is not None:
                self._tools.carry_out(decision)
            case KeysTyped():
                self.keys.ended(decision)
            case MessageTaken() if self._messages is not None:
                self._messages.ended(decision)
            case HangUp(reason):
                self._log.info("agent_hangs_up", reason=reason)
                self.finish(Outcome.AGENT_HUNG_UP)
            case FallBack(reason):
                self._log.warning("falling_back", reason=reason)
                self._report.know(error=reason)
                self.finish(Outcome.FELL_BACK)
            case Transfer(extension, dialplan_context, reason):
                self._log.info("transferring", extension=extension, dialplan_context=dialplan_context, reason=reason)
                self._transfer_to = Fallback(dialplan_context or None, extension, 1)
                self._report.transferred(extension)
                self.finish(Outcome.TRANSFERRED)

    def _say(self, provider: Provider, decision: Say) -> None:
        if not decision.rendered_only:
            provider.say(decision.turn, decision.revision, decision.text)
            return
        if self._media is None:
            return
        if (audio := self._rendered(decision.text)) is None:
            self._log.error("not_rendered", turn=decision.turn)  # its text may hold the caller's name
        else:
            event = AgentAudio(decision.turn, decision.revision, audio, self._audio_format, decision.text)
            self._media.provider_event(event)
        self._media.provider_event(AgentAudioDone(decision.turn, decision.revision))

    def _rendered(self, text: str) -> bytes | None:
        """Sound made ahead of any call: it needs no provider that works."""
        if self._factory is None:
            return None
        return self._factory.rendered_line(self.context_name, text, self._audio_format)

    def _to_conversation(self, action: Callable[[Conversation, float], object]) -> None:
        """Do something to the conversation, on the media loop and with the time it then is."""
        if self._media is not None:
            self._media.run(action)

    def _consulted(self, target: Target, result: Result, caller_lost: bool) -> None:
        """An attended transfer ended; who is the agent's again has been told why."""
        self._report.consulted(target.extension or target.endpoint, result)
        if caller_lost:
            self.finish(Outcome.FELL_BACK)
        elif result is Result.TRANSFERRED:
            self.finish(Outcome.TRANSFERRED)
        elif not self._line.caller_in_stasis:
            self.finish(Outcome.CALLER_HUNG_UP if result is Result.CALLER_LEFT else Outcome.FELL_BACK)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _on_media_channel_event(self, event: Event) -> None:
        match event:
            case StasisStart():
                self._line.media_channel_entered()
            case StasisEnd() | ChannelDestroyed() if not self._ended.done():
                self._log.warning("media_channel_lost")
                self.finish(Outcome.FELL_BACK)

    async def _give_back(self, outcome: Outcome) -> None:
        """Everything this call made, in the order that leaves no sound and no event behind."""
        self.keys.call_over()
        if self._messages is not None and self._media is not None:
            await self._tried(self._messages.finish())
        await self._tried(self.control.close(caller_is_there=outcome not in _WITHOUT_CALLER))
        if self._media is not None:  # first: Asterisk waits for an AudioSocket that a fault left without ticks
            await self._tried(self._media.close())
        await self._tried(self._caller_leg.end(channel_may_be_there=self._line.caller_in_stasis))
        if self._semantic is not None:
            await self._tried(self._semantic.close())
        if self._provider is not None:
            await self._tried(self._provider.stop())
        if self._recording is not None and self._recording.path is not None:
            self._report.recorded(self._recording.path)
        if self._line.transport is not None:
            self._report.line_quality(self._line.transport.line_quality(), self._caller_leg.quality)
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump
        goes_to: Fallback | None = None
        if outcome in {Outcome.FELL_BACK, Outcome.FAILED}:
            goes_to = destination(self._context, self._services.fallback)
        elif outcome is Outcome.REFUSED:
            goes_to = self._services.fallback
        elif outcome is Outcome.TRANSFERRED:
            goes_to = self._transfer_to
        hang_up = outcome in {Outcome.AGENT_HUNG_UP, Outcome.FELL_BACK, Outcome.FAILED}
        await self._tried(self._line.close(hang_up=hang_up, fallback=goes_to))
        if self._messages is not None:
            await self._tried(self._messages.close())
        if self._tools is not None:
            await self._tried(self._tools.close())
        self._lane.release()

    async def _tried(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception:  # noqa: BLE001 - what one part cannot give back must keep nobody on the line
            self._log.exception("call_cleanup_failed")
