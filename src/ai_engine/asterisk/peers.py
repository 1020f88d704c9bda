"""Which of the engines that share an Asterisk are alive, and which of them takes over a caller whose engine died.

No I/O: heartbeats and times come in, judgements go out. Everybody who hears the same heartbeats comes to the same
judgement about a caller (rendezvous hashing), so nobody has to be asked, and no engine matters more than another.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256


@dataclass(slots=True)
class Peer:
    """One other engine, as far as we know it."""

    app: str
    since: float
    """When we began to listen for it."""
    beat_at: float | None = None
    """Its last heartbeat; None: there was none yet."""
    room: int = 0
    """How many more calls it would take."""

    def silent_s(self, now: float) -> float:
        return now - (self.since if self.beat_at is None else self.beat_at)


class Peers:
    """What is known of the other engines. Seconds of one monotonic clock.

    `patterns` are names of Stasis applications, in which ``*`` and ``?`` stand for anything (`fnmatch`).
    """

    def __init__(self, own_app: str, patterns: Collection[str], *, dead_after_s: float) -> None:
        self.own_app = own_app
        self.dead_after_s = dead_after_s
        self._patterns = tuple(patterns)
        self._peers: dict[str, Peer] = {}

    def includes(self, app: str) -> bool:
        """Whether the application is one of an engine that we look after."""
        return app != self.own_app and any(fnmatchcase(app, pattern) for pattern in self._patterns)

    def trusted(self, app: str) -> bool:
        """Whether it surely is an engine's: named in full, or heard of. A pattern may also fit a stranger's."""
        peer = self._peers.get(app)
        return app in self._patterns or (peer is not None and peer.beat_at is not None)

    def listed(self, apps: Iterable[str], now: float) -> None:
        """These are the applications that Asterisk knows now; who is not among them holds no callers."""
        present = {app for app in apps if self.includes(app)}
        for app in self._peers.keys() - present:
            del self._peers[app]
        for app in present - self._peers.keys():
            self._peers[app] = Peer(app, now)

    def heard(self, app: str, room: int, now: float) -> None:
        """A heartbeat has come."""
        if self.includes(app):
            peer = self._peers.setdefault(app, Peer(app, now))
            peer.beat_at, peer.room = now, room

    def excuse(self, now: float) -> None:
        """We ourselves heard nothing for a while, whatever was sent: nobody's silence counts until now."""
        for peer in self._peers.values():
            peer.since = now
            if peer.beat_at is not None:
                peer.beat_at = now

    @property
    def watching(self) -> bool:
        """Whether there is anybody to look after."""
        return bool(self._patterns)

    @property
    def apps(self) -> Sequence[str]:
        """All that there are, alive or not."""
        return tuple(self._peers)

    def alive(self, app: str, now: float) -> bool:
        """Whether its last heartbeat is recent."""
        peer = self._peers.get(app)
        return peer is not None and peer.beat_at is not None and peer.silent_s(now) <= self.dead_after_s

    def living(self, now: float) -> Sequence[str]:
        return tuple(app for app in self._peers if self.alive(app, now))

    def silent(self, now: float) -> Sequence[str]:
        """Applications that exist and whose engines have said nothing for longer than a living one would."""
        return tuple(peer.app for peer in self._peers.values() if peer.silent_s(now) > self.dead_after_s)

    def silent_s(self, app: str, now: float) -> float:
        peer = self._peers.get(app)
        return 0.0 if peer is None else peer.silent_s(now)

    def some_room(self, now: float) -> bool:
        """Whether a living engine takes calls."""
        return any(self._peers[app].room > 0 for app in self.living(now))

    def rank(self, key: str, own_room: int, now: float) -> int:
        """How many engines come before us in caring for `key`, a channel's or bridge's id. 0: it is ours to do.

        Those with room come before those without.
        """

        def order(app: str, room: int) -> tuple[bool, bytes]:
            return room <= 0, sha256(f"{app}\0{key}".encode()).digest()

        ours = order(self.own_app, own_room)
        return sum(order(app, self._peers[app].room) < ours for app in self.living(now))
