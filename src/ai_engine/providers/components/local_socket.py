"""One call's connection to local_ai_server: a WebSocket that speaks protocol version 3 (docs/protocol.md).

Owns the socket, its reconnection and who gets which answer. The three local components share it. When it is lost,
every request in flight fails with a retryable `ComponentFailed`; it is then connected again in the background, with
growing pauses, or at once when something is asked for or another server is there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ai_engine.providers.components.component import ComponentFailed, ComponentName, OnPartial, SttTraits
from ai_engine.providers.components.local_connecting import connect_to_one, known_message
from ai_engine.providers.components.local_exchange import Exchange, Request
from ai_engine.providers.server_fleet import Server, ServerFleet
from voice_wire.messages import (
    Adopt,
    AuthResponse,
    BackendChanged,
    Cancel,
    ClientMessage,
    Done,
    End,
    Error,
    LlmDelta,
    LlmToolResponse,
    Ping,
    Pong,
    ProtocolError,
    ServerMessage,
    SttResult,
    SttStarted,
    TtsStart,
    pack_frame,
    parse_frame,
)

log = structlog.get_logger(__name__)

_GOODBYE_S: Final = 1.0
"""For the server to answer `end`; calls end all the time, and one waits for this."""
_GATED_BACKENDS: Final = frozenset({"faster_whisper", "whisper_cpp"})
"""Of those whose name is all that is known: they take the agent's echo for words of the caller."""
OUTBOX_MESSAGES: Final = 2048
"""More than this waiting to be written means that the server has stopped reading."""
_STABLE_S: Final = 1.0
"""A connection that lasted so long was a good one: its end is no reason to wait before the next."""


@dataclass(frozen=True, slots=True)
class LocalSocketSettings:
    """Where the server is, and how patient to be with it."""

    url: str = "ws://127.0.0.1:8765"
    """Of the only server; a fleet knows the addresses of its own."""
    token: str = field(default="", repr=False)
    connect_timeout_s: float = 3.0
    """For connecting and being authenticated."""
    answer_timeout_s: float = 10.0
    """Longest silence of the server on a request it has not finished."""
    ping_interval_s: float = 30.0
    """The server closes what is idle for 150 s; a ping not answered by the next one means that it is gone."""
    pong_timeout_s: float = 2.0
    """Where there are several servers: how long one that works for the call may leave a ping unanswered."""
    backoff_first_s: float = 0.2
    backoff_most_s: float = 10.0


class LocalSocket:
    """See the module. All methods belong to one event loop."""

    def __init__(
        self,
        settings: LocalSocketSettings,
        *,
        call_id: str,
        fleet: ServerFleet | None = None,
        on_connecting: Callable[[], None] = lambda: None,
    ) -> None:
        """`fleet` chooses among the servers; without one there is that of `settings`.

        `on_connecting` is called when the call first needs a server.
        """
        self._settings = settings
        self._fleet = fleet or ServerFleet((settings.url,), clock=time.monotonic)
        self._on_connecting = on_connecting
        self._call_id = call_id
        self._log = log.bind(call_id=call_id)
        self.server: Server | None = None
        """The one that serves the call, or did last."""
        self._connection: ClientConnection | None = None
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue(OUTBOX_MESSAGES)
        self._exchanges: dict[str, Exchange] = {}
        self._by_stream: dict[int, Exchange] = {}
        self._listeners: list[Callable[[SttTraits], None]] = []
        self._reconnected: list[Callable[[], None]] = []
        self._next_request = 0
        self._next_stream = 0
        self._changed_at_stream = 0
        """The newest utterance of the STT backend before the one at work."""
        self._on_partial: dict[int, OnPartial] = {}
        """Of the utterances that are open."""
        self._owner: asyncio.Task[None] | None = None
        self._attempt: asyncio.Future[None] | None = None
        """The outcome of the connection attempt that is being made or comes next."""
        self._hurry = asyncio.Event()
        self._closing = False
        self._refused: ComponentFailed | None = None
        self._ponged = True
        self._asked = asyncio.Event()
        """Something has been sent that the server has to work on."""
        self._left = ""
        """Why this connection is being left for another."""
        self.connections = 0
        """How many times the socket has been up: streams of an earlier one are gone."""
        self.traits = SttTraits(backend="", needs_gating=True)
        self.default_voice = "default"
        """What speaks when a request names no voice."""
        self.late_frames = 0
        """Audio that came after its request was cancelled, and was dropped."""

    # --- life ---------------------------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        return self._connection is not None

    async def ready(self) -> None:
        """Return when the socket is up, connecting at once if it is not. Raises `ComponentFailed` ("connection")."""
        if self._connection is not None:
            return
        if self._refused is not None:
            raise self._refused
        if self._closing:
            raise ComponentFailed("connection", "the call has ended")
        attempt = self._attempt
        if attempt is None:
            attempt = self._attempt = asyncio.get_running_loop().create_future()
        if self._owner is None:
            self._on_connecting()
            self._owner = asyncio.create_task(self._stay_connected(), name=f"local-socket {self._call_id}")
        self._hurry.set()
        await asyncio.shield(attempt)

    async def close(self) -> None:
        """Say `end`, close, and end everything that is in flight. Idempotent."""
        self._closing = True
        self._fail_all(ComponentFailed("connection", "the call has ended"))
        self.send(End())
        self._hurry.set()
        owner, self._owner = self._owner, None
        if owner is not None:
            if self._connection is not None:
                await asyncio.wait((owner,), timeout=_GOODBYE_S)
            owner.cancel()
            await asyncio.gather(owner, return_exceptions=True)
        self._settle(ComponentFailed("connection", "the call has ended"))

    @property
    def servers(self) -> int:
        """How many there are to choose from."""
        return len(self._fleet.servers)

    @property
    def others(self) -> bool:
        """Whether another server may do what this one does not."""
        return self._fleet.others(self.server)

    def on_reconnected(self, listener: Callable[[], None]) -> None:
        """`listener` is called when the call is connected again, to this server or another one."""
        self._reconnected.append(listener)

    def on_change(self, listener: Callable[[SttTraits], None]) -> None:
        self._listeners.append(listener)
        if self.traits.backend:
            listener(self.traits)

    # --- requests -----------------------------------------------------------------------------------------------------

    async def request(self, component: ComponentName, make: Callable[[str], Request]) -> Exchange:
        """Send `make(request_id)` and return where its answers arrive. The caller must `close` it."""
        await self.ready()
        self._next_request += 1
        request_id = f"r{self._next_request}"
        exchange = Exchange(self, component, request_id, self._settings.answer_timeout_s)
        self._exchanges[request_id] = exchange
        self._wake_ping()
        self._post(make(request_id).to_json())
        return exchange

    def cancel(self, request_id: str) -> None:
        """Nothing of this request is delivered any more, and the server stops working on it."""
        if self._exchanges.pop(request_id, None) is not None:
            self.send(Cancel(request_id=request_id))
        self._forget_streams(request_id)

    def release(self, request_id: str) -> None:
        """Nothing of this request is waited for any more; the server may finish it."""
        self._exchanges.pop(request_id, None)
        self._forget_streams(request_id)

    def adopt(self, request_id: str) -> None:
        if request_id in self._exchanges:
            self.send(Adopt(request_id=request_id))

    def send(self, message: ClientMessage) -> None:
        """A message without an answer of its own; dropped while there is no connection."""
        if self._connection is not None:
            self._post(message.to_json())

    def new_stream(self, on_partial: OnPartial) -> int:
        """The number of a new utterance. `on_partial` is told of its words until `forget_stream`."""
        self._next_stream += 1
        self._on_partial[self._next_stream] = on_partial
        return self._next_stream

    def forget_stream(self, stream_id: int) -> None:
        self._on_partial.pop(stream_id, None)

    def send_audio(self, stream_id: int, sequence: int, audio: bytes) -> None:
        if self._connection is not None:
            self._wake_ping()
            self._post(pack_frame(stream_id, sequence, audio))

    def _wake_ping(self) -> None:
        if self._fleet.several:
            self._asked.set()

    # --- the connection -----------------------------------------------------------------------------------------------

    def give_up(self, connection: int, reason: str) -> None:
        """Leave the server for another one, if that connection is still the one at work: it keeps the caller waiting.

        What is in flight there fails.
        """
        if self._connection is None or connection != self.connections or self.server is None:
            return
        self._fleet.set_aside(self.server, reason)
        self._left = reason
        self._connection.transport.abort()
        self._connection = None  # whoever asks now waits for the next one

    def _moved_to(self, server: Server) -> None:
        if self.server is not None and server is not self.server:
            self._log.info("call_moved_to_another_server", left=self.server.label, server=server.label)
            self._fleet.moved(self.server)

    async def _stay_connected(self) -> None:
        pause_s = self._settings.backoff_first_s
        clock = asyncio.get_running_loop().time
        while not self._closing and self._refused is None:
            self._hurry.clear()
            if self._attempt is None:
                self._attempt = asyncio.get_running_loop().create_future()
            try:
                server, connection, welcome = await connect_to_one(
                    self._fleet,
                    token=self._settings.token,
                    call_id=self._call_id,
                    timeout_s=self._settings.connect_timeout_s,
                )
            except ComponentFailed as failure:
                if not failure.retryable:
                    self._refused = failure
                self._settle(failure)
                self._log.warning("local server not reached", reason=str(failure))
                pause_s = min(pause_s * 2, self._settings.backoff_most_s)
            else:
                pause_s = self._settings.backoff_first_s
                self._welcomed(welcome)
                self._moved_to(server)
                begun_s = clock()
                reason = await self._serve(server, connection)
                if not self._closing:
                    self._log.warning("local server lost", server=server.label, reason=reason)
                    if self._fleet.others(server) and clock() - begun_s > _STABLE_S:
                        continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.5, 1.0)):
                    await self._hurry.wait()
        self._settle(self._refused or ComponentFailed("connection", "the call has ended"))

    def _welcomed(self, welcome: AuthResponse) -> None:
        if welcome.tts_voices:
            self.default_voice = welcome.tts_voices[0]
        if welcome.stt_backend is not None:
            needs_gating = True if welcome.needs_gating is None else welcome.needs_gating
            self._set_traits(SttTraits(welcome.stt_backend, needs_gating))

    async def _serve(self, server: Server, connection: ClientConnection) -> str:
        """Run the connection until it ends; returns why it did."""
        self._outbox = asyncio.Queue(OUTBOX_MESSAGES)
        self._connection = connection
        self.server = server
        self.connections += 1
        self._ponged = True
        self._left = ""
        self._settle(None)
        if self.connections > 1:
            for listener in self._reconnected:
                listener()
        parts = [asyncio.create_task(part) for part in (self._read(connection), self._write(connection), self._ping())]
        reason = "closed"
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            reason = self._left or self._why(done.pop())
        finally:
            self._connection = None
            self._fleet.leave(server)
            if not (self._closing or self._left):
                self._fleet.doubted(server, f"a call lost it: {reason}")
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            self._fail_all(
                ComponentFailed("connection", f"connection to local_ai_server lost: {reason}", retryable=True)
            )
            if self._closing:
                await connection.close()
            else:
                connection.transport.abort()
            await connection.wait_closed()
        return reason

    def _why(self, part: asyncio.Task[str]) -> str:
        if (error := part.exception()) is None:
            return part.result()
        self._log.error("local socket broke", exc_info=error)
        return f"internal error: {type(error).__name__}"

    async def _read(self, connection: ClientConnection) -> str:
        try:
            async for message in connection:
                if isinstance(message, str):
                    self._deliver(known_message(message))
                else:
                    self._deliver_audio(message)
        except ProtocolError as error:
            return f"the server broke the protocol: {error}"
        except ConnectionClosed as error:
            return str(error)
        return "closed by the server"

    async def _write(self, connection: ClientConnection) -> str:
        try:
            while True:
                await connection.send(await self._outbox.get())
        except ConnectionClosed as error:
            return str(error)

    async def _ping(self) -> str:
        while True:
            await self._time_to_ping()
            if self._connection is None or not self._ponged:
                return "the server does not answer pings"
            self._ponged = False
            self.send(Ping())
            if self._fleet.several:
                await asyncio.sleep(self._settings.pong_timeout_s)

    async def _time_to_ping(self) -> None:
        """Of several servers one that does not answer is left as soon as something is asked of it."""
        if self._exchanges and self._fleet.several:
            return
        self._asked.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.ping_interval_s):
                await self._asked.wait()

    def _deliver(self, message: ServerMessage | None) -> None:
        match message:
            case SttResult(is_partial=True, stream_id=int(stream_id)):
                if (tell := self._on_partial.get(stream_id)) is not None:
                    tell(message.text.strip(), message.stt_backend)
            case LlmDelta() | LlmToolResponse(request_id=str()) | SttResult() | Done():
                if isinstance(message, SttResult):
                    self._learn(message)
                self._hand_to(message.request_id, message)
            case TtsStart():
                if (exchange := self._exchanges.get(message.request_id)) is not None:
                    self._by_stream[message.stream_id] = exchange
                    exchange.put(message)
            case Error():
                if not self._hand_to(message.request_id, message):
                    self._log.warning("local server complains", code=message.code, reason=message.message)
            case SttStarted():
                if message.stt_backend != self.traits.backend:
                    self._changed_at_stream = message.stream_id - 1
                self._set_traits(SttTraits(message.stt_backend, message.needs_gating))
            case BackendChanged(stt_backend=str(backend), needs_gating=bool(needs_gating)):
                self._changed_at_stream = self._next_stream
                self._set_traits(SttTraits(backend, needs_gating))
            case Pong():
                self._ponged = True
            case _:
                pass

    def _hand_to(self, request_id: str | None, message: LlmDelta | LlmToolResponse | SttResult | Done | Error) -> bool:
        exchange = self._exchanges.get(request_id or "")
        if exchange is None:
            return False
        if isinstance(message, Done | Error):
            self.release(exchange.request_id)
        exchange.put(message)
        return True

    def _deliver_audio(self, message: bytes) -> None:
        frame = parse_frame(message)
        exchange = self._by_stream.get(frame.stream_id)
        if exchange is None:
            self.late_frames += 1
        else:
            exchange.put(frame.audio)

    def _post(self, message: str | bytes) -> None:
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self._log.error("local server has stopped reading", waiting=self._outbox.qsize())
            if self._connection is not None:
                self._connection.transport.abort()

    def _learn(self, result: SttResult) -> None:
        """A result names the backend that made it. What was begun before a switch ends on the one before it."""
        if result.stt_backend == self.traits.backend or result.error is not None:
            return
        if result.stream_id is None or result.stream_id > self._changed_at_stream:
            self._set_traits(SttTraits(result.stt_backend, result.stt_backend in _GATED_BACKENDS))

    def _set_traits(self, traits: SttTraits) -> None:
        if traits != self.traits:
            self.traits = traits
            for listener in self._listeners:
                listener(traits)

    def _settle(self, failure: ComponentFailed | None) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None or attempt.done():
            return
        if failure is None:
            attempt.set_result(None)
        else:
            attempt.set_exception(failure)
            attempt.exception()  # nobody may be waiting, and that is no error

    def _fail_all(self, failure: ComponentFailed) -> None:
        exchanges, self._exchanges = list(self._exchanges.values()), {}
        self._by_stream.clear()
        for exchange in exchanges:
            exchange.fail(failure)

    def _forget_streams(self, request_id: str) -> None:
        for stream_id in [s for s, exchange in self._by_stream.items() if exchange.request_id == request_id]:
            del self._by_stream[stream_id]
