"""Which requests are one conversation: they share a place in the language model's prefix cache, others do not."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from local_ai_server.switchboard import Switchboard

MAX_KEYS: Final = 256
IDLE_S: Final = 900.0
BUSY_WAIT_S: Final = 2.0
"""For an earlier request of the same key to end: a warm-up, or an answer that is being cancelled. Who shares a key
between conversations is not made to wait longer for them than reading a prompt anew takes."""

_numbers = itertools.count(1)


@dataclass(slots=True)
class _Keyed:
    name: str
    used_at: float
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class ChatSessions:
    """One server's. There is one token, so all who may ask have one space of keys; the WebSocket's sessions have
    names of their own."""

    def __init__(self, switchboard: Switchboard, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._switchboard = switchboard
        self._clock = clock
        self._keyed: OrderedDict[str, _Keyed] = OrderedDict()
        self._forgetting: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def session(self, key: str | None) -> AsyncIterator[str]:
        """The name of the session for one request: that of its key; without one, or while that is busy, one that is
        forgotten afterwards."""
        self._forget_idle()
        keyed = self._of(key) if key is not None else None
        if keyed is not None and await self._acquired(keyed):
            try:
                yield keyed.name
            finally:
                keyed.used_at = self._clock()
                keyed.one_at_a_time.release()
                keyed.users -= 1
            return
        name = _new_name()
        try:
            yield name
        finally:
            self._forget(name)

    async def close(self) -> None:
        """Returns once nothing is being forgotten any more: no request may be at work."""
        if self._forgetting:
            await asyncio.wait(self._forgetting)

    def __len__(self) -> int:
        return len(self._keyed)

    def _of(self, key: str) -> _Keyed:
        found = self._keyed.setdefault(key, _Keyed(_new_name(), self._clock()))
        self._keyed.move_to_end(key)
        found.users += 1
        return found

    async def _acquired(self, keyed: _Keyed) -> bool:
        acquired = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(BUSY_WAIT_S):
                    acquired = await keyed.one_at_a_time.acquire()
        finally:
            if not acquired:
                keyed.users -= 1
        return acquired

    def _forget_idle(self) -> None:
        """The oldest, where there are too many, and those that nobody used for long."""
        unused = [(key, keyed) for key, keyed in self._keyed.items() if not keyed.users]
        too_many = len(self._keyed) - MAX_KEYS + 1
        for at, (key, keyed) in enumerate(unused):
            if at < too_many or self._clock() - keyed.used_at > IDLE_S:
                del self._keyed[key]
                self._forget(keyed.name)

    def _forget(self, name: str) -> None:
        # Nobody waits for it, least of all a client that has its answer.
        task = asyncio.create_task(self._switchboard.forget(name), name=f"forget {name}")
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)


def _new_name() -> str:
    return f"chat-{next(_numbers)}"
