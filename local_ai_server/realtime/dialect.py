"""The two forms in which a client may want to be told things: the released protocol and its beta.

Events are made in the released form; the beta's names differ, and it knows fewer of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from local_ai_server.realtime.session_config import SessionConfig, beta_format, format_fields

BETA_HEADER: Final = ("openai-beta", "realtime=v1")

Dialect = Literal["released", "beta"]

_BETA_NAMES: Final = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
_NOT_IN_BETA: Final = frozenset({"conversation.item.done"})
_ONLY_IN_BETA: Final = frozenset({"conversation.created"})
_BETA_CONTENT: Final = {"output_text": "text", "output_audio": "audio"}


def dialect_of(headers: Mapping[str, str]) -> Dialect:
    """As the client's handshake says."""
    name, value = BETA_HEADER
    return "beta" if value in headers.get(name, "") else "released"


def in_dialect(event: dict[str, Any], dialect: Dialect) -> dict[str, Any] | None:
    """The event as it is to be sent; None where the dialect has none like it."""
    kind = event["type"]
    if dialect == "released":
        return None if kind in _ONLY_IN_BETA else event
    if kind in _NOT_IN_BETA:
        return None
    event = {**event, "type": _BETA_NAMES.get(kind, kind)}
    if "item" in event:
        event["item"] = _beta_item(event["item"])
    if "response" in event:
        event["response"] = _beta_response(event["response"])
    return event


def session_fields(config: SessionConfig, dialect: Dialect, *, session_id: str, model: str) -> dict[str, Any]:
    """`session` of session.created and session.updated."""
    choice = config.tool_choice
    common = {
        "id": session_id,
        "object": "realtime.session",
        "model": model,
        "instructions": config.instructions,
        "tools": [tool.model_dump() for tool in config.tools],
        "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
    }
    transcription = config.transcription.model_dump() if config.transcription else None
    turn_detection = config.turn_detection.fields() if config.turn_detection else None
    if dialect == "beta":
        return common | {
            "modalities": _beta_modalities(config),
            "voice": config.voice,
            "speed": config.speed,
            "input_audio_format": beta_format(config.input_format),
            "output_audio_format": beta_format(config.output_format),
            "input_audio_transcription": transcription,
            "turn_detection": turn_detection,
            "temperature": config.temperature,
            "max_response_output_tokens": config.max_output_tokens,
        }
    return common | {
        "type": "realtime",
        "output_modalities": list(config.output_modalities),
        "audio": {
            "input": {
                "format": format_fields(config.input_format),
                "transcription": transcription,
                "noise_reduction": None,
                "turn_detection": turn_detection,
            },
            "output": {"format": format_fields(config.output_format), "voice": config.voice, "speed": config.speed},
        },
        "max_output_tokens": config.max_output_tokens,
    }


def _beta_modalities(config: SessionConfig) -> list[str]:
    return ["text", "audio"] if config.speaks else ["text"]


def _beta_item(item: dict[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return item
    content = [{**part, "type": _BETA_CONTENT.get(part["type"], part["type"])} for part in item["content"]]
    return {**item, "content": content}


def _beta_response(response: dict[str, Any]) -> dict[str, Any]:
    response = dict(response)
    response["output"] = [_beta_item(item) for item in response["output"]]
    spoken = response.pop("audio")["output"]
    modalities = response.pop("output_modalities")
    return response | {
        "modalities": ["text", "audio"] if modalities == ["audio"] else modalities,
        "voice": spoken["voice"],
        "output_audio_format": {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}[
            spoken["format"]["type"]
        ],
    }
