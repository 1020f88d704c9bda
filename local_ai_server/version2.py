"""Version 2 of the protocol, as existing clients speak it: the server keeps the history and cuts the audio itself."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from local_ai_server.answer_format import answer_format
from local_ai_server.conversation import Conversation
from local_ai_server.errors import ServeError
from local_ai_server.incoming_audio import Heard, IncomingAudio, Utterance
from local_ai_server.metrics import ServerMetrics
from local_ai_server.request import Client, Request, Requests
from local_ai_server.session_settings import SessionSettings
from local_ai_server.settings import Settings
from local_ai_server.speech_stream import SpeechStream
from local_ai_server.switchboard import Switchboard
from local_ai_server.turns.speech_judge import SpeechJudges
from local_ai_server.turns.utterance_streams import UtteranceStreams
from voice_wire.audio import MULAW_8K, AudioFormat
from voice_wire.messages import (
    Audio,
    BargeIn,
    BargeInAck,
    Cancel,
    ClientMessage,
    LlmRequest,
    LlmResponse,
    LlmToolRequest,
    Mode,
    ModeReady,
    ProtocolError,
    SetMode,
    SttResult,
    ToolContext,
    ToolResult,
    TtsAudio,
    TtsRequest,
    TtsResponse,
    WireModel,
)

DEFAULT_RATE_HZ: Final = 16_000
DEFAULT_SILENCE_MS: Final = 700


class Version2:
    """One session's work. `receive` and `receive_audio` return at once."""

    def __init__(
        self,
        session_key: str,
        *,
        settings: Settings,
        switchboard: Switchboard,
        metrics: ServerMetrics,
        client: Client,
        own: SessionSettings,
        judges: SpeechJudges | None = None,
    ) -> None:
        """`judges` tell speech from other sounds; without them the level does."""
        self._own = own
        self._metrics = metrics
        self.call_id: str | None = None
        self._settings = settings
        self._switchboard = switchboard
        self._client = client
        self._requests = Requests(metrics)
        self._names = itertools.count(1)
        self._mode: Mode = "full"
        self._output = MULAW_8K
        self._silence_ms = float(DEFAULT_SILENCE_MS)
        self._audio = IncomingAudio(
            max_utterance_s=settings.max_utterance_s,
            silence_ms=self._silence_ms,
            on_speech=lambda pcm, heard, begins: self._speech.goes_on(pcm, heard.rate_hz, begins=begins),
            on_utterance=self._take_utterance,
            on_error=self._refuse,
            judges=judges,
        )
        self._speech = UtteranceStreams(
            switchboard, max_utterance_s=settings.max_utterance_s, on_text=self._tell_partial
        )
        self._conversation = Conversation(session_key, switchboard=switchboard, own=own)
        self._on_result: Request | None = None
        """Answers the latest `tool_result`."""

    def receive(self, message: ClientMessage) -> bool:
        """Serves one message; False when it is none of version 2's. Raises `ProtocolError`."""
        match message:
            case SetMode():
                self._set_mode(message)
            case Audio():
                self.call_id = message.call_id or self.call_id
                rate_hz = message.rate or DEFAULT_RATE_HZ
                self._audio.receive(Heard(message.data, rate_hz, message.mode or self._mode, message.request_id))
            case LlmRequest():
                self._ask(message)
            case LlmToolRequest():
                self._decide(message)
            case ToolContext():
                self.call_id = message.call_id or self.call_id
                self._conversation.tools = message
            case ToolResult():
                self._take_result(message)
            case TtsRequest():
                self._start("tts", message.request_id, lambda request: self._synthesise(request, message))
            case BargeIn():
                self._stop()
                call_id = message.call_id or self.call_id
                self._client.send(BargeInAck(call_id=call_id, request_id=message.request_id))
            case Cancel():
                self._stop()
            case _:
                return False
        return True

    def receive_audio(self, data: bytes) -> None:
        """Raw PCM16 at the session's rate."""
        self._audio.receive(Heard(data, DEFAULT_RATE_HZ, self._mode))

    async def close(self) -> None:
        """Ends all work."""
        await self._audio.close()
        await self._requests.close()
        await self._speech.close()

    def _set_mode(self, message: SetMode) -> None:
        rate_hz = message.output_sample_rate_hz or self._output.sample_rate_hz
        self._output = AudioFormat(message.output_encoding or self._output.encoding, rate_hz)
        self._mode = message.mode
        self._silence_ms = float(message.segment_silence_ms or self._silence_ms)
        self._audio.restart(self._silence_ms)
        self._speech.forget()
        self.call_id = message.call_id or self.call_id
        self._client.send(ModeReady(mode=self._mode, call_id=self.call_id, request_id=message.request_id))

    def _stop(self) -> None:
        self._requests.drop_all()

    # --- speech to text

    def _refuse(self, error: ProtocolError) -> None:
        self._metrics.refused(error.code)
        self._client.send(ServeError(error.code, str(error)).to_message(request_id=error.request_id))

    def _tell_partial(self, text: str, backend: str) -> None:
        self._client.send(
            SttResult(
                text=text, call_id=self.call_id, mode=self._mode, is_final=False, is_partial=True, stt_backend=backend
            )
        )

    def _take_utterance(self, heard: Utterance) -> None:
        stream = self._speech.ended(heard.pcm, heard.rate_hz, n_told=heard.n_told)
        if stream.full:
            message = "too much speech waits to be transcribed, the end of an utterance was left out; send it as spoken"
            self._refuse(ProtocolError("message_too_large", message, request_id=heard.request_id))
        self._start("stt", heard.request_id, lambda request: self._turn(request, heard, stream), on_end=stream.release)

    async def _turn(self, request: Request, heard: Utterance, stream: SpeechStream) -> None:
        """One utterance: its text, and in mode full the answer in words and sound."""
        mode, request_id = heard.mode, heard.request_id
        service = self._switchboard.find("stt")
        name = service.backend.name if service else self._settings.stt_backend
        result: dict[str, Any] = {"text": ""}
        failure: ServeError | None = None
        try:
            result, name = await stream.decode(request.place, final=True)
        except ServeError as error:
            failure = error
        request.send(
            SttResult(
                text=result["text"],
                call_id=self.call_id,
                mode=mode,
                is_final=True,
                stt_backend=name,
                confidence=result.get("confidence"),
                request_id=request_id,
                error="stt_unavailable" if failure else None,
            )
        )
        if failure is None and result["text"] and mode in ("full", "llm"):
            answer = await self._conversation.reply(request, result["text"])
            request.send(LlmResponse(text=answer, call_id=self.call_id, mode=mode, request_id=request_id))
            if mode == "full":
                await self._say(request, answer, request_id)

    # --- language model

    def _ask(self, message: LlmRequest) -> None:
        self.call_id = message.call_id or self.call_id
        text = message.text if message.text is not None else (message.messages or ())[-1].content
        sampling = message.sampling.model_dump(exclude_none=True)

        async def work(request: Request) -> None:
            form = answer_format(message.response_format)
            answer = await self._conversation.reply(request, text, sampling=sampling, form=form)
            mode = message.mode or self._mode
            request.end(LlmResponse(text=answer, call_id=self.call_id, mode=mode, request_id=message.request_id))

        self._supersede_result()
        self._start("llm", message.request_id, work)

    def _decide(self, message: LlmToolRequest) -> None:
        self.call_id = message.call_id or self.call_id

        async def work(request: Request) -> None:
            answer = await self._conversation.decide(request, message)
            request.end(answer.model_copy(update={"call_id": self.call_id}))

        self._supersede_result()
        self._start("tools", message.request_id, work)

    def _take_result(self, message: ToolResult) -> None:
        """The model speaks of a tool's outcome: at once, or in its answer to what the client asks before that is
        done."""
        self.call_id = message.call_id or self.call_id
        self._conversation.take_result(message)

        async def work(request: Request) -> None:
            answer = await self._conversation.reply(request)
            request.end(LlmResponse(text=answer, call_id=self.call_id, mode=self._mode, request_id=message.request_id))

        self._supersede_result()
        self._on_result = self._start("llm", message.request_id, work)

    def _supersede_result(self) -> None:
        """Another answer will speak of the tool's outcome: nobody wants two."""
        if self._on_result is not None:
            self._requests.drop(self._on_result)
            self._on_result = None

    # --- text to speech

    async def _audio_of(
        self, request: Request, text: str, audio_format: AudioFormat, *, voice: str | None = None
    ) -> bytes:
        if not text.strip():
            return b""
        service = self._switchboard.service("tts")
        args = {
            "text": text,
            "encoding": audio_format.encoding,
            "sample_rate_hz": audio_format.sample_rate_hz,
            **self._own.speech(service, voice=voice),
        }
        async with service.call("speak", args, place=request.place) as answers:
            return (await answers.finish())[1]

    async def _say(self, request: Request, text: str, request_id: str | None) -> None:
        audio = await self._audio_of(request, text, self._output)
        if audio:
            request.send(
                TtsAudio(
                    call_id=self.call_id,
                    mode="full",
                    request_id=request_id,
                    encoding=self._output.encoding,
                    sample_rate_hz=self._output.sample_rate_hz,
                    byte_length=len(audio),
                )
            )
            request.send(audio)

    async def _synthesise(self, request: Request, message: TtsRequest) -> None:
        output = AudioFormat(
            message.encoding or self._output.encoding, message.sample_rate_hz or self._output.sample_rate_hz
        )
        audio = await self._audio_of(request, message.text, output, voice=message.voice)
        call_id = message.call_id or self.call_id
        request.end(TtsResponse.of(message.text, audio, output, call_id=call_id, request_id=message.request_id))

    # --- all requests

    def _start(
        self,
        operation: str,
        request_id: str | None,
        work: Callable[[Request], Awaitable[None]],
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> Request:
        """Version-2 clients reuse their ids, so ours are beside them."""
        request = Request(f"v2-{next(self._names)}", operation, client=self._client)

        def explain(error: ServeError) -> tuple[WireModel, ...]:
            return (error.to_message(request_id=request_id, call_id=self.call_id),)

        self._requests.start(request, work, explain=explain, on_end=on_end)
        return request
