"""Each operation is the request that ARI documents, and its answer a value."""

from typing import Any

import pytest
from aiohttp import web
from ari_stand_in import APP, AriStandIn, channel

from ai_engine.asterisk import channels as operations
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.errors import AriConflict, AriError, AriNotFound
from ai_engine.asterisk.events import Bridge


@pytest.fixture(autouse=True)
def one_call(server: AriStandIn) -> None:
    server.channels["c1"] = channel("c1")


REQUESTS: dict[str, tuple[Any, str, str, dict[str, str]]] = {
    "answer": (lambda ari: operations.answer(ari, "c1"), "POST", "/channels/c1/answer", {}),
    "hangup": (lambda ari: operations.hangup(ari, "c1", reason="busy"), "DELETE", "/channels/c1", {"reason": "busy"}),
    "continue": (lambda ari: operations.continue_in_dialplan(ari, "c1"), "POST", "/channels/c1/continue", {}),
    "continue at": (
        lambda ari: operations.continue_in_dialplan(ari, "c1", context="x", extension="s", priority=2),
        "POST",
        "/channels/c1/continue",
        {"context": "x", "extension": "s", "priority": "2"},
    ),
    "move": (
        lambda ari: operations.move(ari, "c1", "other", app_args=["a", "b"]),
        "POST",
        "/channels/c1/move",
        {"app": "other", "appArgs": "a,b"},
    ),
    "redirect": (
        lambda ari: operations.redirect(ari, "c1", "PJSIP/6001"),
        "POST",
        "/channels/c1/redirect",
        {"endpoint": "PJSIP/6001"},
    ),
    "dtmf": (
        lambda ari: operations.send_dtmf(ari, "c1", "12#"),
        "POST",
        "/channels/c1/dtmf",
        {"dtmf": "12#", "between": "100", "duration": "100"},
    ),
    "play": (
        lambda ari: operations.play(ari, "c1", "sound:beep", playback_id="pb1"),
        "POST",
        "/channels/c1/play/pb1",
        {"media": "sound:beep"},
    ),
    "set variable": (
        lambda ari: operations.set_variable(ari, "c1", "A", "1"),
        "POST",
        "/channels/c1/variable",
        {"variable": "A", "value": "1"},
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_request_for(name: str, server: AriStandIn, ari: AriClient) -> None:
    operation, method, path, query = REQUESTS[name]
    await operation(ari)
    assert server.requests == [(method, path, query)]


async def test_destroying_what_is_gone_is_success(server: AriStandIn, ari: AriClient) -> None:
    assert await operations.hangup(ari, "c1") is True
    assert await operations.hangup(ari, "c1") is False
    await operations.create_bridge(ari, "b1")
    assert await operations.destroy_bridge(ari, "b1") is True
    assert await operations.destroy_bridge(ari, "b1") is False
    assert await operations.remove_from_bridge(ari, "b1", "c1") is False
    assert await operations.stop_playback(ari, "pb1") is False


async def test_a_bridge_has_the_id_we_chose_and_is_made_once(server: AriStandIn, ari: AriClient) -> None:
    assert await operations.create_bridge(ari, "b1", name="n") == Bridge("b1", "mixing")
    with pytest.raises(AriConflict, match="already exists"):
        await operations.create_bridge(ari, "b1")
    await operations.add_to_bridge(ari, "b1", "c1")
    assert await operations.remove_from_bridge(ari, "b1", "c1") is True
    assert await operations.remove_from_bridge(ari, "b1", "gone") is False
    with pytest.raises(AriError, match="Channel not found"):
        await operations.add_to_bridge(ari, "b1", "c1", "gone")


async def test_external_media_is_asked_for_with_all_it_needs(server: AriStandIn, ari: AriClient) -> None:
    media = await operations.external_media(
        ari,
        channel_id="parley-a-1-media",
        external_host="127.0.0.1:20000",
        media_format="ulaw",
        variables={"CALL_ID": "1"},
    )
    assert server.requests[-1][2] == {
        "app": APP,
        "channelId": "parley-a-1-media",
        "external_host": "127.0.0.1:20000",
        "format": "ulaw",
        "transport": "udp",
        "encapsulation": "rtp",
        "connection_type": "client",
        "direction": "both",
    }
    assert server.bodies[-1] == {"variables": {"CALL_ID": "1"}}
    assert media.id == "parley-a-1-media"
    assert await operations.rtp_address(ari, media) == ("127.0.0.1", 21090)
    assert len(server.requests) == 1


async def test_an_rtp_address_that_is_not_in_the_answer_is_asked_for(server: AriStandIn, ari: AriClient) -> None:
    found = await operations.get_channel(ari, "c1")
    server.variables["c1", "UNICASTRTP_LOCAL_ADDRESS"] = "127.0.0.1"
    with pytest.raises(AriError, match="chan_rtp"):
        await operations.rtp_address(ari, found)
    for port in ("0", "65536", "x", "-1"):
        server.variables["c1", "UNICASTRTP_LOCAL_PORT"] = port
        with pytest.raises(AriError, match="chan_rtp"):
            await operations.rtp_address(ari, found)
    server.variables["c1", "UNICASTRTP_LOCAL_PORT"] = "21090"
    assert await operations.rtp_address(ari, found) == ("127.0.0.1", 21090)


async def test_the_dialplans_variables_are_those_that_are_set(server: AriStandIn, ari: AriClient) -> None:
    server.variables = {("c1", "AI_CONTEXT"): "shop", ("c1", "AI_PROVIDER"): "", ("c1", "AI_X"): "1"}
    assert await operations.get_variables(ari, "c1") == {"AI_CONTEXT": "shop"}
    assert await operations.get_variables(ari, "c1", ["AI_X", "AI_X", "AI_Y"]) == {"AI_X": "1"}
    assert await operations.get_variable(ari, "c1", "AI_NONE") is None


async def test_the_variables_of_a_channel_that_is_gone_are_an_error(ari: AriClient) -> None:
    with pytest.raises(AriNotFound, match="Channel not found"):
        await operations.get_variables(ari, "gone")


RTP = {"txcount": 10, "rxcount": 9, "txploss": 0, "rxploss": 1, "txjitter": 0.001, "rxjitter": 0.002, "rtt": 0.03}


async def test_rtp_statistics_are_figures_or_none(server: AriStandIn, ari: AriClient) -> None:
    path = "/channels/c1/rtp_statistics"
    server.canned["GET", path] = web.json_response(RTP)
    found = await operations.rtp_statistics(ari, "c1")
    assert found == operations.RtpStatistics(10, 9, 0, 1, 0.001, 0.002, 0.03)
    server.canned["GET", path] = web.json_response({"message": "Unsupported channel type"}, status=403)
    assert await operations.rtp_statistics(ari, "c1") is None
    server.canned["GET", path] = web.json_response({"message": "RTP info not found"}, status=404)
    assert await operations.rtp_statistics(ari, "c1") is None
    server.canned["GET", path] = web.json_response({"message": "oops"}, status=500)
    with pytest.raises(AriError, match="oops"):
        await operations.rtp_statistics(ari, "c1")
    with pytest.raises(AriNotFound):
        await operations.rtp_statistics(ari, "gone")


async def test_an_answer_of_another_shape_is_named(server: AriStandIn, ari: AriClient) -> None:
    server.canned["GET", "/channels"] = web.json_response({})
    with pytest.raises(AriError, match="not a list"):
        await operations.list_channels(ari)
    server.canned["GET", "/bridges"] = web.json_response([{}])
    with pytest.raises(AriError, match=r"bridge\.id"):
        await operations.list_bridges(ari)
