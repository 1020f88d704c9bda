"""A call's line: the media channel, the bridge and the transport that join a caller to us, and their end.

Everything made here has an id of ours, adopted by the call's lane before the request that makes it, and is given back
by `close`, whatever had been made until then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import structlog

from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.errors import AriError
from ai_engine.asterisk.ids import OwnIds
from ai_engine.asterisk.reconcile import Fallback, continue_caller
from ai_engine.media.line_choice import LineChoice
from ai_engine.media.line_registry import Lines
from ai_engine.media.lines import MediaError, OpenLine
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import PortError
from ai_engine.media.transport import MediaTransport

_T = TypeVar("_T")
log = structlog.get_logger(__name__)


class CallLine:
    """Channel, media channel, bridge and socket of one call. Lives on the control loop."""

    def __init__(
        self, call_id: str, caller_channel_id: str, *, ari: AriClient, ids: OwnIds, lane: Lane, media: MediaLoop
    ) -> None:
        self.call_id = call_id
        self.caller_channel_id = caller_channel_id
        self.media_channel_id = ids.media(call_id)
        self.bridge_id = ids.bridge(call_id)
        self.transport: MediaTransport | None = None
        self._open: OpenLine | None = None
        self.caller_in_stasis = True
        """False once the caller's channel hung up or left our application: then it is not ours to touch."""
        self._ari = ari
        self._lane = lane
        self._media = media
        self._media_entered = asyncio.Event()
        self._asked: set[str] = set()
        """What a request was sent for, answered or not: may exist."""
        self._made: set[str] = set()

    @property
    def made_ids(self) -> frozenset[str]:
        """What Asterisk has confirmed to have made."""
        return frozenset(self._made)

    def media_channel_entered(self) -> None:
        """The media channel's StasisStart has come."""
        self._media_entered.set()

    async def open(self, lines: Lines, wanted: LineChoice, *, otherwise: LineChoice) -> LineChoice:
        """The line opened: `wanted`, or `otherwise` where that cannot be had. Raises `MediaError` and `PortError`."""
        choice = wanted
        try:
            line = await lines.open(self.call_id, choice.transport, choice.media_format)
        except (MediaError, PortError) as error:
            if choice.transport == otherwise.transport:
                raise
            log.warning("transport_not_available", wanted=str(wanted), used=str(otherwise), error=str(error))
            choice = otherwise
            line = await lines.open(self.call_id, choice.transport, choice.media_format)
        self._open = line
        self.transport = line.transport
        log.info("line_opened", transport=choice.transport, format=choice.media_format, echo=choice.echo)
        return choice

    async def connect(self) -> MediaTransport:
        """Answer the caller and join it to the open line. Raises `AriError` or `MediaError`; then call `close`."""
        assert self._open is not None
        line = self._open
        self._lane.adopt(self.media_channel_id)
        self._lane.adopt(self.bridge_id)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(channels.answer(self._ari, self.caller_channel_id))
                group.create_task(self._make_bridge())
                group.create_task(self._make_media_channel(line))
        except* (AriError, MediaError) as errors:
            raise _first(errors) from None
        await self._media_entered.wait()
        await channels.add_to_bridge(self._ari, self.bridge_id, self.caller_channel_id, self.media_channel_id)
        return line.transport

    async def close(self, *, hang_up: bool, fallback: Fallback | None) -> None:
        """Give back all that was made; the caller is hung up, continued in the dialplan, or gone already. Idempotent.

        What cannot be destroyed because Asterisk is away is found by its id at the next reconcile. The transport goes
        first: it needs no Asterisk, and one that nobody ticks any more may be waited for there (AudioSocket).
        """
        transport, self.transport = self.transport, None
        if transport is not None:
            with contextlib.suppress(RuntimeError):  # the media loop has ended, and its sockets with it
                await asyncio.wrap_future(self._media.submit(transport.close()))
        if self.caller_in_stasis and (hang_up or fallback is not None):
            self.caller_in_stasis = False
            with _tolerating("release the caller"):
                if fallback is not None:
                    # Still in the bridge, the caller would go on hearing it instead of the dialplan.
                    await channels.remove_from_bridge(self._ari, self.bridge_id, self.caller_channel_id)
                    await continue_caller(self._ari, self.caller_channel_id, fallback)
                else:
                    await channels.hangup(self._ari, self.caller_channel_id)
        if self.media_channel_id in self._asked:
            with _tolerating("destroy the media channel"):
                await channels.hangup(self._ari, self.media_channel_id)
        if self.bridge_id in self._asked:
            with _tolerating("destroy the bridge"):
                await channels.destroy_bridge(self._ari, self.bridge_id)
        self._asked.clear()
        self._made.clear()

    async def _make_bridge(self) -> None:
        self._asked.add(self.bridge_id)
        await _to_its_end(channels.create_bridge(self._ari, self.bridge_id))
        self._made.add(self.bridge_id)

    async def _make_media_channel(self, line: OpenLine) -> None:
        request = line.request
        self._asked.add(self.media_channel_id)
        channel = await _to_its_end(
            channels.external_media(
                self._ari,
                channel_id=self.media_channel_id,
                external_host=request.external_host,
                media_format=request.media_format,
                transport=request.transport,
                encapsulation=request.encapsulation,
                connection_type=request.connection_type,
                data=request.data,
                transport_data=request.transport_data,
            )
        )
        self._made.add(self.media_channel_id)
        await line.connected(self._ari, channel)


async def _to_its_end(request: Coroutine[Any, Any, _T]) -> _T:
    """What Asterisk makes; a cancelled call waits for it, too.

    Asterisk would make it all the same, after it was told to destroy it, and nobody would know.
    """
    making = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        await asyncio.wait((making,))
        if not making.cancelled():
            making.exception()
        raise


@contextlib.contextmanager
def _tolerating(step: str) -> Iterator[None]:
    """One step of the ending must not keep the others from being taken."""
    try:
        yield
    except AriError as error:
        log.warning("call_cleanup_failed", step=step, error=str(error))


def _first(errors: BaseExceptionGroup[AriError | MediaError]) -> AriError | MediaError:
    """The error inside a group, however deep."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AriError | MediaError)
    return error
