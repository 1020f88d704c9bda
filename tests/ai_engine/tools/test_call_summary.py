"""The summary of a call, asked for at a stand-in of OpenAI's chat completions (platform.openai.com, API reference)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from ai_engine.config_file import ConfigError
from ai_engine.tools.call_hooks import CallFacts, CallRecord, Spoken
from ai_engine.tools.call_summary import SummaryOptions, checked_summary
from ai_engine.tools.registry import ToolServices

BEGAN = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
FACTS = CallFacts("c1", "clinic", "100", "Ann", "700", "de", {})


def record(*turns: Spoken) -> CallRecord:
    return CallRecord(FACTS, "caller_hung_up", BEGAN, BEGAN, turns)


SPOKEN = record(Spoken("agent", "Hello."), Spoken("caller", "I want\nan appointment."))


class Model:
    """Streams two pieces of text, or fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        self.url = ""

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "small", "object": "model"}]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.headers.get("Authorization", ""), await request.json()))
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for text in ("An appointment ", "is wanted."):
            chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(
            b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        )
        return response


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    stand_in = Model()
    app = web.Application()
    app.add_routes([web.get("/v1/models", stand_in.models), web.post("/v1/chat/completions", stand_in.complete)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield stand_in
    await runner.cleanup()


async def summary_of(model: Model, call: CallRecord) -> str:
    services = ToolServices(environment={"TOOL_KEY": "s3cret"})
    summarise = checked_summary(SummaryOptions(base_url=model.url, key="TOOL_KEY"), services, "tools.mail")
    assert summarise is not None
    try:
        return await summarise(call)
    finally:
        await services.clients.close()


async def test_the_model_is_given_the_transcript_and_says_what_it_was_about(model: Model) -> None:
    assert await summary_of(model, SPOKEN) == "An appointment is wanted."
    ((key, request),) = model.asked
    assert key == "Bearer s3cret"
    system, user = request["messages"]
    assert system["content"].endswith("Write in this language: de.")
    assert user == {"role": "user", "content": "Agent: Hello.\nCaller: I want an appointment."}


async def test_a_model_that_fails_makes_none(model: Model) -> None:
    model.status = 500
    assert await summary_of(model, SPOKEN) == ""
    model.url = "http://127.0.0.1:1/v1"
    assert await summary_of(model, SPOKEN) == ""


async def test_of_a_caller_who_said_nothing_there_is_none(model: Model) -> None:
    assert await summary_of(model, record(Spoken("agent", "Hello."))) == ""
    assert model.asked == []


def test_none_is_wanted_or_the_key_is_missing() -> None:
    assert checked_summary(None, ToolServices(), "tools.mail") is None
    with pytest.raises(ConfigError, match="TOOL_KEY"):
        checked_summary(SummaryOptions(base_url="http://127.0.0.1:1/v1", key="TOOL_KEY"), ToolServices(), "tools.mail")
