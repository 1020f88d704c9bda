"""What a call's media costs by format: 8 kHz against 16 kHz.

    python -m benchmarks.line_widths [--short]

CPU of one call-second in milliseconds, on one core: the RTP transport (socket, jitter buffer, decoding, encoding and
playout), voice activity (16 calls in a batch, one inference for all) and the echo canceller while it works. Each
is timed alone; the sums are what a call costs the media and voice-activity threads without its conversation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
import threading
import time
from pathlib import Path

import numpy as np

from ai_engine.media.echo import EchoGuard, EchoUnavailable, WebRtcCanceller
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.rtp_formats import WIRE_FORMATS
from ai_engine.media.rtp_transport import RtpTransport
from ai_engine.media.transport import Frame, FrameKind
from speech_detection.detector import SpeechDetector
from voice_wire.audio import AudioFormat, Pcm, encode

FRAME_S = 0.020
BATCH = 16
MODEL = Path(__file__).resolve().parents[1] / "models" / "vad" / "silero_vad.onnx"


def sound(rate_hz: int, seconds: float) -> Pcm:
    """Noise in syllables: what costs most, for it is never silent."""
    at = np.arange(round(rate_hz * seconds)) / rate_hz
    noise = np.random.default_rng(1).normal(0, 4000, at.size)
    return np.asarray(noise * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * at)), np.float64).clip(-32000, 32000).astype(np.int16)


def transport_ms(name: str, seconds: float) -> float:
    """Receiving and sending, both with sound in every frame."""
    wire = WIRE_FORMATS[name]
    transport = RtpTransport(RtpPorts(47000, 47998, host="127.0.0.1", drain_s=0), wire_format=name)
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    peer.setblocking(False)
    transport.expect(*peer.getsockname())
    to = ("127.0.0.1", transport.local_port)
    codec = wire.codec()
    pcm = sound(wire.format.sample_rate_hz, seconds)
    agent = encode(pcm, wire.format.encoding)
    size = wire.format.bytes_for_ms(20)
    now, spent_ns = 100.0, 0
    transport.play(1, agent, "words", now)
    n_frames = round(seconds / FRAME_S)
    for number in range(n_frames):
        payload = codec.encode(agent[number * size : (number + 1) * size])
        peer.sendto(bytes(RtpPacket(wire.payload_type, number, 160 * number, 7, payload)), to)
        now += FRAME_S
        begun = time.thread_time_ns()
        transport.receive(now)
        transport.transmit(now)
        spent_ns += time.thread_time_ns() - begun
        peer.recv(2048)
    peer.close()
    asyncio.run(transport.close())
    return spent_ns / 1e6 / seconds


def voice_activity_ms(rate_hz: int, seconds: float) -> float:
    results = 0
    done = threading.Semaphore(0)

    def post(function: object, *args: object) -> None:
        function(*args)  # type: ignore[operator]

    def judged(probability: float, at: float) -> None:
        nonlocal results
        results += 1
        done.release()

    detector = SpeechDetector(MODEL, post)
    detector.start()
    streams = [detector.open(f"call-{number}", judged, rate_hz=rate_hz) for number in range(BATCH)]
    size = rate_hz // 50
    pcm = sound(rate_hz, seconds)
    before = resource.getrusage(resource.RUSAGE_SELF)
    for number in range(round(seconds / FRAME_S)):
        frame = pcm[number * size : (number + 1) * size].tobytes()
        ripe = (number + 1) * 20 // 32 - number * 20 // 32
        for stream in streams:
            stream.push(frame, number * FRAME_S)
        for _ in range(ripe * BATCH):
            done.acquire()
    after = resource.getrusage(resource.RUSAGE_SELF)
    detector.stop()
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent_s * 1000 / BATCH / seconds


def echo_ms(rate_hz: int, seconds: float) -> float | None:
    try:
        guard = EchoGuard(WebRtcCanceller(rate_hz), AudioFormat("linear16", rate_hz), always=True)
    except EchoUnavailable:
        return None
    size = rate_hz // 50
    pcm = sound(rate_hz, seconds)
    frames = [pcm[start : start + size].tobytes() for start in range(0, pcm.size, size)]
    begun = time.thread_time_ns()
    for frame in frames:
        guard.hear(Frame(frame, FrameKind.SPEECH))
        guard.sent(frame)
    return (time.thread_time_ns() - begun) / 1e6 / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of a call-second by format")
    parser.add_argument("--short", action="store_true", help="a tenth of the time; figures mean little")
    seconds = 4.0 if parser.parse_args().short else 40.0
    activity = {rate_hz: voice_activity_ms(rate_hz, seconds) for rate_hz in (8000, 16000)}
    echo = {rate_hz: echo_ms(rate_hz, seconds) for rate_hz in (8000, 16000)}
    figures = {}
    print("| format | transport | voice activity | echo canceller | together |")
    print("|---|---|---|---|---|")
    for name, wire in WIRE_FORMATS.items():
        rate_hz = wire.format.sample_rate_hz
        parts = (transport_ms(name, seconds), activity[rate_hz], echo[rate_hz])
        total = sum(part or 0.0 for part in parts)
        figures[name] = round(total, 2)
        shown = " | ".join("–" if part is None else f"{part:.2f}" for part in (*parts, total))
        print(f"| {name} ({rate_hz // 1000} kHz) | {shown} |")
    ratio = round(figures["g722"] / figures["ulaw"], 2)
    print(f"milliseconds of CPU in a call-second; g722 costs {ratio} times what ulaw does")
    print(json.dumps({"benchmark": "line_widths", "ms_per_call_second": figures, "g722_to_ulaw": ratio}))


if __name__ == "__main__":
    main()
