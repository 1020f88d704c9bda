"""A session of protocol version 3: requests side by side, each with its answers and the time they took."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from local_ai_server.clients.connection import ClientError, Connection, RequestFailed, Server, open_connection
from voice_wire.audio import AudioFormat
from voice_wire.messages import (
    AuthResponse,
    BackendType,
    Cancel,
    ClientMessage,
    Done,
    Error,
    LlmDelta,
    LlmRequest,
    LlmToolRequest,
    LlmToolResponse,
    Ping,
    ProtocolError,
    ServerMessage,
    Status,
    StatusResponse,
    SttFinalize,
    SttResult,
    SttStart,
    SwitchModel,
    SwitchResponse,
    TtsRequest,
    TtsStart,
    Warm,
    pack_frame,
    parse_frame,
)

Request = LlmRequest | LlmToolRequest | TtsRequest | SttFinalize | Warm
Answer = LlmDelta | LlmToolResponse | SttResult | TtsStart | bytes

_PING_S: Final = 45.0
"""The server closes what is silent for 150 s."""
_FRAME_MS: Final = 100.0


class Exchange:
    """One request. Iterate over its answers, or `finish`; the times are those of arrival, whenever they are read."""

    def __init__(self, request_id: str, patience_s: float) -> None:
        self.request_id = request_id
        self.done: Done | None = None
        self.began = time.perf_counter()
        self.first_at: float | None = None
        """When the first piece of the answer was here: words, audio or a result."""
        self._patience_s = patience_s
        self._inbox: asyncio.Queue[Answer | Done | ClientError] = asyncio.Queue()

    @property
    def first_ms(self) -> float | None:
        """From the request to its first piece."""
        return None if self.first_at is None else 1000 * (self.first_at - self.began)

    def put(self, answer: Answer | Done | ClientError) -> None:
        if self.first_at is None and isinstance(answer, LlmDelta | LlmToolResponse | SttResult | bytes):
            self.first_at = time.perf_counter()
        self._inbox.put_nowait(answer)

    async def __aiter__(self) -> AsyncIterator[Answer]:
        """Raises `ClientError`: the server's error, its silence, or the end of the connection."""
        while self.done is None:
            try:
                async with asyncio.timeout(self._patience_s):
                    answer = await self._inbox.get()
            except TimeoutError:
                raise ClientError(
                    f"the server was silent for {self._patience_s:g} s; if it is only slow, give a longer --timeout",
                    code="silent",
                ) from None
            if isinstance(answer, ClientError):
                raise answer
            if isinstance(answer, Done):
                self.done = answer
            else:
                yield answer

    async def finish(self) -> Done:
        """Reads to the end."""
        async for _ in self:
            pass
        assert self.done is not None
        return self.done

    async def audio(self) -> bytes:
        """All of the sound that answers."""
        return b"".join([answer async for answer in self if isinstance(answer, bytes)])


class Session:
    """`open_session` makes it, and ends it."""

    def __init__(self, connection: Connection, welcome: AuthResponse, patience_s: float) -> None:
        self.welcome = welcome
        self._connection = connection
        self._patience_s = patience_s
        self._exchanges: dict[str, Exchange] = {}
        self._by_stream: dict[int, Exchange] = {}
        self._request_ids = (f"r{n}" for n in itertools.count(1))
        self._stream_ids = itertools.count(1)
        self._asked: asyncio.Future[StatusResponse | SwitchResponse] | None = None
        self._over: ClientError | None = None
        self._ended = asyncio.Event()

    async def request(self, make: Callable[[str], Request]) -> Exchange:
        """Sends `make(request_id)`."""
        if self._over is not None:
            raise self._over
        exchange = Exchange(next(self._request_ids), self._patience_s)
        self._exchanges[exchange.request_id] = exchange
        await self._connection.send(make(exchange.request_id))
        return exchange

    async def send(self, message: ClientMessage) -> None:
        """What has no answer of its own."""
        await self._connection.send(message)

    async def cancel(self) -> None:
        """Ends all requests at work; each still gets its `done`."""
        await self._connection.send(Cancel())

    async def ask(self, message: Status | SwitchModel) -> StatusResponse | SwitchResponse:
        """What the server says of itself, or of a change of this session."""
        if self._over is not None:
            raise self._over
        asked: asyncio.Future[StatusResponse | SwitchResponse] = asyncio.get_running_loop().create_future()
        self._asked = asked
        # What the server changes is only what stands in the message: no defaults.
        fields = {"type": message.type, **message.model_dump(mode="json", exclude_unset=True)}
        await self._connection.send(json.dumps(fields))
        try:
            async with asyncio.timeout(self._patience_s):
                return await asked
        except TimeoutError:
            raise ClientError(f"the server did not answer `{message.type}` in {self._patience_s:g} s") from None
        finally:
            self._asked = None

    async def status(self) -> StatusResponse:
        """What runs now."""
        answer = await self.ask(Status())
        assert isinstance(answer, StatusResponse)
        return answer

    async def require(self, *kinds: BackendType) -> None:
        """Raises `ClientError` with the reason and what mends it where one of them does not serve."""
        models = (await self.status()).models
        for kind in kinds:
            if not (state := getattr(models, kind)).loaded:
                raise ClientError(f"this needs {kind}, which does not serve: {state.reason or state.state}")

    async def lost(self) -> ClientError:
        """Returns when the connection has ended, with the reason."""
        await self._ended.wait()
        assert self._over is not None
        return self._over

    async def transcribe(self, audio: bytes, audio_format: AudioFormat) -> tuple[str, float]:
        """What is said in `audio`, and the milliseconds from its end to the text."""
        stream_id = next(self._stream_ids)
        encoding, rate_hz = audio_format.encoding, audio_format.sample_rate_hz
        start = {"stream_id": stream_id, "encoding": encoding, "sample_rate_hz": rate_hz}
        await self.send(SttStart.model_validate(start))
        size = audio_format.bytes_for_ms(_FRAME_MS)
        for sequence, at in enumerate(range(0, len(audio), size)):
            await self._connection.send(pack_frame(stream_id, sequence, audio[at : at + size]))
        exchange = await self.request(lambda name: SttFinalize(request_id=name, stream_id=stream_id))
        text = ""
        async for answer in exchange:
            if isinstance(answer, SttResult):
                text = answer.text.strip()
        return text, exchange.first_ms or 0.0

    async def speak(self, text: str, audio_format: AudioFormat) -> Exchange:
        """`text` in sound: the exchange's `audio`."""
        fields = {"encoding": audio_format.encoding, "sample_rate_hz": audio_format.sample_rate_hz}
        return await self.request(
            lambda name: TtsRequest.model_validate({"request_id": name, "text": text, "stream": True, **fields})
        )

    async def read(self) -> None:
        """Gives each message to whom it is for, until the connection ends."""
        try:
            while True:
                self._deliver(await self._connection.receive())
        except ClientError as error:
            self._fail(error)
        except ProtocolError as error:
            self._fail(ClientError(f"the server sent what is not of the protocol: {error}"))

    async def stay(self) -> None:
        """Keeps the connection from being idle."""
        while True:
            await asyncio.sleep(_PING_S)
            try:
                await self._connection.send(Ping())
            except ClientError:
                return  # `read` says so

    def _deliver(self, message: ServerMessage | bytes) -> None:
        match message:
            case bytes():
                frame = parse_frame(message)
                if (exchange := self._by_stream.get(frame.stream_id)) is not None:
                    exchange.put(frame.audio)
            case TtsStart():
                if (exchange := self._exchanges.get(message.request_id)) is not None:
                    self._by_stream[message.stream_id] = exchange
            case LlmDelta() | LlmToolResponse(request_id=str()) | SttResult(request_id=str()):
                if (exchange := self._exchanges.get(message.request_id or "")) is not None:
                    exchange.put(message)
            case Done():
                self._end(message.request_id, message)
            case Error(request_id=str(request_id)):
                self._end(request_id, RequestFailed(message))
            case Error():
                self._fail(RequestFailed(message))
            case StatusResponse() | SwitchResponse():
                if self._asked is not None and not self._asked.done():
                    self._asked.set_result(message)
            case _:
                pass

    def _end(self, request_id: str, outcome: Done | RequestFailed) -> None:
        exchange = self._exchanges.pop(request_id, None)
        if exchange is not None:
            exchange.put(outcome)
            self._by_stream = {stream: other for stream, other in self._by_stream.items() if other is not exchange}

    def _fail(self, error: ClientError) -> None:
        """An error that names no request, or the end of the connection: nothing at work can be relied on."""
        if not isinstance(error, RequestFailed):
            self._over = error
            self._ended.set()
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.put(error)
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(error)


@asynccontextmanager
async def open_session(server: Server, *, call_id: str) -> AsyncIterator[Session]:
    """A session of version 3. Raises `ClientError`."""
    async with open_connection(server, version=3, call_id=call_id) as (connection, welcome):
        session = Session(connection, welcome, server.patience_s)
        tasks = [asyncio.create_task(work) for work in (session.read(), session.stay())]
        try:
            yield session
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
