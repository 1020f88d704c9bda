"""The voices' benchmark runs and ends in one JSON line: no figure is asserted."""

import asyncio
import json
import sys

import pytest


@pytest.mark.models
async def test_the_voices_benchmark_runs():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.tts_voices", "--short"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    last = out.decode().strip().rpartition("\n")[2]
    assert last.startswith("{"), err.decode()[-2000:]
    assert json.loads(last)["benchmark"] == "tts_voices"
