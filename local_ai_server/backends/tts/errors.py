"""Why a text was not spoken. `local_ai_server.service` tells these apart by name.

TtsError
├── UnknownVoice      there is no such voice; the message lists those there are
├── SpeechRefused     this one request asks for what cannot be: a speed, a text that is too long
├── TtsUnavailable    another server cannot be reached, failed, or hung up: try again
├── TtsMisconfigured  it will fail every time: a wrong key, address, or model
├── TtsBusy           it has no room now (429): try again later
└── TtsTimeout        it was silent for too long
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from openai_wire.errors import SpeechRefused, TtsBusy, TtsError, TtsMisconfigured, TtsTimeout, TtsUnavailable

__all__ = [
    "SpeechRefused",
    "TtsBusy",
    "TtsError",
    "TtsMisconfigured",
    "TtsTimeout",
    "TtsUnavailable",
    "UnknownVoice",
]

_MOST_LISTED: Final = 80


class UnknownVoice(TtsError):
    """A voice that is not there, or not loaded."""

    def __init__(self, voice: str, voices: Iterable[str], *, hint: str = "") -> None:
        listed = list(voices)
        more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
        super().__init__(
            f"there is no voice {voice[:80]!r} here; there are: {', '.join(listed[:_MOST_LISTED])}{more}{hint}"
        )
