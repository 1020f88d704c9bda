"""The caller takes the floor: the workers end what they were at, and nothing of it is delivered.

No figure is asserted.
"""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]


async def test_native_work_ends_when_it_is_interrupted():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.interrupt_work", "--short"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-2000:]
    said = json.loads(out.decode().strip().rpartition("\n")[2])
    assert said["benchmark"] == "interrupt_work"
    assert set(said["work"]) == {"llm prompt", "llm answer", "tts", "stt"}
    for kind, row in said["work"].items():
        assert row["unended"] == 0, f"{kind} went on for a minute after the interruption"
        assert row["delivered_after"] == 0, f"something of an interrupted {kind} was delivered"
