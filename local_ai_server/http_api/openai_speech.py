"""OpenAI's routes for speech: `/v1/audio/transcriptions`, `/v1/audio/translations`, `/v1/audio/speech`."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, PlainTextResponse

from local_ai_server.errors import ServeError
from local_ai_server.http_api.answers import error_body, status_of
from local_ai_server.http_api.counting import Counted
from local_ai_server.http_api.disconnect import while_connected
from local_ai_server.http_api.recording import Recording, Recordings
from local_ai_server.http_api.sound_forms import Sound
from local_ai_server.http_api.speech_fields import OpenAiSpeech, OpenAiText, OpenAiTranscription, OpenAiTranslation
from local_ai_server.http_api.subtitles import srt, vtt
from local_ai_server.http_api.synthesis import Synthesis, answer
from local_ai_server.http_api.transcribing import Segment, Task, Transcription
from local_ai_server.http_api.uploads import form_body, upload
from local_ai_server.metrics import ServerMetrics
from local_ai_server.switchboard import Switchboard

log = structlog.get_logger(__name__)

RATE_HZ: Final = 24_000
"""Of OpenAI's `pcm`."""
EVENTS: Final = "text/event-stream"
_VOICES: Final = frozenset(
    {"alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"}
)
"""OpenAI's. Clients name one of them because they must."""
_TEXTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The text as `response_format` asks for it, or events.",
        "content": {
            "application/json": {"schema": OpenAiText.model_json_schema()},
            "text/plain": {"schema": {"type": "string"}},
            EVENTS: {"schema": {"type": "string"}},
        },
    }
}
_SOUNDS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The sound, or events with it.",
        "content": {name: {"schema": {"type": "string", "format": "binary"}} for name in ("audio/*", EVENTS)},
    }
}


def openai_speech(switchboard: Switchboard, metrics: ServerMetrics, recordings: Recordings) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1/audio", tags=["OpenAI"])

    async def hear(request: Request, asked: OpenAiTranslation, file: Any, task: Task, counted: Counted) -> Response:
        language = asked.language if isinstance(asked, OpenAiTranscription) else None
        heard = Transcription(switchboard=switchboard, language=language, task=task)

        async def work() -> Response:
            with await recordings.read(file) as recording:
                found = [segment async for segment in heard.segments(recording)]
                counted.first_output()
                return _answer(asked, found, heard, recording)

        return await while_connected(request, work())

    @router.post(
        "/transcriptions",
        response_class=Response,
        responses=_TEXTS,
        openapi_extra=form_body(OpenAiTranscription),
    )
    async def transcriptions(request: Request) -> Response:
        """The text of a recording, as OpenAI's API gives it."""
        async with AsyncExitStack() as held:
            counted = held.enter_context(Counted(metrics, "http_stt"))
            asked, file = await held.enter_async_context(upload(request, OpenAiTranscription))
            if not asked.stream:
                return await hear(request, asked, file, "transcribe", counted)
            heard = Transcription(switchboard=switchboard, language=asked.language)
            recording = held.enter_context(await while_connected(request, recordings.read(file)))
            handed_over = held.pop_all()  # the stream gives it back
        try:
            return await answer(request, _text_events(heard, recording, counted, handed_over), EVENTS)
        except BaseException as error:  # it may not have begun
            await handed_over.__aexit__(type(error), error, error.__traceback__)
            raise

    @router.post(
        "/translations",
        response_class=Response,
        responses=_TEXTS,
        openapi_extra=form_body(OpenAiTranslation),
    )
    async def translations(request: Request) -> Response:
        """What is said in a recording, in English; a multilingual Whisper model must be loaded."""
        with Counted(metrics, "http_stt") as counted:
            async with upload(request, OpenAiTranslation) as (asked, file):
                return await hear(request, asked, file, "translate", counted)

    @router.post("/speech", response_class=Response, responses=_SOUNDS)
    async def speech(request: Request, asked: OpenAiSpeech) -> Response:
        """A text as speech, as OpenAI's API gives it."""
        sound = Sound(asked.response_format, RATE_HZ)
        service = switchboard.service("tts")
        voice: str | None = asked.voice_name
        if voice in _VOICES and voice not in service.traits.get("voices", ()):
            voice = None
        said = Synthesis(
            asked.input, sound, voice=voice, speed=asked.speed, switchboard=switchboard, metrics=metrics
        ).audio()
        if asked.stream_format == "sse":
            return await answer(request, _sound_events(said), EVENTS)
        return await answer(request, said, sound.media_type)

    return router


def _answer(asked: OpenAiTranslation, found: list[Segment], heard: Transcription, recording: Recording) -> Response:
    text = " ".join(segment.text for segment in found)
    match asked.response_format:
        case "text":
            return PlainTextResponse(text + "\n")
        case "srt":
            return PlainTextResponse(srt(found))
        case "vtt":
            return PlainTextResponse(vtt(found), media_type="text/vtt")
    duration_s = round(recording.duration_s, 3)
    usage = {"type": "duration", "seconds": math.ceil(duration_s)}
    if asked.response_format == "json":
        return JSONResponse({"text": text, "usage": usage})
    return JSONResponse(
        {
            "task": heard.task,
            "language": "en" if heard.task == "translate" else heard.language or "",
            "duration": duration_s,
            "text": text,
            "segments": [_verbose(number, segment) for number, segment in enumerate(found)],
            "usage": usage,
        }
    )


def _verbose(number: int, segment: Segment) -> dict[str, Any]:
    """OpenAI's fields; `tokens` are not told, figures that the engine does not give are null."""
    encoded = segment.text.encode()
    return {
        "id": number,
        "seek": round(100 * segment.start_s),
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(segment.confidence), 4) if segment.confidence else None,
        "compression_ratio": round(len(encoded) / len(zlib.compress(encoded)), 3),
        "no_speech_prob": segment.no_speech_probability,
    }


async def _text_events(
    heard: Transcription, recording: Recording, counted: Counted, held: AsyncExitStack
) -> AsyncGenerator[bytes, None]:
    async with held:
        texts: list[str] = []
        try:
            async with aclosing(heard.segments(recording)) as segments:
                async for segment in segments:
                    counted.first_output()
                    delta = f" {segment.text}" if texts else segment.text
                    texts.append(delta)
                    yield _event({"type": "transcript.text.delta", "delta": delta})
        except ServeError as error:
            if not texts:
                raise
            yield _event(error_body(str(error), code=error.code, status=status_of(error)))
            return
        yield _event({"type": "transcript.text.done", "text": "".join(texts)})


async def _sound_events(audio: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    sent = False
    async with aclosing(audio):
        try:
            async for piece in audio:
                if piece:
                    sent = True
                    yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})
        except ServeError as error:
            if not sent:
                raise
            yield _event(error_body(str(error), code=error.code, status=status_of(error)))
            return
        yield _event({"type": "speech.audio.done"})


def _event(fields: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(fields, ensure_ascii=False)}\n\n".encode()
