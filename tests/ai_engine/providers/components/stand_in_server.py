"""A local_ai_server without models that speaks protocol version 3 to the letter of docs/protocol.md."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from voice_wire.messages import (
    Adopt,
    Auth,
    AuthResponse,
    BackendChanged,
    Cancel,
    Done,
    End,
    Error,
    LlmDelta,
    LlmRequest,
    LlmToolResponse,
    Ping,
    Pong,
    SttDrop,
    SttFinalize,
    SttResult,
    SttStart,
    SttStarted,
    TtsRequest,
    TtsStart,
    Usage,
    Warm,
    pack_frame,
    parse_client_message,
    parse_frame,
)
from voice_wire.messages import (
    ConnectionClosed as Goodbye,
)

TOKEN = "open sesame"
USAGE = Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=1, ttft_ms=1)


class StandInServer:
    """`async with` it; `hold` makes requests of one kind wait for `release`; `received` is what came in, in order."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.received: list = []
        self.streams: dict[int, bytearray] = {}
        self.hold: dict[str, asyncio.Event] = {}
        self.error: dict[str, Error] = {}
        self.connections: set[ServerConnection] = set()
        self.answers_pings = True
        self.reply = ["Hel", "lo."]
        self.tool_calls: list = []
        """What requests that offer tools are answered with."""
        self.chunks = [b"abc", b"def"]
        self.tts_format = None
        self.voices = ("joe", "ann")
        self.streams_begun: list[int] = []
        self.stt_backend = ("stand_in", True)
        """What `auth_response` says: name and whether it needs gating."""
        self.started_backend = None
        """What `stt_started` says, where that is something else."""
        self.result_backend = None
        """What `stt_result` says, where that is something else."""
        self.turned_away = None
        """What a client is told in place of a welcome."""
        self.speaks_version = 3
        self.probes: list[Request] = []
        """Of the readiness page."""
        self.ready = True
        self.unready_status = 503
        self.responds = asyncio.Event()
        """Cleared, it is as good as dead: connections stay, and nothing is answered any more."""
        self.responds.set()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> StandInServer:
        self._server = await serve(
            self._client, "127.0.0.1", self.port, compression=None, ping_interval=None, process_request=self._page
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        await self.kill()

    async def kill(self) -> None:
        self.responds.set()
        for connection in list(self.connections):
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def _page(self, connection: ServerConnection, request: Request) -> Response | None:
        """/readyz, as docs/protocol.md has it."""
        if request.path != "/readyz":
            return None
        self.probes.append(request)
        await self.responds.wait()
        return connection.respond(200 if self.ready else self.unready_status, "")

    async def change_backend(self, name: str, *, needs_gating: bool) -> None:
        self.stt_backend = (name, needs_gating)
        changed = BackendChanged(backend_type="stt", backend=name, stt_backend=name, needs_gating=needs_gating)
        for connection in list(self.connections):
            await connection.send(changed.to_json())

    def of(self, kind: type) -> list:
        return [message for message in self.received if isinstance(message, kind)]

    async def wait_for(self, kind: type, count: int = 1) -> list:
        async with asyncio.timeout(30):
            while len(found := self.of(kind)) < count:
                await asyncio.sleep(0.005)
        return found

    async def _client(self, connection: ServerConnection) -> None:
        session = _Session(self, connection)
        self.connections.add(connection)
        with suppress(ConnectionClosed):
            await session.run()
        self.connections.discard(connection)
        await session.end()


class _Session:
    def __init__(self, server: StandInServer, connection: ServerConnection) -> None:
        self.server = server
        self.connection = connection
        self.tasks: dict[str, asyncio.Task] = {}
        self.streams: dict[int, bytearray] = {}
        self.sequences: dict[int, int] = {}
        self.next_stream = 0

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def tell(self, message) -> None:
        await self.server.responds.wait()
        await self.connection.send(message.to_json())

    async def run(self) -> None:
        auth = parse_client_message(await self.connection.recv())
        assert isinstance(auth, Auth)
        self.server.received.append(auth)
        if auth.auth_token != TOKEN:
            await self.tell(AuthResponse(status="error", message="invalid_auth_token"))
            await self.connection.close(1008)
            return
        if self.server.turned_away is not None:
            await self.tell(self.server.turned_away)
            await self.connection.close(1013)
            return
        await self.tell(
            AuthResponse(
                status="ok",
                protocol_version=self.server.speaks_version,
                stt_backend=self.server.stt_backend[0],
                needs_gating=self.server.stt_backend[1],
                tts_voices=self.server.voices,
            )
        )
        async for message in self.connection:
            if isinstance(message, bytes):
                frame = parse_frame(message)
                assert frame.sequence == self.sequences[frame.stream_id], "the sequence grows by one a frame"
                self.sequences[frame.stream_id] += 1
                self.streams[frame.stream_id] += frame.audio
                continue
            parsed = parse_client_message(message)
            self.server.received.append(parsed)
            await self.serve(parsed)

    async def serve(self, message) -> None:
        match message:
            case SttStart():
                assert message.stream_id not in self.streams, "a stream id is used once per connection"
                self.streams[message.stream_id] = bytearray()
                self.server.streams_begun.append(message.stream_id)
                self.sequences[message.stream_id] = 0
                name, gated = self.server.started_backend or self.server.stt_backend
                await self.tell(
                    SttStarted(stream_id=message.stream_id, stt_backend=name, needs_gating=gated, partials=False)
                )
            case SttFinalize() | LlmRequest() | TtsRequest() | Warm():
                assert message.request_id not in self.tasks, "a request id is in flight once"
                self.tasks[message.request_id] = asyncio.create_task(self.work(message))
            case Cancel():
                task = self.tasks.pop(message.request_id, None)
                if task is not None and not task.done():
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    await self.tell(Done(request_id=message.request_id, cancelled=True))
            case Ping():
                if self.server.answers_pings:
                    await self.tell(Pong())
            case End():
                await self.tell(Goodbye())
                await self.connection.close(1000)
            case SttDrop() | Adopt():
                pass
            case _:
                raise AssertionError(message)

    async def work(self, message) -> None:
        kind = {SttFinalize: "stt", LlmRequest: "llm", TtsRequest: "tts", Warm: "warm"}[type(message)]
        request_id = message.request_id
        if kind in self.server.error:
            await self.tell(self.server.error[kind].model_copy(update={"request_id": request_id}))
            return
        if kind == "tts":
            await self.speak(message)
        elif kind == "llm" and message.tools and self.server.tool_calls:
            called = LlmToolResponse(request_id=request_id, text="", tool_calls=self.server.tool_calls)
            await self.tell(called.model_copy(update={"finish_reason": "tool_calls", "protocol_version": 3}))
            await self.tell(Done(request_id=request_id, finish_reason="tool_calls"))
            return
        elif kind == "llm":
            await self.tell(LlmDelta(request_id=request_id, text=self.server.reply[0]))
        if kind in self.server.hold:
            await self.server.hold[kind].wait()
        if kind == "stt":
            audio = bytes(self.streams[message.stream_id])
            backend, _ = self.server.started_backend or self.server.stt_backend
            self.server.streams[message.stream_id] = audio
            await self.tell(
                SttResult(
                    request_id=request_id,
                    stream_id=message.stream_id,
                    text=f" {len(audio)} bytes ",
                    is_final=not message.speculative,
                    stt_backend=self.server.result_backend or backend,
                    confidence=0.5,
                )
            )
        elif kind == "llm":
            for text in self.server.reply[1:]:
                await self.tell(LlmDelta(request_id=request_id, text=text))
        await self.tell(Done(request_id=request_id, usage=USAGE))
        self.tasks.pop(request_id, None)

    async def speak(self, message: TtsRequest) -> None:
        self.next_stream += 1
        stream_id = self.next_stream
        encoding, rate = self.server.tts_format or (message.encoding, message.sample_rate_hz)
        await self.tell(
            TtsStart(request_id=message.request_id, stream_id=stream_id, encoding=encoding, sample_rate_hz=rate)
        )
        for sequence, chunk in enumerate(self.server.chunks):
            if sequence and "tts" in self.server.hold:
                try:
                    await self.server.hold["tts"].wait()
                except asyncio.CancelledError:
                    # Audio that was under way when the cancel came in: the client must tell it by its header.
                    await self.connection.send(pack_frame(stream_id, sequence, chunk))
                    raise
            await self.server.responds.wait()
            await self.connection.send(pack_frame(stream_id, sequence, chunk))
