"""Which line a call gets: the configured one, or what the dialplan asks for in AI_AUDIO_PROFILE, AI_TRANSPORT and
AI_TRANSPORT_FORMAT.

A caller never pays for a mistake in the dialplan: what cannot be is told, and the rest stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

from ai_engine.media.line_formats import LINE_FORMATS, MediaFormat, TransportName, format_beside
from voice_wire.audio import AudioFormat

EchoChoice = Literal["auto", "always", "off"]


@dataclass(frozen=True, slots=True)
class LineChoice:
    """A transport, one of its formats, and whether the agent's echo is taken out."""

    transport: TransportName
    media_format: MediaFormat
    echo: EchoChoice = "auto"

    def __str__(self) -> str:
        return f"{self.transport}/{self.media_format}"

    @property
    def audio_format(self) -> AudioFormat:
        """Of the agent's sound on such a line."""
        return LINE_FORMATS[self.transport][self.media_format]


READY_PROFILES: Final[Mapping[str, tuple[TransportName, MediaFormat]]] = {
    "telephony": ("rtp", "ulaw"),
    "telephony_alaw": ("rtp", "alaw"),
    "wideband": ("rtp", "g722"),
    "wideband_audiosocket": ("audiosocket", "slin16"),
    "wideband_websocket": ("websocket", "slin16"),
}
"""What AI_AUDIO_PROFILE can name without a word in the configuration."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A dialplan variable with a value that cannot be."""

    variable: str
    value: str
    may_be: tuple[str, ...]

    @property
    def facts(self) -> dict[str, str]:
        """For the log."""
        return {"variable": self.variable, "value": self.value, "may_be": ", ".join(self.may_be)}


def choose_line(
    variables: Mapping[str, str], configured: LineChoice, profiles: Mapping[str, LineChoice]
) -> tuple[LineChoice, list[Misfit]]:
    """The line that the channel's `variables` ask for, and what in them was left out of account.

    A profile names a whole line; a transport changes it, and keeps its format or at least its width; a format is the
    last word. Case and blanks around a value do not matter.
    """
    choice, misfits = configured, []

    def asked(variable: str, possible: Iterable[str]) -> str | None:
        value = variables.get(variable, "").strip()
        if not value:
            return None
        may_be = tuple(possible)
        if value.lower() in may_be:
            return value.lower()
        misfits.append(Misfit(variable, value, may_be))
        return None

    if (profile := asked("AI_AUDIO_PROFILE", profiles)) is not None:
        choice = profiles[profile]
    if (name := asked("AI_TRANSPORT", LINE_FORMATS)) is not None:
        transport = cast("TransportName", name)
        choice = replace(choice, transport=transport, media_format=format_beside(transport, choice.media_format))
    if (name := asked("AI_TRANSPORT_FORMAT", LINE_FORMATS[choice.transport])) is not None:
        choice = replace(choice, media_format=cast("MediaFormat", name))
    return choice, misfits
