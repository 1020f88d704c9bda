"""Several engine processes behind one Asterisk, with scripted answers in place of models."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from tools.load_test.rig import CONTEXTS
from tools.pbx_instance import Pbx
from tools.stack import Ports, Stack

WITHIN_S = 60.0
"""For what takes a moment on an idle machine."""
ONE_OF_SEVERAL = 770
"""The extension whose calls the dialplan spreads over the first three."""
_POLL_S = 0.1


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
        media_ports: int = 60,
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
                "ASTERISK_HOST": pbx.host,
                "ASTERISK_ARI_PORT": str(ari_port or pbx.http_port),
                "ASTERISK_ARI_USERNAME": pbx.ari_user,
                "ASTERISK_ARI_PASSWORD": pbx.ari_password,
                "ASTERISK_ARI_APP": self.app,
            },
            ports=Ports(server=1, media_count=media_ports),
            config=config,
            contexts=CONTEXTS,
            with_server=False,
            stop_deadline_s=1.0,
            engine_module="tools.load_test.scripted_engine",
        )

    @property
    def running(self) -> bool:
        return self.stack.engine.running

    async def start(self) -> None:
        """Until it says that it is ready. Raises `StackError`."""
        self.stack.write_config()
        self.stack.engine.start()
        await self.stack.engine.ready(f"{self.stack.engine_url}/ready", WITHIN_S)

    async def stop(self) -> None:
        await self.stack.stop()

    async def kill(self) -> float:
        """As a crash would; the time of day."""
        killed_at = time.time()
        self.stack.engine.send_signal(signal.SIGKILL)
        if not await self.stack.engine.ended(WITHIN_S):
            raise TimeoutError(f"{self.app} was killed and has not ended")
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
        text = self.stack.engine.log.read_text(errors="replace")
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may be on its way into the file
        return [entry for line in lines if line.startswith("{") and (entry := json.loads(line))["event"] == event]

    async def _page(self, path: str) -> str:
        async with aiohttp.ClientSession() as client, client.get(f"{self.stack.engine_url}{path}") as response:
            return await response.text()


async def all_started(*processes: EngineProcess) -> None:
    """Start those that do not run; wait until each takes calls and hears all others. Raises `TimeoutError`."""
    await asyncio.gather(*(process.start() for process in processes if not process.running))
    apps = {process.app for process in processes}
    async with asyncio.timeout(WITHIN_S):
        for process in processes:
            while not await _hears(process, apps - {process.app}):  # noqa: ASYNC110 - another process
                await asyncio.sleep(_POLL_S)


async def _hears(process: EngineProcess, others: set[str]) -> bool:
    peers = (await process.health())["asterisk"]["peers"]
    return all(peers.get(app) for app in others)


async def all_stopped(*processes: EngineProcess) -> None:
    await asyncio.gather(*(process.stop() for process in processes))
