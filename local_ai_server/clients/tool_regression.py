"""`python -m local_ai_server.clients.tool_regression`: which tool a caller's words get from `llm_tool_request`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local_ai_server.clients.command import at_least, new_parser, run, say, table
from local_ai_server.clients.connection import ClientError, RequestFailed, Server, UsageError
from local_ai_server.clients.session import Session, open_session
from local_ai_server.clients.tool_questions import (
    DATA,
    FIGURES,
    Questions,
    QuestionsError,
    Utterance,
    read_questions,
    verdict,
)
from local_ai_server.errors import ServeError
from local_ai_server.tool_schemas import Tool, read_tools
from voice_wire.messages import LlmToolRequest, LlmToolResponse, SwitchModel, SwitchResponse, ToolCall

_RIGHT = ("arguments", "left")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser(
        "python -m local_ai_server.clients.tool_regression",
        "Asks the server's language model which tool each of a set of utterances wants. Right is the right tool with\n"
        "the right arguments, and no call where none is meant. Prints a table and one line of JSON. Columns:\n"
        "meant (utterances that mean a tool), tool and arguments (of them: right tool, and right arguments with it),\n"
        "missed, other (another tool), refused (arguments that its schema does not allow), not_meant, left, unmeant\n"
        "(called where none was meant).",
    )
    parser.add_argument("--set", type=Path, default=DATA, metavar="FILE", help=f"default: {DATA.name} of this package")
    parser.add_argument("--policy", choices=("auto", "strict", "compatible"), default="auto", help="tool_policy")
    parser.add_argument("--repeat", type=at_least(1), default=1, metavar="N", help="the whole set N times")
    parser.add_argument("--every", type=at_least(1), default=1, metavar="N", help="each Nth utterance alone")
    parser.add_argument(
        "--min-right", type=_share, default=0.0, metavar="SHARE", help="status 1 where fewer are right; 0 to 1"
    )
    parser.add_argument("--show", action="store_true", help="each utterance and what was decided")
    return run(parser, _regress, arguments)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


async def _regress(server: Server, options: argparse.Namespace) -> int:
    try:
        questions = read_questions(options.set)
        tools = {tool.name: tool for tool in read_tools(questions.tools, None)}
    except (QuestionsError, ServeError) as error:
        raise UsageError(str(error)) from None
    counts: Counter[str] = Counter()
    paths: Counter[str] = Counter()
    times_ms: list[float] = []
    utterances = questions.utterances[:: options.every] * options.repeat
    async with open_session(server, call_id="tool-regression") as session:
        await session.require("llm")
        await _set_prompt(session, questions.prompt)
        for utterance in utterances:
            began = time.perf_counter()
            answer = await _decide(session, questions, utterance, options.policy)
            times_ms.append(1000 * (time.perf_counter() - began))
            _count(utterance, answer, tools, counts, paths, show=options.show)
    return _report(counts, paths, times_ms, options)


async def _set_prompt(session: Session, prompt: str) -> None:
    """Of this session; without chance, so that two runs decide alike."""
    answer = await session.ask(SwitchModel(scope="session", llm_config={"system_prompt": prompt, "temperature": 0.0}))
    assert isinstance(answer, SwitchResponse)
    if answer.status == "error":
        raise ClientError(f"the server did not take the prompt: {answer.message}")


async def _decide(
    session: Session, questions: Questions, utterance: Utterance, policy: str
) -> LlmToolResponse | RequestFailed:
    fields = {"text": utterance.said, "tools": list(questions.tools), "tool_policy": policy}
    exchange = await session.request(lambda name: LlmToolRequest.model_validate(fields | {"request_id": name}))
    found = None
    try:
        async for answer in exchange:
            if isinstance(answer, LlmToolResponse):
                found = answer
    except RequestFailed as error:
        return error
    if found is None:
        raise ClientError("the server ended an llm_tool_request without an llm_tool_response")
    return found


def _count(
    utterance: Utterance,
    answer: LlmToolResponse | RequestFailed,
    tools: dict[str, Tool],
    counts: Counter[str],
    paths: Counter[str],
    *,
    show: bool,
) -> None:
    counts["meant" if utterance.tool != "none" else "not_meant"] += 1
    if isinstance(answer, RequestFailed):
        counts["errors"] += 1
        found, called = answer.code, "-"
    else:
        call: ToolCall | None = answer.tool_calls[0] if answer.tool_calls else None
        name, arguments = (call["name"], call["parameters"]) if call else (None, {})
        usable = name in tools and tools[name].complaint(arguments) is None
        found, called = verdict(utterance, name, arguments, usable=usable), name or "none"
        counts[found] += 1
        paths[answer.tool_path] += 1
    if show:
        say(f"{found:18} {utterance.tool:14} {called:14} {utterance.said}")


def _report(counts: Counter[str], paths: Counter[str], times_ms: Sequence[float], options: argparse.Namespace) -> int:
    n = counts["meant"] + counts["not_meant"]
    right = sum(counts[name] for name in _RIGHT) / n
    counts["tool"] += counts["arguments"]  # whoever had the arguments right had the tool right
    names = (*FIGURES, "errors")
    p50_ms = round(statistics.median(times_ms))
    say(
        table(
            [("right", *names, "p50 ms"), (f"{100 * right:.0f} %", *(str(counts[name]) for name in names), str(p50_ms))]
        )
    )
    row: dict[str, Any] = {"client": "tool_regression", "n": n, "policy": options.policy, "right": round(right, 3)}
    say(json.dumps(row | {name: counts[name] for name in names} | {"paths": dict(paths), "p50_ms": p50_ms}))
    if right < options.min_right:
        say(f"too few are right: {right:.3f} of at least {options.min_right:g}")
        return 1
    return 1 if counts["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
