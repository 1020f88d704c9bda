"""Which tool a caller's words get: `python -m benchmarks.tool_choice [--way …] [--short] [--show]`.

Each utterance of `local_ai_server/clients/tool_utterances.yaml` is put to a language model as the engine puts it, with
the same tools. `words`: by what callers say who want them (`benchmarks/data/tool_wordings.yaml`), as small models get
them, then as `local`; `local`: through `local_ai_server` in this process (`--set LOCAL_LLM_MODEL=…` and the like choose
the model); `openai`: through OpenAI's API, `--openai http://host:port/v1 [--model …] [--key VARIABLE]`, or llama.cpp's
own server with the embedded model where none is named. Counted are the right tool, the right arguments, and no call
where none is meant; a call that was not meant is worse than one that was missed. `cost_ms` is what tools add to the
first word of an answer that needs none (`plain_ms`; medians of pairs, with and without). Prints a table and one line of
JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import yaml

from ai_engine.conversation.embedding_worker import EmbeddingWorker
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import LanguageModel, ToolWanted
from ai_engine.providers.components.llm.local import LocalLanguageModel
from ai_engine.providers.components.llm.openai import openai_language_model
from ai_engine.providers.components.local_socket import LocalSocket, LocalSocketSettings
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from ai_engine.providers.tool_choice import ToolChoice, ToolChooser
from ai_engine.tools.arguments import complaint
from ai_engine.tools.hang_up import HangUp, HangUpOptions
from ai_engine.tools.leave_message import LeaveMessage, LeaveMessageOptions
from ai_engine.tools.tool import ToolSpec
from ai_engine.tools.transfer_options import said as said_of_transfers
from local_ai_server.app import build_app
from local_ai_server.catalog import find_model
from local_ai_server.clients import tool_questions
from local_ai_server.clients.tool_questions import FIGURES, Utterance
from local_ai_server.main import HttpServer, uvicorn_config
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from voice_core.history import Message
from voice_wire.audio import MULAW_8K
from voice_wire.messages import Sampling

WORDINGS = Path(__file__).with_name("data") / "tool_wordings.yaml"
EMBEDDED = "SmolLM2-135M-Instruct-Q8_0"
_SAMPLING = Sampling(temperature=0.0, max_tokens=100)
_SHORT = Sampling(temperature=0.0, max_tokens=8)


@dataclass(frozen=True)
class Questions:
    prompt: str
    tools: tuple[ToolSpec, ...]
    utterances: tuple[Utterance, ...]


def read_questions() -> Questions:
    """The set, with the tools as the engine has them."""
    data = tool_questions.read_questions()
    by_itself = {  # of the kinds that three of them are
        "transfer": said_of_transfers(data.tools[0]["parameters"]["properties"]["to"]["enum"]),
        "hang_up": HangUp("hang_up", HangUpOptions()).spec.said,
        "leave_message": LeaveMessage("leave_message", LeaveMessageOptions()).spec.said,
    }
    worded = yaml.safe_load(WORDINGS.read_text(encoding="utf-8"))
    tools = tuple(
        ToolSpec(
            tool["name"],
            tool["description"],
            tool["parameters"],
            said=(*worded[tool["name"]]["said"], *by_itself.get(tool["name"], ())),
            not_said=tuple(worded[tool["name"]].get("not_said", ())),
        )
        for tool in data.tools
    )
    return Questions(data.prompt, tools, data.utterances)


def verdict(utterance: Utterance, called: ToolWanted | None, tools: Sequence[ToolSpec]) -> str:
    """As `tool_questions` has it; `refused`: the engine would not run it."""
    if called is None:
        return tool_questions.verdict(utterance, None, {}, usable=True)
    spec = next((tool for tool in tools if tool.name == called.name), None)
    try:
        arguments = json.loads(called.arguments or "{}")
    except ValueError:
        arguments = None
    usable = spec is not None and complaint(spec.parameters, arguments) is None
    return tool_questions.verdict(utterance, called.name, arguments, usable=usable)


async def first_of(
    llm: LanguageModel,
    questions: Questions,
    said: str,
    tools: Sequence[ToolSpec],
    *,
    decides_first: bool,
    short: bool,
    chooser: ToolChooser | None = None,
) -> tuple[ToolWanted | None, float]:
    """The tool that is wanted, if any, and the milliseconds until that or the first word came.

    `decides_first`: no tool comes after a word. `chooser` goes before the model.
    """
    messages = [Message("system", questions.prompt), Message("user", said)]
    began = time.perf_counter()
    first_ms = 0.0
    choice = await chooser.choose(said, tools, speculative=False) if chooser else ToolChoice(tuple(tools))
    if choice.wanted:
        return choice.wanted[0], 1000 * (time.perf_counter() - began)
    sampling = _SHORT if short else _SAMPLING
    async with llm.reply(messages, sampling=sampling, speculative=False, tools=choice.offered) as output:
        async for piece in output:
            first_ms = first_ms or 1000 * (time.perf_counter() - began)
            if isinstance(piece, ToolWanted):
                return piece, 1000 * (time.perf_counter() - began)
            if piece and (decides_first or not choice.offered):
                break
    return None, first_ms or 1000 * (time.perf_counter() - began)


async def measure(
    way: str,
    llm: LanguageModel,
    questions: Questions,
    *,
    show: bool,
    short: bool = False,
    chooser: ToolChooser | None = None,
) -> dict[str, Any]:
    """Counts for one model."""
    counts: Counter[str] = Counter()
    times_ms: list[float] = []
    costs_ms: list[float] = []
    plain: list[float] = []
    ask = partial(first_of, llm, questions, decides_first=way != "openai", short=short, chooser=chooser)
    await llm.start()
    await ask("Hello.", questions.tools)  # the prompt is read
    for utterance in questions.utterances:
        _, plain_ms = await ask(utterance.said, ())
        called, took_ms = await ask(utterance.said, questions.tools)
        plain.append(plain_ms)
        found = verdict(utterance, called, questions.tools)
        counts[found] += 1
        counts["meant" if utterance.tool != "none" else "not_meant"] += 1
        (costs_ms if called is None else times_ms).append(took_ms - plain_ms if called is None else took_ms)
        if show:
            print(f"{found:10} {utterance.tool:14}{called.name if called else 'none':14}{utterance.said}")
    counts["tool"] += counts["arguments"]  # whoever had the arguments right had the tool right
    return {
        "way": way,
        **{name: counts[name] for name in FIGURES},
        "call_ms": round(statistics.median(times_ms)) if times_ms else None,
        "cost_ms": round(statistics.median(costs_ms)) if costs_ms else None,
        "plain_ms": round(statistics.median(plain)),
    }


@asynccontextmanager
async def local_model(changes: Mapping[str, str]) -> AsyncIterator[LanguageModel]:
    """By local_ai_server, in this process but for its model's worker."""
    named = {"LOCAL_AI_MODE": "full", "ENABLE_STT": "false", "ENABLE_TTS": "false", **changes}
    settings = read_settings(Path("no.env"), named)
    switchboard = Switchboard.from_settings(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    app = build_app(settings, switchboard)
    server = HttpServer(uvicorn_config(app, settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    calls_socket = LocalSocket(
        LocalSocketSettings(url=f"ws://127.0.0.1:{listener.getsockname()[1]}/", answer_timeout_s=120),
        call_id="benchmark",
    )
    try:
        await switchboard.start()
        yield LocalLanguageModel(calls_socket)
    finally:
        await calls_socket.close()
        server.should_exit = True
        await serving
        await app.state.chat_sessions.close()
        await switchboard.stop()
        await app.state.model_changes.close()
        app.state.judges.close()


@asynccontextmanager
async def openai_model(url: str, model: str | None, key: str | None) -> AsyncIterator[LanguageModel]:
    """By a server of OpenAI's API."""
    with tempfile.TemporaryDirectory() as folder:
        services = Services("", "", RenderedSpeech(Path(folder)), environment=dict(os.environ))
        call = CallInfo("benchmark", "default", "", "en", None, MULAW_8K)
        options: dict[str, Any] = {"base_url": url, "timeout_s": 120, "model": model, "key": key}
        try:
            yield openai_language_model(CallScope(call, services), options)
        finally:
            await services.clients.close()


@asynccontextmanager
async def llama_server_model(name: str) -> AsyncIterator[LanguageModel]:
    """By llama.cpp's own server with a model of the catalogue, on a free port of loopback."""
    import xllamacpp  # noqa: PLC0415 - native code, only when asked for

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(find_model(name))
    parameters.n_parallel, parameters.n_ctx = 1, 4096
    parameters.hostnames, parameters.port, parameters.use_jinja = ["127.0.0.1"], 0, True
    parameters.ui, parameters.fit_params, parameters.verbosity = False, False, 0
    server: Any = xllamacpp.Server(parameters)
    async with openai_model(f"{server.listening_address.rstrip('/')}/v1", None, None) as model:
        yield model


@asynccontextmanager
async def by_words() -> AsyncIterator[ToolChooser]:
    """With the embedding worker that the engine has."""
    worker = EmbeddingWorker()
    await worker.start()
    try:
        yield ToolChooser(worker)
    finally:
        await worker.stop()


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    questions = read_questions()
    some = questions.utterances[:: len(questions.utterances) - 1 if options.short else options.every]
    questions = Questions(questions.prompt, questions.tools, some)
    changes = dict(pair.split("=", 1) for pair in options.set)
    ways: list[tuple[str, AbstractAsyncContextManager[LanguageModel]]] = [
        (way, local_model(changes)) for way in ("words", "local") if options.way in (way, "all")
    ]
    if options.way in ("openai", "all"):
        given = openai_model(options.openai, options.model, options.key) if options.openai else None
        ways.append(("openai", given or llama_server_model(EMBEDDED)))
    rows = []
    for way, opened in ways:
        async with opened as llm, AsyncExitStack() as stack:
            chooser = await stack.enter_async_context(by_words()) if way == "words" else None
            row = await measure(way, llm, questions, show=options.show, short=options.short, chooser=chooser)
            rows.append(row)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=("words", "local", "openai", "all"), default="all")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of local_ai_server")
    parser.add_argument("--openai", metavar="URL", help="a server of OpenAI's API, with its /v1")
    parser.add_argument("--model", help="as that server names it")
    parser.add_argument("--key", help="the environment variable that holds its key")
    parser.add_argument("--show", action="store_true", help="each utterance and what was decided")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth utterance alone")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows = asyncio.run(run(options))
    names = ("way", *FIGURES, "call_ms", "cost_ms", "plain_ms")
    print("".join(f"{name:>11}" for name in names))
    for row in rows:
        print("".join(f"{row[name]!s:>11}" for name in names))
    print(json.dumps({"benchmark": "tool_choice", "rows": rows}))


if __name__ == "__main__":
    main()
