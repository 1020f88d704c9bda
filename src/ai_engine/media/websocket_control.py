"""The control messages of Asterisk's chan_websocket: text frames beside the binary ones that are sound.

Asterisk speaks one of two forms, by its chan_websocket.conf: plain text (`MEDIA_MARK_PROCESSED 7`) or JSON
(`{"event":"MEDIA_MARK_PROCESSED","correlation_id":"7"}`). It wants commands in the same form, so the first event,
MEDIA_START, tells ours. No I/O here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

MOST_COMMAND_BYTES: Final = 128
"""Asterisk ignores a longer command with no more than a line in its own log."""


class ControlError(ValueError):
    """A control message that cannot be read, or a command that Asterisk would not."""


class ControlForm(Enum):
    PLAIN = "plain-text"
    JSON = "json"


# --- from Asterisk ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MediaStart:
    """The connection belongs to a channel now. Sound may have come before it."""

    optimal_frame_size: int
    """Bytes of a frame; 0 where Asterisk passes through what it gets (opus)."""
    format: str = ""
    """Asterisk's name of it; empty where an older Asterisk does not tell."""
    ptime_ms: int = 20
    connection_id: str = ""
    channel_id: str = ""
    channel_variables: Mapping[str, str] = field(default_factory=dict)
    """JSON only."""


@dataclass(frozen=True, slots=True)
class MediaXoff:
    """Asterisk has 900 frames waiting: send no more, at 1000 it drops whole messages."""


@dataclass(frozen=True, slots=True)
class MediaXon:
    """Below 800 again."""


@dataclass(frozen=True, slots=True)
class MarkProcessed:
    """All that was sent before the mark has been handed to Asterisk's core, which is not yet the caller's ear."""

    id: str


@dataclass(frozen=True, slots=True)
class BufferingCompleted:
    id: str


@dataclass(frozen=True, slots=True)
class QueueDrained:
    """Asked for once, told once."""


@dataclass(frozen=True, slots=True)
class Status:
    queue_length: int
    queue_full: bool
    bulk_media: bool
    media_paused: bool


@dataclass(frozen=True, slots=True)
class DtmfEnd:
    digit: str


@dataclass(frozen=True, slots=True)
class AsteriskError:
    """Asterisk could not do what a command said."""

    text: str


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """One that this module does not know."""

    name: str


ControlEvent = (
    MediaStart
    | MediaXoff
    | MediaXon
    | MarkProcessed
    | BufferingCompleted
    | QueueDrained
    | Status
    | DtmfEnd
    | AsteriskError
    | OtherEvent
)

_WITHOUT_FIELDS: Final[Mapping[str, ControlEvent]] = {
    "MEDIA_XOFF": MediaXoff(),
    "MEDIA_XON": MediaXon(),
    "QUEUE_DRAINED": QueueDrained(),
}
_WITH_ID: Final = ("MEDIA_MARK_PROCESSED", "MEDIA_BUFFERING_COMPLETED")
_ERROR_TEXT: Final = "error_text:"


def parse_event(text: str) -> tuple[ControlEvent, ControlForm]:
    """An event and the form it came in. Raises `ControlError`, and nothing else, for what is none."""
    stripped = text.strip()
    if stripped.startswith("{"):
        name, fields = _read_json(stripped)
        form = ControlForm.JSON
    else:
        name, fields = _read_plain(stripped)
        form = ControlForm.PLAIN
    return _event(name, fields), form


def _read_json(text: str) -> tuple[str, Mapping[str, object]]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ControlError("not JSON") from None
    name = message.get("event") if isinstance(message, dict) else None
    if not isinstance(name, str):
        raise ControlError("JSON without the name of an event")
    return name, message


def _read_plain(text: str) -> tuple[str, Mapping[str, object]]:
    name, _, rest = text.partition(" ")
    if not name or not name.isascii() or not name.replace("_", "").isalnum():
        raise ControlError("no name of an event at its beginning")
    before, found, error_text = rest.partition(_ERROR_TEXT)
    fields: dict[str, object] = {"error_text": error_text} if found else {}
    for word in before.split():
        key, colon, value = word.partition(":")
        if colon:
            fields[key] = value
        elif name in _WITH_ID:
            fields["correlation_id"] = word
    return name, fields


def _event(name: str, fields: Mapping[str, object]) -> ControlEvent:
    if (known := _WITHOUT_FIELDS.get(name)) is not None:
        return known
    match name:
        case "MEDIA_START":
            variables = fields.get("channel_variables")
            return MediaStart(
                optimal_frame_size=_number(name, fields, "optimal_frame_size"),
                format=_text(fields, "format"),
                ptime_ms=_number(name, fields, "ptime", default=20),
                connection_id=_text(fields, "connection_id"),
                channel_id=_text(fields, "channel_id"),
                channel_variables={key: value for key, value in variables.items() if isinstance(value, str)}
                if isinstance(variables, dict)
                else {},
            )
        case "MEDIA_MARK_PROCESSED":
            return MarkProcessed(_text(fields, "correlation_id"))
        case "MEDIA_BUFFERING_COMPLETED":
            return BufferingCompleted(_text(fields, "correlation_id"))
        case "STATUS":
            return Status(
                queue_length=_number(name, fields, "queue_length"),
                queue_full=_flag(fields, "queue_full"),
                bulk_media=_flag(fields, "bulk_media"),
                media_paused=_flag(fields, "media_paused"),
            )
        case "DTMF_END":
            digit = _text(fields, "digit")
            if len(digit) != 1:
                raise ControlError("DTMF_END without its digit")
            return DtmfEnd(digit)
        case "ERROR":
            return AsteriskError(_text(fields, "error_text"))
    return OtherEvent(name)


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _number(name: str, fields: Mapping[str, object], key: str, *, default: int | None = None) -> int:
    value = fields.get(key, default)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**9:
        raise ControlError(f"{name} without a number as its {key}")
    return value


def _flag(fields: Mapping[str, object], key: str) -> bool:
    return fields.get(key) in (True, "true")


# --- to Asterisk ------------------------------------------------------------------------------------------------------


def flush_media(form: ControlForm) -> str:
    """Drop what waits to be played: sound and marks. It ends no pause, whatever Asterisk's documentation says."""
    return _command(form, "FLUSH_MEDIA")


def mark_media(form: ControlForm, mark_id: str) -> str:
    """Answered by `MarkProcessed` when everything before it has been played."""
    return _command(form, "MARK_MEDIA", mark_id)


def get_status(form: ControlForm) -> str:
    """Answered at once by `Status`."""
    return _command(form, "GET_STATUS")


def report_queue_drained(form: ControlForm) -> str:
    """Answered once by `QueueDrained`, when a tick finds nothing to play: ask after sending."""
    return _command(form, "REPORT_QUEUE_DRAINED")


def pause_media(form: ControlForm) -> str:
    """Play silence and keep what waits. As long as it lasts no mark is processed and no `QueueDrained` told."""
    return _command(form, "PAUSE_MEDIA")


def continue_media(form: ControlForm) -> str:
    """End a pause."""
    return _command(form, "CONTINUE_MEDIA")


def _command(form: ControlForm, command: str, correlation_id: str = "") -> str:
    if not correlation_id.isascii() or any(not sign.isprintable() or sign == " " for sign in correlation_id):
        raise ControlError(f"the id {correlation_id!r} of a {command} is not one word of ASCII")
    if form is ControlForm.JSON:
        message = {"command": command} | ({"correlation_id": correlation_id} if correlation_id else {})
        text = json.dumps(message, separators=(",", ":"))
    else:
        text = f"{command} {correlation_id}".rstrip()
    if len(text) > MOST_COMMAND_BYTES:
        raise ControlError(f"a {command} of {len(text)} bytes; Asterisk ignores those over {MOST_COMMAND_BYTES}")
    return text
