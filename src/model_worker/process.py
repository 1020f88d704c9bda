"""One life of a worker process, from spawn to the verified exit, and the calls that are in it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any, Final

import structlog

from model_worker.calls import CallStream
from model_worker.errors import FrameError, WorkerDied
from model_worker.frames import FrameDecoder, encode_frame
from model_worker.launch import command, environment
from model_worker.memory import group_pids, group_rss_bytes, peak_rss_bytes, rss_bytes
from model_worker.spec import Priority, WorkerSpec
from model_worker.stderr_tail import StderrTail

log = structlog.get_logger(__name__)

_TERM_GRACE_S: Final = 1.0
_KILL_GRACE_S: Final = 5.0
"""A killed process goes as soon as the kernel has unmapped its memory: a moment for gigabytes."""
_STDERR_GRACE_S: Final = 0.5
_POLL_S: Final = 0.02
_MEMORY_LOOK_S: Final = 0.5
_MIB: Final = 1024 * 1024


class WorkerProcess(asyncio.Protocol):
    """A running child. `ended` resolves, with the reason, when it can serve no more; then `end` must be awaited."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.stderr = StderrTail()
        self._decoder = FrameDecoder()
        self._calls: dict[int, CallStream] = {}
        self._ids = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._watch: asyncio.Task[None] | None = None
        self._process: Process
        self._connection: asyncio.Transport
        self._stderr_pipe: asyncio.ReadTransport

    @classmethod
    async def spawn(cls, spec: WorkerSpec, *, idle_load_s: float = 0.0) -> WorkerProcess:
        """Starts the child in a session of its own. Raises `OSError` when the machine cannot start a process."""
        worker = cls(spec)
        ours, theirs = socket.socketpair()
        stderr_read, stderr_write = os.pipe()
        async with AsyncExitStack() as undo:  # our ends are connected first: a child never lives without them
            undo.push_async_callback(asyncio.sleep, 0)  # a transport closes in the loop's next turn
            undo.callback(ours.close)
            pipe = undo.enter_context(os.fdopen(stderr_read, "rb", 0))
            with theirs, os.fdopen(stderr_write, "wb", 0) as stderr:
                ours.setblocking(False)
                worker._connection, _ = await worker._loop.create_connection(lambda: worker, sock=ours)
                undo.callback(worker._connection.close)
                worker._stderr_pipe, _ = await worker._loop.connect_read_pipe(lambda: worker.stderr, pipe)
                undo.callback(worker._stderr_pipe.close)
                await worker._exec(theirs.fileno(), stderr.fileno(), idle_load_s)
            undo.pop_all()
        if spec.memory_limit_bytes is not None:
            worker._watch = asyncio.create_task(worker._watch_memory())
        return worker

    async def _exec(self, connection_fd: int, stderr_fd: int, idle_load_s: float) -> None:
        spawning = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *command(self._spec, connection_fd=connection_fd, idle_load_s=idle_load_s),
                stdin=DEVNULL,
                stdout=stderr_fd,  # what native libraries print is a log line, wherever they print it
                stderr=stderr_fd,
                pass_fds=(connection_fd,),
                start_new_session=True,
                env=environment(self._spec),
            )
        )
        try:
            self._process = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            # A spawn cut in half leaves a process that nobody reaps (uvloop): it takes milliseconds, let it finish.
            self._process = await spawning
            await self.end()
            raise

    @property
    def pid(self) -> int:
        """The child's process id, which is its process group's too."""
        return self._process.pid

    @property
    def calls_in_flight(self) -> int:
        """Calls that the child has not ended, those that their caller has left included."""
        return len(self._calls)

    def rss_bytes(self) -> int:
        """Resident memory of the child itself; 0 when it is gone."""
        return rss_bytes(self.pid)

    def peak_rss_bytes(self) -> int:
        """The highest that it has been."""
        return peak_rss_bytes(self.pid)

    async def look_at_memory(self) -> None:
        """Fails the process when it, with what it started, holds more than its limit.

        RSS, not RLIMIT_AS: CUDA and mapped weights claim address space many times what they use.
        """
        limit_bytes = self._spec.memory_limit_bytes
        if limit_bytes is not None:
            held = await asyncio.to_thread(group_rss_bytes, self.pid)
            if held > limit_bytes:
                self._fault(f"held {held / _MIB:.0f} MiB, above its limit of {limit_bytes / _MIB:.0f} MiB")

    async def _watch_memory(self) -> None:
        while not self.ended.done():
            await self.look_at_memory()
            await asyncio.sleep(_MEMORY_LOOK_S)

    def death(self) -> WorkerDied:
        """Why this process can serve no more, once `ended`, with its last lines."""
        status = _status_in_words(self._process.returncode)
        return WorkerDied(f"worker {self._spec.name} {self.ended.result()} ({status})", self.stderr.lines())

    # Calls

    def stream(
        self, op: str, *, method: str = "", args: Mapping[str, Any] | None = None, deadline_s: float
    ) -> CallStream:
        """A request to this very process: load, canary, unload."""

        async def here() -> WorkerProcess:
            return self

        request = {"op": op, "method": method or op, "args": args or {}, "priority": int(Priority.FINAL)}
        return CallStream(here, request, b"", deadline_s=deadline_s)

    def begin(self, call: CallStream) -> None:
        """Sends the call. Raises `FrameError` when its arguments cannot be sent, `WorkerDied` when nobody reads."""
        if self.ended.done():
            raise self.death()
        self._ids += 1
        call.id = self._ids
        frame = encode_frame({"id": call.id, **call.request}, call.body)
        self._calls[call.id] = call
        self._idle.clear()
        call.deadline = self._loop.call_later(call.deadline_s, self._late, call)
        self._connection.write(frame)

    def cancel(self, call: CallStream) -> None:
        """Nobody wants the call any more; its last event is still awaited."""
        if call.cancelled_at is None and call.id in self._calls and not self.ended.done():
            call.cancelled_at = self._loop.time()
            self._connection.write(encode_frame({"op": "cancel", "id": call.id}))
            if self._spec.kill_after_cancel_s is not None:
                call.patience = self._loop.call_later(self._spec.kill_after_cancel_s, self.give_up_if_stuck)

    def give_up_if_stuck(self, *, newcomer: bool = False) -> None:
        """Fails the process when a call waits (or a `newcomer` would) and cancelled calls hold all slots for too long.

        The limit is `kill_after_cancel_s`; what nobody waits for may run on.
        """
        limit_s = self._spec.kill_after_cancel_s
        if limit_s is None:
            return
        latest = self._loop.time() - limit_s
        held = sum(call.cancelled_at is not None and call.cancelled_at <= latest for call in self._calls.values())
        wanted = newcomer or any(call.cancelled_at is None for call in self._calls.values())
        if wanted and held >= self._spec.concurrency:
            self._fault(f"did not obey a cancel within {limit_s:g} s, and others waited")

    def _late(self, call: CallStream) -> None:
        if call.cancelled_at is not None:
            self._fault("hung: a cancelled call did not end")
            return
        call.time_out()
        self.cancel(call)
        call.deadline = self._loop.call_later(self._spec.canary_deadline_s, self._late, call)

    async def drained(self) -> None:
        """Returns once no call is in flight."""
        await self._idle.wait()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self.ended.done():
            return
        try:
            for header, body in self._decoder.feed(data):
                call = self._calls[header["id"]]
                if call.take(header, body):
                    self._forget(call)
        except FrameError as error:
            self._fault(f"sent what is not a frame: {error}")
        except (KeyError, TypeError) as error:
            self._fault(f"sent a frame that answers nothing: {error!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self._fault("closed its socket")

    def _forget(self, call: CallStream) -> None:
        del self._calls[call.id]
        for timer in (call.deadline, call.patience):
            if timer is not None:
                timer.cancel()
        if not self._calls:
            self._idle.set()

    def _fault(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    # The end

    async def end(self, *, gently: bool = False) -> int | None:
        """Ends the child and its group, and waits for their exit. The exit status; None if even SIGKILL left one.

        `gently` asks with SIGTERM first. Whatever is in flight gets `WorkerDied` with the last lines of stderr.
        """
        self._fault("was ended")
        if self._watch is not None:
            self._watch.cancel()
        try:
            if gently and self._process.returncode is None:
                self._signal(signal.SIGTERM)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TERM_GRACE_S):  # `wait_for` of Python 3.11 can lose a cancel
                        await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)  # to the group even if the child has gone: it may have left engines behind
            with self._closing():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_KILL_GRACE_S):
                        await self._process.wait()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STDERR_GRACE_S):
                        await self.stderr.closed.wait()
            await asyncio.sleep(0)  # a transport closes in the loop's next turn
        return self._process.returncode if await self._group_has_gone() else None

    async def _group_has_gone(self) -> bool:
        """The engines that the child started are not its parent's to reap: looked for until they are gone."""
        latest = self._loop.time() + _KILL_GRACE_S
        while self._group_exists() and (pids := await asyncio.to_thread(group_pids, self.pid)):
            if self._loop.time() > latest:
                log.error("engines_would_not_die", worker=self._spec.name, pids=pids)
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _group_exists(self) -> bool:
        """A quick look that counts what has ended and was not reaped."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._connection.close()
            self._stderr_pipe.close()
            died = self.death()
            for call in list(self._calls.values()):
                self._forget(call)
                call.fail(died)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def _status_in_words(status: int | None) -> str:
    if status is None:
        return "still there"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
