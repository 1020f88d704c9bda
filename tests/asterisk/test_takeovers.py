"""One Stasis application, taken over by another client: who has it last is served, however close in time that was."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.backoff import Backoff
from ai_engine.asterisk.events import Event, UserEvent
from ai_engine.asterisk.subscription import SubscriptionCheck
from tools.pbx_instance import Pbx

pytestmark = pytest.mark.asterisk

ROUNDS = 12


class Client:
    """An ARI client that checks its subscription."""

    def __init__(self, pbx: Pbx, app: str) -> None:
        self.ari = AriClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, app, backoff=Backoff(0.02, 0.1))
        self.check = SubscriptionCheck(self.ari, every_s=0.05, answer_s=2.0, on_lost=self._lost)
        self.heard: list[str] = []
        self.lost = 0

    def _lost(self) -> None:
        self.lost += 1

    def _event(self, event: Event) -> None:
        if isinstance(event, UserEvent):
            self.check.heard(event)
            self.heard.append(event.name)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        async with self.ari:
            tasks = [asyncio.create_task(self.ari.run(self._event)), asyncio.create_task(self.check.run())]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def in_service(self) -> None:
        """Wait until what is sent to the application comes to this client."""
        async with asyncio.timeout(60):
            while "hello" not in self.heard:
                with contextlib.suppress(Exception):
                    await self.ari.request("POST", "/events/user/hello", params={"application": self.ari.app})
                await asyncio.sleep(0.05)


async def test_a_takeover_in_the_moment_in_which_the_one_before_leaves_ends_in_service(pbx: Pbx) -> None:
    out_of_service = 0
    for number in range(ROUNDS):
        leaving, coming = Client(pbx, f"taken-{number}"), Client(pbx, f"taken-{number}")
        async with contextlib.AsyncExitStack() as stack:
            async with leaving.running():
                await leaving.in_service()
                taking = asyncio.create_task(stack.enter_async_context(coming.running()))
                await asyncio.sleep(0.0005 * number)
            await taking
            await coming.in_service()
        out_of_service += coming.lost
    print(f"out of service after {out_of_service} of {ROUNDS} takeovers")
