"""Ports of loopback for parts that are started on free ones, each kind from a range of its own.

All lie below the kernel's ephemeral ports (32768 and up), so that no program is given one by chance between the look
and the bind; and what was handed out once is handed out again by this process only when nothing else is left.
"""

from __future__ import annotations

import contextlib
import random
import socket

_SIP = range(6000, 9900)
_TCP = range(10000, 14000)
_MEDIA = range(14000, 22000)
_RTP = range(22000, 32000)

_given: set[int] = set()


class NoFreePorts(OSError):
    """Everything in the range is taken."""


def free_tcp_port() -> int:
    """A TCP port that nobody holds now."""
    return _first_free(_TCP, 1, 1, socket.SOCK_STREAM)


def free_sip_port() -> int:
    """A UDP port that nobody holds now."""
    return _first_free(_SIP, 1, 1, socket.SOCK_DGRAM)


def free_media_ports(count: int) -> int:
    """The first, even, of `count` UDP ports in a row for an engine."""
    return _first_free(_MEDIA, count, 2, socket.SOCK_DGRAM)


def free_rtp_ports(count: int) -> int:
    """The first, even, of `count` UDP ports in a row for an Asterisk."""
    return _first_free(_RTP, count, 2, socket.SOCK_DGRAM)


def _first_free(ports: range, count: int, step: int, kind: socket.SocketKind) -> int:
    starts = list(range(ports.start, ports.stop - count + 1, max(step, count + count % step)))
    random.shuffle(starts)
    starts.sort(key=lambda first: not _given.isdisjoint(range(first, first + count)))
    for first in starts:
        wanted = range(first, first + count)
        if _all_free(wanted, kind):
            _given.update(wanted)
            return first
    raise NoFreePorts(f"no {count} free ports in a row on 127.0.0.1 from {ports.start} to {ports.stop - 1}")


def _all_free(ports: range, kind: socket.SocketKind) -> bool:
    with contextlib.ExitStack() as held:
        for port in ports:
            probe = held.enter_context(socket.socket(socket.AF_INET, kind))
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
