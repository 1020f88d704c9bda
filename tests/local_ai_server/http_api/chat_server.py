"""The server's port over a real socket, with fake workers behind it, and OpenAI's own client for it."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import openai

from local_ai_server.app import build_app
from local_ai_server.main import HttpServer, uvicorn_config
from local_ai_server.settings import Settings
from tests.local_ai_server.fake_services import generates

HELLO = [{"role": "system", "content": "You are Joe."}, {"role": "user", "content": "hi"}]
TRANSFER = {
    "type": "function",
    "function": {
        "name": "transfer",
        "description": "Connects the caller.",
        "parameters": {"type": "object", "properties": {"to": {"enum": ["sales", "ops"]}}, "required": ["to"]},
    },
}
HANG_UP = {"type": "function", "function": {"name": "hang_up", "description": "Ends the call."}}


@asynccontextmanager
async def serving(switchboard, **variables):
    settings = Settings.model_validate(variables)
    listener = socket.create_server(("127.0.0.1", 0))
    app = build_app(settings, switchboard)
    server = HttpServer(uvicorn_config(app, settings))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        await task
        await app.state.chat_sessions.close()
        listener.close()


@asynccontextmanager
async def talking(switchboard, *, key="none", **variables):
    async with (
        serving(switchboard, **variables) as url,
        openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=60) as client,
    ):
        yield client


def chooses(tool, **arguments):
    """A model that names `tool` and then those arguments when it is asked in form, and talks when it is not."""

    def answer(method, args, body):
        chunks, result = generates(method, args, body)
        schema = args.get("response_format", {}).get("json_schema")
        if schema is not None:
            said = tool if "enum" in schema else arguments
            chunks = [({"text": json.dumps(said)}, b"")]
        return chunks, result

    return answer
