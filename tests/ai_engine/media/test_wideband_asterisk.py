"""Sound above 4 kHz from a G.722 telephone to us and back, by each transport that says it is wideband."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bridged_line import PATIENCE_S, bridged_line

from ai_engine.media.line_formats import LINE_FORMATS
from ai_engine.media.line_registry import LINE_KINDS, LineParts, Lines
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import RtpPorts
from ai_engine.settings import AsteriskSettings, Settings
from tools.pbx_instance import Pbx

pytestmark = pytest.mark.asterisk

RATE_HZ = 16000
HIGH_HZ = 6000


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


def high_tone(seconds: float) -> np.ndarray:  # type: ignore[type-arg]
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (8000 * np.sin(2 * np.pi * HIGH_HZ * t)).astype(np.int16)


def power_at(pcm: np.ndarray, hz: float) -> float:  # type: ignore[type-arg]
    """The mean power within 100 Hz of `hz`, as a share of a sine's at full scale, in dB."""
    spectrum = np.abs(np.fft.rfft(pcm / 32768 * np.hanning(pcm.size))) ** 2
    near = np.abs(np.fft.rfftfreq(pcm.size, 1 / RATE_HZ) - hz) < 100
    return float(10 * np.log10(spectrum[near].sum() / (pcm.size**2 * 3 / 32) + 1e-12))


WIDE = [
    (transport, name)
    for transport, formats in LINE_FORMATS.items()
    for name, audio in formats.items()
    if audio.sample_rate_hz == RATE_HZ
]


@pytest.mark.parametrize(("transport", "media_format"), [*WIDE, ("rtp", "ulaw")])
async def test_a_tone_of_6_khz_comes_back(
    pbx: Pbx, media: MediaLoop, transport: str, media_format: str, tmp_path: Path
) -> None:
    pytest.importorskip("baresip", reason="the telephone needs baresip-python: pip install 'parley[caller]'")
    from tools.call.wide_phone import wide_call

    asterisk = AsteriskSettings(
        host=pbx.host, port=pbx.http_port, username=pbx.ari_user, password=pbx.ari_password, app=pbx.app
    )
    parts = LineParts(
        Settings(asterisk=asterisk), media, RtpPorts(46000, 46998, host="127.0.0.1"), frozenset({"127.0.0.1"})
    )
    kind = LINE_KINDS[transport](parts)
    lines = Lines({transport: kind})
    await lines.start(transport)
    async with (
        bridged_line(pbx, media, kind, media_format) as call,
        asyncio.timeout(PATIENCE_S),
        wide_call(pbx.sip_uri(700)) as phone,
    ):
        await call.bridged.wait()
        await phone.play(high_tone(2.0))
        await asyncio.sleep(0.3)
        heard = phone.heard
    await lines.stop()
    said_db = power_at(high_tone(0.5), HIGH_HZ)
    heard_db = max(power_at(heard[start : start + RATE_HZ // 2], HIGH_HZ) for start in range(0, heard.size, 4000))
    print(f"{transport}/{media_format}: 6 kHz said at {said_db:.1f} dB, heard at {heard_db:.1f} dB")
    if LINE_FORMATS[transport][media_format].sample_rate_hz == RATE_HZ:
        assert heard_db > said_db - 6
    else:
        assert heard_db < said_db - 30, "a narrow line passes nothing of it"
