"""The speech-to-text side of a version-3 session: its streams, and what is asked about them (docs/protocol.md)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from local_ai_server.errors import ServeError
from local_ai_server.live_speech import LiveSpeech, streams
from local_ai_server.metrics import ServerMetrics
from local_ai_server.request import Client, Request, Requests
from local_ai_server.service import Service
from local_ai_server.settings import Settings
from local_ai_server.speech_stream import AudioBudget, SpeechStream
from local_ai_server.switchboard import Switchboard
from voice_wire.audio import AudioFormat
from voice_wire.frames import Frame
from voice_wire.messages import (
    Done,
    Error,
    ProtocolError,
    SttFinalize,
    SttResult,
    SttStart,
    SttStarted,
    WireModel,
)

MAX_STREAMS: Final = 16
"""Utterances that one session may hold open."""
_MAX_SESSION_AUDIO_BYTES: Final = 16 * 1024 * 1024
"""Of all open utterances of one session together, unless a single one may be longer: eight minutes of wide audio."""
_MOST_BYTES_A_SECOND: Final = 96_000
_ENDED_REMEMBERED: Final = 256


class SpeechRequests:
    """Its methods return at once; decodes run as `requests`."""

    def __init__(
        self,
        requests: Requests,
        *,
        settings: Settings,
        switchboard: Switchboard,
        metrics: ServerMetrics,
        client: Client,
    ) -> None:
        self._requests = requests
        self._settings = settings
        self._switchboard = switchboard
        self._metrics = metrics
        self._client = client
        self._streams: dict[int, SpeechStream] = {}
        longest_bytes = round(_MOST_BYTES_A_SECOND * settings.max_utterance_s)
        self._budget = AudioBudget(max(_MAX_SESSION_AUDIO_BYTES, longest_bytes))
        self._feeding: set[asyncio.Task[None]] = set()
        """Streams that take audio, or are being dropped."""
        self._finalizes: dict[int, set[Request]] = {}
        """Requests in flight on each stream."""
        self._ended_streams: deque[int] = deque(maxlen=_ENDED_REMEMBERED)

    def begin(self, message: SttStart) -> None:
        """Opens a stream. Raises `ProtocolError`."""
        stream_id = message.stream_id
        if stream_id in self._streams or stream_id in self._ended_streams:
            raise ProtocolError("invalid_message", f"stream {stream_id} was used before; take a new number")
        if len(self._streams) >= MAX_STREAMS:
            raise ProtocolError(
                "server_at_capacity", f"{MAX_STREAMS} streams are open; end them with stt_finalize or stt_drop"
            )
        service = self._switchboard.find("stt")
        live = service is not None and streams(service)
        self._streams[stream_id] = self._new_stream(message, service if live else None)
        self._client.send(
            SttStarted(
                stream_id=stream_id,
                stt_backend=service.backend.name if service else self._settings.stt_backend,
                needs_gating=service.needs_gating if service else True,
                partials=message.partials and live,
            )
        )

    def take(self, frame: Frame) -> None:
        """Audio of one of the streams."""
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            if frame.stream_id not in self._ended_streams:
                self._ended_streams.append(frame.stream_id)  # one error, not one a frame
                message = f"stream {frame.stream_id} was not begun with stt_start"
                self._refuse(Error(code="unknown_stream", message=message, stream_id=frame.stream_id))
            return
        if frame.sequence != stream.next_sequence and not stream.out_of_step:
            stream.out_of_step = True
            message = f"frame {frame.sequence} of stream {frame.stream_id} came where {stream.next_sequence} was due"
            self._refuse(Error(code="invalid_message", message=message, stream_id=frame.stream_id))
        stream.next_sequence = (frame.sequence + 1) & 0xFFFF_FFFF
        if stream.append(frame.audio):
            message = (
                f"an utterance may last {self._settings.max_utterance_s:g} s, and all that are open may hold "
                f"{_MAX_SESSION_AUDIO_BYTES // 1_048_576} MiB together; what is beyond is left out"
            )
            self._refuse(Error(code="message_too_large", message=message, stream_id=frame.stream_id))

    def finalize(self, message: SttFinalize) -> None:
        """Decodes a stream; ends it unless that is speculative. Raises `ProtocolError`."""
        stream = self._streams.get(message.stream_id)
        if stream is None:
            raise ProtocolError(
                "unknown_stream", f"stream {message.stream_id} is not open", request_id=message.request_id
            )
        if message.replaces is not None:
            self._requests.cancel(message.replaces)
        request = Request(message.request_id, "stt", client=self._client, speculative=message.speculative)
        final = not message.speculative
        self._requests.start(
            request,
            lambda request: self._transcribe(request, stream, final=final),
            explain=lambda error: self._explain(request, stream, error),
            on_end=lambda: self._left(stream, request),
        )
        in_flight = self._finalizes.setdefault(stream.stream_id, set())
        if final:
            del self._streams[stream.stream_id]
            self._ended_streams.append(stream.stream_id)
            stream.end()
        in_flight.add(request)

    def drop(self, stream_id: int) -> None:
        """Forgets a stream and ends its requests."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._ended_streams.append(stream_id)
            stream.end()
            if stream_id not in self._finalizes:
                stream.release()
        for request in tuple(self._finalizes.get(stream_id, ())):
            if request.outcome is None:
                self._requests.cancel(request.id)

    async def close(self) -> None:
        """The requests have ended: forgets all streams."""
        for stream in self._streams.values():
            stream.release()
        self._streams.clear()
        if self._feeding:
            await asyncio.wait(self._feeding)

    def _new_stream(self, message: SttStart, live_on: Service | None) -> SpeechStream:
        """`live_on`: a streaming engine."""
        audio_format = AudioFormat(message.encoding, message.sample_rate_hz)
        max_bytes = audio_format.bytes_for_ms(1000 * self._settings.max_utterance_s)

        def find_service() -> Service:
            return self._switchboard.service("stt")

        if live_on is None:
            return SpeechStream(
                message.stream_id,
                audio_format,
                max_bytes=max_bytes,
                budget=self._budget,
                find_service=find_service,
                language=message.language,
            )

        def tell(text: str, backend: str) -> None:
            self._client.send(
                SttResult(stream_id=message.stream_id, text=text, is_final=False, is_partial=True, stt_backend=backend)
            )

        return LiveSpeech(
            message.stream_id,
            audio_format,
            service=live_on,
            max_bytes=max_bytes,
            budget=self._budget,
            find_service=find_service,
            spawn=self._spawn,
            on_text=tell if message.partials else None,
            language=message.language,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="stt stream")
        self._feeding.add(task)
        task.add_done_callback(self._feeding.discard)
        return task

    async def _transcribe(self, request: Request, stream: SpeechStream, *, final: bool) -> None:
        self._switchboard.service("stt")  # without one it says why
        heard, backend = await stream.decode(request.place, final=final)
        request.end(
            SttResult(
                request_id=request.id,
                stream_id=stream.stream_id,
                text=heard["text"],
                is_final=final,
                stt_backend=backend,
                confidence=heard.get("confidence"),
                no_speech_probability=heard.get("no_speech_probability"),
                audio_ms=heard.get("audio_ms"),
                decode_ms=heard.get("decode_ms"),
            ),
            Done(request_id=request.id, queue_ms=round(request.place.queue_ms, 1)),
        )

    def _left(self, stream: SpeechStream, request: Request) -> None:
        in_flight = self._finalizes.get(stream.stream_id)
        if in_flight is not None:
            in_flight.discard(request)
            if not in_flight:
                del self._finalizes[stream.stream_id]
                if stream.stream_id not in self._streams:
                    stream.release()

    def _explain(self, request: Request, stream: SpeechStream, error: ServeError) -> tuple[WireModel, ...]:
        service = self._switchboard.find("stt")
        result = SttResult(
            request_id=request.id,
            stream_id=stream.stream_id,
            text="",
            is_final=True,
            stt_backend=service.backend.name if service else self._settings.stt_backend,
            error="stt_unavailable",
        )
        return result, error.to_message(request_id=request.id)

    def _refuse(self, error: Error) -> None:
        self._metrics.refused(error.code)
        self._client.send(error)
