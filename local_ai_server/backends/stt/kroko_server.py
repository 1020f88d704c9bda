"""Kroko's server binary as a child of the worker: only the binary that was pinned, on a port of loopback's.

kroko-onnx-online-websocket-server --port=6006 --model=model.data [--key=licence]
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

DEFAULT_PATH: Final = Path("/usr/local/bin/kroko-server")
_START_S: Final = 50.0
_POLL_S: Final = 0.05
_STOP_S: Final = 3.0


class BinaryRefused(Exception):
    """The binary is not there, or not the one that was pinned; the message says what to do."""


def check_pin(binary: Path, sha256: str | None) -> None:
    """Raises `BinaryRefused` unless the file has the checksum."""
    if not binary.is_file():
        raise BinaryRefused(
            f"there is no Kroko server at {binary}; put kroko-onnx-online-websocket-server there or name it with "
            "KROKO_SERVER_PATH"
        )
    actual = _sha256(binary)
    if not sha256:
        raise BinaryRefused(
            f"{binary} is not run unless it is pinned: when you trust it, set KROKO_SERVER_SHA256={actual}"
        )
    if actual != sha256.strip().lower():
        raise BinaryRefused(
            f"{binary} has the checksum {actual}, and KROKO_SERVER_SHA256 is another: get the binary again, or change "
            "the pin if you replaced it yourself"
        )


class KrokoServer:
    """The child process. It stays in the worker's process group, and the kernel ends it with the worker."""

    def __init__(self, binary: Path, sha256: str, model_path: str, *, port: int, key: str = "") -> None:
        """`port` 0: a free one; so it is when another process has that port already (a switch under way)."""
        self._binary = binary
        self._sha256 = sha256
        self._model_path = model_path
        self._wanted_port = port
        self._key = key
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def url(self) -> str:
        """Where it listens; starts it if it does not run. Raises `BinaryRefused`, `RuntimeError`."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            return f"ws://127.0.0.1:{self._port}"

    def stop(self) -> None:
        with self._lock:
            if self._process is None:
                return
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start(self) -> None:
        check_pin(self._binary, self._sha256)
        self._port = _free_port(self._wanted_port)
        command = [str(self._binary), f"--port={self._port}", f"--model={self._model_path}"]
        if self._key:
            command.append(f"--key={self._key}")
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr)
        deadline = time.monotonic() + _START_S
        while not _listens(self._port):
            if (status := self._process.poll()) is not None:
                raise RuntimeError(f"the Kroko server ended with status {status} before it listened; its log is above")
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise RuntimeError(f"the Kroko server did not listen on port {self._port} within {_START_S:g} s")
            time.sleep(_POLL_S)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeError("no port of loopback's is free for the Kroko server")


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
