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
from datetime import datetime
from functools import partial
from typing import Any, Final

import structlog

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
from ai_engine.asterisk.reconcile import LiveCall
from ai_engine.briefing import Persona
from ai_engine.call_control import TelephoneControl
from ai_engine.call_dialogue import CallDialogue
from ai_engine.call_line import CallLine
from ai_engine.call_services import CallServices, Outcome
from ai_engine.call_setup import ask_variables, call_info, choice_for, conversation_for, goes_on_to, texts_for
from ai_engine.call_tools import CallTools, tool_scope
from ai_engine.caller_leg import CallerLeg
from ai_engine.context_hooks import call_facts, call_record
from ai_engine.contexts import CallTexts, Context
from ai_engine.conversation.conversation import Conversation
from ai_engine.destinations import Target
from ai_engine.key_requests import KeyRequests
from ai_engine.media.call_media import CallMedia
from ai_engine.media.call_recording import CallRecording
from ai_engine.media.line_choice import LineChoice, choose_line
from ai_engine.media.lines import MediaError
from ai_engine.media.ports import PortError
from ai_engine.media.transport import MediaTransport
from ai_engine.messages.call_messages import CallMessages
from ai_engine.providers.provider import CallInfo, ProviderError
from ai_engine.recording_setup import Action, act, press_key, recording_for
from ai_engine.tools.call_hooks import CallFacts
from ai_engine.tools.runner import ToolRunner
from ai_engine.transfer import Result

log = structlog.get_logger(__name__)


_CHANNEL_GONE: Final = frozenset({400, 404, 409, 422})
"""How Asterisk refuses what is asked for a channel that has just ended: which of them depends on the request."""
_END_COMES_WITHIN_S: Final = 2.0


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
        self._media: CallMedia | None = None
        self._recording: CallRecording | None = None
        self._context: Context | None = None
        self._texts: CallTexts | None = None
        self._dialogue: CallDialogue | None = None
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
        rendered = self._dialogue is not None and self._dialogue.rendered(farewell) is not None
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
        persona, facts, variables = await self._choose_persona()
        context, texts = persona.context, persona.texts
        line = await self._open_line(persona, variables)
        runner = ToolRunner(self._services.toolbox.allowed(context.tools), on_done=self._report.tool_ran)
        info = call_info(self.call_id, persona, line.audio_format, runner.specs)
        factory = self._services.factories[context.provider]
        provider = factory.create(info, context, no_information=texts.no_information)
        self._messages = self._message_taker(facts, line)
        scope = tool_scope(
            self.call_id, self.channel, persona, line=self.control, keys=self.keys, messages=self._messages
        )
        self._tools = CallTools(runner, scope, provider, self._to_conversation)
        self._dialogue = dialogue = CallDialogue(
            self.call_id,
            provider,
            tools=self._tools,
            keys=self.keys,
            messages=self._messages,
            report=self._report,
            rendered=partial(factory.rendered_line, persona.name),
            audio_format=line.audio_format,
            on_state=self._set_state,
            finish=self.finish,
            ended=self._ended.done,
        )
        transport, failure = await self._join(dialogue, info)
        conversation = conversation_for(
            self._services,
            context,
            texts,
            transport,
            owns_turn_taking=provider.capabilities.owns_turn_taking,
            cut_off=self._cut_off,
        )
        self._begin(conversation, transport, context, line, dialogue)
        if failure is not None:
            self._log.error("provider_start_failed", error=str(failure), retryable=failure.retryable)
            self._report.provider_failed("connection")
            self._to_conversation(Conversation.provider_lost if failure.retryable else Conversation.hand_on)

    async def _choose_persona(self) -> tuple[Persona, CallFacts, dict[str, str]]:
        """Who speaks in this call, what is known of it, and the dialplan's variables."""
        services, channel = self._services, self.channel
        variables, now = await ask_variables(services, channel), datetime.now().astimezone()
        choice = choice_for(services, channel, variables, now)
        self.context_name, self._context = choice.name, choice.context
        facts = call_facts(self.call_id, choice.name, choice.context.language, channel, variables)
        self._texts = texts = await texts_for(services, choice, facts, channel, variables=variables, now=now)
        self._report.started(channel, choice.name)
        return Persona(choice.context, choice.name, texts), facts, variables

    async def _open_line(self, persona: Persona, variables: Mapping[str, str]) -> LineChoice:
        """The line that the dialplan wants, as far as it can be had."""
        services = self._services
        wanted, misfits = choose_line(variables, services.line, services.line_profiles)
        for misfit in misfits:
            self._log.warning("dialplan_variable_ignored", **misfit.facts, used=str(wanted))
        line = await self._line.open(services.lines, wanted, otherwise=services.line)
        self._report.know(provider=persona.context.provider, transport=line.transport, media_format=line.media_format)
        self.control.connected(persona, line)
        services.format_used(persona.name, line.audio_format)
        return line

    def _message_taker(self, facts: CallFacts, line: LineChoice) -> CallMessages | None:
        """Once the line is open."""
        desk, transport = self._services.messages, self._line.transport
        if desk is None or transport is None:
            return None
        return CallMessages(
            desk,
            self._to_conversation,
            facts,
            rate_hz=transport.pcm_rate_hz,
            line_format=line.audio_format,
            report=self._report,
        )

    async def _join(self, dialogue: CallDialogue, info: CallInfo) -> tuple[MediaTransport, ProviderError | None]:
        """The caller and the open line, while the provider starts; the failure of that."""
        starting = asyncio.create_task(dialogue.start(info), name=f"provider-{self.call_id}")
        try:
            transport = await self._line.connect()
            return transport, await starting
        finally:
            if not starting.done():
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting

    def _begin(
        self,
        conversation: Conversation,
        transport: MediaTransport,
        context: Context,
        line: LineChoice,
        dialogue: CallDialogue,
    ) -> None:
        """The caller is on the line."""
        services, guard_echo = self._services, self._services.guard_echo.get(line.echo)
        self._recording = recording_for(services.recorder, context, self.call_id, transport, conversation)
        self._media = media = CallMedia(
            services.media,
            transport,
            conversation,
            call_id=self.call_id,
            detector=services.detector,
            control=asyncio.get_running_loop(),
            on_decisions=dialogue.carry_out,
            on_failed=lambda _error: self.finish(Outcome.FAILED),
            recording=self._recording,
            level=services.voice_levels.of(context.provider, context.voice or ""),
            echo=guard_echo(transport) if guard_echo is not None else None,
        )
        dialogue.begin(media, services.turn_ending)
        self._set_state("talking")
        self._caller_leg.start()
        media.start()

    # --- what reaches the conversation --------------------------------------------------------------------------------

    def _set_state(self, state: str) -> None:
        self.state = state

    def _pressed(self, conversation: Conversation, digit: str, now: float) -> None:
        """A key; on the media thread."""
        pause_s = self._context.recording.pause_on_keys_s if self._context is not None else 0.0
        press_key(conversation, digit, now, recording=self._recording, pause_s=pause_s)

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
        if self._dialogue is not None:
            await self._tried(self._dialogue.close())
        if self._recording is not None and self._recording.path is not None:
            self._report.recorded(self._recording.path)
        if self._line.transport is not None:
            self._report.line_quality(self._line.transport.line_quality(), self._caller_leg.quality)
        transfer_to = self._dialogue.transfer_to if self._dialogue is not None else None
        goes_to = goes_on_to(outcome, self._context, self._services.fallback, transfer_to)
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
