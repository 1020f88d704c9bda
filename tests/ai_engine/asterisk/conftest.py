from collections.abc import AsyncIterator

import pytest
from ari_stand_in import APP, PASSWORD, USER, AriStandIn

from ai_engine.asterisk.ari import AriClient


@pytest.fixture
async def server() -> AsyncIterator[AriStandIn]:
    stand_in = AriStandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def ari(server: AriStandIn) -> AsyncIterator[AriClient]:
    async with AriClient(server.url, USER, PASSWORD, APP) as client:
        yield client
