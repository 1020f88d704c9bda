"""ARI's events and snapshots as values.

``parse_event`` turns one message of the event WebSocket into one frozen value. What Asterisk adds in a later version is
kept as `Unknown`; what contradicts the documented model raises `EventError`, the only exception this module raises.
The model: https://docs.asterisk.org/Latest_API/API_Documentation/Asterisk_REST_Interface/Asterisk_REST_Data_Models/
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar


class EventError(ValueError):
    """A message is not JSON, not an object, or lacks or mistypes a field that ARI's model promises."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it was when Asterisk wrote the message (a snapshot: it does not follow the channel)."""

    id: str
    name: str
    """Technology and endpoint, e.g. ``PJSIP/6001-00000003``."""
    state: str
    """``Down``, ``Ring``, ``Ringing``, ``Up``, ``Busy``, …"""
    caller_name: str = ""
    caller_number: str = ""
    context: str = ""
    """Dialplan context."""
    exten: str = ""
    """Dialplan extension: the number that was dialled."""
    priority: int = 0
    dialplan_app: str = ""
    """The dialplan application that runs the channel: ``Stasis`` while an ARI application holds it."""
    protocol_id: str = ""
    """For PJSIP the Call-ID; empty for technologies without one."""
    created_at: datetime | None = None
    channelvars: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What ari.conf's ``channelvars`` names; on ExternalMedia's answer also what `rtp_address` of `channels` reads."""

    @property
    def in_stasis(self) -> bool:
        """Whether an ARI application holds the channel (which one: see `Application.channel_ids`)."""
        return self.dialplan_app == "Stasis"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge as it was when Asterisk wrote the message."""

    id: str
    bridge_type: str
    name: str = ""
    channel_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Application:
    """A Stasis application and what it holds or is subscribed to."""

    name: str
    channel_ids: frozenset[str] = frozenset()
    bridge_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    @property
    def channel_id(self) -> str | None:
        """The channel whose events must stay in order with this one; None when it concerns no channel."""
        return None

    @property
    def bridge_id(self) -> str | None:
        """The bridge concerned, or None."""
        return None


@dataclass(frozen=True, slots=True)
class ChannelEvent(Event):
    """Base of the events of one channel."""

    channel: Channel

    @property
    def channel_id(self) -> str:
        return self.channel.id


@dataclass(frozen=True, slots=True)
class StasisStart(ChannelEvent):
    """A channel came into our application."""

    args: tuple[str, ...] = ()
    """Arguments of the dialplan's ``Stasis()``."""
    replace_channel: Channel | None = None
    """In a transfer: the channel whose place this one takes."""


@dataclass(frozen=True, slots=True)
class StasisEnd(ChannelEvent):
    """A channel left our application: it hung up, was continued in the dialplan or moved."""


@dataclass(frozen=True, slots=True)
class ChannelCreated(ChannelEvent):
    """A channel came into being."""


@dataclass(frozen=True, slots=True)
class ChannelDestroyed(ChannelEvent):
    """A channel is gone."""

    cause: int = 0
    """Q.850 cause: 16 normal clearing, 17 busy, …"""
    cause_txt: str = ""


@dataclass(frozen=True, slots=True)
class ChannelHangupRequest(ChannelEvent):
    """Somebody asked for the channel to hang up; `ChannelDestroyed` follows."""

    cause: int | None = None
    soft: bool = False


@dataclass(frozen=True, slots=True)
class ChannelDtmfReceived(ChannelEvent):
    """The far end pressed a key; sent when the key is let go."""

    digit: str
    """One of ``0``-``9``, ``A``-``D``, ``*``, ``#``."""
    duration_ms: int


@dataclass(frozen=True, slots=True)
class ChannelStateChange(ChannelEvent):
    """`Channel.state` changed."""


@dataclass(frozen=True, slots=True)
class ChannelHold(ChannelEvent):
    """The far end put us on hold."""

    music_class: str = ""


@dataclass(frozen=True, slots=True)
class ChannelUnhold(ChannelEvent):
    """The far end took us off hold."""


@dataclass(frozen=True, slots=True)
class ChannelVarset(Event):
    """A variable was set; `channel` is None for a global variable."""

    variable: str
    value: str
    channel: Channel | None = None

    @property
    def channel_id(self) -> str | None:
        return self.channel.id if self.channel is not None else None


@dataclass(frozen=True, slots=True)
class ChannelTalkingStarted(ChannelEvent):
    """TALK_DETECT heard talking."""


@dataclass(frozen=True, slots=True)
class ChannelTalkingFinished(ChannelEvent):
    """TALK_DETECT heard silence after talking."""

    duration_ms: int


@dataclass(frozen=True, slots=True)
class ChannelEnteredBridge(Event):
    """A channel joined a bridge."""

    bridge: Bridge
    channel: Channel | None = None

    @property
    def channel_id(self) -> str | None:
        return self.channel.id if self.channel is not None else None

    @property
    def bridge_id(self) -> str:
        return self.bridge.id


@dataclass(frozen=True, slots=True)
class ChannelLeftBridge(ChannelEvent):
    """A channel left a bridge."""

    bridge: Bridge

    @property
    def bridge_id(self) -> str:
        return self.bridge.id


@dataclass(frozen=True, slots=True)
class BridgeCreated(Event):
    """A bridge came into being."""

    bridge: Bridge

    @property
    def bridge_id(self) -> str:
        return self.bridge.id


@dataclass(frozen=True, slots=True)
class BridgeDestroyed(Event):
    """A bridge is gone."""

    bridge: Bridge

    @property
    def bridge_id(self) -> str:
        return self.bridge.id


@dataclass(frozen=True, slots=True)
class PlaybackEvent(Event):
    """Base of the events of one playback."""

    playback_id: str
    target_uri: str
    """``channel:<id>`` or ``bridge:<id>``."""
    state: str = ""
    """``queued``, ``playing``, ``continuing``, ``done``, ``failed``, ``cancelled``."""
    media_uri: str = ""

    @property
    def channel_id(self) -> str | None:
        kind, _, target_id = self.target_uri.partition(":")
        return target_id if kind == "channel" else None

    @property
    def bridge_id(self) -> str | None:
        kind, _, target_id = self.target_uri.partition(":")
        return target_id if kind == "bridge" else None


@dataclass(frozen=True, slots=True)
class PlaybackStarted(PlaybackEvent):
    """Asterisk began to play a file."""


@dataclass(frozen=True, slots=True)
class PlaybackFinished(PlaybackEvent):
    """Asterisk finished a file, gave up on it or was told to stop: see `state`."""


@dataclass(frozen=True, slots=True)
class ApplicationReplaced(Event):
    """Another WebSocket took our application's name: this one hears nothing more, yet stays open."""

    application: str


@dataclass(frozen=True, slots=True)
class UserEvent(Event):
    """What a client of ARI sent to our application (``POST /events/user/{name}``); `variables` that are texts."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Unknown(Event):
    """An event this module has no type for. `raw` is the whole message."""

    type: str
    raw: Mapping[str, Any] = field(hash=False)

    _CHANNEL_FIELDS: ClassVar = ("channel", "peer", "caller")

    @property
    def channel_id(self) -> str | None:
        for key in self._CHANNEL_FIELDS:
            found = _id_of(self.raw.get(key))
            if found:
                return found
        return None

    @property
    def bridge_id(self) -> str | None:
        return _id_of(self.raw.get("bridge"))


def parse_event(message: str | bytes | Mapping[str, Any]) -> Event:
    """Parse one event, from JSON text or the object it stands for.

    Raises `EventError`, whose text names the event type and the field.
    """
    raw = _load(message) if isinstance(message, str | bytes) else message
    kind = _text(raw, "type", "event")
    parser = _PARSERS.get(kind)
    return parser(raw) if parser is not None else Unknown(kind, raw)


def parse_channel(raw: object, *, where: str = "channel") -> Channel:
    """Read ARI's ``Channel`` model; `where` begins the text of an `EventError`."""
    raw = _object(raw, where)
    caller = _object(raw.get("caller") or {}, f"{where}.caller")
    dialplan = _object(raw.get("dialplan") or {}, f"{where}.dialplan")
    variables = raw.get("channelvars")
    return Channel(
        id=_text(raw, "id", where),
        name=_text(raw, "name", where),
        state=_text(raw, "state", where),
        caller_name=_optional_text(caller, "name", where),
        caller_number=_optional_text(caller, "number", where),
        context=_optional_text(dialplan, "context", where),
        exten=_optional_text(dialplan, "exten", where),
        priority=_optional_integer(dialplan, "priority", where) or 0,
        dialplan_app=_optional_text(dialplan, "app_name", where),
        protocol_id=_optional_text(raw, "protocol_id", where),
        created_at=_time(raw, "creationtime", where),
        channelvars=_variables(variables, f"{where}.channelvars") if variables else {},
    )


def parse_bridge(raw: object, *, where: str = "bridge") -> Bridge:
    """Read ARI's ``Bridge`` model; `where` begins the text of an `EventError`."""
    raw = _object(raw, where)
    return Bridge(
        id=_text(raw, "id", where),
        bridge_type=_optional_text(raw, "bridge_type", where),
        name=_optional_text(raw, "name", where),
        channel_ids=_texts(raw, "channels", where),
    )


def parse_application(raw: object) -> Application:
    """Read ARI's ``Application`` model."""
    raw = _object(raw, "application")
    return Application(
        name=_text(raw, "name", "application"),
        channel_ids=frozenset(_texts(raw, "channel_ids", "application")),
        bridge_ids=frozenset(_texts(raw, "bridge_ids", "application")),
    )


def _load(message: str | bytes) -> Mapping[str, Any]:
    try:
        raw = json.loads(message)
    except (ValueError, RecursionError) as exc:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise EventError(f"event is not JSON: {exc}") from exc
    return _object(raw, "event")


def _object(raw: object, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise EventError(f"{where} is not an object")
    return raw


def _text(raw: Mapping[str, Any], key: str, where: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise EventError(f"{where}.{key} is not a text")
    return value


def _optional_text(raw: Mapping[str, Any], key: str, where: str) -> str:
    value = raw.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EventError(f"{where}.{key} is not a text")
    return value


def _integer(raw: Mapping[str, Any], key: str, where: str) -> int:
    value = _optional_integer(raw, key, where)
    if value is None:
        raise EventError(f"{where}.{key} is missing")
    return value


def _optional_integer(raw: Mapping[str, Any], key: str, where: str) -> int | None:
    value = raw.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise EventError(f"{where}.{key} is not an integer")
    return value


def _texts(raw: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = raw.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise EventError(f"{where}.{key} is not a list of texts")
    return tuple(value)


def _variables(raw: object, where: str) -> Mapping[str, str]:
    raw = _object(raw, where)
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in raw.items()):
        raise EventError(f"{where} holds something that is not a text")
    return dict(raw)


def _time(raw: Mapping[str, Any], key: str, where: str) -> datetime | None:
    text = _optional_text(raw, key, where)
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)  # "2026-11-21T06:34:21.640+0000"
    except ValueError as exc:
        raise EventError(f"{where}.{key} is not a time: {text[:40]!r}") from exc


def _id_of(raw: object) -> str | None:
    found = raw.get("id") if isinstance(raw, Mapping) else None
    return found if isinstance(found, str) and found else None


def _channel(raw: Mapping[str, Any], key: str = "channel") -> Channel:
    return parse_channel(raw.get(key), where=f"{raw['type']}.{key}")


def _channel_if_any(raw: Mapping[str, Any], key: str = "channel") -> Channel | None:
    return _channel(raw, key) if raw.get(key) is not None else None


def _bridge(raw: Mapping[str, Any]) -> Bridge:
    return parse_bridge(raw.get("bridge"), where=f"{raw['type']}.bridge")


def _plain(event: type[ChannelEvent]) -> Callable[[Mapping[str, Any]], Event]:
    return lambda raw: event(_channel(raw))


def _playback(event: type[PlaybackEvent]) -> Callable[[Mapping[str, Any]], Event]:
    def parse(raw: Mapping[str, Any]) -> Event:
        where = f"{raw['type']}.playback"
        playback = _object(raw.get("playback"), where)
        return event(
            playback_id=_text(playback, "id", where),
            target_uri=_text(playback, "target_uri", where),
            state=_optional_text(playback, "state", where),
            media_uri=_optional_text(playback, "media_uri", where),
        )

    return parse


def _user_event(raw: Mapping[str, Any]) -> Event:
    variables = _object(raw.get("userevent") or {}, "ChannelUserevent.userevent")
    texts = {key: value for key, value in variables.items() if key != "eventname" and isinstance(value, str)}
    return UserEvent(_text(raw, "eventname", "ChannelUserevent"), texts)


_PARSERS: Mapping[str, Callable[[Mapping[str, Any]], Event]] = {
    "StasisStart": lambda raw: StasisStart(
        _channel(raw), _texts(raw, "args", "StasisStart"), _channel_if_any(raw, "replace_channel")
    ),
    "StasisEnd": _plain(StasisEnd),
    "ChannelCreated": _plain(ChannelCreated),
    "ChannelDestroyed": lambda raw: ChannelDestroyed(
        _channel(raw), _integer(raw, "cause", "ChannelDestroyed"), _optional_text(raw, "cause_txt", "ChannelDestroyed")
    ),
    "ChannelHangupRequest": lambda raw: ChannelHangupRequest(
        _channel(raw), _optional_integer(raw, "cause", "ChannelHangupRequest"), raw.get("soft") is True
    ),
    "ChannelDtmfReceived": lambda raw: ChannelDtmfReceived(
        _channel(raw),
        _text(raw, "digit", "ChannelDtmfReceived"),
        _integer(raw, "duration_ms", "ChannelDtmfReceived"),
    ),
    "ChannelStateChange": _plain(ChannelStateChange),
    "ChannelHold": lambda raw: ChannelHold(_channel(raw), _optional_text(raw, "musicclass", "ChannelHold")),
    "ChannelUnhold": _plain(ChannelUnhold),
    "ChannelVarset": lambda raw: ChannelVarset(
        _text(raw, "variable", "ChannelVarset"), _optional_text(raw, "value", "ChannelVarset"), _channel_if_any(raw)
    ),
    "ChannelTalkingStarted": _plain(ChannelTalkingStarted),
    "ChannelTalkingFinished": lambda raw: ChannelTalkingFinished(
        _channel(raw), _integer(raw, "duration", "ChannelTalkingFinished")
    ),
    "ChannelEnteredBridge": lambda raw: ChannelEnteredBridge(_bridge(raw), _channel_if_any(raw)),
    "ChannelLeftBridge": lambda raw: ChannelLeftBridge(_channel(raw), _bridge(raw)),
    "BridgeCreated": lambda raw: BridgeCreated(_bridge(raw)),
    "BridgeDestroyed": lambda raw: BridgeDestroyed(_bridge(raw)),
    "PlaybackStarted": _playback(PlaybackStarted),
    "PlaybackFinished": _playback(PlaybackFinished),
    "ChannelUserevent": _user_event,
    "ApplicationReplaced": lambda raw: ApplicationReplaced(_text(raw, "application", "ApplicationReplaced")),
}
