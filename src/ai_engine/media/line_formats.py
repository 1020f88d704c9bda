"""Which formats each transport carries both ways between Asterisk and us, and what the agent's sound then is.

As a real Asterisk was found to do it (docs/transports.md): slin16 over RTP is only heard, never played, and ulaw over
AudioSocket is played as noise. The first format of a transport is its simplest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, AudioFormat

TransportName = Literal["rtp", "audiosocket", "websocket"]
MediaFormat = Literal["ulaw", "alaw", "slin", "g722", "slin16"]

LINE_FORMATS: Final[Mapping[TransportName, Mapping[MediaFormat, AudioFormat]]] = {
    "rtp": {"ulaw": MULAW_8K, "alaw": ALAW_8K, "slin": PCM_8K, "g722": PCM_16K},
    "audiosocket": {"slin": PCM_8K, "slin16": PCM_16K},
    "websocket": {"ulaw": MULAW_8K, "alaw": ALAW_8K, "slin": PCM_8K, "slin16": PCM_16K},
}


def format_beside(transport: TransportName, media_format: MediaFormat) -> MediaFormat:
    """`media_format` if `transport` carries it, else its simplest format of the same width."""
    formats = LINE_FORMATS[transport]
    if media_format in formats:
        return media_format
    rate_hz = next(each[media_format] for each in LINE_FORMATS.values() if media_format in each).sample_rate_hz
    as_wide = [name for name, audio in formats.items() if audio.sample_rate_hz == rate_hz]
    return (as_wide or list(formats))[0]
