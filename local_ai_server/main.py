"""`python -m local_ai_server`: settings → workers → one port. Also `python main.py` in this folder."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not __package__:
    # Run as a file, this folder is first on the path and its modules would hide others of their names; the installed
    # package is the same code under its own name.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "local_ai_server", *sys.argv[1:]])  # noqa: S606

import argparse
import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from local_ai_server.app import build_app
from local_ai_server.building import StartError
from local_ai_server.connection import keep_alive
from local_ai_server.cuda_matrix import check_at_start
from local_ai_server.gpu import detect_gpu
from local_ai_server.gpu_monitor import GpuMonitor
from local_ai_server.half_open import bounded_http
from local_ai_server.logs import configure_logs
from local_ai_server.service import Service
from local_ai_server.settings import Settings, SettingsError, read_settings
from local_ai_server.switchboard import Switchboard
from model_worker.errors import WorkerUnavailable

log = structlog.get_logger(__name__)

_GRACE_S = 3


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: it would end the process by the signal it caught."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT. 0: ended in order; 1: could not start; 2: wrong settings."""
    parser = argparse.ArgumentParser(
        prog="python -m local_ai_server",
        description="Speech to text, a language model and text to speech behind one WebSocket. "
        "Settings are LOCAL_* variables from the environment and from .env in the working directory.",
    )
    parser.add_argument("--host", help="address to listen on (LOCAL_WS_HOST)")
    parser.add_argument("--port", help="port to listen on (LOCAL_WS_PORT); 0 takes a free one")
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="default: .env in the working directory")
    options = parser.parse_args(arguments)
    given = {"LOCAL_WS_HOST": options.host, "LOCAL_WS_PORT": options.port}
    process = os.environ | {name: value for name, value in given.items() if value is not None}
    try:
        settings = read_settings(options.env_file, process)
    except SettingsError as error:
        return _fail(error, 2)
    configure_logs(settings.log_level, settings.log_format)
    gpu = GpuMonitor(detect_gpu(settings.gpu_available))
    settings = settings.model_copy(update={"gpu_available": gpu.state.available})
    try:
        switchboard = Switchboard.from_settings(settings, gpu)
        listener = _listen(settings)
    except StartError as error:
        return _fail(error, 1)
    with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, switchboard, listener))


def uvicorn_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the port is served: no compression, bounded messages, no pings of its own (old clients block for long)."""
    return uvicorn.Config(
        app,
        loop="none",
        http=bounded_http(),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        timeout_graceful_shutdown=_GRACE_S,
    )


async def _serve(settings: Settings, switchboard: Switchboard, listener: socket.socket) -> int:
    began = time.monotonic()
    app = build_app(settings, switchboard)
    server = HttpServer(uvicorn_config(app, settings))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    loading = asyncio.create_task(switchboard.start(on_loaded=_tell), name="load models")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    watching = asyncio.create_task(_watch_gpu(switchboard), name="watch the GPU")
    host, port = listener.getsockname()[:2]
    try:
        await asyncio.wait((loading, serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and not stop.is_set():
            await loading  # raises where a model could not be loaded
            for kind, reason in switchboard.startup_errors.items():
                _say(f"{kind} is missing: {reason.splitlines()[0]}")
            _say(f"ready on ws://{host}:{port} after {time.monotonic() - began:.1f} s")
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    except WorkerUnavailable as error:
        return _fail(error, 1)
    finally:
        server.should_exit = True
        loading.cancel()
        stopping.cancel()
        watching.cancel()
        await asyncio.gather(loading, stopping, serving, watching, return_exceptions=True)
        await app.state.chat_sessions.close()
        await switchboard.stop()
        await app.state.model_changes.close()
        app.state.judges.close()
    _say("stopped")
    return 0


async def _watch_gpu(switchboard: Switchboard) -> None:
    """Says what keeps the engines from the GPU, if anything does, then follows its memory."""
    state = switchboard.gpu.state
    engines = [service.backend.name for service in switchboard.services]
    for complaint in await asyncio.to_thread(check_at_start, state, engines):
        log.warning("gpu_not_usable", reason=complaint)
    await switchboard.gpu.run(lambda: switchboard.worker_pids)


def _tell(service: Service) -> None:
    _say(f"{service.label}: {service.backend.name} with {service.model_name}")


def _listen(settings: Settings) -> socket.socket:
    """The bound socket. Raises `StartError` when the address cannot be had."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
    except OSError as error:
        raise StartError(f"LOCAL_WS_HOST={settings.host} is no address of this machine: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keep_alive(listener)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {where}: {os.strerror(error.errno or 0)}; another program may have the port: "
            f"stop it (ss -ltnp 'sport = :{settings.port}' names it) or set LOCAL_WS_PORT to another"
        ) from None
    return listener


def _say(line: str) -> None:
    sys.stdout.write(f"local_ai_server: {line}\n")
    sys.stdout.flush()


def _fail(error: Exception, status: int) -> int:
    sys.stderr.write(f"error: {error}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
