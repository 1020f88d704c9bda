"""Version 3 of the protocol: requests that stream, are cancelled, adopted and replaced (docs/protocol.md)."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Final

from local_ai_server.answer_format import answer_format
from local_ai_server.metrics import ServerMetrics
from local_ai_server.request import Client, Request, Requests
from local_ai_server.service import Service
from local_ai_server.session_settings import SessionSettings
from local_ai_server.settings import Settings
from local_ai_server.speech_requests import SpeechRequests
from local_ai_server.switchboard import Switchboard
from local_ai_server.tool_calls import choose, decide
from model_worker.spec import Priority
from voice_wire.audio import AudioFormat
from voice_wire.messages import (
    Adopt,
    Cancel,
    ClientMessage,
    Done,
    Error,
    LlmDelta,
    LlmRequest,
    LlmResponse,
    LlmToolRequest,
    LlmToolResponse,
    ProtocolError,
    SttDrop,
    SttFinalize,
    SttStart,
    TtsAppend,
    TtsFlush,
    TtsRequest,
    TtsResponse,
    TtsStart,
    Usage,
    Warm,
    pack_frame,
    parse_frame,
)

_MAX_FRAME_BYTES: Final = 32 * 1024
_MAX_PIECES: Final = 64


class Version3:
    """One session's work. `receive` and `receive_audio` return at once; requests run as tasks."""

    def __init__(
        self,
        session_key: str,
        *,
        settings: Settings,
        switchboard: Switchboard,
        metrics: ServerMetrics,
        client: Client,
        own: SessionSettings,
    ) -> None:
        self._key = session_key
        self._own = own
        self._settings = settings
        self._switchboard = switchboard
        self._metrics = metrics
        self._client = client
        self._requests = Requests(metrics)
        self._speech = SpeechRequests(
            self._requests, settings=settings, switchboard=switchboard, metrics=metrics, client=client
        )
        self._texts: dict[str, tuple[Request, asyncio.Queue[str | None]]] = {}
        """What incremental speech is still to say; None: that was all."""
        self._tts_stream_ids = itertools.count(1)

    def receive(self, message: ClientMessage) -> bool:
        """Serves one message; False when it is none of version 3's. Raises `ProtocolError`."""
        match message:
            case SttStart():
                self._speech.begin(message)
            case SttFinalize():
                self._speech.finalize(message)
            case SttDrop():
                self._speech.drop(message.stream_id)
            case LlmRequest():
                self._start(message, "llm", lambda request: self._answer(request, message))
            case LlmToolRequest():
                self._start(message, "tools", lambda request: self._decide(request, message))
            case Warm():
                self._start(message, "warm", lambda request: self._warm(request, message))
            case TtsRequest():
                self._speak(message)
            case TtsAppend():
                self._open_texts(message.request_id).put_nowait(message.text)
            case TtsFlush():
                self._open_texts(message.request_id).put_nowait(None)
                del self._texts[message.request_id]
            case Cancel(request_id=None):
                self._requests.cancel_all()
            case Cancel(request_id=str(request_id)):
                self._requests.cancel(request_id)
            case Adopt():
                request = self._requests.get(message.request_id)
                if request is not None:
                    request.place.promote()
            case _:
                return False
        return True

    def receive_audio(self, data: bytes) -> None:
        """A binary frame of one of the streams. Raises `ProtocolError`."""
        self._speech.take(parse_frame(data))

    def in_flight(self, request_id: str) -> bool:
        """A request of this name has not ended: no error about another message may bear its name."""
        return self._requests.get(request_id) is not None

    async def close(self) -> None:
        """Ends all work."""
        await self._requests.close()
        await self._speech.close()

    # --- language model

    async def _answer(self, request: Request, message: LlmRequest) -> None:
        service = self._switchboard.service("llm")
        form = answer_format(message.response_format)
        messages = message.messages
        chat = (
            [m.model_dump() for m in messages]
            if messages
            else [
                {"role": "system", "content": self._own.system_prompt},
                {"role": "user", "content": message.text or ""},
            ]
        )
        sampling = self._own.sampling(message.sampling.model_dump(exclude_none=True))
        if message.tools and await self._calls_a_tool(request, message, service, chat, sampling):
            return
        args = {"messages": chat, "session": self._key, "sampling": sampling, **form}
        ttft_ms: float | None = None
        parts = []
        async with service.call("generate", args, place=request.place) as answers:
            async for header, _ in answers:
                if ttft_ms is None:
                    ttft_ms = request.elapsed_ms()
                    self._metrics.first_output("llm", ttft_ms / 1000)
                if message.stream:
                    request.send(LlmDelta(request_id=request.id, text=header["text"]))
                else:
                    parts.append(header["text"])
            result = answers.result
        if not message.stream:
            request.send(LlmResponse(request_id=request.id, text="".join(parts), call_id=message.call_id))
        request.end(_llm_done(request, result, ttft_ms))

    async def _calls_a_tool(
        self,
        request: Request,
        message: LlmRequest,
        service: Service,
        chat: list[dict[str, Any]],
        sampling: dict[str, Any],
    ) -> bool:
        """The tools that the answer begins with; False when it has no need of them and is to be generated."""
        wanted = LlmToolRequest(request_id=request.id, call_id=message.call_id, tools=message.tools or [])
        chosen = await choose(
            service.deciding,
            messages=chat,
            message=wanted,
            session_key=self._key,
            place=request.place,
            sampling=sampling,
        )
        if chosen.tool_calls:
            self._end_decision(request, chosen)
        return bool(chosen.tool_calls)

    async def _decide(self, request: Request, message: LlmToolRequest) -> None:
        chat = [
            {"role": "system", "content": self._own.system_prompt},
            {"role": "user", "content": message.text},
        ]
        llm = self._switchboard.deciding()
        answer = await decide(
            llm,
            deciding=llm.deciding,
            messages=chat,
            message=message,
            session_key=self._key,
            place=request.place,
            sampling=self._own.sampling(),
        )
        self._end_decision(request, answer)

    def _end_decision(self, request: Request, answer: LlmToolResponse) -> None:
        done = Done(
            request_id=request.id, finish_reason=answer.finish_reason, queue_ms=round(request.place.queue_ms, 1)
        )
        request.end(answer.model_copy(update={"protocol_version": 3}), done)

    async def _warm(self, request: Request, message: Warm) -> None:
        if request.place.priority is Priority.FINAL:
            request.place.priority = Priority.LIVE  # nobody waits for it, but the next answer will
        service = self._switchboard.service("llm")
        args = {"messages": [m.model_dump() for m in message.messages], "session": self._key}
        async with service.call("warm", args, place=request.place) as answers:
            result, _ = await answers.finish()
        request.end(_llm_done(request, result, None))

    # --- text to speech

    def _speak(self, message: TtsRequest) -> None:
        audio_format = AudioFormat(message.encoding or "mulaw", message.sample_rate_hz or 8000)
        texts: asyncio.Queue[str | None] = asyncio.Queue(_MAX_PIECES)
        texts.put_nowait(message.text)
        if not message.incremental:
            texts.put_nowait(None)
        request = self._start(message, "tts", lambda request: self._synthesise(request, message, audio_format, texts))
        if message.incremental:
            self._texts[request.id] = request, texts

    async def _synthesise(
        self, request: Request, message: TtsRequest, audio_format: AudioFormat, texts: asyncio.Queue[str | None]
    ) -> None:
        self._own.speech(self._switchboard.service("tts"), voice=message.voice)  # before anything is sent
        stream_id = next(self._tts_stream_ids)
        sequence = itertools.count()
        spoken = bytearray()
        n_bytes = 0
        if message.stream:
            request.send(
                TtsStart(
                    request_id=request.id,
                    stream_id=stream_id,
                    encoding=audio_format.encoding,
                    sample_rate_hz=audio_format.sample_rate_hz,
                )
            )
        while (text := await texts.get()) is not None:
            if not text.strip():
                continue
            service = self._switchboard.service("tts")
            args = {
                "text": text,
                "encoding": audio_format.encoding,
                "sample_rate_hz": audio_format.sample_rate_hz,
                **self._own.speech(service, voice=message.voice),
            }
            async with service.call("speak", args, place=request.place) as answers:
                async for _, audio in answers:
                    if not n_bytes:
                        self._metrics.first_output("tts", request.elapsed_ms() / 1000)
                    n_bytes += len(audio)
                    if not message.stream:
                        spoken += audio
                        continue
                    for at in range(0, len(audio), _MAX_FRAME_BYTES):
                        piece = audio[at : at + _MAX_FRAME_BYTES]
                        request.send(pack_frame(stream_id, next(sequence), piece))
        if not message.stream:
            request.send(TtsResponse.of(message.text, bytes(spoken), audio_format, request_id=request.id))
        audio_ms = round(1000 * audio_format.duration_s(n_bytes), 1)
        request.end(Done(request_id=request.id, audio_ms=audio_ms, queue_ms=round(request.place.queue_ms, 1)))

    def _open_texts(self, request_id: str) -> asyncio.Queue[str | None]:
        if request_id not in self._texts:
            # It may have ended by itself; the message says nothing that could be lost then.
            raise ProtocolError("unknown_request", f"no incremental tts_request {request_id!r} is open")
        _, texts = self._texts[request_id]
        if texts.qsize() >= _MAX_PIECES - 1:
            raise ProtocolError("message_too_large", f"{_MAX_PIECES} pieces of text are waiting to be spoken")
        return texts

    def _forget_texts(self, request: Request) -> None:
        # Its task ends after it: by then another request may have taken its id.
        if request.id in self._texts and self._texts[request.id][0] is request:
            del self._texts[request.id]

    # --- all requests

    def _start(self, message: LlmRequest | LlmToolRequest | Warm | TtsRequest, operation: str, work: Any) -> Request:
        if message.request_id is None:
            raise ProtocolError("invalid_message", f"{message.type}: request_id: version 3 needs one")
        self._replace(getattr(message, "replaces", None))
        speculative = getattr(message, "speculative", False)
        request = Request(message.request_id, operation, client=self._client, speculative=speculative)
        self._requests.start(
            request,
            work,
            explain=lambda error: (error.to_message(request_id=request.id),),
            on_end=lambda: self._forget_texts(request),
        )
        return request

    def _replace(self, request_id: str | None) -> None:
        if request_id is not None:
            self._requests.cancel(request_id)

    def _refuse(self, error: Error) -> None:
        self._metrics.refused(error.code)
        self._client.send(error)


def _llm_done(request: Request, result: dict[str, Any], ttft_ms: float | None) -> Done:
    usage = Usage(
        prompt_tokens=result.get("prompt_tokens", 0),
        cached_tokens=result.get("cached_tokens", 0),
        completion_tokens=result.get("completion_tokens", 0),
        ttft_ms=request.elapsed_ms() if ttft_ms is None else ttft_ms,
    )
    return Done(
        request_id=request.id,
        usage=usage,
        finish_reason=result.get("finish_reason"),
        queue_ms=round(request.place.queue_ms, 1),
    )
