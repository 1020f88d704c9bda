"""Registered telephones that ring, through a real Asterisk: answered, busy, not answered, gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from tools.call import CallError, CallRefused, SipCaller, SipPhone, WaitTimedOut
from tools.call.wav import RATE_HZ, Pcm
from tools.pbx_instance import Pbx

pytestmark = pytest.mark.asterisk


def tone(hz: float) -> Pcm:
    return (8000 * np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ)).astype(np.int16)


def pitch(pcm: Pcm) -> float:
    """The loudest frequency, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(pcm.astype(np.float64)))) * RATE_HZ / len(pcm))


@pytest.fixture
async def caller(pbx: Pbx) -> AsyncIterator[SipCaller]:
    async with SipCaller(user="6001", password=pbx.phone_password) as caller:
        yield caller


@pytest.fixture
async def phone(pbx: Pbx, caller: SipCaller) -> AsyncIterator[SipPhone]:
    async with caller.register("6002", pbx.sip_domain) as phone:
        yield phone


async def test_two_telephones_hear_each_other(pbx: Pbx, caller: SipCaller, phone: SipPhone) -> None:
    async with caller.dial(pbx.sip_uri(6002), wait=False) as call:
        rung = await phone.rings()
        assert "6001" in rung.peer
        assert not call.established.is_set()
        await rung.answer()
        await call.wait_established()
        call.play(tone(700))
        rung.play(tone(1300))
        for listener, hz in ((rung, 700), (call, 1300)):
            begin_s = await listener.wait_for_agent(700, since_s=rung.answered_s)
            assert pitch(listener.heard_since(begin_s)) == pytest.approx(hz, abs=20)
        await rung.hangup()
        assert await call.wait_ended(30) == "hung up by the far end"


async def test_a_telephone_is_busy(pbx: Pbx, caller: SipCaller, phone: SipPhone) -> None:
    async with caller.dial(pbx.sip_uri(6002), wait=False) as call:
        await (await phone.rings()).reject()
        with pytest.raises(CallRefused):
            await call.wait_established()


async def test_a_telephone_stops_ringing_when_the_caller_gives_up(pbx: Pbx, caller: SipCaller, phone: SipPhone) -> None:
    async with caller.dial(pbx.sip_uri(6002), wait=False) as call:
        rung = await phone.rings()
        await call.hangup()
        await rung.wait_ended(30)
        with pytest.raises(CallRefused):
            await rung.answer()


async def test_a_telephone_that_nobody_calls_does_not_ring(phone: SipPhone) -> None:
    with pytest.raises(WaitTimedOut, match="6002 has not rung"):
        await phone.rings(timeout_s=0.1)


async def test_a_telephone_without_the_password_is_not_let_in(pbx: Pbx) -> None:
    async with SipCaller(password="wrong") as caller:
        with pytest.raises(CallError, match="6002 cannot register"):
            async with caller.register("6002", pbx.sip_domain):
                pass
