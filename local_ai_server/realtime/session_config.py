"""What a session is set to, as `session.update` sets it in either of the protocol's two shapes.

The released protocol nests the sound (`audio.input.format`); the beta, which many clients still speak, is flat
(`input_audio_format`). Inside there is one form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from local_ai_server.realtime.errors import EventRefused
from local_ai_server.turns.turn_taking import TurnRules
from voice_core.end_of_turn import WaitLimits
from voice_wire.audio import SAMPLE_RATES_HZ, AudioFormat, AudioFormatError, Encoding
from voice_wire.wire_model import Text

PCM_24K: Final = AudioFormat("linear16", 24_000)
_ENCODINGS: Final[dict[str, Encoding]] = {"audio/pcm": "linear16", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}
_TYPES: Final = {encoding: name for name, encoding in _ENCODINGS.items()}
_BETA_FORMATS: Final = {
    "pcm16": PCM_24K,
    "g711_ulaw": AudioFormat("mulaw", 8000),
    "g711_alaw": AudioFormat("alaw", 8000),
}
_FOREIGN_VOICES: Final = frozenset(
    {"alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"}
)
"""OpenAI's own: a client that names one by habit gets the server's voice."""

_PATIENT: Final = WaitLimits(
    base_ms=900.0,
    complete_ms=600.0,
    open_ms=2000.0,
    unknown_ms=1100.0,
    unmarked_ms=1400.0,
    half_said_ms=3000.0,
    maybe_whole_ms=1600.0,
    max_ms=4000.0,
    half_said_max_ms=8000.0,
    adaptive_max_ms=1500.0,
)
_EAGER: Final = WaitLimits(
    base_ms=350.0,
    complete_ms=250.0,
    open_ms=800.0,
    unknown_ms=450.0,
    unmarked_ms=500.0,
    half_said_ms=1000.0,
    maybe_whole_ms=500.0,
    max_ms=1000.0,
    half_said_max_ms=2000.0,
    adaptive_min_ms=300.0,
    adaptive_max_ms=600.0,
)
_LIMITS: Final = {"low": _PATIENT, "medium": WaitLimits(), "auto": WaitLimits(), "high": _EAGER}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class TurnDetection(_Part):
    """Who speaks when. `server_vad`: a fixed silence ends a turn; `semantic_vad`: as much as the words call for."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] = 300
    silence_duration_ms: Annotated[int, Field(ge=50, le=10_000)] = 500
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: None = None
    """Not served: nobody is prompted here who says nothing."""

    def rules(self) -> TurnRules:
        if self.type == "semantic_vad":
            return TurnRules(limits=_LIMITS[self.eagerness])
        return TurnRules(threshold=self.threshold, silence_ms=float(self.silence_duration_ms))

    def fields(self) -> dict[str, Any]:
        """As the protocol states it."""
        of_type = {"eagerness"} if self.type == "semantic_vad" else {"threshold", "prefix_padding_ms"}
        if self.type == "server_vad":
            of_type |= {"silence_duration_ms", "idle_timeout_ms"}
        return self.model_dump(include=of_type | {"type", "create_response", "interrupt_response"})


class Transcription(_Part):
    """The client wants to be told what was heard."""

    model: str | None = None
    language: Annotated[str, Field(max_length=20)] | None = None


class Tool(_Part):
    type: Literal["function"] = "function"
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: Text = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class ToolNamed(_Part):
    """The one function that is to be called."""

    type: Literal["function"] = "function"
    name: str


class SessionConfig(_Part):
    """One session's, or one response's."""

    instructions: Text = ""
    output_modalities: tuple[Literal["text", "audio"], ...] = ("audio",)
    input_format: AudioFormat = PCM_24K
    output_format: AudioFormat = PCM_24K
    transcription: Transcription | None = Transcription()
    turn_detection: TurnDetection | None = TurnDetection()
    voice: str | None = None
    """None: the server's."""
    speed: Annotated[float, Field(ge=0.5, le=1.5)] = 1.0
    tools: Annotated[tuple[Tool, ...], Field(max_length=64)] = ()
    tool_choice: Literal["auto", "none", "required"] | ToolNamed = "auto"
    max_output_tokens: Annotated[int, Field(ge=1, le=32_768)] | Literal["inf"] = "inf"
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None

    @field_validator("voice")
    @classmethod
    def _our_voice(cls, voice: str | None) -> str | None:
        return None if voice in _FOREIGN_VOICES else voice

    @field_validator("output_modalities")
    @classmethod
    def _some_modality(cls, modalities: tuple[str, ...]) -> tuple[str, ...]:
        if not modalities:
            raise ValueError('name "audio" or "text"')
        return ("audio",) if "audio" in modalities else ("text",)  # sound has its transcript beside it

    @property
    def speaks(self) -> bool:
        return self.output_modalities == ("audio",)

    @property
    def sampling(self) -> dict[str, Any]:
        """As `generate` takes it."""
        sampling: dict[str, Any] = {}
        if self.temperature is not None:
            sampling["temperature"] = self.temperature
        if self.max_output_tokens != "inf":
            sampling["max_tokens"] = self.max_output_tokens
        return sampling

    def updated(self, asked: Mapping[str, Any], *, where: str = "session") -> SessionConfig:
        """With what `asked` (either shape) names changed. Raises `EventRefused`; then nothing has changed."""
        own = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return SessionConfig.model_validate(own | _flat(asked, where))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            param = f"{where}.{'.'.join(map(str, first['loc']))}"
            raise EventRefused(f"{param}: {first['msg']}", param=param) from None


_FLAT_NAMES: Final = {
    "instructions": "instructions",
    "output_modalities": "output_modalities",
    "modalities": "output_modalities",
    "voice": "voice",
    "speed": "speed",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "max_output_tokens": "max_output_tokens",
    "max_response_output_tokens": "max_output_tokens",
    "temperature": "temperature",
    "turn_detection": "turn_detection",
    "input_audio_transcription": "transcription",
}
_MAY_BE_NULL: Final = frozenset({"turn_detection", "transcription", "voice", "temperature"})


def _flat(asked: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What is named, by the names of `SessionConfig`."""
    if asked.get("type", "realtime") != "realtime":
        raise EventRefused(
            f'{where}.type: only "realtime" sessions are served; set turn_detection.create_response to false to '
            "transcribe alone",
            param=f"{where}.type",
        )
    flat = {ours: asked[theirs] for theirs, ours in _FLAT_NAMES.items() if theirs in asked}
    for side in ("input", "output"):
        name = f"{side}_audio_format"
        if asked.get(name) is not None:
            flat[f"{side}_format"] = _beta_format(asked[name], f"{where}.{name}")
    audio = _mapping(asked.get("audio"), f"{where}.audio")
    heard = _mapping(audio.get("input"), f"{where}.audio.input")
    spoken = _mapping(audio.get("output"), f"{where}.audio.output")
    flat |= {name: heard[name] for name in ("turn_detection", "transcription") if name in heard}
    flat |= {name: spoken[name] for name in ("voice", "speed") if name in spoken}
    for side, part in (("input", heard), ("output", spoken)):
        if part.get("format") is not None:
            flat[f"{side}_format"] = _format(part["format"], f"{where}.audio.{side}.format")
    if isinstance(flat.get("voice"), Mapping):
        flat["voice"] = flat["voice"].get("id")
    return {name: value for name, value in flat.items() if value is not None or name in _MAY_BE_NULL}


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise EventRefused(f"{where}: it is no object", param=where)
    return value


def _format(asked: object, where: str) -> AudioFormat:
    if isinstance(asked, str):
        return _beta_format(asked, where)
    fields = _mapping(asked, where)
    encoding = _ENCODINGS.get(str(fields.get("type", "audio/pcm")))
    if encoding is None:
        raise EventRefused(f"{where}.type: it is none of {', '.join(_ENCODINGS)}", param=f"{where}.type")
    if encoding != "linear16":
        return AudioFormat(encoding, 8000)
    try:
        return AudioFormat(encoding, fields.get("rate") or PCM_24K.sample_rate_hz)
    except AudioFormatError:
        rates = ", ".join(map(str, SAMPLE_RATES_HZ))
        raise EventRefused(f"{where}.rate: it is none of {rates}", param=f"{where}.rate") from None


def _beta_format(asked: object, where: str) -> AudioFormat:
    found = _BETA_FORMATS.get(asked) if isinstance(asked, str) else None
    if found is None:
        raise EventRefused(f"{where}: it is none of {', '.join(_BETA_FORMATS)}", param=where)
    return found


def format_fields(audio_format: AudioFormat) -> dict[str, Any]:
    """A format as the released protocol states it."""
    fields: dict[str, Any] = {"type": _TYPES[audio_format.encoding]}
    if audio_format.encoding == "linear16":
        fields["rate"] = audio_format.sample_rate_hz
    return fields


def beta_format(audio_format: AudioFormat) -> str:
    """A format as the beta states it, which knows no rates."""
    return {"linear16": "pcm16", "mulaw": "g711_ulaw", "alaw": "g711_alaw"}[audio_format.encoding]
