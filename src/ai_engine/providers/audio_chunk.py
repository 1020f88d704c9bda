"""A provider's audio chunk, as it comes off its wire, as an event: binary or base64, with or without metadata."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Final

from ai_engine.providers.provider import AgentAudio
from voice_wire.audio import AudioFormat, AudioFormatError

_NOTHING_SAID: Final[Mapping[str, object]] = {}


def audio_chunk(
    turn: int, revision: int, payload: bytes | str, fields: Mapping[str, object] = _NOTHING_SAID, *, text: str = ""
) -> AgentAudio:
    """`payload` is raw audio, or base64 of it. `fields` may name `encoding` and `sample_rate_hz` (or `sample_rate`).

    What is not named is mulaw and 8000 Hz. Raises `AudioFormatError` for what is no format or no base64.
    """
    if isinstance(payload, str):
        try:
            payload = binascii.a2b_base64(payload, strict_mode=True)
        except (ValueError, binascii.Error) as error:
            raise AudioFormatError(f"an audio chunk is not base64: {error}") from None
    return AgentAudio(turn, revision, payload, AudioFormat.from_fields(fields), text)
