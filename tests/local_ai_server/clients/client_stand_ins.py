"""A real server in this process with stand-in models, and commands that run against it in a thread."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import numpy as np

from local_ai_server.app import build_app
from local_ai_server.clients.tool_questions import read_questions
from local_ai_server.main import HttpServer, uvicorn_config
from local_ai_server.settings import Settings
from local_ai_server.smoke_test_ws import SENTENCE
from tests.local_ai_server.fake_services import FakeServices

TONE_MS = 400
UTTERANCES = read_questions().utterances


@asynccontextmanager
async def serving(services, **variables):
    """The server's address."""
    settings = Settings.model_validate(variables)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(uvicorn_config(build_app(settings, services.switchboard), settings))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def speaking_services(*, without=(), hears=SENTENCE, **options):
    """Three stand-ins: a voice that is a tone, ears that hear `hears`, a model that knows which tool is wanted."""
    services = FakeServices(without=without, **options)
    services.stt.answer = lambda method, args, body: ([], {"text": hears, "confidence": 0.9, "audio_ms": 1.0})
    services.tts.answer = _speak
    services.llm.answer = _answer
    return services


def _speak(method, args, body):
    rate_hz = args["sample_rate_hz"]
    if args["encoding"] == "linear16":
        tone = np.sin(np.arange(rate_hz * TONE_MS // 1000) * 2 * np.pi * 440 / rate_hz)
        return [({"audio_ms": TONE_MS}, (8000 * tone).astype("<i2").tobytes())], {"audio_ms": TONE_MS}
    return [({"audio_ms": TONE_MS}, bytes(range(200)) * (rate_hz * TONE_MS // 200_000))], {"audio_ms": TONE_MS}


def _answer(method, args, body):
    usage = {"prompt_tokens": 9, "cached_tokens": 7, "completion_tokens": 3}
    if method != "generate":
        return [], usage
    schema = (args.get("response_format") or {}).get("json_schema")
    said = args["messages"][-1]["content"]
    if schema is None:
        words = [f"You said {said}. ", "Is there ", "more?"]
        return [({"text": word}, b"") for word in words], {"finish_reason": "stop", **usage}
    asked = "\n".join(message["content"] for message in args["messages"])
    meant = next((u for u in UTTERANCES if u.said in asked), None)
    text = json.dumps(_decide(schema, meant))
    return [({"text": text}, b"")], {"finish_reason": "stop", **usage}


def _decide(schema, meant):
    if "tool" in schema.get("properties", {}):
        return {"tool": meant.tool if meant else "none"}
    if "enum" in schema:
        return meant.tool if meant else "none"
    return dict(meant.arguments) if meant else {"to": "sales"}
