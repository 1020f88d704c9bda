"""Several engine processes behind one Asterisk, with scripted answers in place of models."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from agent_fixture import asterisk_variables, eventually

from tools.load_test.rig import CONTEXTS
from tools.pbx_instance import Pbx
from tools.stack import PROJECT, Ports, Stack

WITHIN_S = 60.0


def require_voice_activity() -> None:
    if not (PROJECT / "models" / "vad" / "silero_vad.onnx").is_file():
        pytest.skip("needs the voice activity network")


class EngineProcess:
    """One of them. `number` 1 has the application `ai-agent-1`, which the extension 791 calls."""

    def __init__(
        self,
        home: Path,
        pbx: Pbx,
        number: int,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        ari_port: int | None = None,
    ) -> None:
        """`settings` are further ones by section; `ari_port` leads to Asterisk where its own does not."""
        self.app = f"{pbx.app}-{number}"
        self.extension = 790 + number
        config: dict[str, Any] = {
            "asterisk": {"peers": [f"{pbx.app}-*"]},
            "providers": {"scripted": {"kind": "scripted"}},
            "logging": {"format": "json"},
        }
        for section, keys in (settings or {}).items():
            config[section] = {**config.get(section, {}), **keys}
        self.stack = Stack(
            home / self.app,
            {
                **asterisk_variables(pbx),
                "ASTERISK_ARI_APP": self.app,
                "ASTERISK_ARI_PORT": str(ari_port or pbx.http_port),
            },
            ports=Ports(server=1, media_count=60),
            config=config,
            contexts=CONTEXTS,
            with_server=False,
            stop_deadline_s=1.0,
            engine_module="tools.load_test.scripted_engine",
        )

    async def start(self) -> None:
        self.stack.write_config()
        self.stack.engine.start()
        await self.stack.engine.ready(f"{self.stack.engine_url}/ready", WITHIN_S)

    async def stop(self) -> None:
        await self.stack.stop()

    async def kill(self) -> float:
        """As a crash would; the time of day."""
        killed_at = time.time()
        self.stack.engine.send_signal(signal.SIGKILL)
        assert await self.stack.engine.ended(WITHIN_S)
        return killed_at

    async def health(self) -> Any:
        return json.loads(await self._page("/health"))

    async def metric(self, line: str) -> float:
        """The value of the metric that is written as `line`; 0 where it was never counted."""
        for found in (await self._page("/metrics")).splitlines():
            if found.startswith(line + " "):
                return float(found.split()[-1])
        return 0.0

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of that name, oldest first."""
        lines = self.stack.engine.log.read_text(errors="replace").splitlines()
        return [entry for line in lines if line.startswith("{") and (entry := json.loads(line))["event"] == event]

    async def calls(self, count: int) -> None:
        """Wait until it has so many."""
        await eventually(self.health, lambda health: health["calls"] == count, WITHIN_S)

    async def _page(self, path: str) -> str:
        async with aiohttp.ClientSession() as client, client.get(f"{self.stack.engine_url}{path}") as response:
            return await response.text()


async def all_started(*processes: EngineProcess) -> None:
    """Start those that do not run, until each takes calls and hears all others."""
    await asyncio.gather(*(process.start() for process in processes if not process.stack.engine.running))
    apps = {process.app for process in processes}

    for process in processes:
        others = apps - {process.app}
        await eventually(process.health, partial(_hears, others), WITHIN_S)


def _hears(others: set[str], health: Any) -> bool:
    return all(health["asterisk"]["peers"].get(app) for app in others)


async def all_stopped(*processes: EngineProcess) -> None:
    await asyncio.gather(*(process.stop() for process in processes))


async def nothing_left(pbx: Pbx) -> None:
    """Asterisk holds no channel and no bridge."""

    async def left() -> list[str]:
        channels = (await asyncio.to_thread(pbx.cli, "core show channels concise")).splitlines()
        bridges = (await asyncio.to_thread(pbx.cli, "bridge show all")).splitlines()[1:]
        return [row for row in (*channels, *bridges) if row.strip()]

    await eventually(left, lambda rows: not rows, WITHIN_S)
