"""What tests of several engines behind one Asterisk wait for."""

from __future__ import annotations

import asyncio

import pytest
from agent_fixture import eventually

from tools.load_test.engines import WITHIN_S, EngineProcess
from tools.pbx_instance import Pbx
from tools.stack import PROJECT


def require_voice_activity() -> None:
    if not (PROJECT / "models" / "vad" / "silero_vad.onnx").is_file():
        pytest.skip("needs the voice activity network")


async def has_calls(engine: EngineProcess, count: int) -> None:
    await eventually(engine.health, lambda health: health["calls"] == count, WITHIN_S)


async def nothing_left(pbx: Pbx) -> None:
    """Asterisk holds no channel and no bridge."""

    async def left() -> list[str]:
        channels = (await asyncio.to_thread(pbx.cli, "core show channels concise")).splitlines()
        bridges = (await asyncio.to_thread(pbx.cli, "bridge show all")).splitlines()[1:]
        return [row for row in (*channels, *bridges) if row.strip()]

    await eventually(left, lambda rows: not rows, WITHIN_S)
