"""What a caller types secretly gets into the request that needs it, and nowhere else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from ai_engine.call_history.notes import CallNotes, Kept
from ai_engine.config_file import ConfigError
from ai_engine.conversation.decisions import KeysTyped
from ai_engine.conversation.key_input import KeyRules
from ai_engine.key_requests import KeyRequests
from ai_engine.tools.ask_keys import make as make_ask_keys
from ai_engine.tools.http_request import HttpRequest, make_http_request
from ai_engine.tools.registry import ToolServices
from ai_engine.tools.runner import ToolRunner
from ai_engine.tools.tool import ToolCallScope
from tests.ai_engine.conversation.virtual_call import VirtualCall
from tests.ai_engine.no_call_control import NoCallControl

PIN = "481516"


class Bank:
    """Repeats what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.asked.append((request.raw_path, dict(request.headers), body))
        return web.Response(text=f"checked {body}")


@pytest.fixture
async def bank() -> AsyncIterator[Bank]:
    made = Bank()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


class Caller:
    """A call whose caller types; its tools, its notes and its log."""

    def __init__(self, bank: Bank, variable: str, **keys: Any) -> None:
        self.call = VirtualCall("pause 0.3", keys=KeyRules(**keys)).run()
        self.requests = KeyRequests(lambda action: action(self.call.conversation, self.call.now))
        self.services = ToolServices()
        where = {"url": f"http://127.0.0.1:{bank.port}/check", "allow_private": ["127.0.0.1"], "ports": [bank.port]}
        body = {"pin": f"{{{variable}}}"}
        headers = {"X-Pin": f"{{{variable}}}"}
        check: HttpRequest = make_http_request(
            "check", {**where, "method": "POST", "body": body, "headers": headers, "timeout_s": 30}, self.services
        )
        ask = make_ask_keys("ask", {"secret": True, "keep_as": "pin"}, self.services)
        self.rows: list[Any] = []
        self.notes = CallNotes("c1", self.rows.append, engine_app="parley", kept=Kept())
        self.runner = ToolRunner([ask, check], on_done=self.notes.tool_ran)
        self.scope = ToolCallScope(
            "c1", "bank", "", "", "700", "en", NoCallControl(), collect_keys=self.requests.collect,
            secrets=self.requests,
        )  # fmt: skip

    async def asked(self) -> str:
        running = asyncio.create_task(self.runner.run("ask", {}, self.scope))
        await asyncio.sleep(0)
        self.types()
        for decision in self.call.of(KeysTyped):
            self.requests.ended(decision)
        return (await running).text

    def types(self) -> None:
        self.call._step(f"key {PIN}#", 60)
        self.call._step("pause 1", 60)


async def test_digits_that_were_asked_for_are_sent_and_seen_by_nobody(bank: Bank) -> None:
    with capture_logs() as logs:
        caller = Caller(bank, "secret_pin")
        try:
            told = await caller.asked()
            result = await caller.runner.run("check", {}, caller.scope)
            again = await caller.runner.run("check", {}, caller.scope)
        finally:
            await caller.services.clients.close()
    (path, headers, body), _ = bank.asked
    assert (json.loads(body), headers["X-Pin"]) == ({"pin": PIN}, PIN)
    assert result.text == again.text == 'checked {"pin": "****"}', "the server repeats them: the model is not told"
    seen = [told, result.text, path, caller.call.history(), caller.call.log, logs, caller.rows, caller.scope]
    assert PIN not in repr(seen)


async def test_digits_of_a_persona_whose_keys_are_secret_are_sent(bank: Bank) -> None:
    caller = Caller(bank, "secret_keys", secret=True)
    try:
        caller.types()
        result = await caller.runner.run("check", {}, caller.scope)
    finally:
        await caller.services.clients.close()
    assert json.loads(bank.asked[0][2]) == {"pin": PIN}
    assert PIN not in repr([result, caller.call.history(), caller.call.log, caller.rows])
    assert caller.call.history()[0] == "user: [keypad] **** (6 digits)"


async def test_nothing_is_sent_before_they_were_typed_nor_after_the_call(bank: Bank) -> None:
    caller = Caller(bank, "secret_pin")
    try:
        before = await caller.runner.run("check", {}, caller.scope)
        await caller.asked()
        caller.requests.call_over()
        after = await caller.runner.run("check", {}, caller.scope)
    finally:
        await caller.services.clients.close()
    assert "the caller has not typed the pin yet" in before.text
    assert not (before.ok or after.ok)
    assert bank.asked == []


async def test_a_model_cannot_give_them_itself(bank: Bank) -> None:
    caller = Caller(bank, "secret_pin")
    try:
        result = await caller.runner.run("check", {"secret_pin": "0000"}, caller.scope)
    finally:
        await caller.services.clients.close()
    assert (result.ok, bank.asked) == (False, [])


def test_an_address_takes_no_secret() -> None:
    options = {"url": "https://bank.example/check?pin={secret_pin}"}
    with pytest.raises(ConfigError, match="addresses are kept in logs"):
        make_http_request("check", options, ToolServices())


def test_what_is_kept_has_to_be_secret() -> None:
    with pytest.raises(ConfigError, match="add `secret: true`"):
        make_ask_keys("ask", {"keep_as": "pin"}, ToolServices())
