"""Each benchmark's short mode runs and ends in one JSON line: no figure is asserted."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

SHORT = [
    ("worker_ipc", ["--calls", "50"], "worker_ipc"),
    ("sound_extras", ["--short"], "sound_extras"),
    pytest.param("engine_load", ["--short"], "engine_load", marks=pytest.mark.models),
    pytest.param("line_widths", ["--short"], "line_widths", marks=pytest.mark.models),
    pytest.param("media_profile", ["--short"], "media_profile", marks=pytest.mark.models),
    pytest.param("known_answers", ["--short"], "known_answers", marks=pytest.mark.models),
    pytest.param("agent_answers", ["--short"], "agent_answers", marks=pytest.mark.models),
    pytest.param("answer_paths", ["--short"], "answer_paths", marks=pytest.mark.models),
    pytest.param("server_overhead", ["--short"], "server_overhead", marks=pytest.mark.models),
    pytest.param("hot_switch", ["--short"], "hot_switch", marks=pytest.mark.models),
    pytest.param("many_sessions", ["--short"], "many_sessions", marks=pytest.mark.models),
    pytest.param("long_call", ["--short"], "long_call", marks=pytest.mark.models),
    pytest.param("tool_decisions", ["--short"], "tool_decisions", marks=pytest.mark.models),
    pytest.param("turn_stages", ["--short"], "turn_stages", marks=pytest.mark.models),
    pytest.param("echo_map", ["--short"], "echo_map", marks=pytest.mark.models),
    pytest.param("turn_cut_offs", ["--short"], "turn_cut_offs", marks=pytest.mark.models),
    pytest.param("concealment_quality", ["--short"], "concealment_quality", marks=pytest.mark.models),
    pytest.param(
        "answer_path_calls",
        ["--short"],
        "answer_path_calls",
        marks=[pytest.mark.models, pytest.mark.asterisk, pytest.mark.slow],
    ),
    pytest.param("barge_in", ["--short"], "barge_in", marks=[pytest.mark.models, pytest.mark.asterisk]),
]


@pytest.mark.parametrize(("module", "arguments", "name"), SHORT)
async def test_a_benchmark_runs(module: str, arguments: list[str], name: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"benchmarks.{module}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:  # it would keep the machine busy under the tests that follow
            process.kill()
            await process.wait()
    last = out.decode().strip().rpartition("\n")[2]
    assert last.startswith("{"), err.decode()[-2000:]
    assert json.loads(last)["benchmark"] == name
