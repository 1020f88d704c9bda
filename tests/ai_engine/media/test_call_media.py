"""A call's half on the media thread: real pacer, transport and conversation; only voice activity is left out."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator

import numpy as np
import pytest

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import Phrases
from ai_engine.conversation.decisions import AgentTurn, Announce, Decision, Forget, Say, SendAudio
from ai_engine.media.call_media import CallMedia, _joined
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.rtp_transport import RtpTransport
from ai_engine.providers.provider import AgentAudio, AgentAudioDone
from voice_wire.audio import PCM_16K, decode_mulaw


class Deaf:
    """In place of `SpeechDetector`, whose weights these tests do not need; notes what it is given."""

    def __init__(self) -> None:
        self.frames = 0
        self.closed = False

    def open(self, call_key: str, on_probability: object, *, rate_hz: int) -> Deaf:
        return self

    def push(self, pcm: bytes, at: float) -> None:
        self.frames += 1

    def close(self) -> None:
        self.closed = True


class Rig:
    def __init__(self, media: MediaLoop, ports: RtpPorts) -> None:
        self.asterisk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.asterisk.bind(("127.0.0.1", 0))
        self.asterisk.setblocking(False)
        self.transport = RtpTransport(ports)
        self.transport.expect(*self.asterisk.getsockname())
        self.decisions: list[Decision] = []
        self.threads: set[str] = set()
        self.errors: list[Exception] = []
        self.deaf = Deaf()
        self.media = CallMedia(
            media,
            self.transport,
            Conversation(self.transport, phrases=Phrases(greeting="Hello.")),
            call_id="call-1",
            detector=self.deaf,  # type: ignore[arg-type]
            control=asyncio.get_running_loop(),
            on_decisions=self.decided,
            on_failed=self.errors.append,
        )

    def decided(self, decisions: list[Decision]) -> None:
        self.threads.add(threading.current_thread().name)
        self.decisions += decisions

    def packets(self) -> list[RtpPacket]:
        packets = []
        try:
            while True:
                packets.append(RtpPacket.parse(self.asterisk.recv(2048)))
        except BlockingIOError:
            return packets

    async def decided_on(self, kind: type[Decision]) -> Decision:
        await until(lambda: any(isinstance(decision, kind) for decision in self.decisions))
        return next(decision for decision in self.decisions if isinstance(decision, kind))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def ports() -> RtpPorts:
    return RtpPorts(43000, 43998, host="127.0.0.1", drain_s=0)


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


@pytest.fixture
async def rig(media: MediaLoop, ports: RtpPorts) -> AsyncIterator[Rig]:
    rig = Rig(media, ports)
    yield rig
    await rig.media.close()
    rig.asterisk.close()


async def test_decisions_come_to_the_control_loop_and_sound_goes_out(rig: Rig) -> None:
    rig.media.start()
    say = await rig.decided_on(Say)
    assert isinstance(say, Say)
    assert say.text == "Hello."
    tone = (8000 * np.sin(2 * np.pi * 300 * np.arange(3200) / 16000)).astype("<i2").tobytes()
    for start in range(0, len(tone), 1001):  # in pieces that cut samples in half
        piece = tone[start : start + 1001]
        rig.media.provider_event(AgentAudio(say.turn, say.revision, piece, PCM_16K, "Hello." if not start else ""))
    rig.media.provider_event(AgentAudioDone(say.turn, say.revision))
    await rig.decided_on(AgentTurn)
    loud = [packet for packet in rig.packets() if np.abs(decode_mulaw(packet.payload)).max() > 4000]
    assert 10 <= len(loud) <= 11
    sound = np.concatenate([decode_mulaw(packet.payload) for packet in loud]).astype(float)
    spectrum = np.abs(np.fft.rfft(sound[:1600]))
    assert np.argmax(spectrum) == 60  # 300 Hz
    assert rig.threads == {threading.main_thread().name}
    await until(lambda: rig.deaf.frames >= 20)


async def test_what_a_call_does_to_its_conversation_runs_on_the_media_thread(rig: Rig) -> None:
    rig.media.start()
    names: list[str] = []
    rig.media.run(lambda conversation, now: names.append(threading.current_thread().name))
    rig.media.run(Conversation.hold)
    await until(lambda: any(isinstance(told, Announce) and told.state == "held" for told in rig.decisions))
    assert names == ["media"]


async def test_close_brings_the_last_decisions_and_gives_everything_back(
    rig: Rig, media: MediaLoop, ports: RtpPorts
) -> None:
    rig.media.start()
    await rig.decided_on(Say)
    await rig.media.close()
    assert rig.decisions[-1] == Announce("ended", pytest.approx(0, abs=1e9))
    assert rig.deaf.closed
    assert ports.in_use == 0
    assert media.figures().sessions == 0
    await rig.media.close()
    rig.media.provider_event(AgentAudioDone(1, 1))
    assert [d.state for d in rig.decisions if isinstance(d, Announce)].count("ended") == 1


async def test_what_a_call_held_is_freed_without_the_garbage_collector(media: MediaLoop, ports: RtpPorts) -> None:
    rig = Rig(media, ports)
    rig.media.start()
    await rig.decided_on(Say)
    held = [weakref.ref(thing) for thing in (rig.media, rig.media.conversation, rig.transport)]
    await rig.media.close()
    await until(lambda: media.figures().sessions == 0)
    rig.asterisk.close()
    gc.disable()
    try:
        del rig
        await until(lambda: not any(reference() for reference in held))
    finally:
        gc.enable()


async def test_close_works_after_the_media_loop_has_ended(rig: Rig, media: MediaLoop, ports: RtpPorts) -> None:
    rig.media.start()
    await rig.decided_on(Say)
    media.stop()
    await rig.media.close()
    assert ports.in_use == 0


@pytest.mark.parametrize("where", ["tick", "event"])
async def test_a_bug_ends_one_call_and_is_told(
    rig: Rig, media: MediaLoop, ports: RtpPorts, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    other = Rig(media, ports)
    other.media.start()
    rig.media.start()
    await rig.decided_on(Say)
    monkeypatch.setattr(rig.media.conversation, "tick" if where == "tick" else "provider_event", broken)
    if where == "event":
        rig.media.provider_event(AgentAudioDone(1, 1))
    await until(lambda: bool(rig.errors) and media.figures().sessions == 1)
    await asyncio.sleep(0.1)  # a second complaint would come now
    assert [repr(error) for error in rig.errors] == ["KeyError('a bug')"]
    assert media.figures().sessions == 1
    heard_before = other.deaf.frames
    await until(lambda: other.deaf.frames > heard_before)
    await other.media.close()
    other.asterisk.close()


def test_a_replay_crosses_as_one_piece() -> None:
    decisions: list[Decision] = [
        SendAudio(2, b"a"),
        SendAudio(2, b"b"),
        Forget(2),
        SendAudio(3, b"c"),
        SendAudio(4, b"d"),
    ]
    assert _joined(decisions) == [SendAudio(2, b"ab"), Forget(2), SendAudio(3, b"c"), SendAudio(4, b"d")]
