"""A bad line between a scripted caller and a PBX: the call's RTP goes through here and is lost, late or doubled.

    bad = Impairment(loss=0.05, jitter_ms=60)
    async with impaired_line(pbx.sip_uri(700), seed=1, up=bad, down=bad) as line, caller.dial(line.uri) as call:
        ...
        line.freeze(2.0)

One line carries one call. The caller dials the line, which passes SIP on to the PBX and puts its own ports into the
session descriptions (RFC 4566), so that both sides send their media to it. SIP itself and RTCP are never impaired.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Literal

from tools.call.impairment import Impairer, Impairment, ImpairmentStats

Address = tuple[str, int]
Way = Literal["up", "down", "both"]
"""From the caller, to the caller."""
Side = Literal["caller", "pbx"]
OnPacket = Callable[[bytes, Address], None]

LOOPBACK: Final = "127.0.0.1"
_PAIR_TRIES: Final = 50
_LARGEST: Final = 65535
_URI: Final = re.compile(r"sip:(?P<user>[^@;]+)@(?P<host>[^:;]+):(?P<port>\d+)$")
_MEDIA: Final = re.compile(rb"^m=audio (\d+)", re.MULTILINE)
_CONNECTION: Final = re.compile(rb"^c=IN IP4 (\S+)", re.MULTILINE)
_RTCP: Final = re.compile(rb"^a=rtcp:[^\r\n]*\r?\n", re.MULTILINE)
_LENGTH: Final = re.compile(rb"^(Content-Length|l)[ \t]*:[ \t]*\d+", re.MULTILINE | re.IGNORECASE)


class LineError(Exception):
    """The line cannot be made; the message says why."""


class ImpairedLine:
    """Made by `impaired_line`. Its clock is that of the running event loop."""

    def __init__(self, target_uri: str, up: Impairment, down: Impairment, seed: int) -> None:
        found = _URI.match(target_uri)
        if found is None:
            raise LineError(f"{target_uri!r} is no address; it looks like sip:700@127.0.0.1:5060")
        self._user = found["user"]
        self._pbx: Address = (found["host"], int(found["port"]))
        self._up, self._down = Impairer(up, seed=2 * seed), Impairer(down, seed=2 * seed + 1)
        self._caller_sip: Address | None = None
        self._media: dict[Side, Address] = {}
        """Where each side wants its RTP; known from its session description."""
        self._schedule = _Schedule()
        self._sockets: list[_Socket] = []
        try:
            self._sip = self._listen(0, self._on_sip)
            near, near_rtcp = self._listen_pair(self._from_caller, lambda data, _: self._pass_rtcp(data, "pbx"))
            far, far_rtcp = self._listen_pair(self._from_pbx, lambda data, _: self._pass_rtcp(data, "caller"))
        except BaseException:
            self.close()
            raise
        self._rtp: dict[Side, _Socket] = {"caller": near, "pbx": far}
        """The socket that each side talks to."""
        self._rtcp: dict[Side, _Socket] = {"caller": near_rtcp, "pbx": far_rtcp}

    @property
    def uri(self) -> str:
        """What the caller dials."""
        return f"sip:{self._user}@{LOOPBACK}:{self._sip.port}"

    @property
    def stats(self) -> tuple[ImpairmentStats, ImpairmentStats]:
        """Of the caller's packets, and of those to him."""
        return self._up.stats, self._down.stats

    def freeze(self, seconds: float, way: Way = "both", *, lost: bool = False) -> None:
        """From now on nothing comes through for so long; then all that was held comes at once, or is lost."""
        now_s = asyncio.get_running_loop().time()
        for direction, impairer in (("up", self._up), ("down", self._down)):
            if way in (direction, "both"):
                impairer.freeze(now_s, seconds, lost=lost)

    def close(self) -> None:
        """Give the sockets back; packets still under way are lost. Harmless when closed."""
        self._schedule.close()
        while self._sockets:
            self._sockets.pop().close()

    # --- SIP ----------------------------------------------------------------------------------------------------------

    def _on_sip(self, message: bytes, source: Address) -> None:
        if source != self._pbx:
            self._caller_sip = source
            self._sip.send(self._relayed(message, "caller", self._rtp["pbx"].port), self._pbx)
        elif self._caller_sip is not None:
            self._sip.send(self._relayed(message, "pbx", self._rtp["caller"].port), self._caller_sip)

    def _relayed(self, message: bytes, sender: Side, port: int) -> bytes:
        """The message with our address in its session description; without one, as it is."""
        head, _, body = message.partition(b"\r\n\r\n")
        media, connection = _MEDIA.search(body), _CONNECTION.search(body)
        if media is None or connection is None:
            return message
        if wanted := int(media[1]):  # 0: the stream is refused
            self._media[sender] = (connection[1].decode(), wanted)
            body = _MEDIA.sub(b"m=audio %d" % port, body)
        body = _CONNECTION.sub(b"c=IN IP4 " + LOOPBACK.encode(), _RTCP.sub(b"", body))
        head = _LENGTH.sub(lambda found: found[1] + b": %d" % len(body), head)
        return head + b"\r\n\r\n" + body

    # --- media --------------------------------------------------------------------------------------------------------

    def _from_caller(self, packet: bytes, _source: Address) -> None:
        self._carry(packet, self._up, self._rtp["pbx"], "pbx")

    def _from_pbx(self, packet: bytes, _source: Address) -> None:
        self._carry(packet, self._down, self._rtp["caller"], "caller")

    def _carry(self, packet: bytes, impairer: Impairer, out: _Socket, to: Side) -> None:
        for due_s, copy in impairer.take(packet, asyncio.get_running_loop().time()):
            self._schedule.at(due_s, partial(self._send, out, copy, to))

    def _send(self, out: _Socket, packet: bytes, to: Side) -> None:
        if to in self._media:
            out.send(packet, self._media[to])

    def _pass_rtcp(self, packet: bytes, to: Side) -> None:
        if to in self._media:
            host, port = self._media[to]
            self._rtcp[to].send(packet, (host, port + 1))

    # --- sockets ------------------------------------------------------------------------------------------------------

    def _listen(self, port: int, on_packet: OnPacket) -> _Socket:
        self._sockets.append(_Socket(port, on_packet))
        return self._sockets[-1]

    def _listen_pair(self, on_rtp: OnPacket, on_rtcp: OnPacket) -> tuple[_Socket, _Socket]:
        """An even port and the next one (RFC 3550, section 11)."""
        for _ in range(_PAIR_TRIES):
            rtp = self._listen(0, on_rtp)
            if rtp.port % 2 == 0:
                with contextlib.suppress(OSError):
                    return rtp, self._listen(rtp.port + 1, on_rtcp)
            self._sockets.remove(rtp)
            rtp.close()
        raise LineError("no two neighbouring UDP ports are free")


class _Socket:
    """A UDP socket on loopback that hands over what comes."""

    def __init__(self, port: int, on_packet: OnPacket) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_packet = on_packet
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind((LOOPBACK, port))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._loop.add_reader(self._socket, self._read)

    def send(self, packet: bytes, to: Address) -> None:
        with contextlib.suppress(OSError):  # a full buffer, or a side that is gone: lost, as on any line
            self._socket.sendto(packet, to)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # BlockingIOError: all is read; or this socket was closed meanwhile
            while True:
                packet, source = self._socket.recvfrom(_LARGEST)
                self._on_packet(packet, source)


class _Schedule:
    """Calls back in order of due time; what is due at the same time, in the order it was given."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def at(self, due_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (due_s, self._count, action))
        self._count += 1
        self._run()

    def close(self) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _run(self) -> None:
        now_s = self._loop.time()
        while self._due and self._due[0][0] <= now_s:
            heapq.heappop(self._due)[2]()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due[0][0], self._run) if self._due else None


@asynccontextmanager
async def impaired_line(
    target_uri: str, *, up: Impairment | None = None, down: Impairment | None = None, seed: int = 0
) -> AsyncIterator[ImpairedLine]:
    """A line to `target_uri` (`sip:user@address:port`), open while the block runs; dial its `uri` inside it.

    `up` is what the caller's packets meet, `down` what those to him do. Raises `LineError`.
    """
    line = ImpairedLine(target_uri, up or Impairment(), down or Impairment(), seed)
    try:
        yield line
    finally:
        line.close()
