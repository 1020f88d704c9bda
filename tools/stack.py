"""local_ai_server and ai_engine as processes of their own, for the demo, the tests and the benchmarks.

A `Stack` writes a configuration into a folder, starts the server, then the engine, waits until each says it is ready,
and ends them in the reverse order, each with its own grace. What they print goes to files in that folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tools.free_ports import free_media_ports, free_tcp_port

PROJECT = Path(__file__).resolve().parent.parent
POLL_S = 0.05
TELL_EVERY_S = 3.0
TAIL_LINES = 15
PLACED = ("ENGINE_HTTP_HOST", "ENGINE_HTTP_PORT", "ENGINE_MEDIA_PORTS")
"""Of the environment; a stack says these in its own configuration."""
COMPLAINTS = ("error: ", "ai-engine: ")
"""How local_ai_server and ai_engine begin the line that says why they could not start."""


class StackError(Exception):
    """A part did not start or died; the message holds the last lines it printed."""


class Process:
    """One child process in a session of its own, its output in a file. Bound to no event loop."""

    def __init__(self, name: str, argv: list[str], env: Mapping[str, str], log: Path, cwd: Path = PROJECT) -> None:
        self.name = name
        self.log = log
        self._argv = argv
        self._env = dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            # Its own session: Ctrl-C reaches only whoever orders the ending.
            self._process = subprocess.Popen(
                self._argv, env=self._env, cwd=self._cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    async def ready(self, url: str, timeout_s: float, tell: Callable[[str], None] | None = None) -> None:
        """Poll `url` until it answers 200; `tell` hears now and then why it does not yet.

        Raises `StackError` when the process ends first, when it says that waiting mends nothing, or when time runs out.
        """
        deadline = time.monotonic() + timeout_s
        tell_at = time.monotonic() + TELL_EVERY_S
        answer = "nothing listens yet"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as client:
            while time.monotonic() < deadline:
                if not self.running:
                    raise StackError(f"{self.name} did not start: {self.complaint()}")
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with client.get(url) as response:
                        if response.status == 200:
                            return
                        answer, retryable = _reason(await response.text())
                        if not retryable:
                            raise StackError(f"{self.name} cannot work: {answer}")
                if tell is not None and time.monotonic() >= tell_at:
                    tell_at = time.monotonic() + TELL_EVERY_S
                    tell(f"{self.name}: {answer}")
                await asyncio.sleep(POLL_S)
        raise StackError(f"{self.name} was not ready after {timeout_s:.0f} s ({answer}):\n{self.tail()}")

    def complaint(self) -> str:
        """What it said when it ended by itself: its last line where that is a complaint, else its last lines."""
        with contextlib.suppress(OSError):
            last = self.log.read_text(errors="replace").rstrip().rpartition("\n")[2]
            for prefix in COMPLAINTS:
                if last.startswith(prefix):
                    return last.removeprefix(prefix)
        return f"exit code {self.returncode}\n{self.tail()}"

    def tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
        return "  (it printed nothing)"

    def send_signal(self, number: signal.Signals) -> None:
        if self._process and self.running:
            self._process.send_signal(number)

    async def stop(self, grace_s: float) -> int | None:
        """SIGTERM, wait, SIGKILL. Returns the exit code."""
        self.send_signal(signal.SIGTERM)
        if not await self.ended(grace_s):
            self.send_signal(signal.SIGKILL)
            await self.ended(5.0)
        return self.returncode

    async def ended(self, timeout_s: float) -> bool:
        """Wait for the process to end by itself; False when it has not within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline:  # noqa: ASYNC110 - a process is waited for by polling
            await asyncio.sleep(POLL_S)
        return not self.running


@dataclass
class Ports:
    """Where the parts listen; found free unless given."""

    server: int = 0
    engine: int = 0
    media_first: int = 0
    media_count: int = 40

    def fill(self) -> None:
        self.server = self.server or free_tcp_port()
        self.engine = self.engine or free_tcp_port()
        self.media_first = self.media_first or free_media_ports(self.media_count)


@dataclass
class Stack:
    """The engine and its local server against an Asterisk that is already there."""

    home: Path
    asterisk: Mapping[str, str]
    """ASTERISK_* variables: where Asterisk is and how to get in."""
    ports: Ports = field(default_factory=Ports)
    config: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the project's config/ai-agent.yaml."""
    contexts: Path = PROJECT / "config" / "contexts"
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables for both processes."""
    stop_deadline_s: float = 10.0
    with_server: bool = True
    engine_module: str = "ai_engine"
    """Run in its place; takes the same arguments."""

    def __post_init__(self) -> None:
        self.ports.fill()
        self.home.mkdir(parents=True, exist_ok=True)
        self.server = Process(
            "local_ai_server", [sys.executable, "-m", "local_ai_server"], self._environment(), self.home / "server.log"
        )
        self.engine = Process(
            "ai_engine",
            [
                *(sys.executable, "-m", self.engine_module),
                *("--config", str(self.home / "ai-agent.yaml"), "--env-file", os.devnull),
            ],
            self._environment(),
            self.home / "engine.log",
        )

    @property
    def engine_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.engine}"

    @property
    def server_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.server}"

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in {**os.environ, **self.asterisk}.items() if name not in PLACED}
        return {
            **inherited,
            "PYTHONUNBUFFERED": "1",
            "LOCAL_AI_MODE": "full",
            "LOCAL_WS_HOST": "127.0.0.1",
            "LOCAL_WS_PORT": str(self.ports.server),
            "LOCAL_WS_URL": f"ws://127.0.0.1:{self.ports.server}",
            **self.environment,
        }

    def write_config(self) -> None:
        config: dict[str, Any] = yaml.safe_load((PROJECT / "config" / "ai-agent.yaml").read_text()) or {}
        ports = f"{self.ports.media_first}-{self.ports.media_first + self.ports.media_count - 1}"
        for layer in (
            self.config,
            {
                "media": {"ports": ports},
                "http": {"port": self.ports.engine},
                "calls": {"stop_deadline_s": self.stop_deadline_s},
                "contexts_folder": str(self.contexts),
                "models_folder": os.environ.get("PARLEY_MODELS_DIR", str(PROJECT / "models")),
                "state_folder": str(PROJECT / "var"),
                "outbox_folder": str(self.home / "outbox"),
            },
        ):
            _lay(config, layer)
        (self.home / "ai-agent.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    async def start(
        self,
        *,
        server_timeout_s: float = 120.0,
        engine_timeout_s: float = 180.0,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Both up and ready, or neither."""
        self.write_config()
        try:
            if self.with_server:
                self.server.start()
                await self.server.ready(f"{self.server_url}/readyz", server_timeout_s, tell)
            self.engine.start()
            await self.engine.ready(f"{self.engine_url}/ready", engine_timeout_s, tell)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """The engine first, so that its farewells are heard, then the server."""
        await self.engine.stop(self.stop_deadline_s + 10.0)
        await self.server.stop(5.0)

    async def __aenter__(self) -> Stack:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _reason(page: str) -> tuple[str, bool]:
    """Why a part is not ready, out of its page, and whether waiting may mend it."""
    with contextlib.suppress(ValueError):
        fields = json.loads(page)
        if isinstance(fields, dict):
            reason = fields.get("reason") or fields.get("not_ready") or page
            if isinstance(reason, dict):  # of each model
                reason = ", ".join(f"{part}: {why}" for part, why in reason.items())
            return str(reason)[:500], fields.get("retryable") is not False
    return page[:500], True


def _lay(base: dict[str, Any], top: Mapping[str, Any]) -> None:
    for key, value in top.items():
        under = base.get(key)
        if isinstance(under, dict) and isinstance(value, Mapping):
            _lay(under, value)
        else:
            base[key] = value
