"""IP addresses as sockets name them: one spelling for each, so that they can be compared."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""What `recvfrom` and `sendto` call an address: IPv4, or IPv6 with flow and scope."""

UNSPECIFIED: Final = frozenset({"", "0.0.0.0", "::", "::ffff:0.0.0.0"})


def is_unspecified(host: str) -> bool:
    """All addresses of a machine, to listen on: nobody can send there."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return not host


def as_seen(host: str, family: int) -> str:
    """An address as a socket of that family reports it; an IPv6 socket sees IPv4 as ``::ffff:192.0.2.1``.

    What is no address (a name) stays as it is.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if family == socket.AF_INET6:
        return f"::ffff:{address}" if address.version == 4 else socket.inet_ntop(socket.AF_INET6, address.packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def socket_address(host: str, port: int, family: int) -> SocketAddress:
    """What a socket of that family calls `port` of `host`."""
    seen = as_seen(host, family)
    return (seen, port, 0, 0) if family == socket.AF_INET6 else (seen, port)
