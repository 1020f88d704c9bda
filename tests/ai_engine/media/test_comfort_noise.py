"""Noise in the agent's silence: as loud as asked for, steady, no sound of the agent, and made only once."""

from __future__ import annotations

import itertools
import socket

import numpy as np
import pytest

from ai_engine.media.audiosocket_transport import AudioSocketTransport
from ai_engine.media.comfort_noise import ComfortNoise, noise_frames
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.rtp_transport import RtpTransport
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, decode, decode_mulaw

FORMATS = pytest.mark.parametrize("format", [MULAW_8K, ALAW_8K, PCM_8K, PCM_16K], ids=str)


def sound(noise, format, frames=600):
    return decode(b"".join(noise.frame() for _ in range(frames)), format.encoding).astype(float)


@FORMATS
@pytest.mark.parametrize("dbfs", [-65.0, -55.0, -45.0])
def test_it_has_the_level_asked_for_all_the_time(format, dbfs):
    pcm = sound(ComfortNoise(format, dbfs), format)
    level = 10 * np.log10(np.mean(pcm.reshape(-1, format.sample_rate_hz // 2) ** 2, axis=1) / 32768**2)
    tolerance = 1.0 if format.encoding == "linear16" or dbfs > -60 else 3.0  # A-law has no value between 0 and 8
    assert level == pytest.approx(dbfs, abs=tolerance + 0.5)


@FORMATS
def test_its_end_joins_its_beginning(format):
    """Round and round without a click: no step is greater than those within."""
    frames = noise_frames(format, -45.0)
    once = decode(b"".join(frames), format.encoding).astype(int)
    twice = decode(b"".join((*frames, *frames)), format.encoding).astype(int)
    assert np.abs(np.diff(twice)).max() == np.abs(np.diff(once)).max()


@FORMATS
def test_every_frame_is_20_ms_and_none_is_made_anew(format):
    noise = ComfortNoise(format, -60.0)
    shared = set(map(id, noise_frames(format, -60.0)))
    assert {len(frame) for frame in noise_frames(format, -60.0)} == {format.bytes_for_ms(20)}
    assert {id(noise.frame()) for _ in range(1000)} <= shared


def test_it_falls_towards_high_notes():
    pcm = sound(ComfortNoise(PCM_16K, -50.0), PCM_16K, frames=256)
    power = np.abs(np.fft.rfft(pcm)) ** 2
    hz = np.fft.rfftfreq(pcm.size, 1 / 16000)
    octaves = [power[(hz >= low) & (hz < 2 * low)].mean() for low in (500, 1000, 2000, 4000)]
    for higher, lower in itertools.pairwise(reversed(octaves)):
        assert 10 * np.log10(lower / higher) == pytest.approx(6.0, abs=1.0)


@FORMATS
def test_off_it_is_silence(format):
    noise = ComfortNoise(format)
    assert {noise.frame() for _ in range(10)} == {format.silence(20)}


@pytest.mark.parametrize("dbfs", [-20.0, 0.0, 12.0, -90.0, float("nan")])
def test_what_nobody_would_bear_or_hear_is_refused(dbfs):
    with pytest.raises(ValueError, match="between -75 and -40"):
        ComfortNoise(PCM_8K, dbfs)


def level_dbfs(pcm):
    return 10 * np.log10(np.mean(pcm.astype(float) ** 2) / 32768**2)


def ticked(transport, seconds=2.0):
    """Two seconds of silence, half a second of a loud agent in the middle."""
    now, returned = 50.0, []
    for number in range(round(seconds / 0.02)):
        if number == 50:
            transport.play(1, loud(transport.format), "words", now)
            transport.played.end_turn(1, now)
        returned.append(transport.transmit(now))
        now += 0.02
    return returned


def loud(format):
    tone = (12000 * np.sin(np.arange(format.sample_rate_hz // 2) / 3)).astype(np.int16)
    return tone.tobytes() if format.encoding == "linear16" else b"\x10" * tone.size


def check(returned, pcm, spoken, transport):
    """It is on the wire, and is no sound of the agent's."""
    said = [number for number, frame in enumerate(returned) if frame is not None]
    assert said == list(range(50, 75)), "what is returned goes into the canceller and the recording"
    assert level_dbfs(pcm[np.repeat(~spoken, pcm.size // spoken.size)]) == pytest.approx(-55, abs=1.5)
    assert transport.played.heard_ms(1, 60.0) == pytest.approx(500)
    assert not transport.played.speaking(60.0)


async def test_over_rtp_it_is_sent_and_counts_for_nothing():
    transport = RtpTransport(RtpPorts(43000, 43998, host="127.0.0.1", drain_s=0), comfort_noise_dbfs=-55.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(30.0)
        transport.expect(*peer.getsockname())
        returned = ticked(transport)
        packets = [RtpPacket.parse(peer.recv(2048)) for _ in returned]
    await transport.close()
    pcm = np.concatenate([decode_mulaw(packet.payload) for packet in packets])
    check(returned, pcm, np.array([frame is not None for frame in returned]), transport)


async def test_over_audiosocket_too():
    transport = AudioSocketTransport("slin", comfort_noise_dbfs=-55.0)
    ours, peer = socket.socketpair()
    with peer:
        peer.settimeout(30.0)
        transport._connection = ours
        ours.setblocking(False)
        returned, received = [], b""
        now = 50.0
        for number in range(100):
            if number == 50:
                transport.play(1, loud(PCM_8K), "words", now)
                transport.played.end_turn(1, now)
            returned.append(transport.transmit(now))
            received += peer.recv(4096)
            now += 0.02
        await transport.close()
    assert len(received) == 100 * 323
    pcm = np.concatenate([np.frombuffer(received[at + 3 : at + 323], "<i2") for at in range(0, len(received), 323)])
    check(returned, pcm, np.array([frame is not None for frame in returned]), transport)
