"""`python -m local_ai_server.clients.warmup`: primes models and prompt cache, and measures what that is worth."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from local_ai_server.clients.answer import Answer
from local_ai_server.clients.command import ms, new_parser, run, say, table
from local_ai_server.clients.connection import ClientError, Server
from local_ai_server.clients.prompt import add_prompt_options, sampling_of, system_message
from local_ai_server.clients.session import Session, open_session
from local_ai_server.clients.sound import FORMAT
from voice_wire.messages import ChatMessage, Warm

_QUESTION: Final = "Hello, can you hear me?"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser(
        "python -m local_ai_server.clients.warmup",
        "Primes the server: each model works once, and the prompt is read into the cache (`warm`).\n"
        "Shown is the time to the first word, sound and text before and after; where the prompt was in the cache\n"
        "before, the tokens found there say so. Prints a table and one line of JSON.",
    )
    add_prompt_options(parser, max_tokens=8)
    return run(parser, _warm, arguments)


async def _warm(server: Server, options: argparse.Namespace) -> int:
    system = system_message(options)
    figures: dict[str, Any] = {"client": "warmup"}
    missing: list[str] = []
    async with open_session(server, call_id="warmup-before") as session:
        loaded = (await session.status()).models
        for kind in ("stt", "llm", "tts"):
            state = getattr(loaded, kind)
            if not state.loaded:
                missing.append(f"{kind} is not primed: {state.reason or state.state}")
        if len(missing) == 3:
            raise ClientError("; ".join(missing))
        if loaded.tts.loaded:
            figures["tts_before_ms"], audio = await _sound(session)
            figures["tts_after_ms"], audio = await _sound(session)
            if loaded.stt.loaded and audio:
                _, figures["stt_before_ms"] = await session.transcribe(audio, FORMAT)
                _, figures["stt_after_ms"] = await session.transcribe(audio, FORMAT)
        if loaded.llm.loaded:
            figures |= await _first_token(session, system, options, "before")
    if loaded.llm.loaded:
        async with open_session(server, call_id="warmup-after") as session:
            warm = await session.request(lambda name: Warm(request_id=name, messages=(system,)))
            usage = (await warm.finish()).usage
            figures["warm_ms"] = usage.ttft_ms if usage else None
            figures |= await _first_token(session, system, options, "after")
    _show(figures)
    for reason in missing:
        say(reason)
    say(json.dumps({name: round(f, 1) if isinstance(f, float) else f for name, f in figures.items()}))
    return 0


async def _sound(session: Session) -> tuple[float | None, bytes]:
    """Milliseconds to the first sound, and all of it."""
    exchange = await session.speak(_QUESTION, FORMAT)
    audio = await exchange.audio()
    return exchange.first_ms, audio


async def _first_token(
    session: Session, system: ChatMessage, options: argparse.Namespace, when: str
) -> dict[str, float | int | None]:
    question = ChatMessage(role="user", content=_QUESTION)
    answered = await Answer(session, speaks=False, sampling=sampling_of(options)).get((system, question))
    usage = answered.usage
    return {
        f"first_token_{when}_ms": answered.first_token_ms,
        f"cached_tokens_{when}": usage.cached_tokens if usage else None,
        "prompt_tokens": usage.prompt_tokens if usage else None,
    }


def _show(figures: dict[str, Any]) -> None:
    rows = [("", "before ms", "after ms", "cached before", "cached after")]
    for name, key in (("LLM first token", "first_token"), ("TTS first audio", "tts"), ("STT text", "stt")):
        if f"{key}_before_ms" in figures:
            cached = [
                str(figures[f"cached_tokens_{when}"]) if key == "first_token" else "" for when in ("before", "after")
            ]
            rows.append((name, ms(figures[f"{key}_before_ms"]), ms(figures[f"{key}_after_ms"]), cached[0], cached[1]))
    say(table(rows))
    if "warm_ms" in figures:
        say(
            f"warm took {ms(figures['warm_ms'])} ms; the prompt has {figures['prompt_tokens']} tokens with the question"
        )


if __name__ == "__main__":
    sys.exit(main())
