"""A call that there is no room for: answered, told so in one sentence rendered before, and hung up.

It has a line like any call, but neither a provider nor a conversation.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from ai_engine.asterisk import channels
from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.errors import AriError
from ai_engine.asterisk.events import ChannelDestroyed, ChannelHangupRequest, Event, StasisEnd, StasisStart
from ai_engine.asterisk.reconcile import LiveCall
from ai_engine.call_line import CallLine
from ai_engine.call_services import CallServices
from ai_engine.call_setup import choose_context
from ai_engine.media.lines import MediaError
from ai_engine.media.ports import PortError
from ai_engine.media.transport import MediaTransport

log = structlog.get_logger(__name__)

_LEAD_IN_TICKS: Final = 15
"""Of silence: the telephone has just been answered."""
_SLACK_S: Final = 10.0
"""What a message may take longer than its sound."""
_TURN: Final = 1


class _Announcement:
    """The message on the media loop, tick by tick; `on_end` is called there, once."""

    def __init__(self, transport: MediaTransport, audio: bytes, text: str, on_end: Callable[[], None]) -> None:
        self._transport = transport
        self._audio = audio
        self._text = text
        self._on_end = on_end
        self._ticks = 0
        self._ended = False
        self.error: Exception | None = None
        """Why it was broken off."""

    def tick(self, now: float) -> None:
        transport = self._transport
        transport.receive(now)  # what the caller says is heard by nobody
        if self._ticks == _LEAD_IN_TICKS:
            transport.play(_TURN, self._audio, self._text, now)
            transport.played.end_turn(_TURN, now)
        self._ticks += 1
        transport.transmit(now)
        if self._ticks > _LEAD_IN_TICKS and transport.played.finished(_TURN, now):
            self._end()

    def failed(self, error: Exception) -> None:
        self.error = error
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end()


class MessageCall:
    """Made for a caller's StasisStart; `run` is its one task, `on_event` its lane's handler."""

    def __init__(self, start: StasisStart, lane: Lane, services: CallServices) -> None:
        self.call_id = uuid.uuid4().hex[:12]
        self._channel = start.channel
        self._services = services
        self._lane = lane
        self._line = CallLine(
            self.call_id, start.channel.id, ari=services.ari, ids=services.ids, lane=lane, media=services.media
        )
        self._over = asyncio.Event()
        self._log = log.bind(call_id=self.call_id)

    @property
    def live_call(self) -> LiveCall:
        line = self._line
        reserved = frozenset((line.media_channel_id, line.bridge_id))
        return LiveCall(self.call_id, line.caller_channel_id, reserved, line.made_ids)

    async def on_event(self, event: Event) -> None:
        """One event of the caller's channel, the media channel or the bridge, in order."""
        if event.channel_id == self._line.media_channel_id:
            if isinstance(event, StasisStart):
                self._line.media_channel_entered()
            elif isinstance(event, StasisEnd | ChannelDestroyed):
                self._over.set()
        elif isinstance(event, StasisEnd | ChannelDestroyed):
            self.caller_is_gone()
        elif isinstance(event, ChannelHangupRequest):
            self._over.set()

    def finish(self) -> None:
        """End the message now."""
        self._over.set()

    def caller_is_gone(self) -> None:
        """His channel is not ours to touch any more."""
        self._line.caller_in_stasis = False
        self._over.set()

    async def run(self) -> bool:
        """Say the message. False where it could not be said: then the caller was sent to the dialplan's fallback."""
        said = False
        try:
            said = await self._serve()
        except (AriError, MediaError, PortError, TimeoutError) as error:
            self._log.warning("message_not_said", error=str(error) or "not connected in time")
        except Exception:  # noqa: BLE001 - root of this call's task: the caller goes to the fallback
            self._log.exception("message_not_said")
        finally:
            await self._line.close(hang_up=said, fallback=None if said else self._services.fallback)
            self._lane.release()
        return said

    async def _serve(self) -> bool:
        services, connecting = self._services, asyncio.create_task(self._connect(), name=f"message-{self.call_id}")
        over = asyncio.create_task(self._over.wait(), name=f"message-over-{self.call_id}")
        try:
            async with asyncio.timeout(services.answer_timeout_s):
                await asyncio.wait((connecting, over), return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                return True  # the caller did not wait for it
            transport, audio, text = connecting.result()
            return await self._say(transport, audio, text)
        finally:
            for task in (connecting, over):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, AriError, MediaError, PortError):
                    await task

    async def _connect(self) -> tuple[MediaTransport, bytes, str]:
        services = self._services
        variables = await channels.get_variables(services.ari, self._channel.id, ("AI_CONTEXT",))
        now = datetime.now().astimezone()
        choice = choose_context(
            services.contexts, services.default_context, variables.get("AI_CONTEXT"), now, dialed=self._channel.exten
        )
        line = services.line
        factory = services.factories[choice.context.provider]
        audio = factory.rendered_line(choice.name, choice.context.busy, line.audio_format)
        if not audio:
            raise MediaError(f"the `busy` sentence of context {choice.name} is not rendered yet")
        await self._line.open(services.lines, line, otherwise=line)
        return await self._line.connect(), audio, choice.context.busy

    async def _say(self, transport: MediaTransport, audio: bytes, text: str) -> bool:
        media, loop = self._services.media, asyncio.get_running_loop()

        def ended() -> None:
            with contextlib.suppress(RuntimeError):  # the control loop has ended, and this call with it
                loop.call_soon_threadsafe(self._over.set)

        announcement = _Announcement(transport, audio, text, ended)
        media.post(media.add, announcement)
        try:
            async with asyncio.timeout(len(audio) / transport.format.bytes_per_second + _SLACK_S):
                await self._over.wait()
        finally:
            media.post(media.remove, announcement)
        if announcement.error is not None:
            raise announcement.error
        return True
