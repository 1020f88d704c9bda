"""The server's own routes for speech: `/transcribe`, `/transcribe/url`, `/synthesize`."""

from __future__ import annotations

from typing import Any, BinaryIO, Final

from fastapi import APIRouter, Request, Response

from local_ai_server.http_api.counting import Counted
from local_ai_server.http_api.disconnect import while_connected
from local_ai_server.http_api.fetching import Fetcher
from local_ai_server.http_api.recording import Recordings
from local_ai_server.http_api.sound_forms import Sound
from local_ai_server.http_api.speech_fields import (
    SegmentOut,
    SynthesizeBody,
    TranscribeFields,
    TranscribeUrl,
    TranscriptOut,
)
from local_ai_server.http_api.synthesis import Synthesis, answer
from local_ai_server.http_api.transcribing import Transcription
from local_ai_server.http_api.uploads import form_body, upload
from local_ai_server.metrics import ServerMetrics
from local_ai_server.switchboard import Switchboard

_DEFAULT_RATE_HZ: Final = 24_000
_TELEPHONE_RATE_HZ: Final = 8000
_SOUND: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}, "description": "The sound."}
}


def speech_routes(
    switchboard: Switchboard, metrics: ServerMetrics, recordings: Recordings, fetcher: Fetcher
) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["speech"])

    async def transcript(file: BinaryIO, asked: TranscribeFields, counted: Counted) -> TranscriptOut:
        heard = Transcription(switchboard=switchboard, language=asked.language, task=asked.task)
        with await recordings.read(file) as recording:
            found = [segment async for segment in heard.segments(recording)]
            counted.first_output()
            told = TranscriptOut(
                text=" ".join(segment.text for segment in found),
                language="en" if asked.task == "translate" else heard.language,
                duration=round(recording.duration_s, 3),
                processing_time=round(counted.elapsed_s, 3),
            )
            if asked.include_segments:
                told.segments = [SegmentOut(start=s.start_s, end=s.end_s, text=s.text) for s in found]
            return told

    @router.post("/transcribe", response_model_exclude_unset=True, openapi_extra=form_body(TranscribeFields))
    async def transcribe(request: Request) -> TranscriptOut:
        """The text of a recording: WAV, MP3, Ogg, FLAC, AAC, MP4 or WebM."""
        with Counted(metrics, "http_stt") as counted:
            async with upload(request, TranscribeFields) as (asked, file):
                return await while_connected(request, transcript(file, asked, counted))

    @router.post("/transcribe/url", response_model_exclude_unset=True)
    async def transcribe_url(request: Request, asked: TranscribeUrl) -> TranscriptOut:
        """The text of a recording that lies at a public address, or at one that LOCAL_HTTP_FETCH_ALLOW names."""

        async def work(counted: Counted) -> TranscriptOut:
            async with fetcher.fetched(asked.url) as file:
                return await transcript(file, asked, counted)

        with Counted(metrics, "http_stt") as counted:
            return await while_connected(request, work(counted))

    @router.post("/synthesize", response_class=Response, responses=_SOUND)
    async def synthesize(request: Request, asked: SynthesizeBody) -> Response:
        """A text as speech, sent as it is made."""
        telephone = asked.format in ("mulaw", "alaw")
        rate_hz = asked.sample_rate or (_TELEPHONE_RATE_HZ if telephone else _DEFAULT_RATE_HZ)
        sound = Sound(asked.format, rate_hz)
        said = Synthesis(
            asked.text, sound, voice=asked.voice, speed=asked.speed, switchboard=switchboard, metrics=metrics
        )
        return await answer(request, said.audio(), sound.media_type)

    return router
