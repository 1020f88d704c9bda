"""The child's side: `python -m model_worker.worker module:Class --fd N --parent PID`, started by `WorkerLink` only.

    request   {"op", "id", "method", "args", "priority"} + body, op one of load, call, cancel, stats, lift, unload
    replies   {"id", "event": "chunk", "header"} + body                                  any number
              {"id", "event": "done", "result", "cancelled"} + body                      exactly one of these two
              {"id", "event": "error", "kind", "message"}                                ends each request but "cancel"

The main thread reads, so that a cancel or the parent's end is seen while native code runs on the call threads.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import importlib
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from model_worker.call_queue import Call, CallQueue
from model_worker.errors import FrameError
from model_worker.frames import FrameDecoder, Header, encode_frame
from model_worker.load_priority import LoadPriority, set_autogroup_nice
from model_worker.model import Answer, Model
from model_worker.spec import Priority

_READ_BYTES: Final = 256 * 1024
_GRACE_S: Final = 0.25
"""What running calls get to clean up after the parent has gone."""
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_OOM_SCORE_ADJ: Final = 500
"""When memory runs out the kernel (proc(5), oom_score_adj) shall take a worker, which comes back, not the server."""
_RESERVED: Final = frozenset({"load", "unload"})


class Worker:
    """Reads requests, runs them on `concurrency` threads in the order of their priority, writes replies."""

    def __init__(
        self,
        model_path: str,
        connection: socket.socket,
        *,
        concurrency: int,
        load_priority: LoadPriority,
        idle_load_s: float = 0.0,
    ) -> None:
        self._model_path = model_path
        self._connection = connection
        self._writing = threading.Lock()
        self._queue = CallQueue()
        self._model: Model | None = None
        self._load_priority = load_priority
        self._idle_load_s = idle_load_s
        self._threads = [
            threading.Thread(target=self._run_calls, name=f"call-{i}", daemon=True) for i in range(concurrency)
        ]

    def serve(self) -> None:
        """Returns when the parent has closed its end, or sent what is not a request."""
        for thread in self._threads:
            thread.start()
        decoder = FrameDecoder()
        try:
            while data := self._connection.recv(_READ_BYTES):
                for header, body in decoder.feed(data):
                    self._take(header, body)
        except (FrameError, ConnectionError) as error:
            print(f"worker: {error}", file=sys.stderr)  # noqa: T201 - stderr is this process's log
        self._queue.close(_GRACE_S)

    def _take(self, header: Header, body: bytes) -> None:
        call_id, op = header.get("id"), header.get("op")
        if not isinstance(call_id, int) or not isinstance(op, str):
            raise FrameError(f"a request without an id or an op: {op!r}")
        if op in ("load", "call", "unload"):
            priority = header.get("priority", Priority.FINAL)
            self._queue.put(Call(call_id, op, header.get("method", op), header.get("args", {}), body, priority))
        elif op == "cancel":
            waiting = self._queue.cancel(call_id)
            if waiting is not None:
                self._send(_cancelled(call_id))
        elif op == "stats":
            waiting_calls, running_calls = self._queue.counts()
            result = {"pid": os.getpid(), "waiting": waiting_calls, "running": running_calls}
            self._send(_done(call_id, result))
        elif op == "lift":
            self._send(_done(call_id, {"lowered": self._load_priority.lift()}))
        else:
            raise FrameError(f"a request with an unknown op: {op!r}")

    def _run_calls(self) -> None:
        while (call := self._queue.take()) is not None:
            try:
                frame = self._run(call)
            except Exception as error:  # noqa: BLE001 - the root of a call: whatever the model raises is its answer
                traceback.print_exc()
                kind, message = type(error).__name__, str(error)
                frame = encode_frame({"id": call.id, "event": "error", "kind": kind, "message": message})
            # The slot is free before the caller hears of it: its next call shall not find it taken.
            self._queue.finished(call)
            self._send(frame)

    def _run(self, call: Call) -> bytes:
        """The frame that ends the call."""
        outcome: object = self._invoke(call)
        if isinstance(outcome, Iterator):
            outcome = self._stream(call, outcome)
        if call.cancelled.is_set():
            return _cancelled(call.id)
        result, body = ({}, b"") if outcome is None else _checked(outcome, call.method)
        return _done(call.id, result, body)

    def _invoke(self, call: Call) -> object:
        if call.op == "load":
            self._lower_priority()
            model: Model = _model_class(self._model_path)()
            model.load(**call.args)
            self._model = model
            return None
        if self._model is None:
            raise RuntimeError("the model is not loaded")
        if call.op == "unload":
            getattr(self._model, "unload", lambda: None)()
            return None
        method = getattr(self._model, call.method, None)
        if call.method in _RESERVED or call.method.startswith("_") or not callable(method):
            raise AttributeError(f"{self._model_path} has no method {call.method!r} to call")
        outcome: object = method(call.body, call.cancelled, **call.args)
        return outcome

    def _lower_priority(self) -> None:
        if self._idle_load_s > 0:
            # Where all is busy, the load is finished at last. This thread comes first: it is not to be idle.
            timer = threading.Timer(self._idle_load_s, self._load_priority.lift)
            timer.daemon = True
            timer.start()
            self._load_priority.lower()

    def _stream(self, call: Call, chunks: Iterator[Answer]) -> object:
        """Sends the chunks until they end, or nobody wants them. The generator's own result, if it has one."""
        try:
            while not call.cancelled.is_set():
                try:
                    chunk = next(chunks)
                except StopIteration as end:
                    return end.value
                header, body = _checked(chunk, call.method)
                if not call.cancelled.is_set():
                    self._send(encode_frame({"id": call.id, "event": "chunk", "header": header}, body))
            return None
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _send(self, frame: bytes) -> None:
        try:
            with self._writing:
                self._connection.sendall(frame)
        except OSError:
            end_process()  # nobody is left to read


def _done(call_id: int, result: Mapping[str, Any], body: bytes | bytearray | memoryview = b"") -> bytes:
    return encode_frame({"id": call_id, "event": "done", "result": result, "cancelled": False}, body)


def _cancelled(call_id: int) -> bytes:
    return encode_frame({"id": call_id, "event": "done", "result": None, "cancelled": True})


def _checked(answer: object, method: str) -> tuple[Mapping[str, Any], bytes | bytearray | memoryview]:
    match answer:
        case (Mapping() as header, bytes() | bytearray() | memoryview() as body):
            return header, body
    raise TypeError(f"{method} gave {type(answer).__name__}, not (header: dict, body: bytes)")


def _model_class(path: str) -> type[Model]:
    module, _, name = path.partition(":")
    found: type[Model] = getattr(importlib.import_module(module), name)
    return found


def end_process() -> NoReturn:
    """Ends this process now, native code or not, with all that the model may have started in its group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _tie_to_parent(parent_pid: int) -> None:
    """Second net under the socket: the kernel ends us with the parent's thread that spawned us (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the line above
        end_process()


def main() -> None:
    """Entry point of the child process."""
    parser = argparse.ArgumentParser(
        prog="model_worker.worker", description="A model's process; started by its parent."
    )
    parser.add_argument("model", help="module:Class")
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket")
    parser.add_argument("--parent", type=int, required=True, help="pid of the process that started this one")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--idle-load-s", type=float, default=0.0)
    arguments = parser.parse_args()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to obey, who then ends us in order
    _tie_to_parent(arguments.parent)
    faulthandler.enable()
    # Writing a dump of gigabytes of weights would take longer than the restart.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(OSError):  # a parent that is protected by its own score may have one that we cannot raise to
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE_ADJ), encoding="ascii")
    if arguments.nice:
        set_autogroup_nice(os.nice(arguments.nice))
    os.set_inheritable(arguments.fd, False)
    Worker(
        arguments.model,
        socket.socket(fileno=arguments.fd),
        concurrency=arguments.concurrency,
        load_priority=LoadPriority(nice=os.nice(0)),
        idle_load_s=arguments.idle_load_s,
    ).serve()
    end_process()


if __name__ == "__main__":
    main()
