"""The client tells failures apart, keeps its socket up for ever, and never shows its password."""

import asyncio
import base64
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from ari_stand_in import APP, PASSWORD, USER, AriStandIn, channel, event
from structlog.testing import capture_logs

from ai_engine.asterisk.ari import AriClient, segment
from ai_engine.asterisk.backoff import Backoff
from ai_engine.asterisk.errors import AriConflict, AriError, AriNotFound, AriUnauthorized, AriUnreachable
from ai_engine.asterisk.events import ApplicationReplaced, ChannelDtmfReceived, Event


class Session:
    """`run` in a task, with what it reported; waiting between attempts takes no time."""

    def __init__(self, url: str, *, password: str = PASSWORD, share: float = 1.0, **options: Any) -> None:
        self.events: list[Event] = []
        self.slept: list[float] = []
        self.ups = 0
        self.downs: list[AriError] = []
        self.now_s = 0.0
        self.changed = asyncio.Event()
        self.on_up: Callable[[], Any] | None = None
        self.ari = AriClient(
            url,
            USER,
            password,
            APP,
            clock=lambda: self.now_s,
            sleep=self._sleep,
            uniform=lambda low, high: low + share * (high - low),
            **options,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        self.changed.set()
        await asyncio.sleep(0.005)

    def _event(self, arrived: Event) -> None:
        self.events.append(arrived)
        self.changed.set()

    async def _up(self) -> None:
        self.ups += 1
        self.changed.set()
        if self.on_up is not None:
            await self.on_up()

    async def _down(self, reason: AriError) -> None:
        self.downs.append(reason)
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Session"]:
        async with self.ari:
            task = asyncio.create_task(self.ari.run(self._event, self._up, self._down))
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


DTMF = event("ChannelDtmfReceived", channel=channel("c1"), digit="5", duration_ms=100)


# Requests


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, AriError), (401, AriUnauthorized), (404, AriNotFound), (409, AriConflict), (500, AriError)],
)
async def test_a_status_becomes_its_exception(
    server: AriStandIn, ari: AriClient, status: int, kind: type[AriError]
) -> None:
    server.canned["POST", "/channels/c1/answer"] = web.json_response({"message": "because"}, status=status)
    with pytest.raises(AriError) as caught:
        await ari.request("POST", "/channels/c1/answer")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.path) == (status, "/channels/c1/answer")
    assert "because" in str(caught.value)
    assert not caught.value.retryable


async def test_a_user_who_may_only_read_is_told_the_setting(server: AriStandIn, ari: AriClient) -> None:
    server.canned["POST", "/bridges"] = web.json_response({"message": "Write access denied"}, status=403)
    with pytest.raises(AriUnauthorized, match="read_only = no"):
        await ari.request("POST", "/bridges")


async def test_a_wrong_password_names_the_settings_and_not_the_password(server: AriStandIn) -> None:
    async with AriClient(server.url, USER, "not-the-one", APP) as ari:
        with pytest.raises(AriUnauthorized, match=r"ASTERISK_ARI_PASSWORD.*ari\.conf") as caught:
            await ari.ping()
    assert "not-the-one" not in str(caught.value)


async def test_silence_is_unreachable_after_the_timeout(server: AriStandIn, ari: AriClient) -> None:
    server.canned["GET", "/asterisk/ping"] = 5.0
    with pytest.raises(AriUnreachable, match=r"within 0\.05 s") as caught:
        await ari.request("GET", "/asterisk/ping", timeout_s=0.05)
    assert caught.value.retryable


async def test_nobody_listening_is_unreachable(server: AriStandIn, ari: AriClient) -> None:
    await server.stop()
    with pytest.raises(AriUnreachable, match="cannot be reached") as caught:
        await ari.ping()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # aiohttp's exceptions hold the Authorization header


async def test_an_answer_that_is_not_aris_is_an_error(server: AriStandIn, ari: AriClient) -> None:
    server.canned["GET", "/channels"] = web.Response(text="<html>hello</html>")
    with pytest.raises(AriError, match="not JSON"):
        await ari.request("GET", "/channels")
    server.canned["GET", "/channels"] = web.Response(text="<html>", status=404)
    with pytest.raises(AriNotFound, match="Not Found"):
        await ari.request("GET", "/channels")


async def test_ids_are_quoted_and_parameters_encoded(server: AriStandIn, ari: AriClient) -> None:
    await ari.request("GET", "/asterisk/ping", params={"value": "a b&c=ü/?"})
    assert server.requests[-1][2] == {"value": "a b&c=ü/?"}
    assert segment("a/b?c") == "a%2Fb%3Fc"


@pytest.mark.parametrize(
    ("given", "rest", "socket"),
    [
        ("http://pbx:8088", "http://pbx:8088/ari/events", "ws://pbx:8088/ari/events"),
        ("https://pbx:8089/", "https://pbx:8089/ari/events", "wss://pbx:8089/ari/events"),
        ("http://pbx:8088/asterisk/ari", "http://pbx:8088/asterisk/ari/events", "ws://pbx:8088/asterisk/ari/events"),
    ],
)
def test_urls_follow_from_the_base(given: str, rest: str, socket: str) -> None:
    ari = AriClient(given, USER, PASSWORD, APP)
    assert str(ari._url("/events", None)) == rest
    assert str(ari._url("/events", None, websocket=True)) == socket


@pytest.mark.parametrize("url", ["", "pbx:8088", "ftp://pbx", "http://", "http://u:secret@pbx:8088", "http://pbx?x=1"])
def test_a_url_that_cannot_be_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="ARI URL") as caught:
        AriClient(url, USER, PASSWORD, APP)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command for a certificate")
async def test_https_and_wss_check_the_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=pbx", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server = AriStandIn()
    await server.start(tls)
    try:
        async with AriClient(server.url, USER, PASSWORD, APP) as ari:
            with pytest.raises(AriUnreachable, match="certificate"):
                await ari.ping()
        async with Session(server.url, ssl_context=ssl.create_default_context(cafile=str(certificate))).running() as s:
            await s.until(lambda: s.ups)
            await s.ari.ping()
            await server.send(DTMF)
            await s.until(lambda: s.events)
    finally:
        await server.stop()


# The event socket


async def test_events_arrive_in_order_and_unreadable_ones_cost_nothing(server: AriStandIn) -> None:
    with capture_logs() as logs:
        async with Session(server.url).running() as session:
            await session.until(lambda: session.ups)
            assert session.ari.connected
            assert session.ari.last_error is None
            await server.send("{")
            for digit in "123":
                await server.send({**DTMF, "digit": digit})
            await session.until(lambda: len(session.events) == 3)
    assert [found.digit for found in session.events if isinstance(found, ChannelDtmfReceived)] == ["1", "2", "3"]
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["asterisk.event_unreadable"]


async def test_it_starts_while_asterisk_is_down_and_connects_when_it_comes(server: AriStandIn) -> None:
    await server.stop()
    with capture_logs() as logs:
        async with Session(server.url, backoff=Backoff(1.0, 8.0)).running() as session:
            await session.until(lambda: len(session.slept) >= 6)
            assert not session.ari.connected
            assert isinstance(session.ari.last_error, AriUnreachable)
            await server.start()
            await session.until(lambda: session.ups)
    assert session.slept[:6] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert session.downs == []  # it was never up
    assert [e["log_level"] for e in logs if e["event"] == "asterisk.unreachable"].count("warning") == 1


async def test_the_wait_is_a_random_share_of_the_window(server: AriStandIn) -> None:
    await server.stop()
    async with Session(server.url, share=0.25, backoff=Backoff(1.0, 8.0)).running() as session:
        await session.until(lambda: len(session.slept) >= 4)
    assert session.slept[:4] == [0.25, 0.5, 1.0, 2.0]


async def test_it_reconnects_and_reports_each_loss(server: AriStandIn) -> None:
    async with Session(server.url).running() as session:
        for times in (1, 2, 3):
            await session.until(lambda times=times: session.ups == times)
            await server.connected()
            await server.drop()
            await session.until(lambda times=times: len(session.downs) == times)
        await session.until(lambda: session.ups == 4)
    assert all("ended" in str(reason) for reason in session.downs)


async def test_a_lasting_connection_starts_the_backoff_anew_and_a_flapping_one_does_not(server: AriStandIn) -> None:
    async with Session(server.url, backoff=Backoff(1.0, 64.0), stable_after_s=10.0).running() as session:
        for lasts_s in (0.0, 0.0, 60.0):
            ups = session.ups
            await session.until(lambda ups=ups: session.ups > ups or session.ari.connected)
            await server.connected()
            session.now_s += lasts_s
            downs = len(session.downs)
            await server.drop()
            await session.until(lambda downs=downs: len(session.slept) > downs)
    assert session.slept[:3] == [1.0, 2.0, 1.0]


async def test_a_wrong_password_is_announced_once_and_retried_slowly(server: AriStandIn) -> None:
    with capture_logs() as logs:
        async with Session(server.url, password="wrong-one", unauthorized_retry_s=30.0).running() as session:
            await session.until(lambda: len(session.slept) >= 3)
            assert isinstance(session.ari.last_error, AriUnauthorized)
    assert set(session.slept) == {30.0}
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert len(errors) == 1
    assert "ASTERISK_ARI_PASSWORD" in errors[0]["reason"]
    assert "wrong-one" not in str(logs)
    assert "Basic " not in str(logs)


async def test_a_server_without_ari_is_named(server: AriStandIn) -> None:
    server.canned["GET", "/events"] = web.Response(status=404, text="<html>")
    async with Session(server.url).running() as session:
        await session.until(lambda: session.slept)
    assert isinstance(session.ari.last_error, AriNotFound)
    assert "res_ari" in str(session.ari.last_error)


async def test_a_successor_under_our_name_is_left_in_peace_until_it_goes(server: AriStandIn) -> None:
    server.app_taken_by_other = True
    options = {"replaced": Backoff(60.0, 900.0), "replaced_poll_s": 5.0}
    with capture_logs() as logs:
        async with Session(server.url, **options).running() as session:
            await session.until(lambda: session.ups)
            await server.connected()
            await server.send(event("ApplicationReplaced"))
            await session.until(lambda: len(session.slept) >= 3)
            assert session.ups == 1
            assert server.handshakes == 1
            server.app_taken_by_other = False
            await session.until(lambda: session.ups == 2)
            assert isinstance(session.events[0], ApplicationReplaced)
            assert sum(session.slept) < 60
    assert any(entry["event"] == "asterisk.application_replaced" and "own name" in entry["fix"] for entry in logs)
    assert "took the Stasis application" in str(session.downs[0])


async def test_a_successor_that_stays_is_challenged_ever_more_rarely(server: AriStandIn) -> None:
    server.app_taken_by_other = True
    options = {"replaced": Backoff(60.0, 120.0), "replaced_poll_s": 60.0, "stable_after_s": 1000.0}
    async with Session(server.url, **options).running() as session:
        for times in (1, 2, 3):
            await session.until(lambda times=times: session.ups == times)
            await server.connected()
            await server.send(event("ApplicationReplaced"))
            await session.until(lambda times=times: len(session.downs) == times)
        await session.until(lambda: session.ups == 4)
    assert session.slept == [60.0] * 5  # 60, then 120, then the ceiling of 120


async def test_reconciling_that_fails_costs_the_connection_and_is_repeated(server: AriStandIn) -> None:
    session = Session(server.url)
    failures = [AriUnreachable("GET", "/channels", "gone"), None]

    async def on_up() -> None:
        failure = failures.pop(0)
        if failure is not None:
            raise failure

    session.on_up = on_up
    async with session.running():
        await session.until(lambda: session.ups == 2)
        assert [str(reason) for reason in session.downs] == ["GET /channels: gone"]


async def test_a_fault_in_on_connected_costs_no_events(server: AriStandIn) -> None:
    session = Session(server.url)

    async def on_up() -> None:
        raise RuntimeError("bug")

    session.on_up = on_up
    with capture_logs() as logs:
        async with session.running():
            await session.until(lambda: session.ups)
            await server.send(DTMF)
            await session.until(lambda: session.events)
    assert any(entry["event"] == "asterisk.on_connected_failed" for entry in logs)
    assert session.downs == []


async def test_on_connected_does_not_hold_events_up_and_ends_with_the_connection(server: AriStandIn) -> None:
    session = Session(server.url)
    cancelled = asyncio.Event()

    async def on_up() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    session.on_up = on_up
    async with session.running():
        await session.until(lambda: session.ups)
        await server.send(DTMF)
        await session.until(lambda: session.events)
        await server.drop()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_an_asterisk_that_stops_answering_pings_is_lost() -> None:
    """A peer that completes the handshake and then freezes, as a stopped process or a cut cable does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        try:
            await reader.read(-1)
        finally:
            writer.close()

    frozen = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with frozen:
        url = f"http://127.0.0.1:{frozen.sockets[0].getsockname()[1]}"
        async with Session(url, heartbeat_s=0.2).running() as session:
            await session.until(lambda: session.downs)


async def test_cancelling_run_leaves_no_task_and_no_socket(server: AriStandIn) -> None:
    before = asyncio.all_tasks()
    async with Session(server.url).running() as session:
        await session.until(lambda: session.ups)
        await server.connected()
    await asyncio.sleep(0.05)
    assert server.sockets == []
    ours = [task for task in asyncio.all_tasks() - before if "ari" in task.get_name()]
    assert ours == []


@pytest.mark.parametrize(("base_s", "cap_s"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_a_backoff_that_cannot_grow_is_refused(base_s: float, cap_s: float) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(base_s, cap_s)


def test_a_backoff_survives_any_number_of_attempts() -> None:
    assert Backoff(0.5, 30.0).ceiling_s(10**6) == 30.0
