"""What the fault tests break, and how they see that nothing is left: a line to Asterisk that can be cut, processes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent_fixture import PATIENCE_S, Agent, eventually

from tools.pbx_instance import Pbx
from tools.stack import Process, Stack


class CuttableLine:
    """A TCP proxy to one port of loopback, on a thread of its own, that can hold its bytes back or break.

    While frozen, connections stay and new ones are taken, and nothing is passed on: neither side knows. `cut` drops all
    connections; those made afterwards work.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="cuttable-line")

    def __enter__(self) -> CuttableLine:
        self._thread.start()
        self._server = self._on_loop(lambda: asyncio.start_server(self._serve, sock=self._listener))
        return self

    def __exit__(self, *_: object) -> None:
        self._on_loop(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def freeze(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.clear)

    def thaw(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.set)

    def cut(self) -> None:
        self._on_loop(self._drop)

    def _on_loop(self, make: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(10)

    async def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        await self._drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            await self._flows.wait()
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(there)
            try:
                await asyncio.gather(self._pass_on(reader, there), self._pass_on(there_reader, writer))
            finally:
                self._writers.discard(there)
                there.transport.abort()
        except OSError:
            pass  # the other side is away: this one hears of it by the end of its connection
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._flows.wait()
            sink.write(data)
            await sink.drain()
        sink.close()


class BreakableAgent(Agent):
    """An agent of one's own whose parts can be broken one by one and started again."""

    def __init__(self, stack: Stack, pbx: Pbx, ari: CuttableLine) -> None:
        super().__init__(stack, pbx)
        self.ari = ari

    async def start_server(self) -> None:
        self.stack.server.start()
        await self.stack.server.ready(f"{self.stack.server_url}/readyz", 60.0)

    async def start_engine(self) -> None:
        self.stack.engine.start()
        await self.stack.engine.ready(f"{self.stack.engine_url}/ready", 60.0)

    async def ready(self) -> None:
        await self.stack.engine.ready(f"{self.stack.engine_url}/ready", PATIENCE_S)

    async def kill_server(self) -> None:
        """As a crash would: the server at once, and its workers see to themselves."""
        workers = children(self.stack.server)
        self.stack.server.send_signal(signal.SIGKILL)
        assert await self.stack.server.ended(PATIENCE_S)
        await gone(workers)

    async def whole(self) -> None:
        """Every part runs and no call is left: what each test begins with, whatever became of the one before."""
        self.ari.thaw()
        await asyncio.to_thread(self.pbx.start)
        if not self.stack.server.running:
            await self.start_server()
        if not self.stack.engine.running:
            await self.start_engine()
        await self.ready()
        await self.nothing_left()


def children(process: Process) -> set[int]:
    """Pids of the processes that `process` has started."""
    return {pid for pid, parent, _ in _processes() if parent == process.pid}


def worker_of(process: Process, kind: str) -> int:
    """The pid of the process that holds the server's stt, llm or tts model."""
    found = [pid for pid, parent, line in _processes() if parent == process.pid and f".backends.{kind}." in line]
    assert len(found) == 1, (kind, found)
    return found[0]


async def gone(pids: set[int], within_s: float = PATIENCE_S) -> None:
    async def alive() -> set[int]:
        return pids & {pid for pid, _, _ in _processes()}

    await eventually(alive, lambda left: not left, within_s)


def resident_kib(process: Process) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return int(found[1])


def ports_free(agent: Agent) -> bool:
    """Whether the engine's ports, TCP and UDP, can be bound again."""
    ports = agent.stack.ports
    wanted = [(socket.SOCK_STREAM, ports.engine)]
    wanted += [(socket.SOCK_DGRAM, ports.media_first + n) for n in range(ports.media_count)]
    with contextlib.ExitStack() as held:
        for kind, port in wanted:
            probe = held.enter_context(socket.socket(socket.AF_INET, kind))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind is socket.SOCK_STREAM))
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _processes() -> Iterator[tuple[int, int, str]]:
    """Pid, parent and command line of every process that is not a zombie."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(folder.name), int(parent), folder.joinpath("cmdline").read_text().replace("\0", " ")
