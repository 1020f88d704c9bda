"""Packets on loopback that are there when somebody looks for them, however late a busy machine delivers them."""

from __future__ import annotations

import select
import socket
from typing import Any, Final

from ai_engine.media.rtp_transport import RtpTransport

PATIENCE_S: Final = 30.0


class Arrivals:
    """Between `transport` and its socket: waits for what was sent to it, and lets it come at the tick that reads it.

    The kernel's time stamps are left out, because ticks in tests have a time of their own: between a packet and the
    tick that reads it, this machine may have done something else for long.
    """

    def __init__(self, transport: RtpTransport) -> None:
        self.under_way = 0
        """Sent to the transport and not read yet."""
        self._transport = transport
        self._socket = transport._socket
        self._receive = transport._receive_message
        self._peers: list[Peer] = []
        transport._receive_message = self  # type: ignore[assignment]

    @classmethod
    def of(cls, transport: RtpTransport) -> Arrivals:
        """The one of that transport."""
        found: object = transport._receive_message
        return found if isinstance(found, Arrivals) else cls(transport)

    def __call__(self, size: int, ancillary_size: int) -> tuple[bytes, list[Any], int, Any]:
        if self.under_way:
            assert select.select([self._socket], [], [], PATIENCE_S)[0], "a packet did not come"
        datagram, _, flags, source = self._receive(size, ancillary_size)
        self.under_way -= 1
        return datagram, [], flags, source

    def add(self, peer: Peer) -> None:
        self._peers.append(peer)

    def wait_for_all(self) -> None:
        """Until all that the transport has sent, to whomever, is in the peers' hands."""
        sent = self._transport.line_quality().sent
        while (missing := sent - sum(peer.came for peer in self._peers)) > 0:
            ready, _, _ = select.select([peer.socket for peer in self._peers if peer.is_open], [], [], PATIENCE_S)
            assert ready, f"{missing} packets did not come"
            for peer in self._peers:
                if peer.socket in ready:
                    peer.take()


class Peer:
    """A socket that sends to the transport and keeps what it is sent."""

    def __init__(self, transport: RtpTransport, *, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.came = 0
        self._to = ("::1" if ":" in host else "127.0.0.1", transport.local_port)
        self._inbox: list[bytes] = []
        self._arrivals = Arrivals.of(transport)
        self._arrivals.add(self)

    @property
    def address(self) -> tuple[str, int]:
        host, port, *_ = self.socket.getsockname()
        return host, port

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0

    def send_bytes(self, datagram: bytes, *, arrives: bool = True) -> None:
        """`arrives`: False where the kernel keeps it from the transport."""
        self.socket.sendto(datagram, self._to)
        self._arrivals.under_way += arrives

    def received_bytes(self) -> list[bytes]:
        """All that was sent here and was not asked for before."""
        self._arrivals.wait_for_all()
        inbox, self._inbox = self._inbox, []
        return inbox

    def take(self) -> None:
        """The next datagram, which is there."""
        self._inbox.append(self.socket.recv(2048))
        self.came += 1

    def close(self) -> None:
        self.socket.close()
