"""Asterisk's end of an AudioSocket connection on loopback, that waits for what it looks at.

What was sent on loopback is usually there at once, yet not on a busy machine: each look first waits, for as long as it
takes (30 s at the most), until the kernel has it.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import select
import socket
import termios
import time
from collections.abc import Callable

from ai_engine.media.audiosocket import HEADER_BYTES, SLIN, AudioSocketParser, Message, message
from ai_engine.media.audiosocket_transport import AudioSocketTransport

_PATIENCE_S = 30.0


def until(condition: Callable[[], bool]) -> None:
    """Returns when it holds; fails the test when it does not in time."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.001)


def unread_bytes(sock: socket.socket) -> int:
    """What lies in its receive queue."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return count[0]


def connected_pair(receive_buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Our end and the peer's of a TCP connection; `receive_buffer` bytes at the peer's, as the kernel counts them."""
    with socket.socket() as listener:
        if receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    return ours, peer


class Peer:
    """Reads and writes messages on a connection that `transport` was given."""

    def __init__(self, transport: AudioSocketTransport, *, receive_buffer: int | None = None) -> None:
        self.ours, self.socket = connected_pair(receive_buffer)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.parser = AudioSocketParser()
        self.transport = transport
        self._message_bytes = HEADER_BYTES + transport.format.bytes_for_ms(20)
        self._read_bytes = 0
        transport.attach(self.ours)
        if receive_buffer is None and self.ours.fileno() >= 0:
            # Ticks on virtual time outrun the kernel's confirmations, which come some milliseconds later.
            self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def send(self, payload: bytes, kind: int = SLIN) -> None:
        """A message, which the transport's next tick finds."""
        self.send_bytes(message(kind, payload))

    def send_bytes(self, data: bytes) -> None:
        before = unread_bytes(self.ours)
        self.socket.sendall(data)
        until(lambda: unread_bytes(self.ours) >= before + len(data))

    def close(self, *, reset: bool = False) -> None:
        """End the connection; the transport's next tick finds that, too."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()
        poll = select.poll()
        poll.register(self.ours, select.POLLRDHUP)
        assert poll.poll(1000 * _PATIENCE_S), "the end did not come"

    def received(self) -> list[Message]:
        """All that the transport has sent, up to now, and that was not asked for before."""
        until(
            lambda: (
                self._read_bytes + unread_bytes(self.socket) >= self._message_bytes * self.transport.line_quality().sent
            )
        )
        return self.received_now()

    def received_now(self) -> list[Message]:
        """What has come; the kernel may still have some on the way."""
        messages = []
        with contextlib.suppress(BlockingIOError):
            while data := self.socket.recv(65536):
                self._read_bytes += len(data)
                messages += self.parser.feed(data)
        return messages

    def was_closed(self) -> bool:
        """Whether our end gets closed, whatever was still on its way."""
        self.socket.settimeout(_PATIENCE_S)
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True
