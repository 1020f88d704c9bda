"""What an hour's talk costs the caller: `python -m benchmarks.long_call [--turns 200] [--short]`.

One call of so many turns with the embedded language model, through `local_ai_server` in this process, as the engine
asks it: the window of the conversation, its record of older turns and the warm-up between turns included, and nobody
pausing in between. Compared are the first and the last turns: milliseconds to the first token, and how much of it
the model was told. `--window 0` keeps all turns in the prompt, as far as the server's own window goes. Prints a table
and one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import time
from typing import Any

import structlog

from ai_engine.providers.answering import SMALL_MODEL_SAMPLING
from ai_engine.providers.components.component import LanguageModel
from ai_engine.providers.conversation_window import ConversationWindow, Summariser, tokens_of
from benchmarks.machine import usage
from benchmarks.tool_choice import local_model
from voice_core.history import History, Message

_PERSONA = Message("system", "You are Joe, who answers the phone of a bicycle shop. Say one short, friendly sentence.")
_NAME = "Hello, my name is Ada Lovelace and my number is 0 3 0 4 7 1 1."
_REMARKS = (
    "What a day it was yesterday.",
    "I used to ride a lot when I was young.",
    "Do you like bicycles?",
    "My brother has one, too, a green one.",
    "It rains so often here.",
    "Tell me something nice.",
)
_COMPARED = 10


async def talk(llm: LanguageModel, turns: int, window_tokens: int) -> list[dict[str, Any]]:
    """One row a turn."""
    window, history, rows = ConversationWindow(window_tokens), History(), []
    summariser = Summariser(window, llm, small_model=True)
    await llm.start()
    await llm.warm((_PERSONA,))
    for turn in range(turns):
        said = _NAME if turn == 0 else _REMARKS[turn % len(_REMARKS)]
        told = window.view(history.messages())
        began, first_ms, answer = time.perf_counter(), 0.0, ""
        messages = (_PERSONA, *told, Message("user", said))
        async with llm.reply(messages, sampling=SMALL_MODEL_SAMPLING, speculative=False) as output:
            async for piece in output:
                first_ms = first_ms or 1000 * (time.perf_counter() - began)
                answer += piece if isinstance(piece, str) else ""
        history.caller(turn, said)
        history.agent(turn, answer)
        shortened = await summariser.make_room(history.messages())
        await llm.warm((_PERSONA, *window.view(history.messages())))
        rows.append({"first_ms": first_ms, "told_tokens": tokens_of(told), "shortened": shortened})
    return [*rows, {"name_kept": _NAME in "".join(m.content for m in window.view(history.messages()))}]


def figures(rows: list[dict[str, Any]], window_tokens: int) -> dict[str, Any]:
    """The first turns against the last."""
    *turns, last = rows
    compared = min(_COMPARED, len(turns) // 2)
    first, final = turns[1 : 1 + compared], turns[-compared:]
    return {
        "window_tokens": window_tokens,
        "turns": len(turns),
        "first_turns_ms": round(statistics.median(row["first_ms"] for row in first)),
        "last_turns_ms": round(statistics.median(row["first_ms"] for row in final)),
        "slowest_ms": round(max(row["first_ms"] for row in turns)),
        "most_told_tokens": max(row["told_tokens"] for row in turns),
        "times_shortened": sum(row["shortened"] for row in turns),
        "name_kept": last["name_kept"],
    }


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one call."""
    turns = 6 if options.short else options.turns
    async with local_model({}) as llm:
        return figures(await talk(llm, turns, options.window), options.window)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200, help="an hour has about so many (default: %(default)s)")
    parser.add_argument("--window", type=int, default=300, metavar="TOKENS", help="history_tokens (default: 300)")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    before = usage()
    row = asyncio.run(run(options))
    row["cpu_share_others"] = round(usage().shares_since(before)[1], 2)
    for name, value in row.items():
        print(f"{name:>18} {value}")
    print(json.dumps({"benchmark": "long_call", **row}))


if __name__ == "__main__":
    main()
