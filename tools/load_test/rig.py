"""What is put under load: an Asterisk of one's own, a real engine process with scripted answers, and a look at both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tools.free_ports import free_rtp_ports
from tools.load_test.inventory import INVENTORY_VARIABLE
from tools.load_test.sipp import Sipp
from tools.pbx_instance import Pbx
from tools.stack import Ports, Stack

CONTEXTS = Path(__file__).with_name("contexts")
ASTERISK_PORTS_PER_CALL = 8
"""Four for the two channels with their RTCP, and as many for calls that have only just ended."""
KEPT_ALIVE = "connections to ARI"
"""Descriptors that come and go with the load: a pool. One that Asterisk has closed and we have not is none of them."""
_ESTABLISHED = "01"
_READ_WITHIN_S = 60.0
"""Some milliseconds on an idle machine."""
_USUAL = ("Session already DISCONNECTED",)
"""Asterisk's own word for an answer that crosses the caller's CANCEL: no fault of anybody's."""
_OF_A_CALL = ("call-", "connect-", "provider-", "pump-", "stray-", "refuse-", "message-", "scripted-")
"""How tasks that belong to one call are named."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What the engine's process holds at one moment."""

    rss_mb: float
    descriptors: Mapping[str, int]
    """Open ones by kind: socket, pipe, a file's path …"""
    threads: int
    tasks: Mapping[str, int]
    objects: int
    gc_longest_ms: list[float] = field(default_factory=list)


class LoadRig:
    """Made by `load_rig`."""

    def __init__(self, pbx: Pbx, stack: Stack, sipp: Sipp, inventory: Path) -> None:
        self.pbx = pbx
        self.stack = stack
        self.sipp = sipp
        self._inventory = inventory

    async def page(self, path: str) -> Any:
        async with aiohttp.ClientSession() as client, client.get(f"{self.stack.engine_url}{path}") as response:
            return await response.json()

    async def outcomes(self) -> dict[str, int]:
        """How calls have ended so far."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.stack.engine_url}/metrics") as response:
            text = await response.text()
        found = re.findall(r'^parley_calls_ended_total\{outcome="(\w+)"\} ([\d.e+]+)', text, re.MULTILINE)
        return {name: int(float(count)) for name, count in found}

    async def left_behind(self) -> dict[str, Any]:
        """What should be gone when no call is: empty where nothing is left."""
        health = await self.page("/health")
        holding = await self.holding()
        left: dict[str, Any] = {
            "calls": health["calls"],
            "ports": health["media"]["ports_in_use"],
            "channels": _count(await self._cli("core show channels count"), r"(\d+) active channel"),
            "asterisk's calls": _count(await self._cli("core show channels count"), r"(\d+) active call"),
            "bridges": len([row for row in (await self._cli("bridge show all")).splitlines()[1:] if row.strip()]),
            "tasks": {name: n for name, n in holding.tasks.items() if name.startswith(_OF_A_CALL)},
        }
        return {what: value for what, value in left.items() if value}

    async def settled(self, within_s: float = 60.0) -> dict[str, Any]:
        """Wait until nothing is left behind; what is, when the time is over."""
        deadline = time.monotonic() + within_s
        while (left := await self.left_behind()) and time.monotonic() < deadline:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.25)
        return left

    async def holding(self) -> Holding:
        """A look inside the engine's process. Raises `TimeoutError` where it does not answer the signal."""
        pid = self.stack.engine.pid
        assert pid is not None
        self._inventory.unlink(missing_ok=True)
        self.stack.engine.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(_READ_WITHIN_S):
            while not self._inventory.exists():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)
        inside = json.loads(self._inventory.read_text())
        return Holding(
            rss_mb=rss_mb(pid),
            descriptors=_descriptors(pid, self.pbx.http_port),
            threads=_threads(pid),
            tasks=inside["tasks"],
            objects=inside["objects"],
            gc_longest_ms=inside["gc_longest_ms"],
        )

    def engine_complaints(self) -> list[str]:
        """Lines of the engine's log that say error, or hold a trace, or are none of ours."""
        found = []
        for line in self.stack.engine.log.read_text(errors="replace").splitlines():
            try:
                level = json.loads(line)["level"]
            except (ValueError, KeyError, TypeError):
                found.append(line)
            else:
                if level in {"error", "critical"}:
                    found.append(line)
        return found

    def asterisk_complaints(self) -> list[str]:
        lines = self.pbx.log.read_text(errors="replace").splitlines()
        return [line for line in lines if "ERROR[" in line and not any(usual in line for usual in _USUAL)]

    async def _cli(self, command: str) -> str:
        return await asyncio.to_thread(self.pbx.cli, command)


@asynccontextmanager
async def load_rig(home: Path, *, at_once: int) -> AsyncIterator[LoadRig]:
    """Asterisk and engine up, with room for so many calls at once; both gone at the end.

    Raises `PbxUnavailable`, and `StackError` where the engine cannot start (its voice activity network is missing).
    """
    n_ports = ASTERISK_PORTS_PER_CALL * at_once + 100
    first_port = free_rtp_ports(n_ports)
    pbx = Pbx(home / "pbx", rtp_ports=(first_port, first_port + n_ports - 1))
    await asyncio.to_thread(pbx.start)
    try:
        inventory = home / "inventory.json"
        stack = Stack(
            home / "stack",
            {
                "ASTERISK_HOST": pbx.host,
                "ASTERISK_ARI_PORT": str(pbx.http_port),
                "ASTERISK_ARI_USERNAME": pbx.ari_user,
                "ASTERISK_ARI_PASSWORD": pbx.ari_password,
                "ASTERISK_ARI_APP": pbx.app,
            },
            ports=Ports(server=1, media_count=6 * at_once + 200),
            config={
                "providers": {"scripted": {"kind": "scripted"}},
                "calls": {"max_concurrent": 2 * at_once + 20, "answer_timeout_s": 30.0},
                "logging": {"format": "json", "level": "info"},
            },
            contexts=CONTEXTS,
            environment={INVENTORY_VARIABLE: str(inventory)},
            with_server=False,
            engine_module="tools.load_test.scripted_engine",
        )
        async with stack:
            yield LoadRig(pbx, stack, Sipp(pbx, home / "sipp", at_once=at_once), inventory)
    finally:
        with contextlib.suppress(RuntimeError):
            await asyncio.to_thread(pbx.stop)


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    kib = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert kib is not None
    return int(kib[1]) / 1024


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _descriptors(pid: int, ari_port: int) -> dict[str, int]:
    pooled = _established_to(pid, ari_port)
    kinds: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            target = str(entry.readlink())
            kind = KEPT_ALIVE if target in pooled else re.sub(r":?\[.*", "", target)
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def _established_to(pid: int, port: int) -> set[str]:
    """The sockets, as /proc calls them, of connections to that port that nobody has closed."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}") and row[3] == _ESTABLISHED}


def _count(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"Asterisk's console does not say how many there are: {text!r}")
    return int(found[1])
