"""Real parts shared by the tests: an Asterisk of their own and a caller that dials it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tools.pbx_instance import Pbx, PbxUnavailable

if TYPE_CHECKING:
    from tools.call import SipCaller

# A busy machine is no failure: neither of an example that took long nor of examples that were long in the making.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


# Piper says a sentence a little differently each time, and now and then so that nobody could understand it: what a test
# asks of a call must not hang on that. Servers and engines that a test starts inherit it.
os.environ.setdefault("LOCAL_TTS_VARIATION", "0")


@pytest.fixture(scope="session")
def pbx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pbx]:
    """A running Asterisk on free ports of loopback; the installed tree is shared, the rest is this run's own."""
    instance = Pbx(tmp_path_factory.mktemp("pbx"))
    try:
        instance.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    yield instance
    instance.stop()


@pytest.fixture
async def sip_caller() -> AsyncIterator[SipCaller]:
    """A telephone on loopback for as many calls as the test wants; hangs up all of them at the end."""
    pytest.importorskip("baresip", reason="the scripted caller needs baresip-python: pip install 'parley[caller]'")
    from tools.call import SipCaller

    async with SipCaller() as caller:
        yield caller
