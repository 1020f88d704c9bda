"""Ringing a colleague, hold music and what is asked about a telephone: each is the request that ARI documents."""

from typing import Any

import pytest
from aiohttp import web
from ari_stand_in import APP, AriStandIn, channel

from ai_engine.asterisk import legs
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.errors import AriConflict, AriError


@pytest.fixture(autouse=True)
def one_call(server: AriStandIn) -> None:
    server.channels["c1"] = channel("c1")


def answer(server: AriStandIn, method: str, path: str, body: Any, status: int = 200) -> None:
    server.canned[(method, path)] = web.json_response(body, status=status)


async def test_a_leg_is_rung_for_the_caller(server: AriStandIn, ari: AriClient) -> None:
    answer(server, "POST", "/channels/parley-a-1-callee", channel("parley-a-1-callee", state="Down"))
    leg = await legs.originate(
        ari,
        "PJSIP/6001",
        channel_id="parley-a-1-callee",
        app_args="leg",
        timeout_s=24.6,
        caller_id='"Bo" <0401>',
        originator="c1",
        variables={"A": "1"},
    )
    assert leg.state == "Down"
    (request,) = server.requests
    assert request == (
        "POST",
        "/channels/parley-a-1-callee",
        {
            "endpoint": "PJSIP/6001",
            "app": APP,
            "appArgs": "leg",
            "timeout": "25",
            "callerId": '"Bo" <0401>',
            "originator": "c1",
        },
    )
    assert server.bodies == [{"variables": {"A": "1"}}]


async def test_the_other_half_of_a_local_channel_has_no_id_of_ours(server: AriStandIn, ari: AriClient) -> None:
    made = {"id": "x", "name": "Local/600@internal-1;1", "state": "Down"}
    answer(server, "POST", "/channels/x", made)
    await legs.originate(ari, "Local/600@internal/n", channel_id="x", app_args="leg", timeout_s=1)
    assert server.requests[0][2]["otherChannelId"] == "other-x"


async def test_an_answer_that_is_no_channel_is_an_error(server: AriStandIn, ari: AriClient) -> None:
    answer(server, "POST", "/channels/x", {"name": 3})
    with pytest.raises(AriError, match="unreadable answer"):
        await legs.originate(ari, "PJSIP/6001", channel_id="x", app_args="", timeout_s=1)


async def test_an_id_that_is_taken_is_a_conflict(server: AriStandIn, ari: AriClient) -> None:
    answer(server, "POST", "/channels/x", {"message": "Channel with given unique ID already exists"}, 409)
    with pytest.raises(AriConflict):
        await legs.originate(ari, "PJSIP/6001", channel_id="x", app_args="", timeout_s=1)


@pytest.mark.parametrize(("music_class", "query"), [("", {}), ("jazz", {"mohClass": "jazz"})])
async def test_music_begins(music_class: str, query: dict[str, str], server: AriStandIn, ari: AriClient) -> None:
    await legs.start_music(ari, "c1", music_class)
    assert server.requests == [("POST", "/channels/c1/moh", query)]


@pytest.mark.parametrize(("status", "there"), [(204, True), (404, False), (409, False), (412, False)])
async def test_music_ends_where_it_can(status: int, there: bool, server: AriStandIn, ari: AriClient) -> None:
    answer(server, "DELETE", "/channels/c1/moh", {"message": "Channel not found"}, status)
    if status == 204:
        server.canned[("DELETE", "/channels/c1/moh")] = web.Response(status=204)
    assert await legs.stop_music(ari, "c1") is there


async def test_music_that_cannot_be_ended_is_told(server: AriStandIn, ari: AriClient) -> None:
    answer(server, "DELETE", "/channels/c1/moh", {"message": "Allocation failed"}, 500)
    with pytest.raises(AriError):
        await legs.stop_music(ari, "c1")


@pytest.mark.parametrize(
    ("status", "body", "loaded"),
    [
        (200, {"name": "res_musiconhold.so", "status": "Running"}, True),
        (200, {"name": "res_musiconhold.so", "status": "Not Running"}, False),
        (404, {"message": "Module could not be found in known modules"}, False),
        (409, {"message": "Module information could not be retrieved"}, False),
    ],
)
async def test_what_is_loaded(status: int, body: Any, loaded: bool, server: AriStandIn, ari: AriClient) -> None:
    answer(server, "GET", "/asterisk/modules/res_musiconhold.so", body, status)
    assert await legs.has_module(ari, "res_musiconhold.so") is loaded


@pytest.mark.parametrize(
    ("state", "status"),
    [("NOT_INUSE", "available"), ("INUSE", "busy"), ("UNAVAILABLE", "unreachable"), ("UNKNOWN", "unknown")],
)
async def test_how_a_device_is(state: str, status: str, server: AriStandIn, ari: AriClient) -> None:
    answer(server, "GET", "/deviceStates/PJSIP/6001", {"name": "PJSIP/6001", "state": state})
    assert await legs.device_status(ari, "PJSIP/6001") == status


async def test_how_an_extension_with_a_hint_is(server: AriStandIn, ari: AriClient) -> None:
    server.variables[("c1", "EXTENSION_STATE(600@internal)")] = "RINGING"
    assert await legs.extension_status(ari, "c1", "600", "internal") == "ringing"
    assert await legs.extension_status(ari, "c1", "601", "internal") == "unknown"


@pytest.mark.parametrize(("value", "there"), [("1", True), ("0", False), (None, None), ("", None)])
async def test_what_the_dialplan_has(value: str | None, there: bool | None, server: AriStandIn, ari: AriClient) -> None:
    if value is not None:
        server.variables[("c1", "DIALPLAN_EXISTS(internal,600,1)")] = value
    assert await legs.dialplan_has(ari, "c1", "600", "internal") is there


async def test_an_asterisk_without_the_function_knows_nothing(server: AriStandIn, ari: AriClient) -> None:
    answer(server, "GET", "/channels/c1/variable", {"message": "Unable to read provided function"}, 500)
    assert await legs.dialplan_has(ari, "c1", "600", "internal") is None


@pytest.mark.parametrize("name", ["600)", "600,1", "${X}", "", "a b"])
async def test_nothing_but_names_gets_into_a_function(name: str, server: AriStandIn, ari: AriClient) -> None:
    with pytest.raises(ValueError, match="no name of the dialplan"):
        await legs.dialplan_has(ari, "c1", name, "internal")
    with pytest.raises(ValueError, match="no name of the dialplan"):
        await legs.extension_status(ari, "c1", "600", name)
    assert server.requests == []
