"""Lines for scripted callers, spoken by the local voice and cached on disk; and what an agent was heard saying."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from tools.call import read_wav, write_wav
from voice_wire.audio import MULAW_8K, decode

Pcm = NDArray[np.int16]
CALLER_PITCH = 1.12
"""The scripted caller speaks this much higher and faster than the agent, so that a listener can tell them apart."""
ANSWER_TIMEOUT_S = 60.0


class SpeechError(Exception):
    """The line could not be spoken; the message is what the server said."""


def kept_line(cache: Path, text: str, pitch: float = CALLER_PITCH) -> Path:
    """Where `speak` keeps a line."""
    key = hashlib.sha256(f"{pitch}\0{text}".encode()).hexdigest()[:24]
    return cache / f"{key}.wav"


async def speak(url: str, text: str, *, token: str = "", cache: Path | None = None, pitch: float = CALLER_PITCH) -> Pcm:
    """`text` as 8 kHz mono samples, spoken by the server at `url`; taken from `cache` when it was spoken before."""
    kept = kept_line(cache, text, pitch) if cache else None
    if kept is not None and kept.exists():
        return read_wav(kept)
    pcm = await _fetch(url, text, token)
    if pitch != 1.0:
        # Played faster than it was made: pitch and pace rise together, as with a smaller speaker.
        pcm = np.asarray(soxr.resample(pcm, 8000 * pitch, 8000), dtype=np.int16)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".part")
        write_wav(partial, pcm)
        partial.replace(kept)
    return pcm


async def _fetch(url: str, text: str, token: str) -> Pcm:
    async with connect(url, compression=None, max_size=None, open_timeout=ANSWER_TIMEOUT_S) as socket:
        if token:
            await socket.send(json.dumps({"type": "auth", "auth_token": token}))
        await socket.send(json.dumps({"type": "tts_request", "text": text, "request_id": "line"}))
        async for message in socket:
            if isinstance(message, bytes):
                continue
            answer = json.loads(message)
            if answer["type"] == "tts_response":
                return decode(base64.b64decode(answer["audio_data"]), MULAW_8K.encoding)
            if answer["type"] == "error" or answer.get("status") == "error":
                raise SpeechError(str(answer.get("message")))
    raise SpeechError(f"{url} closed the connection before it had spoken")


async def transcribe(url: str, pcm: Pcm, *, token: str = "") -> str:
    """What the server's STT makes of 8 kHz samples: how tests read what an agent was heard saying."""
    samples = np.asarray(soxr.resample(pcm, 8000, 16000), dtype="<i2").tobytes()
    async with connect(url, compression=None, max_size=None, open_timeout=ANSWER_TIMEOUT_S) as socket:
        await socket.send(json.dumps({"type": "auth", "auth_token": token, "protocol_version": 3}))
        start = {"type": "stt_start", "stream_id": 1, "encoding": "linear16", "sample_rate_hz": 16000}
        await socket.send(json.dumps(start))
        for sequence, offset in enumerate(range(0, len(samples), 32000)):
            await socket.send(struct.pack("!II", 1, sequence) + samples[offset : offset + 32000])
        await socket.send(json.dumps({"type": "stt_finalize", "request_id": "all", "stream_id": 1}))
        async for message in socket:
            answer = json.loads(message)
            if answer["type"] == "stt_result":
                return str(answer["text"])
            if answer["type"] == "error" or answer.get("status") == "error":
                raise SpeechError(str(answer.get("message")))
    raise SpeechError(f"{url} closed the connection before it had listened")
