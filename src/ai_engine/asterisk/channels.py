"""ARI's operations on channels, bridges and playbacks, typed; the names are Asterisk's.

Each is one request and raises `AriError` when it fails. Destroying what is already gone is success. Ids are ours to
choose (`ai_engine.asterisk.ids`): have the call's lane adopt one before the request that makes it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ai_engine.asterisk.ari import AriClient, segment
from ai_engine.asterisk.errors import AriError, AriNotFound
from ai_engine.asterisk.events import (
    Application,
    Bridge,
    Channel,
    EventError,
    parse_application,
    parse_bridge,
    parse_channel,
)

HangupReason = Literal[
    "normal",
    "busy",
    "congestion",
    "no_answer",
    "timeout",
    "rejected",
    "unallocated",
    "normal_unspecified",
    "number_incomplete",
    "codec_mismatch",
    "interworking",
    "failure",
    "answered_elsewhere",
]

CALL_VARIABLES = ("AI_CONTEXT", "AI_PROVIDER", "AI_AUDIO_PROFILE", "AI_TRANSPORT", "AI_TRANSPORT_FORMAT")
"""What the dialplan may set before ``Stasis()`` to choose how a call is served."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RtpStatistics:
    """Asterisk's own count of a channel's RTP. Jitter and round trip are in seconds, as Asterisk reports them.

    Losses and what the peer reports are as old as the last RTCP, which comes and goes every 5 s; 0 before the first.
    """

    sent_packets: int
    received_packets: int
    lost_by_peer: int
    lost_by_us: int
    local_jitter_s: float
    """Of what Asterisk receives."""
    remote_jitter_s: float
    """Of what the peer receives, as it reports."""
    round_trip_s: float


# The caller's channel


async def answer(ari: AriClient, channel_id: str) -> None:
    """Answer; harmless on a channel that is up."""
    await ari.request("POST", f"/channels/{segment(channel_id)}/answer")


async def hangup(ari: AriClient, channel_id: str, *, reason: HangupReason = "normal") -> bool:
    """Hang a channel up. False when it was gone already."""
    return await _destroy(ari, f"/channels/{segment(channel_id)}", {"reason": reason})


async def get_channel(ari: AriClient, channel_id: str) -> Channel:
    """A fresh snapshot."""
    path = f"/channels/{segment(channel_id)}"
    return _read(path, parse_channel, await ari.request("GET", path))


async def get_variable(ari: AriClient, channel_id: str, variable: str) -> str | None:
    """A channel variable or dialplan function such as ``CALLERID(num)``; None where it is not set.

    Raises `AriNotFound` when the channel is gone.
    """
    path = f"/channels/{segment(channel_id)}/variable"
    try:
        answer = await ari.request("GET", path, params={"variable": variable})
    except AriNotFound as exc:
        if "variable" in exc.message.lower():  # "Provided variable was not found"; else "Channel not found"
            return None
        raise
    value = answer.get("value") if isinstance(answer, dict) else None
    return value if isinstance(value, str) else None


async def get_variables(ari: AriClient, channel_id: str, variables: Iterable[str] = CALL_VARIABLES) -> dict[str, str]:
    """Those of `variables` that are set and not empty. ARI cannot list a channel's variables: each is asked for."""
    names = tuple(dict.fromkeys(variables))
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_variable_or_error(ari, channel_id, name)) for name in names]
    found: dict[str, str] = {}
    for name, task in zip(names, asked, strict=True):
        value = task.result()
        if isinstance(value, AriError):
            raise value
        if value:
            found[name] = value
    return found


async def _variable_or_error(ari: AriClient, channel_id: str, variable: str) -> str | AriError | None:
    """So that one failure reaches the caller as itself and not inside an exception group."""
    try:
        return await get_variable(ari, channel_id, variable)
    except AriError as exc:
        return exc


async def set_variable(ari: AriClient, channel_id: str, variable: str, value: str) -> None:
    """Set a channel variable or write a dialplan function."""
    params = {"variable": variable, "value": value}
    await ari.request("POST", f"/channels/{segment(channel_id)}/variable", params=params)


async def continue_in_dialplan(
    ari: AriClient,
    channel_id: str,
    *,
    context: str | None = None,
    extension: str | None = None,
    priority: int | None = None,
) -> None:
    """Hand the channel back to the dialplan, by default to the line after ``Stasis()``.

    Take it out of its bridge first, or the caller hears silence (ASTERISK.md).
    """
    params = _given(context=context, extension=extension, priority=priority)
    await ari.request("POST", f"/channels/{segment(channel_id)}/continue", params=params)


async def move(ari: AriClient, channel_id: str, app: str, *, app_args: Iterable[str] = ()) -> None:
    """Hand the channel to another Stasis application."""
    params = _given(app=app, appArgs=",".join(app_args) or None)
    await ari.request("POST", f"/channels/{segment(channel_id)}/move", params=params)


async def redirect(ari: AriClient, channel_id: str, endpoint: str) -> None:
    """Blind transfer by the channel's own technology (for SIP a 302 or REFER), e.g. to ``PJSIP/6001``."""
    await ari.request("POST", f"/channels/{segment(channel_id)}/redirect", params={"endpoint": endpoint})


async def send_dtmf(
    ari: AriClient, channel_id: str, digits: str, *, between_ms: int = 100, duration_ms: int = 100
) -> None:
    """Send keys to the channel. Asterisk queues them and answers at once."""
    params: dict[str, str | int] = {"dtmf": digits, "between": between_ms, "duration": duration_ms}
    await ari.request("POST", f"/channels/{segment(channel_id)}/dtmf", params=params)


async def play(ari: AriClient, channel_id: str, media: str, *, playback_id: str) -> None:
    """Start playing e.g. ``sound:beep``; `PlaybackFinished` tells the end."""
    path = f"/channels/{segment(channel_id)}/play/{segment(playback_id)}"
    await ari.request("POST", path, params={"media": media})


async def stop_playback(ari: AriClient, playback_id: str) -> bool:
    """Stop a playback. False when it had ended already."""
    return await _destroy(ari, f"/playbacks/{segment(playback_id)}")


async def rtp_statistics(ari: AriClient, channel_id: str) -> RtpStatistics | None:
    """RTP figures of a channel; None where it has none (other technologies, nothing sent yet)."""
    path = f"/channels/{segment(channel_id)}/rtp_statistics"
    try:
        raw = await ari.request("GET", path)
    except AriNotFound as exc:
        if "rtp" in exc.message.lower():  # "RTP info not found"; else "Channel not found"
            return None
        raise
    except AriError as exc:
        if exc.status == 403:  # "Unsupported channel type"
            return None
        raise
    raw = raw if isinstance(raw, dict) else {}
    return RtpStatistics(
        sent_packets=int(_number(raw, "txcount")),
        received_packets=int(_number(raw, "rxcount")),
        lost_by_peer=int(_number(raw, "txploss")),
        lost_by_us=int(_number(raw, "rxploss")),
        local_jitter_s=_number(raw, "txjitter"),  # its names are the wrong way round (seen on 22.10, on a bad line)
        remote_jitter_s=_number(raw, "rxjitter"),
        round_trip_s=_number(raw, "rtt"),
    )


# The media channel


async def external_media(
    ari: AriClient,
    *,
    channel_id: str,
    external_host: str,
    media_format: str,
    transport: Literal["udp", "tcp", "websocket"] = "udp",
    encapsulation: Literal["rtp", "audiosocket", "none"] = "rtp",
    connection_type: Literal["client", "server"] = "client",
    direction: Literal["both"] = "both",
    data: str | None = None,
    transport_data: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Channel:
    """Make a channel whose sound comes to us. Its StasisStart may arrive before this returns, or after.

    Wait for both before `add_to_bridge`, which otherwise is a 422 "Channel not in Stasis application" (seen on 22.10).
    `external_host` is ``address:port``, a websocket_client.conf name or, for a websocket that we open, ``INCOMING``.
    Nothing is negotiated: the format named is the format used (``ulaw``, ``alaw``, ``g722``, ``slin``, ``slin16``).
    For RTP ask `rtp_address` where to send. A format Asterisk does not know, or an id in use, is a 500.
    """
    params = _given(
        app=ari.app,
        channelId=channel_id,
        external_host=external_host,
        format=media_format,
        transport=transport,
        encapsulation=encapsulation,
        connection_type=connection_type,
        direction=direction,
        data=data,
        transport_data=transport_data,
    )
    path = "/channels/externalMedia"
    body = {"variables": dict(variables)} if variables else None
    return _read(path, parse_channel, await ari.request("POST", path, params=params, body=body))


async def rtp_address(ari: AriClient, channel: Channel) -> tuple[str, int]:
    """Where Asterisk listens for the RTP of an ExternalMedia channel: address and UDP port.

    Read from the answer of `external_media`, or asked for when it is not in there.
    """
    names = ("UNICASTRTP_LOCAL_ADDRESS", "UNICASTRTP_LOCAL_PORT")
    known = channel.channelvars
    if not all(name in known for name in names):
        known = await get_variables(ari, channel.id, names)
    address, port = known.get(names[0], ""), known.get(names[1], "")
    if not address or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise AriError(0, "GET", f"/channels/{channel.id}", "Asterisk named no RTP address: is chan_rtp loaded?")
    return address, int(port)


# Bridges


async def create_bridge(ari: AriClient, bridge_id: str, *, name: str = "") -> Bridge:
    """Make a mixing bridge. Raises `AriConflict` when the id is in use."""
    # POST /bridges/{id} would adopt an existing bridge without a word; the id as a parameter is refused instead.
    params = _given(type="mixing", bridgeId=bridge_id, name=name or None)
    return _read("/bridges", parse_bridge, await ari.request("POST", "/bridges", params=params))


async def add_to_bridge(ari: AriClient, bridge_id: str, *channel_ids: str) -> None:
    """Put channels into a bridge. A channel that is gone is a 400, one not in Stasis (yet) a 422."""
    path = f"/bridges/{segment(bridge_id)}/addChannel"
    await ari.request("POST", path, params={"channel": ",".join(channel_ids)})


async def remove_from_bridge(ari: AriClient, bridge_id: str, channel_id: str) -> bool:
    """Take a channel out of a bridge. False when it, or the bridge, was gone already."""
    path = f"/bridges/{segment(bridge_id)}/removeChannel"
    try:
        await ari.request("POST", path, params={"channel": channel_id})
    except AriError as exc:
        # 400 "Channel not found", 422 "Channel not in this bridge"
        if isinstance(exc, AriNotFound) or exc.status in {400, 422}:
            return False
        raise
    return True


async def destroy_bridge(ari: AriClient, bridge_id: str) -> bool:
    """Destroy a bridge; channels in it stay alive in our application. False when it was gone already.

    Asterisk answers first and empties the bridge afterwards (BridgeDestroyed, up to 0.1 s later here).
    """
    return await _destroy(ari, f"/bridges/{segment(bridge_id)}")


# What there is


async def list_channels(ari: AriClient) -> tuple[Channel, ...]:
    """Every channel of this Asterisk, ours or not."""
    return _read_all("/channels", parse_channel, await ari.request("GET", "/channels"))


async def list_bridges(ari: AriClient) -> tuple[Bridge, ...]:
    """Every bridge of this Asterisk, ours or not."""
    return _read_all("/bridges", parse_bridge, await ari.request("GET", "/bridges"))


async def get_application(ari: AriClient, app: str) -> Application:
    """What a Stasis application holds; it exists while a client or a channel does."""
    path = f"/applications/{segment(app)}"
    return _read(path, parse_application, await ari.request("GET", path))


async def list_applications(ari: AriClient) -> tuple[Application, ...]:
    """Every Stasis application: those with a client, and those whose client is gone but whose channels are not."""
    path = "/applications"
    return _read_all(path, parse_application, await ari.request("GET", path))


async def unsubscribe_channel(ari: AriClient, app: str, channel_id: str) -> Application:
    """Undo one of an application's subscriptions to a channel, and tell what it holds now.

    It has one for the channel's coming in and one for each of its bridges; a channel that was moved to another
    application stays in `channel_ids` until all are undone.
    """
    path = f"/applications/{segment(app)}/subscription"
    answer = await ari.request("DELETE", path, params={"eventSource": f"channel:{channel_id}"})
    return _read(path, parse_application, answer)


async def _destroy(ari: AriClient, path: str, params: Mapping[str, str | int] | None = None) -> bool:
    try:
        await ari.request("DELETE", path, params=params)
    except AriNotFound:
        return False
    return True


def _given(**params: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in params.items() if value is not None}


def _read(path: str, parse: Callable[[object], _T], raw: Any) -> _T:
    try:
        return parse(raw)
    except EventError as exc:
        raise AriError(200, "GET", path, f"unreadable answer: {exc}") from exc


def _read_all(path: str, parse: Callable[[object], _T], raw: Any) -> tuple[_T, ...]:
    if not isinstance(raw, list):
        raise AriError(200, "GET", path, "unreadable answer: not a list")
    return tuple(_read(path, parse, item) for item in raw)


def _number(raw: Mapping[str, Any], key: str) -> float:
    value = raw.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
