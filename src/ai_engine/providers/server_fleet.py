"""The local AI servers that the calls of this engine share: which of them serve, and where the next call goes.

Pure: what calls and probes (`server_probes`) find out is told to it, and times come from the clock it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import structlog

from ai_engine.server_addresses import server_label

log = structlog.get_logger(__name__)

State = Literal["unknown", "up", "set_aside", "down", "unusable"]
"""`set_aside`: it is full, has kept a call waiting or comes and goes, and gets no new ones for a while.

`unusable`: it refuses us.
"""

SET_ASIDE_S: Final = 5.0
UNUSABLE_S: Final = 60.0
"""A wrong token or an old version is mended by hand; until then one call a minute tries."""
STEADY_S: Final = 60.0
"""One that goes down sooner than this after it was back rests before it gets calls again, longer each time: with fewest
calls it would get every new one, and lose them."""
_LONGEST_REST_S: Final = 60.0
_LAST_RESORT: Final[dict[State, int]] = {"unknown": 0, "up": 0, "set_aside": 1, "down": 2, "unusable": 3}


@dataclass(slots=True, eq=False)
class Server:
    """One address, and what is known of it."""

    address: str = field(repr=False)
    label: str
    state: State = "unknown"
    reason: str = ""
    """Why it is not up."""
    since: float = 0.0
    until: float = 0.0
    """Of `set_aside` and `unusable`: when it is tried again."""
    calls: int = 0
    """Ours, those that are being placed included."""
    capacity: int | None = None
    """Sessions it takes from all its clients, once it has refused one for that."""
    falls: int = 0
    """How often it has gone down without having been steady in between."""
    latency_s: float | None = None
    """Of the last probe that was answered."""


class ServerFleet:
    """Implements what `LocalSocket` asks of a choice of servers."""

    def __init__(self, addresses: Sequence[str], *, clock: Callable[[], float]) -> None:
        self._clock = clock
        now = clock()
        self.servers = tuple(Server(address, server_label(address), since=now) for address in addresses)
        self._turn = 0
        self._on_change: Callable[[Server], None] = lambda server: None
        self._on_failover: Callable[[Server], None] = lambda server: None
        self._on_doubt: Callable[[Server], None] = lambda server: None

    @property
    def several(self) -> bool:
        return len(self.servers) > 1

    def watch(self, on_change: Callable[[Server], None], on_failover: Callable[[Server], None]) -> None:
        """`on_change` is told of each server now and whenever its state or calls change, `on_failover` of the server
        that a call has left for another."""
        self._on_change, self._on_failover = on_change, on_failover
        for server in self.servers:
            on_change(server)

    def on_doubt(self, listener: Callable[[Server], None]) -> None:
        """`listener` is told of a server that calls have lost or not reached: time to look at it."""
        self._on_doubt = listener

    # --- placing calls ------------------------------------------------------------------------------------------------

    def place(self, tried: Collection[Server] = ()) -> Server | None:
        """Where the next call goes: the server with the fewest calls of those that serve, by turns where that is equal;
        where none serves, those that may. None: all have been `tried`. It has the call until `leave`."""
        waiting = [server for server in self.servers if server not in tried]
        if not waiting:
            return None
        chosen = min(waiting, key=self._rank)
        self._turn = self.servers.index(chosen) + 1
        chosen.calls += 1
        self._on_change(chosen)
        return chosen

    def leave(self, server: Server) -> None:
        """A call has gone from there. A server that was full has room again."""
        server.calls -= 1
        if server.state == "set_aside" and server.capacity is not None:
            server.until = min(server.until, self._clock())
        self._on_change(server)

    def others(self, server: Server | None) -> bool:
        """Whether a call that is on `server` may be served by another one."""
        return any(other is not server and other.state not in ("down", "unusable") for other in self.servers)

    def _rank(self, server: Server) -> tuple[int, int, int]:
        tier = 0 if self._serves(server) else _LAST_RESORT[server.state]
        return tier, server.calls, (self.servers.index(server) - self._turn) % len(self.servers)

    def _serves(self, server: Server) -> bool:
        if server.state in ("set_aside", "unusable"):
            return self._clock() >= server.until
        return server.state != "down"

    # --- what was found out -------------------------------------------------------------------------------------------

    def works(self, server: Server, latency_s: float | None = None) -> None:
        """A call has been taken there, or a probe was answered after `latency_s`."""
        if latency_s is not None:
            server.latency_s = latency_s
            if server.state == "unusable" or (server.state == "set_aside" and self._clock() < server.until):
                return  # that it is alive has not been the question
            if server.state == "down" and server.falls > 1:
                rest_s = min(SET_ASIDE_S * 2 ** (server.falls - 2), _LONGEST_REST_S)
                self._change(server, "set_aside", f"it went down {server.falls} times", for_s=rest_s)
                return
        self._change(server, "up")

    def down(self, server: Server, reason: str) -> None:
        """It cannot be reached, does not answer, or says that it is not ready."""
        if server.state != "down":
            server.falls = 1 if self._clock() - server.since >= STEADY_S else min(server.falls, 10) + 1
        self._change(server, "down", reason)

    def doubted(self, server: Server, reason: str) -> None:
        """As `down`, found out by a call: a probe is to look at once."""
        self.down(server, reason)
        self._on_doubt(server)

    def set_aside(self, server: Server, reason: str) -> None:
        """It kept a call waiting, or failed at a request: no new calls for a while."""
        if server.state != "down":
            self._change(server, "set_aside", reason, for_s=SET_ASIDE_S)

    def full(self, server: Server, reason: str, capacity: int | None) -> None:
        """It takes no more sessions."""
        server.capacity = capacity or server.capacity
        self._change(server, "set_aside", reason, for_s=SET_ASIDE_S)

    def unusable(self, server: Server, reason: str) -> None:
        """It refuses us, and will until somebody changes something."""
        self._change(server, "unusable", reason, for_s=UNUSABLE_S)

    def moved(self, old: Server) -> None:
        """A call that was on `old` is served by another one."""
        self._on_failover(old)

    def describe(self) -> list[dict[str, Any]]:
        """For pages: nothing of it is secret."""
        now = self._clock()
        return [
            {
                "address": server.label,
                "state": server.state,
                "reason": server.reason,
                "for_s": round(now - server.since, 1),
                "calls": server.calls,
                "capacity": server.capacity,
                "probe_ms": None if server.latency_s is None else round(server.latency_s * 1000, 1),
            }
            for server in self.servers
        ]

    def _change(self, server: Server, state: State, reason: str = "", *, for_s: float = 0.0) -> None:
        now = self._clock()
        server.until = now + for_s
        server.reason = reason
        if server.state == state:
            return
        server.state, server.since = state, now
        if self.several:
            tell = log.info if state == "up" else log.warning
            tell("local_server_changed", server=server.label, state=state, reason=reason, calls=server.calls)
        self._on_change(server)
