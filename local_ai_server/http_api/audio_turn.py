"""`/api/audio`: one spoken turn, from a recording to an answer that can be played."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import wave
from tempfile import TemporaryFile
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local_ai_server.errors import ServeError
from local_ai_server.http_api.counting import Counted
from local_ai_server.http_api.disconnect import while_connected
from local_ai_server.http_api.recording import Recordings
from local_ai_server.http_api.uploads import form_body, upload
from local_ai_server.metrics import ServerMetrics
from local_ai_server.model_changes import ModelChanges
from local_ai_server.settings import Settings
from local_ai_server.turns.replies import Voice
from local_ai_server.turns.spoken_turns import RATE_HZ, SOUND, SpokenTurns, Turn
from voice_wire.audio import AudioFormat, AudioFormatError, Pcm, decode, resample
from voice_wire.wire_model import Text

_MAX_NAME_CHARS: Final = 128


class TurnFields(BaseModel):
    """Beside the recording."""

    model_config = ConfigDict(extra="forbid")

    session_id: Annotated[str, Field(min_length=1, max_length=_MAX_NAME_CHARS)] | None = Field(
        None, description="Names a conversation that goes on; any name, forgotten after 15 idle minutes."
    )
    system: Text | None = Field(None, description="The system prompt; the server's where left out.")
    voice: Annotated[str, Field(max_length=200)] | None = None
    speed: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
    language: Annotated[str, Field(max_length=35)] | None = None
    encoding: Literal["linear16", "mulaw", "alaw"] | None = Field(
        None, description="Of a recording without a header; WAV, MP3, Ogg and others say it themselves."
    )
    sample_rate: int = Field(16_000, description="With `encoding`.")


class TurnBody(TurnFields):
    """The same as JSON."""

    audio: str = Field(description="The recording in base64.")


class Timings(BaseModel):
    """Milliseconds from the recording's arrival; 0 for what did not come."""

    transcript_ms: float
    first_audio_ms: float
    total_ms: float


class TurnOut(BaseModel):
    speech: bool
    """Words were heard. Without any there is no reply and no sound."""
    transcript: str
    reply: str
    audio: str | None
    """WAV (16 bit, mono) in base64."""
    sample_rate: int
    session_id: str | None
    timings: Timings


def audio_turn(settings: Settings, turns: SpokenTurns, metrics: ServerMetrics, changes: ModelChanges) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["speech"])
    recordings = Recordings(max_s=settings.max_utterance_s, setting="LOCAL_MAX_UTTERANCE")

    async def answer(asked: TurnFields, file: Any) -> TurnOut:
        pcm = await _samples(asked, file, recordings, settings.max_utterance_s)
        turn = await turns.turn(
            pcm,
            session_id=asked.session_id,
            system=changes.system_prompt if asked.system is None else asked.system,
            voice=Voice(SOUND, asked.voice, asked.speed),
            language=asked.language,
        )
        return _out(turn, asked.session_id)

    @router.post("/api/audio", openapi_extra=_bodies())
    async def audio(request: Request) -> TurnOut:
        """One spoken turn: the recording's words, the language model's answer to them, and that answer as speech.

        The recording comes as multipart/form-data (field `file`) or as JSON (`audio`, base64).
        """
        with Counted(metrics, "http_turn") as counted:
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                async with upload(request, TurnFields) as (asked, file):
                    found = await while_connected(request, answer(asked, file))
            else:
                body = await _json_body(request)
                with TemporaryFile() as file:
                    await asyncio.to_thread(_write_base64, file, body.audio)
                    found = await while_connected(request, answer(body, file))
            counted.first_output()
            return found

    return router


async def _json_body(request: Request) -> TurnBody:
    try:
        return TurnBody.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False, include_url=False)) from None


def _write_base64(file: Any, text: str) -> None:
    try:
        file.write(binascii.a2b_base64(text, strict_mode=True))
    except ValueError:
        raise ServeError("invalid_message", "audio: it is not base64") from None
    file.seek(0)


async def _samples(asked: TurnFields, file: Any, recordings: Recordings, max_s: float) -> Pcm:
    """The recording at `RATE_HZ`. Raises `ServeError`."""
    if asked.encoding is not None:
        try:
            audio_format = AudioFormat(asked.encoding, asked.sample_rate)
            return await asyncio.to_thread(_raw, file, audio_format, max_s)
        except AudioFormatError as error:
            raise ServeError("invalid_message", str(error)) from None
    with await recordings.read(file) as recording:
        return await asyncio.to_thread(recording.read, 0, recording.n_samples)


def _raw(file: Any, audio_format: AudioFormat, max_s: float) -> Pcm:
    most = audio_format.bytes_for_ms(1000 * max_s)
    audio = file.read(most + 1)
    if len(audio) > most:
        raise ServeError("message_too_large", f"a turn lasts {max_s:g} s at most (LOCAL_MAX_UTTERANCE)")
    return resample(decode(audio, audio_format.encoding), audio_format.sample_rate_hz, RATE_HZ)


def _out(turn: Turn, session_id: str | None) -> TurnOut:
    return TurnOut(
        speech=bool(turn.transcript),
        transcript=turn.transcript,
        reply=turn.reply,
        audio=_wav(turn.sound) if turn.sound else None,
        sample_rate=SOUND.sample_rate_hz,
        session_id=session_id,
        timings=Timings(transcript_ms=turn.transcript_ms, first_audio_ms=turn.first_sound_ms, total_ms=turn.total_ms),
    )


def _wav(pcm: bytes) -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SOUND.sample_rate_hz)
        writer.writeframes(pcm)
    return base64.b64encode(file.getvalue()).decode()


def _bodies() -> dict[str, Any]:
    """`requestBody` of OpenAPI."""
    form = form_body(TurnFields)
    form["requestBody"]["content"]["application/json"] = {"schema": TurnBody.model_json_schema()}
    return form
