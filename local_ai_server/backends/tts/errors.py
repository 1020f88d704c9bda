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

_MOST_LISTED: Final = 80


class TtsError(RuntimeError):
    """Root of this folder's errors."""


class UnknownVoice(TtsError):
    """A voice that is not there, or not loaded."""

    def __init__(self, voice: str, voices: Iterable[str], *, hint: str = "") -> None:
        listed = list(voices)
        more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
        super().__init__(
            f"there is no voice {voice[:80]!r} here; there are: {', '.join(listed[:_MOST_LISTED])}{more}{hint}"
        )


class SpeechRefused(TtsError):
    """The request cannot be met as it is."""


class TtsUnavailable(TtsError):
    """Another attempt may succeed."""


class TtsMisconfigured(TtsError):
    """No attempt will succeed until a setting is changed."""


class TtsBusy(TtsError):
    """The other server said that it has too much to do."""


class TtsTimeout(TtsError):
    """No audio came in time."""
