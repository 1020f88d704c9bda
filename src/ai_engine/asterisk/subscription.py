"""Whether Asterisk's events really come to us: a check of our own, because an open socket does not prove it.

Where a client takes an application over in the moment in which the socket before it closes, Asterisk (seen on 22.10)
may close the application down with the old socket. The new one stays open, nothing comes over it, and callers wait
unheard. So we send ourselves a user event through Asterisk, and connect anew when it does not come back.
"""

import asyncio
import uuid
from collections.abc import Callable

import structlog

from ai_engine.asterisk.ari import AriClient, segment
from ai_engine.asterisk.errors import AriError, AriNotFound
from ai_engine.asterisk.events import UserEvent

_log = structlog.get_logger(__name__)

CHECK_NAME = "parley-check"
_MOST_PATIENCE_S = 10.0


class SubscriptionCheck:
    """One client's. `run` is a task beside `AriClient.run`; `heard` gets its user events.

    Costs one request each `every_s`. A check that is not back in time ends the connection. The first one after each
    connect has `answer_s`, for that is when applications go out of service; later ones have more, because to connect
    anew costs those calls that come in that moment. Where connecting anew did not help, the first check is given twice
    the time, so that a slow Asterisk is not kept busy with it.
    """

    def __init__(
        self,
        ari: AriClient,
        *,
        every_s: float = 2.0,
        answer_s: float = 1.5,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lost` is called each time the application turned out to be out of service."""
        self._ari = ari
        self._every_s = every_s
        self._answer_s = answer_s
        self._on_lost = on_lost
        self._expected = ""
        self._came = asyncio.Event()
        self._patience_s = answer_s
        self._proven = -1
        """The last connection over which a check came back."""
        self._lost = False

    @property
    def works(self) -> bool:
        """False from a check that did not come back until one that did."""
        return not self._lost

    def heard(self, event: UserEvent) -> None:
        """Our own event has come back, or another client's, which means nothing."""
        if event.name == CHECK_NAME and event.variables.get("check") == self._expected:
            self._came.set()

    async def run(self) -> None:
        """Check for ever, while connected."""
        while True:
            if self._ari.connected and (failure := await self._check()):
                self._lost = True
                self._on_lost()
                await self._ari.resubscribe(failure)
                self._patience_s = min(2 * self._patience_s, _MOST_PATIENCE_S)
            await asyncio.sleep(self._every_s)

    async def _check(self) -> str:
        """Why the application is out of service; empty where it works, or where nobody can tell."""
        self._expected = uuid.uuid4().hex
        self._came.clear()
        connection = self._ari.connection
        path = f"/events/user/{segment(CHECK_NAME)}"
        try:
            await self._ari.request(
                "POST", path, params={"application": self._ari.app}, body={"variables": {"check": self._expected}}
            )
        except AriNotFound:
            failure = "Asterisk does not know the application"
        except AriError as error:
            _log.debug("asterisk.subscription_unknown", error=str(error))  # the socket's own heartbeat judges that
            return ""
        else:
            patience_s = _MOST_PATIENCE_S if self._proven == connection else self._patience_s
            failure = "" if await self._comes_back(patience_s) else f"no event came for {patience_s:g} s"
        if self._ari.connection != connection or not self._ari.connected:
            return ""  # what was asked of one connection says nothing of the next
        if not failure:
            self._lost, self._patience_s, self._proven = False, self._answer_s, connection
        return failure

    async def _comes_back(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._came.wait()
        except TimeoutError:
            return False
        return True
