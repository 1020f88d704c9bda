"""A telephone that speaks G.722: 16 kHz sound both ways through real SIP and RTP by baresip.

    async with wide_call("sip:700@127.0.0.1:5060") as phone:
        await phone.play(pcm_16k)
        await asyncio.sleep(1)
        pcm = phone.heard

Without the clocks and measures of `SipCaller`, and like it the only one of a process at its time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

import numpy as np
from baresip import Account, AudioNotActive, AudioRestarted, Call, Config, Runtime, StaleHandleError, UserAgent

from tools.call.wav import Pcm

WIDE_HZ: Final = 16000
_POLL_S: Final = 0.005
_LEAD_BYTES: Final = 5 * 640
_CODEC: Final = "g722/16000/1"


class WidePhone:
    """One call. PCM is int16 at 16 kHz."""

    def __init__(self, call: Call) -> None:
        self._audio = call.audio
        self._heard: list[bytes] = []
        self._to_say = b""

    @property
    def heard(self) -> Pcm:
        """All that has come, without its pauses where nothing came."""
        return np.frombuffer(b"".join(self._heard), np.int16)

    async def established(self) -> None:
        """Wait until sound flows both ways. Raises `ValueError` where the far end has chosen another codec."""
        while True:
            with contextlib.suppress(AudioNotActive):
                info = self._audio.info()
                if info.tx_ready and info.rx_ready:
                    if (info.tx_sample_rate, info.rx_sample_rate) != (WIDE_HZ, WIDE_HZ):
                        raise ValueError(f"the call was set up at {info.rx_sample_rate} Hz: G.722 is not allowed there")
                    return
            await asyncio.sleep(_POLL_S)

    async def play(self, pcm: Pcm) -> None:
        """Say it; returns when the last of it is in the sender's hands."""
        self._to_say += pcm.tobytes()
        while self._to_say:  # noqa: ASYNC110 - `run` takes it piece by piece
            await asyncio.sleep(_POLL_S)

    async def run(self) -> None:
        """Move sound until cancelled."""
        while True:
            with contextlib.suppress(AudioNotActive, AudioRestarted):
                if piece := self._audio.read(64000):
                    self._heard.append(piece)
                room = _LEAD_BYTES - self._audio.info().tx_buffered
                if self._to_say and room > 0:
                    taken = self._audio.write(self._to_say[: room - room % 2])
                    self._to_say = self._to_say[taken:]
            await asyncio.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def wide_call(
    uri: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 30.0
) -> AsyncIterator[WidePhone]:
    """Call `uri`; the block gets the call once it is answered. Raises `TimeoutError` when that takes too long."""
    runtime = Runtime()
    await runtime.start(Config(net_interface="127.0.0.1", max_concurrent_calls=None, native_log_level="error"))
    try:
        account = Account(user="wide", domain="127.0.0.1", password="", reg_interval=0, audio_codecs=(_CODEC,))
        agent = await UserAgent.create(runtime, account)
        native = await agent.dial(uri, dict(headers or {}))
        phone = WidePhone(native)
        moving = asyncio.create_task(phone.run(), name="wide-phone")
        try:
            async with asyncio.timeout(timeout_s):
                await phone.established()
            yield phone
        finally:
            moving.cancel()
            await asyncio.gather(moving, return_exceptions=True)
            with contextlib.suppress(StaleHandleError):  # the far end was first
                await native.hangup()
    finally:
        await runtime.close()
