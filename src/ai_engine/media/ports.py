"""UDP ports for RTP, one even port per call out of a configured range (odd ones stay free for RTCP)."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

_REFUSED: Final = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})


class PortError(Exception):
    """No port to be had; the message names the setting that mends it."""


class RtpPorts:
    """Binds sockets to the even ports of `first..last`, each in turn, so that a port rests as long as possible.

    A port that comes back is not bound again for `drain_s`: packets of the old call may still be on their way.
    Safe to use from several threads. Monotonic seconds.
    """

    def __init__(
        self,
        first: int,
        last: int,
        *,
        host: str = "0.0.0.0",
        drain_s: float = 2.0,
        setting: str = "media.ports",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`host` is an address of either family; ``::`` takes both.

        `setting` is what the range is called where the user writes it. Raises `PortError` for an empty range.
        """
        if not 1024 <= first <= last <= 65535 or not range(first + first % 2, last + 1, 2):
            raise PortError(
                f"{setting}: {first}-{last} holds no even port within 1024..65535; write for example 18000-18999"
            )
        self._name = f"{setting} ({first}-{last})"
        self._host = host
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._drain_s = drain_s
        self._clock = clock
        self._lock = threading.Lock()
        self._free: deque[int] = deque(range(first + first % 2, last + 1, 2))
        self._size = len(self._free)
        self._draining: deque[tuple[float, int]] = deque()  # free again at, port
        self._in_use: set[int] = set()

    @property
    def size(self) -> int:
        return self._size

    @property
    def in_use(self) -> int:
        """Ports bound for calls right now."""
        return len(self._in_use)

    def bind(self) -> socket.socket:
        """A non-blocking UDP socket on the next port that can be had. Raises `PortError` when there is none."""
        with self._lock:
            now = self._clock()
            while self._draining and self._draining[0][0] <= now:
                self._free.append(self._draining.popleft()[1])
            for _ in range(len(self._free)):
                port = self._free.popleft()
                try:
                    sock = self._open(port)
                except OSError as error:
                    self._free.append(port)
                    if error.errno in _REFUSED:  # another program has it
                        continue
                    where = f"[{self._host}]:{port}" if self._family == socket.AF_INET6 else f"{self._host}:{port}"
                    raise PortError(f"cannot bind UDP {where}: {error.strerror}") from error
                self._in_use.add(port)
                return sock
            raise PortError(
                f"no RTP port left: of {self._size} in {self._name} {len(self._in_use)} are used by calls, "
                f"{len(self._draining)} were until just now and {len(self._free)} belong to other programs; widen it"
            )

    def _open(self, port: int) -> socket.socket:
        """Raises `OSError`."""
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if self._family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind((self._host, port))
        except OSError:
            sock.close()
            raise
        return sock

    def give_back(self, sock: socket.socket) -> None:
        """Close a socket that `bind` made; its port is free again after `drain_s`. Idempotent."""
        if sock.fileno() < 0:
            return
        port: int = sock.getsockname()[1]
        sock.close()
        with self._lock:
            if port in self._in_use:
                self._in_use.remove(port)
                self._draining.append((self._clock() + self._drain_s, port))
