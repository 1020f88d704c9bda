"""A message on its way: e-mail with the recording attached, and a signed webhook, to real servers on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ai_engine.config_file import ConfigError
from ai_engine.messages.voice_message import VoiceMessage
from ai_engine.tools.call_hooks import CallFacts, CallRecord, HookFailed
from ai_engine.tools.email_summary import make_email
from ai_engine.tools.http_request import HttpRequest, make_http_request
from ai_engine.tools.registry import Toolbox, ToolServices
from tests.ai_engine.tools.test_email_summary import Office, options, smtp_server
from tests.ai_engine.tools.test_toolbox_hooks import entry

LEFT_AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
FACTS = CallFacts("c1", "shop", "+49170", "Ann\r\nBcc: x@evil.example", "700", "en", {})
MESSAGE = VoiceMessage(FACTS, LEFT_AT, 12.4, "2026-11-20/20261120T093000Z_c1.wav", "Call me.", whole=True, number=2)
SOUND = b"RIFF" + bytes(100)
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    file = tmp_path / "sound.wav"
    file.write_bytes(SOUND)
    return file


async def test_the_office_gets_words_and_sound(sound: Path) -> None:
    office = Office()
    async with smtp_server(office) as port:
        await make_email("mail", options(port, subject="Message of {caller_number}"), ToolServices()).deliver_message(
            MESSAGE, sound
        )
    mail = office.mail[0][2]
    body, attached = mail.iter_parts()
    assert (mail["Subject"], mail["Message-ID"]) == ("Message of +49170", "<c1.message2.mail@office.example>")
    assert "\n\nCall me.\n" in body.get_content().replace("\r\n", "\n")
    assert (attached.get_content_type(), attached.get_filename()) == ("audio/wav", "20261120T093000Z_c1.wav")
    assert attached.get_content() == SOUND
    assert office.mail[0][1] == ["desk@office.example"]


@pytest.mark.parametrize(("limit_mb", "there"), [(0.0001, True), (10, False)], ids=["too large", "deleted"])
async def test_an_email_without_the_sound_says_so(sound: Path, limit_mb: float, there: bool) -> None:
    office = Office()
    if not there:
        sound.unlink()
    async with smtp_server(office) as port:
        await make_email("mail", options(port, max_attachment_mb=limit_mb), ToolServices()).deliver_message(
            MESSAGE, sound
        )
    body = office.mail[0][2].get_content()
    assert "The recording is not attached" in body
    assert MESSAGE.file in body


async def test_a_mail_server_that_is_away_is_tried_again(sound: Path) -> None:
    office = Office()
    office.answer = "451 later"
    async with smtp_server(office) as port:
        tool = make_email("mail", options(port), ToolServices())
        with pytest.raises(HookFailed) as failed:
            await tool.deliver_message(MESSAGE, sound)
    assert failed.value.retryable


class Server:
    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application(client_max_size=10_000_000)
    app.router.add_post("/hook", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


def hook(server: Server, services: ToolServices, **more: Any) -> HttpRequest:
    port = int(server.url.split(":")[2].split("/")[0])
    chosen = {"url": server.url, "method": "POST", "allow_private": ["127.0.0.1"], "ports": [port], **more}
    return make_http_request("told", chosen, services)


def check(headers: dict[str, str], body: bytes, key: bytes = b"k" * 32) -> None:
    """As a receiver does by the specification."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300


async def test_a_webhook_is_told_of_it_and_signed(server: Server, sound: Path) -> None:
    services = ToolServices({"HOOK_KEY": KEY})
    tool = hook(server, services, signature="HOOK_KEY")
    try:
        await tool.deliver_message(MESSAGE, sound)
        await tool.deliver_message(MESSAGE, sound)
    finally:
        await services.clients.close()
    (headers, body), (again, _) = server.got
    told = json.loads(body)
    assert (told["message"], told["message_seconds"], told["message_whole"]) == ("Call me.", 12.4, True)
    assert "message_sound" not in told
    check(headers, body)
    assert headers["webhook-id"] == again["webhook-id"] == "c1.message2.told"


async def test_the_sound_goes_along_where_the_body_names_it(server: Server, sound: Path) -> None:
    services = ToolServices()
    try:
        await hook(server, services, body={"wav": "{message_sound}"}).deliver_message(MESSAGE, sound)
    finally:
        await services.clients.close()
    assert base64.b64decode(json.loads(server.got[0][1])["wav"]) == SOUND


@pytest.mark.parametrize("why", ["deleted", "never recorded", "too large"])
async def test_words_whose_sound_cannot_be_sent_are_told_all_the_same(server: Server, sound: Path, why: str) -> None:
    services = ToolServices()
    if why == "deleted":
        sound.unlink()
    elif why == "too large":
        os.truncate(sound, 100_000_000)
    file = sound.parent if why == "never recorded" else sound
    body = {"wav": "{message_sound}", "words": "{message}"}
    try:
        await hook(server, services, body=body).deliver_message(MESSAGE, file)
    finally:
        await services.clients.close()
    assert json.loads(server.got[0][1]) == {"wav": None, "words": "Call me."}


async def test_webhooks_after_calls_are_signed_too(server: Server) -> None:
    services = ToolServices({"HOOK_KEY": "a key of the office, long enough"})
    record = CallRecord(FACTS, "caller_hung_up", LEFT_AT, LEFT_AT, ())
    try:
        await hook(server, services, signature="HOOK_KEY").after_call(record, "")
    finally:
        await services.clients.close()
    headers, body = server.got[0]
    check(headers, body, b"a key of the office, long enough")
    assert headers["webhook-id"] == "c1.told"


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "not set"),
        ({"HOOK_KEY": "short"}, "too short"),
        ({"HOOK_KEY": "whsec_!!"}, "no base64"),
    ],
)
def test_a_key_that_cannot_be_is_found_at_the_start(environment: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        make_http_request("told", {"url": "https://x.example/", "signature": "HOOK_KEY"}, ToolServices(environment))
    assert "short" not in str(error.value).replace("too short", "")


def test_messages_go_only_to_tools_that_take_them() -> None:
    mail = {"host": "127.0.0.1", "sender": "a@office.example", "to": "b@office.example", "security": "none"}
    entries = {"mail": entry("email", mail), "bye": entry("hang_up")}
    box = Toolbox({**entries, "leave": entry("leave_message", {"deliver_to": ["mail"]})}, ToolServices())
    assert box.message_taker("mail") is not None
    assert box.message_taker("bye") is None
    with pytest.raises(ConfigError, match="'bye' is no tool of kind `email` or `http`; there are mail"):
        Toolbox({**entries, "leave": entry("leave_message", {"deliver_to": ["bye"]})}, ToolServices())
