"""ARI messages become typed values, or one documented error."""

import json
from typing import Any

import pytest
from ari_stand_in import bridge, channel, event
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.asterisk import events as e

PLAYBACK = {"id": "pb1", "media_uri": "sound:beep", "target_uri": "channel:c1", "language": "en", "state": "done"}


def test_a_channel_snapshot_holds_who_calls_whom() -> None:
    start = e.parse_event(json.dumps(event("StasisStart", args=["700", "x"], channel=channel("c1"))))
    assert isinstance(start, e.StasisStart)
    assert start.args == ("700", "x")
    assert start.replace_channel is None
    found = start.channel
    assert (found.id, found.state, found.caller_name, found.caller_number) == ("c1", "Up", "Ann", "6001")
    assert (found.context, found.exten, found.priority, found.protocol_id) == ("from-phone", "700", 2, "call-id@host")
    assert found.in_stasis
    assert found.created_at is not None
    assert found.created_at.isoformat() == "2026-11-21T06:34:21.640000+00:00"
    hash(start)


CASES: list[tuple[dict[str, Any], type[e.Event], dict[str, Any], str | None, str | None]] = [
    (event("StasisEnd", channel=channel("c1")), e.StasisEnd, {}, "c1", None),
    (
        event(
            "ChannelUserevent", eventname="parley-alive", userevent={"app": "a", "n": 3, "eventname": "parley-alive"}
        ),
        e.UserEvent,
        {"name": "parley-alive", "variables": {"app": "a"}},
        None,
        None,
    ),
    (
        event("ChannelDestroyed", channel=channel("c1"), cause=16, cause_txt="Normal Clearing"),
        e.ChannelDestroyed,
        {"cause": 16, "cause_txt": "Normal Clearing"},
        "c1",
        None,
    ),
    (
        event("ChannelHangupRequest", channel=channel("c1"), cause=32, soft=True),
        e.ChannelHangupRequest,
        {"cause": 32, "soft": True},
        "c1",
        None,
    ),
    (event("ChannelHangupRequest", channel=channel("c1")), e.ChannelHangupRequest, {"cause": None}, "c1", None),
    (
        event("ChannelDtmfReceived", channel=channel("c1"), digit="#", duration_ms=100),
        e.ChannelDtmfReceived,
        {"digit": "#", "duration_ms": 100},
        "c1",
        None,
    ),
    (event("ChannelStateChange", channel=channel("c1")), e.ChannelStateChange, {}, "c1", None),
    (event("ChannelCreated", channel=channel("c1")), e.ChannelCreated, {}, "c1", None),
    (event("ChannelHold", channel=channel("c1"), musicclass="x"), e.ChannelHold, {"music_class": "x"}, "c1", None),
    (event("ChannelUnhold", channel=channel("c1")), e.ChannelUnhold, {}, "c1", None),
    (event("ChannelVarset", variable="A", value="1"), e.ChannelVarset, {"variable": "A", "value": "1"}, None, None),
    (event("ChannelVarset", variable="A", value="", channel=channel("c1")), e.ChannelVarset, {}, "c1", None),
    (event("ChannelTalkingStarted", channel=channel("c1")), e.ChannelTalkingStarted, {}, "c1", None),
    (
        event("ChannelTalkingFinished", channel=channel("c1"), duration=900),
        e.ChannelTalkingFinished,
        {"duration_ms": 900},
        "c1",
        None,
    ),
    (
        event("ChannelEnteredBridge", channel=channel("c1"), bridge=bridge("b1", "c1")),
        e.ChannelEnteredBridge,
        {"bridge": e.Bridge("b1", "mixing", channel_ids=("c1",))},
        "c1",
        "b1",
    ),
    (event("ChannelEnteredBridge", bridge=bridge("b1")), e.ChannelEnteredBridge, {}, None, "b1"),
    (event("ChannelLeftBridge", channel=channel("c1"), bridge=bridge("b1")), e.ChannelLeftBridge, {}, "c1", "b1"),
    (event("BridgeCreated", bridge=bridge("b1")), e.BridgeCreated, {}, None, "b1"),
    (event("BridgeDestroyed", bridge=bridge("b1")), e.BridgeDestroyed, {}, None, "b1"),
    (event("PlaybackStarted", playback=PLAYBACK), e.PlaybackStarted, {"playback_id": "pb1"}, "c1", None),
    (
        event("PlaybackFinished", playback={**PLAYBACK, "target_uri": "bridge:b1"}),
        e.PlaybackFinished,
        {"state": "done", "media_uri": "sound:beep"},
        None,
        "b1",
    ),
    (event("ApplicationReplaced"), e.ApplicationReplaced, {"application": "parley"}, None, None),
    (event("Dial", dialstatus="", peer=channel("c9")), e.Unknown, {"type": "Dial"}, "c9", None),
    (event("BridgeMerged", bridge=bridge("b1")), e.Unknown, {"type": "BridgeMerged"}, None, "b1"),
    (event("DeviceStateChanged", device_state={}), e.Unknown, {"type": "DeviceStateChanged"}, None, None),
]


@pytest.mark.parametrize(("raw", "kind", "fields", "channel_id", "bridge_id"), CASES)
def test_each_event_has_its_type_fields_and_ordering_key(
    raw: dict[str, Any], kind: type[e.Event], fields: dict[str, Any], channel_id: str | None, bridge_id: str | None
) -> None:
    parsed = e.parse_event(raw)
    assert type(parsed) is kind
    assert {name: getattr(parsed, name) for name in fields} == fields
    assert parsed.channel_id == channel_id
    assert parsed.bridge_id == bridge_id


def test_every_event_type_is_covered_by_the_cases() -> None:
    parsed = {raw["type"] for raw, *_ in CASES} | {"StasisStart"}
    assert set(e._PARSERS) <= parsed


def test_a_transfer_names_the_channel_it_replaces() -> None:
    start = e.parse_event(event("StasisStart", args=[], channel=channel("c2"), replace_channel=channel("c1")))
    assert isinstance(start, e.StasisStart)
    assert start.replace_channel is not None
    assert start.replace_channel.id == "c1"


def test_external_media_variables_are_kept() -> None:
    found = e.parse_channel(channel("m", channelvars={"UNICASTRTP_LOCAL_PORT": "21090"}))
    assert found.channelvars == {"UNICASTRTP_LOCAL_PORT": "21090"}


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("9" * 10_000, "not JSON"),
        ("[]", "event is not an object"),
        ("{}", "event.type"),
        ({"type": 3}, "event.type"),
        ({"type": "StasisStart"}, "StasisStart.channel"),
        (event("StasisStart", args="700", channel=channel("c")), "StasisStart.args"),
        (event("StasisStart", args=[1], channel=channel("c")), "StasisStart.args"),
        (event("StasisStart", channel={**channel("c"), "id": ""}), "StasisStart.channel.id"),
        (event("StasisStart", channel={**channel("c"), "caller": "Ann"}), "StasisStart.channel.caller"),
        (event("StasisStart", channel={**channel("c"), "caller": {"name": 3}}), "name"),
        (event("StasisStart", channel={**channel("c"), "creationtime": "noon"}), "creationtime"),
        (event("StasisStart", channel={**channel("c"), "channelvars": {"A": 1}}), "channelvars"),
        (event("ChannelDestroyed", channel=channel("c")), "ChannelDestroyed.cause"),
        (event("ChannelDestroyed", channel=channel("c"), cause=True), "ChannelDestroyed.cause"),
        (event("BridgeDestroyed", bridge=[]), "BridgeDestroyed.bridge"),
        (event("PlaybackFinished", playback={}), "PlaybackFinished.playback.id"),
    ],
)
def test_a_malformed_message_is_named(message: Any, complaint: str) -> None:
    with pytest.raises(e.EventError, match=complaint.replace(".", r"\.")):
        e.parse_event(message)


KEYS = st.sampled_from(
    ["type", "channel", "bridge", "playback", "id", "caller", "args", "peer", "cause", "channelvars"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=5),
    max_leaves=12,
)


@given(kind=st.sampled_from(sorted(e._PARSERS)) | st.text(max_size=8), fields=st.dictionaries(KEYS, JSON, max_size=6))
def test_any_object_parses_or_raises_the_documented_error(kind: str, fields: dict[str, Any]) -> None:
    try:
        parsed = e.parse_event({**fields, "type": kind})
    except e.EventError:
        return
    assert parsed.channel_id is None or parsed.channel_id != "" or isinstance(parsed, e.PlaybackEvent)


@given(st.binary(max_size=64) | st.text(max_size=64))
def test_any_text_parses_or_raises_the_documented_error(message: bytes | str) -> None:
    with pytest.raises(e.EventError):
        e.parse_event(message)


@given(raw=st.sampled_from([raw for raw, *_ in CASES]), data=st.data())
def test_one_spoilt_field_never_escapes_as_another_error(raw: dict[str, Any], data: st.DataObject) -> None:
    spoilt = dict(raw)
    key = data.draw(st.sampled_from(sorted(spoilt)))
    if isinstance(spoilt[key], dict) and spoilt[key] and data.draw(st.booleans()):
        inner = dict(spoilt[key])
        inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(JSON)
        spoilt[key] = inner
    else:
        spoilt[key] = data.draw(JSON)
    try:
        e.parse_event(spoilt)
    except e.EventError:
        pass
