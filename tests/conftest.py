"""Real parts shared by the tests: an Asterisk of their own and a caller that dials it."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tools.pbx_instance import Pbx, PbxUnavailable

if TYPE_CHECKING:
    from tools.call import SipCaller

# A busy machine is no failure: neither of an example that took long nor of examples that were long in the making. And
# a change is judged by the same examples as the one before it: others are looked for by ./test.sh --full, which takes
# the second profile.
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same examples", BUSY, derandomize=True)
settings.register_profile("new examples", BUSY, print_blob=True)
settings.load_profile("same examples")

REAL_PARTS_S = 300
"""Until a test of a real Asterisk or real models counts as stuck; ten times what most take on an idle machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        real = item.get_closest_marker("asterisk") or item.get_closest_marker("models")
        if real and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(REAL_PARTS_S))


# Piper says a sentence a little differently each time, and now and then so that nobody could understand it: what a test
# asks of a call must not hang on that. Servers and engines that a test starts inherit it.
os.environ.setdefault("LOCAL_TTS_VARIATION", "0")


LINGERS_S = 45.0
"""A telephone that hangs up while it is answered (its CANCEL crosses the 200) keeps a channel for half a minute."""


@pytest.fixture(scope="session")
def running_pbx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pbx]:
    """A running Asterisk on free ports of loopback; the installed tree is shared, the rest is this run's own."""
    instance = Pbx(tmp_path_factory.mktemp("pbx"))
    try:
        instance.start()
    except PbxUnavailable as error:
        pytest.skip(f"no Asterisk can be had here: {error}")
    yield instance
    instance.stop()


@pytest.fixture
def pbx(running_pbx: Pbx) -> Pbx:
    """The Asterisk that all tests share, when what the test before has left in it is gone."""
    hang_up_at = time.monotonic() + LINGERS_S
    give_up_at = hang_up_at + LINGERS_S
    while _has_channels(running_pbx) and time.monotonic() < give_up_at:
        if time.monotonic() > hang_up_at:
            running_pbx.cli("channel request hangup all")
        time.sleep(0.2)
    return running_pbx


def _has_channels(pbx: Pbx) -> bool:
    """Asked over HTTP: to begin a console takes a hundred times as long."""
    try:
        token = base64.b64encode(f"{pbx.ari_user}:{pbx.ari_password}".encode()).decode()
        request = urllib.request.Request(f"{pbx.ari_url}/ari/channels", headers={"Authorization": f"Basic {token}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=LINGERS_S) as reply:
            return bool(json.load(reply))
    except OSError:  # the test before has failed in the middle of a restart
        pbx.start()
        return True


@pytest.fixture
async def sip_caller() -> AsyncIterator[SipCaller]:
    """A telephone on loopback for as many calls as the test wants; hangs up all of them at the end."""
    pytest.importorskip("baresip", reason="the scripted caller needs baresip-python: pip install 'parley[caller]'")
    from tools.call import SipCaller

    async with SipCaller() as caller:
        yield caller
