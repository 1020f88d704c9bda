"""What one session may have of its own: system prompt, sampling, voice, speed (`switch_model` with scope session)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError

from local_ai_server.errors import ServeError
from local_ai_server.service import Service
from voice_wire.messages import Part, Sampling, SwitchModel, Text

_OF_THE_SERVER: Final = frozenset(SwitchModel.model_fields) - {
    "type",
    "call_id",
    "request_id",
    "scope",
    "dry_run",
    "llm_config",
    "tts_config",
}


class LlmSettings(Sampling):
    """`llm_config` of one session; what is left out stays as it is."""

    system_prompt: Text | None = None


class TtsSettings(Part):
    """`tts_config` of one session."""

    voice: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    speed: Annotated[float, Field(ge=0.5, le=2.0)] | None = None


class SessionSettings:
    """One session's. Unset, they leave the server's."""

    def __init__(self, system_prompt: str) -> None:
        self._llm = LlmSettings(system_prompt=system_prompt)
        self._tts = TtsSettings()

    @property
    def system_prompt(self) -> str:
        return self._llm.system_prompt or ""

    def sampling(self, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sampling overrides of this session under those of one request."""
        own = self._llm.model_dump(exclude_none=True, exclude={"system_prompt"})
        return own | dict(asked or {})

    def speech(self, service: Service, *, voice: str | None = None) -> dict[str, Any]:
        """Keywords of `speak`: the voice asked for, or the session's where `service` has it, and the session's speed.

        Raises `ServeError` (invalid_message) when `service` has not the voice that was asked for. One that was here
        before a switch gives way to its own: no call fails because its client has not heard of it.
        """
        own = self._tts.model_dump(exclude_none=True)
        if voice is not None and voice in service.former_voices - set(service.traits.get("voices", ())):
            own.pop("voice", None)
        elif voice is not None:
            _check_voice(service, voice)
            own["voice"] = voice
        elif self._tts.voice is not None and self._tts.voice not in service.traits.get("voices", ()):
            del own["voice"]  # it was another backend's
        return own

    def change(self, message: SwitchModel, *, tts: Service | None) -> list[str]:
        """Takes over what `message` says, unless it is a dry run; the names of what is other than before.

        Raises `ServeError` (invalid_message) when anything in it is not a session's to set; then nothing has changed.
        """
        known = type(message).model_fields
        said = {name for name in _OF_THE_SERVER if getattr(message, name) != known[name].get_default()}
        beyond = sorted(said | set(message.model_extra or ()))
        if beyond:
            raise ServeError(
                "invalid_message",
                f"{beyond[0]}: scope session changes llm_config and tts_config of this session only; leave scope out "
                "to change the server",
            )
        llm = self._llm.model_copy(update=_read(LlmSettings, "llm_config", message.llm_config))
        speech = self._tts.model_copy(update=_read(TtsSettings, "tts_config", message.tts_config))
        if message.tts_config and speech.voice is not None and tts is not None:
            _check_voice(tts, speech.voice)
        changed = [
            f"{section}.{name}"
            for section, old, new in (("llm_config", self._llm, llm), ("tts_config", self._tts, speech))
            for name in type(new).model_fields
            if getattr(old, name) != getattr(new, name)
        ]
        if not message.dry_run:
            self._llm, self._tts = llm, speech
        return changed


def _check_voice(service: Service, voice: str) -> None:
    voices = service.traits.get("voices", ())
    if voices and voice not in voices:
        raise ServeError("invalid_message", f"there is no voice {voice!r} here; there are: {', '.join(voices)}")


def check_prompt(value: object) -> str:
    """A system prompt. Raises `ServeError` (invalid_message)."""
    prompt: str = _read(LlmSettings, "llm_config", {"system_prompt": value}).get("system_prompt") or ""
    return prompt


def _read(model: type[Part], section: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """The checked values of those keys that are given."""
    try:
        read = model.model_validate(dict(values or {}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            raise ServeError("invalid_message", f"{section}.{name}: a session has: {known}") from None
        raise ServeError("invalid_message", f"{section}.{name}: {first['msg']}") from None
    return {name: getattr(read, name) for name in read.model_fields_set}
