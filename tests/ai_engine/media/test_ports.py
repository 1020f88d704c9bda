"""RTP ports: even, each in turn, free again only after a rest, and a clear sentence when there are none."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ai_engine.media.ports import PortError, RtpPorts


@pytest.fixture
def first_port() -> Iterator[int]:
    """The first of ten ports, of which the even ones are free."""
    for first in range(41000, 60000, 10):
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(5)]
        try:
            for n, sock in enumerate(sockets):
                sock.bind(("127.0.0.1", first + 2 * n))
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
        yield first
        return
    pytest.skip("no ten free UDP ports in a row")


def test_ports_are_even_and_each_in_turn(first_port: int) -> None:
    ports = RtpPorts(first_port - 1, first_port + 9, host="127.0.0.1", drain_s=0)
    seen = []
    for _ in range(6):
        sock = ports.bind()
        seen.append(sock.getsockname()[1] - first_port)
        ports.give_back(sock)
    assert seen == [0, 2, 4, 6, 8, 0]
    assert ports.size == 5


def test_a_port_comes_back_after_it_has_rested(first_port: int) -> None:
    now = 10.0
    ports = RtpPorts(first_port, first_port + 1, host="127.0.0.1", drain_s=2, clock=lambda: now)
    sock = ports.bind()
    assert ports.in_use == 1
    ports.give_back(sock)
    ports.give_back(sock)
    assert ports.in_use == 0
    with pytest.raises(PortError, match="1 were until just now"):
        ports.bind()
    now = 12.0
    again = ports.bind()
    assert again.getsockname()[1] == first_port
    ports.give_back(again)


def test_a_port_that_another_program_has_is_passed_over(first_port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", first_port))
        ports = RtpPorts(first_port, first_port + 3, host="127.0.0.1")
        sock = ports.bind()
        assert sock.getsockname()[1] == first_port + 2
        with pytest.raises(PortError, match=r"media\.ports .* 1 are used by calls.* 1 belong to other programs"):
            ports.bind()
        ports.give_back(sock)


@pytest.mark.parametrize(("first", "last"), [(18001, 18001), (18010, 18000), (80, 90), (65000, 70000)])
def test_a_range_without_ports_is_refused(first: int, last: int) -> None:
    with pytest.raises(PortError, match=r"media\.ports"):
        RtpPorts(first, last)


def test_an_address_that_is_not_ours_is_named(first_port: int) -> None:
    with pytest.raises(PortError, match=r"cannot bind UDP 192\.0\.2\.1"):
        RtpPorts(first_port, first_port + 9, host="192.0.2.1").bind()


def test_an_ipv6_address_is_named_in_brackets(first_port: int) -> None:
    with pytest.raises(PortError, match=r"cannot bind UDP (\[2001:db8::1\]:\d+)?"):
        RtpPorts(first_port, first_port + 9, host="2001:db8::1").bind()
