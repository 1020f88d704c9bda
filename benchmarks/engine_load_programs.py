"""The programs that `engine_load` puts under load, each in a process of its own.

`floor`      what no engine can undercut: uvloop, a socket per call, decode, encode, send, and nothing else
`transport`  RTP transport, jitter buffer, playout and pacer; the agent talks without end
`voice`      the same with voice activity
`engine`     the same with the real conversation and a provider that answers at once
`guarded`    the engine, and a canceller at hand that finds no echo: what `media.echo: auto` costs a call without one
`cancelled`  the engine with the canceller always at work
`wideband`   the engine on G.722 lines: 16 kHz both ways, a codec with a state, voice activity at 16 kHz

On standard output: one JSON line with the ports, then one per `mark` read from standard input; `stop` ends it. With a
fourth argument, a number, the media thread is profiled from the first `mark` on, and `profile` tells so many functions.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import Adopt, Decision, Say, Speculate, Transcribe
from ai_engine.media.call_media import CallMedia
from ai_engine.media.echo import guards_for
from ai_engine.media.pacer import FRAME_S, MediaLoop, settle_interpreter
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import PT_G722, write_header
from ai_engine.media.rtp_transport import RtpTransport
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, CallerSpeech
from speech_detection.detector import SpeechDetector, SpeechStream
from tools.load_test.inventory import CollectorPauses
from voice_wire.audio import MULAW_8K, decode_mulaw, encode_mulaw

PROGRAMS = ("floor", "transport", "voice", "engine", "guarded", "cancelled", "wideband")
PAYLOAD_TYPES = {"wideband": PT_G722}
"""Of programs that are not called in mu-law. The bytes are the same: any make a sound."""
WEIGHTS = Path(__file__).parents[1] / "models" / "vad" / "silero_vad.onnx"


def agent_second() -> bytes:
    """A second of mu-law that is loud and no pure tone."""
    t = np.arange(8000) / 8000
    sound = 6000 * np.sin(2 * np.pi * 180 * t) * (1 + np.sin(2 * np.pi * 4 * t)) / 2
    return encode_mulaw((sound + np.random.default_rng(1).normal(0, 500, 8000)).astype(np.int16))


class Floor(asyncio.DatagramProtocol):
    """Receives, decodes, encodes and sends."""

    def __init__(self) -> None:
        self._packet = bytearray(172)
        self._sequence = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        pcm = decode_mulaw(memoryview(data)[12:])
        self._packet[12:] = encode_mulaw(pcm)
        self._sequence = (self._sequence + 1) & 0xFFFF
        write_header(self._packet, 0, self._sequence, self._sequence * 160, 1, marker=False)
        self._transport.sendto(self._packet, addr)


class Talker:
    """A call without a conversation: hears, and speaks without end."""

    def __init__(self, transport: RtpTransport, speech: bytes) -> None:
        self._transport = transport
        self._speech = speech
        self._ticks = 0
        self.stream: SpeechStream | None = None

    def tick(self, now: float) -> None:
        transport = self._transport
        frame = transport.receive(now)
        if self.stream is not None:
            self.stream.push(frame.pcm, now)
        if self._ticks % 50 == 0:
            transport.play(1, self._speech, "on and on", now)
        self._ticks += 1
        transport.transmit(now)

    def failed(self, error: Exception) -> None:
        raise error


class PromptProvider:
    """Answers each turn at once with three seconds of speech."""

    def __init__(self, speech: bytes) -> None:
        self._speech = speech
        self.media: CallMedia | None = None

    def decided(self, decisions: list[Decision]) -> None:
        assert self.media is not None
        for decision in decisions:
            if isinstance(decision, Transcribe | Speculate):
                words = CallerSpeech(decision.turn, decision.revision, "and then I said", final=False)
                self.media.provider_event(words)
            elif isinstance(decision, Adopt | Say):
                for n in range(3):
                    text = "this is what I say to that " if n == 0 else ""
                    audio = AgentAudio(decision.turn, decision.revision, self._speech, MULAW_8K, text)
                    self.media.provider_event(audio)
                self.media.provider_event(AgentAudioDone(decision.turn, decision.revision))


def _report(extra: Callable[[], dict[str, float]], profiler: MediaProfile | None = None) -> None:
    """Answer the marks of standard input until it says stop."""
    for line in sys.stdin:
        word = line.strip()
        if word == "stop":
            return
        if word == "profile" and profiler is not None:
            print(json.dumps(profiler.found()), flush=True)
            continue
        usage = resource.getrusage(resource.RUSAGE_SELF)
        figures = {"cpu_s": usage.ru_utime + usage.ru_stime, "at_s": time.monotonic(), "rss_mb": _rss_mb(), **extra()}
        if profiler is not None:
            profiler.begin()
        print(json.dumps(figures), flush=True)


class MediaProfile:
    """cProfile on the media thread."""

    def __init__(self, media: MediaLoop, n_calls: int, top: int) -> None:
        self._media = media
        self._n_calls = n_calls
        self._top = top
        self._profile = cProfile.Profile()
        self._began = 0.0
        self._blocks = 0

    def begin(self) -> None:
        self._began, self._blocks = time.monotonic(), sys.getallocatedblocks()
        self._media.post(self._profile.enable)

    def found(self) -> dict[str, Any]:
        """The functions with the most time of their own: name, share, and microseconds of a call's tick."""
        blocks = sys.getallocatedblocks() - self._blocks
        call_seconds = (time.monotonic() - self._began) * self._n_calls
        done = threading.Event()

        def end() -> None:
            self._profile.disable()
            done.set()

        self._media.post(end)
        done.wait()
        self._profile.create_stats()
        times: dict[str, float] = {}
        for (file, line, function), (_, _, own_s, _, _) in self._profile.stats.items():
            name = f"{Path(file).stem}.{function}" if line else function.strip("<>")
            times[name] = times.get(name, 0.0) + own_s
        whole_s = sum(times.values())
        most = sorted(times.items(), key=lambda item: -item[1])[: self._top]
        ticks = call_seconds / FRAME_S
        return {
            "top": [[name, round(own_s / whole_s, 4), round(1e6 * own_s / ticks, 3)] for name, own_s in most],
            "tick_us": round(1e6 * whole_s / ticks, 1),
            "blocks_per_call_second": round(blocks / call_seconds, 2),
        }


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


async def _serve_floor(n_calls: int) -> None:
    loop = asyncio.get_running_loop()
    address = ("127.0.0.1", 0)
    transports = [(await loop.create_datagram_endpoint(Floor, local_addr=address))[0] for _ in range(n_calls)]
    ports = [transport.get_extra_info("sockname")[1] for transport in transports]
    print(json.dumps({"ports": ports}), flush=True)
    await asyncio.to_thread(_report, dict)
    for transport in transports:
        transport.close()


async def _serve(program: str, n_calls: int, first_port: int, profile_top: int = 0) -> None:
    media = MediaLoop()
    media.start()
    ports = RtpPorts(first_port, first_port + 2 * n_calls + 200, host="127.0.0.1")
    speech = agent_second()
    detector = None
    if program != "transport":
        detector = SpeechDetector(WEIGHTS, media.post, batch_capacity=n_calls)
        detector.start()
    wire_format = "g722" if program == "wideband" else "ulaw"
    guards = guards_for({"guarded": "auto", "cancelled": "always"}.get(program, "off"))
    pauses = CollectorPauses()
    transports, calls = [RtpTransport(ports, wire_format=wire_format) for _ in range(n_calls)], []
    for n, transport in enumerate(transports):
        if program not in {"transport", "voice"}:
            assert detector is not None
            provider = PromptProvider(speech)
            conversation = Conversation(
                transport, settings=ConversationSettings(max_call_s=0.0), phrases=Phrases(greeting="Hello.")
            )
            provider.media = CallMedia(
                media,
                transport,
                conversation,
                call_id=str(n),
                detector=detector,
                control=asyncio.get_running_loop(),
                on_decisions=provider.decided,
                on_failed=_raise,
                echo=guards(transport) if guards is not None else None,
            )
            calls.append(provider.media)
            provider.media.start()
        else:
            talker = Talker(transport, speech)
            if detector is not None:
                talker.stream = detector.open(str(n), lambda probability, at: None)
            media.add(talker)
    await asyncio.sleep(0.5)
    settle_interpreter()
    pauses.watch()
    print(json.dumps({"ports": [transport.local_port for transport in transports]}), flush=True)

    def extra() -> dict[str, float]:
        figures = media.figures()
        lines = [transport.line_quality() for transport in transports]
        longest_ms, collections = max(pauses.longest_ms), sum(pauses.collections)
        pauses.forget()
        return {
            "gc_longest_ms": round(longest_ms, 2),
            "gc_collections": collections,
            "late_ticks": figures.late_ticks,
            "skipped_ticks": figures.skipped_ticks,
            "busy_share": round(figures.busy_share, 3),
            "tick_gap_p99_ms": round(figures.gap_p99_ms, 2),
            "concealed": sum(line.concealed or 0 for line in lines),
            "packets_late": sum(line.late or 0 for line in lines),
            "delay_ms": round(sum(line.delay_ms or 0.0 for line in lines) / len(lines), 1),
            "frames_unjudged": detector.frames_left_out if detector is not None else 0,
        }

    profiler = MediaProfile(media, n_calls, profile_top) if profile_top else None
    await asyncio.to_thread(_report, extra, profiler)
    for call in calls:
        await call.close()
    if detector is not None:
        detector.stop()
    media.stop()
    for transport in transports:
        await transport.close()


def _raise(error: Exception) -> None:
    raise error


def main(program: str, n_calls: int, first_port: int, profile_top: int = 0) -> None:
    serving = _serve_floor(n_calls) if program == "floor" else _serve(program, n_calls, first_port, profile_top)
    threading.current_thread().name = program
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
