"""`python -m local_ai_server.clients.bench`: how long callers wait, with so many at once."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from local_ai_server.clients.answer import Answer
from local_ai_server.clients.command import at_least, ms, new_parser, percentile, run, say, table
from local_ai_server.clients.connection import ClientError, Server
from local_ai_server.clients.prompt import add_prompt_options, sampling_of, system_message
from local_ai_server.clients.session import Session, open_session
from local_ai_server.clients.sound import FORMAT, read_wav
from voice_wire.messages import ChatMessage, Warm

_QUESTION: Final = "Good morning, can you tell me when you are open today?"
_STATEMENT: Final = "Good morning, we are open all day and glad to help you."
_ROWS: Final = {
    "connect_ms": "connected",
    "stt_final_ms": "STT: end of speech to final text",
    "llm_cold_ms": "LLM: first token, prompt not cached",
    "llm_cached_ms": "LLM: first token, prompt cached",
    "llm_first_token_ms": "LLM: first token",
    "tts_first_audio_ms": "TTS: first phrase to first audio",
    "turn_ms": "whole turn: end of speech to first audio",
}


@dataclass
class Measured:
    """What all calls together found."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)
    """By the server's code; `connection` where that was lost or not had, `silent` where no answer came."""
    last_error: str = ""
    empty_answers: int = 0
    """Of a model that had nothing to say: there was no first token to wait for."""

    def add(self, name: str, value: float | None) -> None:
        if value is not None:
            self.values[name].append(value)

    def fail(self, error: ClientError) -> None:
        self.errors[error.code] += 1
        self.last_error = str(error)


@dataclass(frozen=True)
class Plan:
    """What each call does."""

    system: ChatMessage
    kinds: frozenset[str]
    """Of `stt`, `llm` and `tts`: those that serve."""
    speech: bytes
    """What callers say; empty where nothing speaks it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser(
        "python -m local_ai_server.clients.bench",
        "Makes N calls, C at a time. Each is a session of its own: the prompt is read in (`warm`), then one turn goes\n"
        "through speech to text, language model and text to speech. Prints p50 and p95 and one line of JSON; status 1\n"
        "where there were errors. Speech is sent at once, not in real time. What does not serve is left out.",
    )
    parser.add_argument("-n", type=at_least(1), default=20, metavar="N", help="calls; default 20")
    parser.add_argument("-c", type=at_least(1), default=1, metavar="C", help="at a time; default 1")
    parser.add_argument(
        "--wav", type=Path, metavar="FILE", help="what callers say; default: a sentence by the server's TTS"
    )
    parser.add_argument(
        "--double-ttfb",
        action="store_true",
        help="the first token twice in each session, before the turn: with a prompt that no cache has seen, and again",
    )
    parser.add_argument("--short", action="store_true", help="two calls at once, only to see that it runs")
    add_prompt_options(parser, max_tokens=40)
    return run(parser, _bench, arguments)


async def _bench(server: Server, options: argparse.Namespace) -> int:
    n, at_once = (2, 2) if options.short else (options.n, min(options.c, options.n))
    plan, missing = await _prepare(server, options)
    measured = Measured()
    numbers = iter(range(n))
    began = time.perf_counter()
    async with asyncio.TaskGroup() as callers:
        for _ in range(at_once):
            callers.create_task(_call_again(server, plan, numbers, measured, options))
    took_s = time.perf_counter() - began
    _report(measured, n=n, at_once=at_once, took_s=took_s, missing=missing)
    return 1 if measured.errors else 0


async def _prepare(server: Server, options: argparse.Namespace) -> tuple[Plan, list[str]]:
    """What can be measured, and why the rest cannot. Raises `ClientError` where that is nothing."""
    system = system_message(options)
    speech = read_wav(options.wav) if options.wav else b""
    async with open_session(server, call_id="bench") as session:
        models = (await session.status()).models
        states = {"stt": models.stt, "llm": models.llm, "tts": models.tts}
        kinds = frozenset(kind for kind, state in states.items() if state.loaded)
        missing = [f"{kind}: {state.reason or state.state}" for kind, state in states.items() if not state.loaded]
        if not kinds:
            raise ClientError(f"nothing serves: {'; '.join(missing)}")
        if "tts" in kinds and not speech:
            speech = await (await session.speak(_QUESTION, FORMAT)).audio()
    if "stt" in kinds and not speech:
        missing.append("stt: nothing speaks what it should hear; give a recording with --wav")
    return Plan(system, kinds, speech), missing


async def _call_again(
    server: Server, plan: Plan, numbers: Iterator[int], measured: Measured, options: argparse.Namespace
) -> None:
    """One caller after the other, as long as there are some."""
    for number in numbers:
        began = time.perf_counter()
        try:
            async with open_session(server, call_id=f"bench-{number}") as session:
                measured.add("connect_ms", 1000 * (time.perf_counter() - began))
                await _call(session, plan, number, measured, options)
        except ClientError as error:
            measured.fail(error)


async def _call(session: Session, plan: Plan, number: int, measured: Measured, options: argparse.Namespace) -> None:
    if "llm" in plan.kinds:
        if options.double_ttfb:
            await _first_token_twice(session, plan, number, measured, options)
        await (await session.request(lambda name: Warm(request_id=name, messages=(plan.system,)))).finish()
    heard, stt_ms = "", None
    if "stt" in plan.kinds and plan.speech:
        heard, stt_ms = await session.transcribe(plan.speech, FORMAT)
        measured.add("stt_final_ms", stt_ms)
    speaks = "tts" in plan.kinds
    if "llm" in plan.kinds:
        question = ChatMessage(role="user", content=heard or _QUESTION)
        answered = await Answer(session, speaks=speaks, sampling=sampling_of(options)).get((plan.system, question))
        measured.add("llm_first_token_ms", answered.first_token_ms)
        measured.empty_answers += not answered.text
        measured.add("tts_first_audio_ms", answered.tts_first_audio_ms)
        if stt_ms is not None and answered.first_audio_ms is not None:
            measured.add("turn_ms", stt_ms + answered.first_audio_ms)
    elif speaks:
        speech = await session.speak(_STATEMENT, FORMAT)
        await speech.finish()
        measured.add("tts_first_audio_ms", speech.first_ms)


async def _first_token_twice(
    session: Session, plan: Plan, number: int, measured: Measured, options: argparse.Namespace
) -> None:
    """A prompt that is new from its first word on, so that no other session's cache helps, then the same again."""
    system = ChatMessage(role="system", content=f"{time.time_ns()}-{number}. {plan.system.content}")
    messages = (system, ChatMessage(role="user", content=_QUESTION))
    for when in ("cold", "cached"):
        answered = await Answer(session, speaks=False, sampling=sampling_of(options)).get(messages)
        measured.add(f"llm_{when}_ms", answered.first_token_ms)
        if answered.usage:
            measured.add(f"llm_{when}_tokens", answered.usage.cached_tokens)
            measured.add("llm_prompt_tokens", answered.usage.prompt_tokens)


def _report(measured: Measured, *, n: int, at_once: int, took_s: float, missing: Sequence[str]) -> None:
    figures = {
        name: {"p50": percentile(values, 50), "p95": percentile(values, 95), "n": len(values)}
        for name, values in measured.values.items()
    }
    rows = [("milliseconds", "p50", "p95", "n")]
    for name, shown in _ROWS.items():
        if name in figures:
            row = figures[name]
            rows.append((shown, ms(row["p50"]), ms(row["p95"]), str(row["n"])))
    say(table(rows))
    if "llm_prompt_tokens" in figures:
        cold, cached, prompt = (
            ms(percentile(measured.values[f"llm_{name}_tokens"], 50)) for name in ("cold", "cached", "prompt")
        )
        say(f"of {prompt} tokens of the prompt, {cold} were in the cache at first and {cached} the second time")
    for reason in missing:
        say(f"not measured: {reason}")
    if measured.empty_answers:
        say(f"{measured.empty_answers} answers were empty: they have no first token")
    errors = sum(measured.errors.values())
    say(f"{n} calls, {at_once} at a time, {took_s:.1f} s, {errors} errors")
    if errors:
        say(f"the last error: {measured.last_error}")
    rounded = {
        name: {key: round(value, 1) if value is not None else None for key, value in row.items()}
        for name, row in figures.items()
    }
    line = {"client": "bench", "n": n, "c": at_once, "seconds": round(took_s, 2), "errors": dict(measured.errors)}
    say(json.dumps({**line, "empty_answers": measured.empty_answers, "figures": rounded}))


if __name__ == "__main__":
    sys.exit(main())
