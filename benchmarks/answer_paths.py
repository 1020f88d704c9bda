"""The engine's answers by three ways to one model: `python -m benchmarks.answer_paths [--turns 24] [--short]`

    local         local_ai_server by its WebSocket
    local_v1      local_ai_server by its own /v1
    local_hybrid  llama.cpp's server, started as local_ai_server starts it when it leads one

They are the providers of config/local_hybrid.yaml as they stand there, but for the ports. Each is asked the default
persona's questions for the language model by the engine's own component, one after the other in turn, in conversations
of four turns whose prompts are the same for all; what came before a question was read while the agent spoke, as in a
call. All have the same weights, threads, window and chat template. Measured from the request on: first token, first
phrase, whole answer, and tokens a second after the first. `cold`: the same question with nothing of it read before.
Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import yaml

from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.answering import SMALL_MODEL_SAMPLING, AnsweringSettings
from ai_engine.providers.component_choices import ComponentMaker
from ai_engine.providers.components.component import ComponentFailed, LanguageModel
from ai_engine.providers.components.llm.chain import ChainedLanguageModel
from ai_engine.providers.components.registry import LANGUAGE_MODELS
from ai_engine.providers.pipeline_factory import PipelineOptions
from ai_engine.providers.provider import CallInfo
from ai_engine.providers.services import CallScope, Services
from benchmarks.doc_figures import machine_line, markdown_table, put
from benchmarks.machine import usage
from benchmarks.turn_latency import load_questions
from benchmarks.turn_stages import Chat, Persona, Samples
from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard
from tools.free_ports import free_tcp_port
from tools.stack import PROJECT, Process, Stack, StackError
from voice_core.history import Message, Role
from voice_core.phrases import PhraseCutter
from voice_wire.audio import MULAW_8K

CONFIG: Final = PROJECT / "config" / "local_hybrid.yaml"
PATHS: Final = ("local", "local_v1", "local_hybrid")
TURNS_PER_CALL: Final = 4
SETTINGS: Final = {
    "LOCAL_AI_MODE": "full",
    "ENABLE_STT": "false",
    "ENABLE_TTS": "false",
    "LOCAL_LLM_CONTEXT": "1024",
    "LOCAL_LLM_PROMPT_FORM": "chat",  # llama.cpp's server knows no other
}
_BATCH_TOKENS: Final = 64
"""Of prompts, read at once: as local_ai_server's own."""


class Figures:
    """Milliseconds and tokens a second, by path and measure."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, path: str, **measured: float) -> None:
        for name, value in measured.items():
            self._values[path][name].append(value)

    def report(self) -> dict[str, dict[str, float]]:
        """Medians, and p95 of what a caller waits for."""
        return {path: self._row(values) for path, values in self._values.items()}

    def _row(self, values: Mapping[str, Sequence[float]]) -> dict[str, float]:
        row = {"n": float(len(values["first_token_ms"]))}
        for name, measured in values.items():
            row[f"{name}_p50"] = round(statistics.median(measured), 1)
            if name.startswith("first"):
                row[f"{name}_p95"] = round(sorted(measured)[round(0.95 * (len(measured) - 1))], 1)
        return row


def providers(server: int, llama: int) -> dict[str, dict[str, Any]]:
    """Those of the configuration, asked at these ports."""
    text = CONFIG.read_text(encoding="utf-8")
    text = text.replace("127.0.0.1:8765", f"127.0.0.1:{server}").replace("127.0.0.1:8080", f"127.0.0.1:{llama}")
    read: dict[str, dict[str, Any]] = yaml.safe_load(text)["providers"]
    return read


def language_model(provider: Mapping[str, Any], services: Services, call: str) -> LanguageModel:
    """The one that a call of this provider has."""
    chosen = PipelineOptions.model_validate(provider.get("options", {})).llm
    maker = ComponentMaker[LanguageModel](
        "llm", LANGUAGE_MODELS, chosen, what="language model", patience_s=4.0, chained=ChainedLanguageModel
    )
    return maker.make(CallScope(CallInfo(call, "default", "", "en", None, MULAW_8K), services))


@asynccontextmanager
async def call(providers: Mapping[str, Any], services: Services, name: str) -> AsyncIterator[dict[str, LanguageModel]]:
    """One call by each path."""
    async with AsyncExitStack() as stack:
        models = {}
        for path in PATHS:
            model = models[path] = language_model(providers[path], services, f"{name}-{path}")
            await model.start()
            stack.push_async_callback(model.stop)
        yield models


async def ask(model: LanguageModel, chat: Chat) -> tuple[str, dict[str, float]]:
    """The answer and its times."""
    cutter = PhraseCutter(first_words=AnsweringSettings().first_phrase_words)
    began = time.perf_counter()
    pieces: list[str] = []
    first_s = phrase_s = 0.0
    async with model.reply(_messages(chat), sampling=SMALL_MODEL_SAMPLING, speculative=False) as output:
        async for piece in output:
            if not isinstance(piece, str) or not piece:
                continue
            pieces.append(piece)
            first_s = first_s or time.perf_counter() - began
            if not phrase_s and cutter.feed(piece):
                phrase_s = time.perf_counter() - began
    whole_s = time.perf_counter() - began
    first_s, phrase_s = first_s or whole_s, phrase_s or whole_s
    measured = {"first_token_ms": 1000 * first_s, "first_phrase_ms": 1000 * phrase_s, "whole_ms": 1000 * whole_s}
    if len(pieces) > 1:
        measured["tokens_per_s"] = (len(pieces) - 1) / max(whole_s - first_s, 1e-6)
    return "".join(pieces).strip(), measured


async def compare(providers: Mapping[str, Any], services: Services, turns: int) -> Figures:
    """All turns, each path's in turn first."""
    persona, figures = Persona(), Figures()
    asked = [question.text for question in load_questions() if question.expected == "llm"]
    asked = [asked[at % len(asked)] for at in range(turns)]
    for begin in range(0, turns, TURNS_PER_CALL):
        history = [Message("assistant", persona.greeting)]
        async with call(providers, services, f"call-{begin}") as models:
            for at, question in enumerate(asked[begin : begin + TURNS_PER_CALL], begin):
                order = PATHS[at % len(PATHS) :] + PATHS[: at % len(PATHS)]
                known = persona.prompt(persona.system, history, "", Samples())[:-1]
                chat = persona.prompt(persona.system, history, question, Samples())
                said = ""
                for path in order:
                    await models[path].warm(_messages(known))
                    answer, measured = await ask(models[path], chat)
                    figures.add(path, **measured)
                    said = said or answer
                history += [Message("user", question), Message("assistant", said or "Yes.")]
            for path in PATHS:
                # A first line that no prompt had: nothing that any slot holds begins like this.
                strange = f"{time.monotonic_ns()}. {persona.system}"
                async with call(providers, services, f"cold-{begin}-{path}") as fresh:
                    _, cold = await ask(fresh[path], persona.prompt(strange, history[:1], asked[begin], Samples()))
                figures.add(path, cold_first_token_ms=cold["first_token_ms"])
    return figures


def llama_server(port: int, log: Path) -> Process:
    """llama.cpp's own server, with the weights and the threads that local_ai_server has."""
    plan = Switchboard.from_settings(read_settings(Path(os.devnull), SETTINGS)).service("llm").plan.load
    slots = int(plan["parallel"])
    arguments = {
        "--model": find_model("SmolLM2-135M-Instruct-Q8_0"),
        "--port": port,
        "--parallel": slots,
        "--ctx-size": slots * int(plan["context_tokens"]),
        "--threads": plan["threads"],
        "--threads-batch": plan["batch_threads"],
        "--batch-size": _BATCH_TOKENS,
        "--n-gpu-layers": 0,
    }
    given = [str(word) for pair in arguments.items() for word in pair]
    command = [sys.executable, "-m", "local_ai_server.engines.llama_server", *given, "--no-webui"]
    # As local_ai_server sets up its workers: threads that spin while they wait take the other's time.
    return Process("llama-server", command, {**os.environ, "OMP_WAIT_POLICY": "passive"}, log)


async def measure(home: Path, turns: int) -> dict[str, Any]:
    """Bring up both servers and compare."""
    stack = Stack(home, {}, environment=SETTINGS)
    port = free_tcp_port()
    llama = llama_server(port, home / "llama.log")
    services = Services(stack.server_url.replace("http", "ws", 1), "", RenderedSpeech(home))
    try:
        stack.server.start()
        llama.start()
        await stack.server.ready(f"{stack.server_url}/readyz", 120.0)
        await llama.ready(f"http://127.0.0.1:{port}/health", 120.0)
        roots = (stack.server.pid, llama.pid)
        load_before, before = os.getloadavg(), usage(roots)
        figures = await compare(providers(stack.ports.server, port), services, turns)
        after, load_after = usage(roots), os.getloadavg()
    finally:
        await services.clients.close()
        await stack.server.stop(5.0)
        await llama.stop(5.0)
    ours, others = after.shares_since(before)
    machine = {
        "cores": os.cpu_count() or 0,
        "loadavg_before": round(load_before[0], 2),
        "loadavg_after": round(load_after[0], 2),
        "cpu_share_ours": round(ours, 3),
        "cpu_share_others": round(others, 3),
    }
    return {"benchmark": "answer_paths", "paths": figures.report(), "machine": machine}


def table(report: Mapping[str, Any]) -> str:
    """For the terminal and the document."""
    head = ("", "first token p50 / p95", "first phrase p50 / p95", "whole answer", "tokens/s", "first token, cold")
    rows = [
        (
            f"`{path}`",
            f"{row['first_token_ms_p50']:.0f} / {row['first_token_ms_p95']:.0f} ms",
            f"{row['first_phrase_ms_p50']:.0f} / {row['first_phrase_ms_p95']:.0f} ms",
            f"{row['whole_ms_p50']:.0f} ms",
            f"{row.get('tokens_per_s_p50', 0.0):.0f}",
            f"{row['cold_first_token_ms_p50']:.0f} ms",
        )
        for path, row in report["paths"].items()
    ]
    return markdown_table(head, rows)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answer_paths", description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=24, help="by each path (%(default)s)")
    parser.add_argument("--short", action="store_true", help="2 turns: only whether it runs")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="answer-paths-") as scratch:
        try:
            report = asyncio.run(measure(Path(scratch), 2 if options.short else max(1, options.turns)))
        except (StackError, ModelMissing, ComponentFailed) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    figures = table(report)
    print(figures)
    note = machine_line(report["machine"])
    print(note)
    if options.write_docs:
        put("answer_paths", f"{figures}\n\n{report['paths'][PATHS[0]]['n']:.0f} answers by each; {note}.")
    print(json.dumps(report))
    return 0


def _messages(chat: Chat) -> list[Message]:
    return [Message(cast("Role", line["role"]), line["content"]) for line in chat]


if __name__ == "__main__":
    sys.exit(main())
