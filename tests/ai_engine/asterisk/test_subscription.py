"""A socket that is open and over which nothing comes is found out and made anew."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from ari_stand_in import APP, PASSWORD, USER, AriStandIn, event

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.backoff import Backoff
from ai_engine.asterisk.events import Event, UserEvent
from ai_engine.asterisk.subscription import CHECK_NAME, SubscriptionCheck

PATH = f"/events/user/{CHECK_NAME}"


class Checked:
    """A client with its check, against a stand-in that gives user events back while `server.out_of_service` is not."""

    def __init__(self, server: AriStandIn, *, answer_s: float = 20.0) -> None:
        self.ups = 0
        self.lost = 0
        self.ari = AriClient(server.url, USER, PASSWORD, APP, backoff=Backoff(0.001, 0.01))
        self.check = SubscriptionCheck(self.ari, every_s=0.01, answer_s=answer_s, on_lost=self._lost)

    def _lost(self) -> None:
        self.lost += 1

    def _event(self, arrived: Event) -> None:
        if isinstance(arrived, UserEvent):
            self.check.heard(arrived)

    async def _up(self) -> None:
        self.ups += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Checked"]:
        async with self.ari:
            tasks = [asyncio.create_task(self.ari.run(self._event, self._up)), asyncio.create_task(self.check.run())]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_application_that_answers_is_left_alone(server: AriStandIn) -> None:
    async with Checked(server).running() as client:
        await until(lambda: server.asked("POST").count(PATH) >= 5)
        assert (client.ups, client.lost, client.check.works) == (1, 0, True)


async def test_an_application_that_asterisk_does_not_know_is_connected_anew(server: AriStandIn) -> None:
    server.user_event_status = 404
    async with Checked(server).running() as client:
        await until(lambda: client.ups >= 2)
        assert not client.check.works
        server.user_event_status = 204
        await until(lambda: client.check.works)
        assert client.lost >= 1
        ups = client.ups
        checks = len(server.asked("POST"))
        await until(lambda: len(server.asked("POST")) >= checks + 5)
        assert client.ups == ups


async def test_an_application_over_whose_socket_nothing_comes_is_connected_anew(server: AriStandIn) -> None:
    server.events_reach_clients = False
    async with Checked(server, answer_s=0.5).running() as client:
        await until(lambda: client.ups >= 2)
        assert not client.check.works
        server.events_reach_clients = True
        await until(lambda: client.check.works)


async def test_an_asterisk_that_refuses_or_fails_is_no_reason_to_reconnect(server: AriStandIn) -> None:
    server.user_event_status = 500
    async with Checked(server).running() as client:
        await until(lambda: server.asked("POST").count(PATH) >= 5)
        assert (client.ups, client.lost) == (1, 0)


async def test_somebody_elses_check_proves_nothing(server: AriStandIn) -> None:
    server.events_reach_clients = False
    async with Checked(server, answer_s=0.2).running() as client:
        await until(lambda: PATH in server.asked("POST"))
        foreign = event("ChannelUserevent", eventname=CHECK_NAME, userevent={"check": "x", "eventname": CHECK_NAME})
        await server.send(json.dumps(foreign))
        await until(lambda: client.lost >= 1)
