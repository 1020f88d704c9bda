"""Who is recorded, what he is told first, and that nothing of the time before is kept."""

from __future__ import annotations

import asyncio
import threading
import wave
from typing import Any

import numpy as np
import pytest

from ai_engine.config_file import ConfigError
from ai_engine.contexts import Context
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, GreetingMode, Phrases
from ai_engine.conversation.decisions import Say
from ai_engine.media.call_media import CallMedia
from ai_engine.media.call_recording import CallRecording
from ai_engine.media.echo import EchoGuard
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.recorder import Recorder
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.metrics import Metrics
from ai_engine.providers.provider import AgentAudio, AgentAudioDone
from ai_engine.recording_setup import NOTICES, act, announced, check_action, make_recorder, recording_for
from ai_engine.settings import RecordingSettings
from tools.scenarios.virtual_parts import VirtualTransport
from voice_wire.audio import MULAW_8K

NOTICE = "This call is recorded."
GREETING = "Hello, this is the shop."


def context(**keys: Any) -> Context:
    return Context(prompt="x", greeting=GREETING, **keys)


def decided(settings: RecordingSettings, **keys: Any) -> Context:
    return announced({"one": context(**keys)}, settings)["one"]


ON, OFF = RecordingSettings(enabled=True), RecordingSettings()
UNASKED = RecordingSettings(enabled=True, consent="none")


@pytest.mark.parametrize(
    ("settings", "keys", "enabled", "told"),
    [
        (OFF, {}, False, ""),
        (OFF, {"recording": {"notice": "We record."}}, False, ""),
        (OFF, {"recording": {"enabled": True}}, True, NOTICE),
        (ON, {}, True, NOTICE),
        (ON, {"recording": {"enabled": False}}, False, ""),
        (ON, {"language": "de-AT"}, True, NOTICES["de"]),
        (ON, {"recording": {"notice": "We record, {caller_name}."}}, True, "We record, {caller_name}."),
        (ON, {"language": "ja", "recording": {"notice": "録音します。"}}, True, "録音します。"),
        (ON, {"disclose_ai": "I am a robot."}, True, f"I am a robot. {NOTICE}"),
        (UNASKED, {}, True, ""),
        (UNASKED, {"language": "ja"}, True, ""),
        (UNASKED, {"recording": {"notice": "We record."}}, True, ""),
        (UNASKED, {"disclose_ai": "I am a robot."}, True, "I am a robot."),
    ],
)
def test_settings_and_context_decide_together(
    settings: RecordingSettings, keys: dict[str, Any], enabled: bool, told: str
) -> None:
    found = decided(settings, **keys)
    assert found.recording.enabled is enabled
    assert found.disclosure == told
    if enabled and told == NOTICE:
        assert found.lines_to_render()[0] == f"{NOTICE} {GREETING}", "it is rendered ahead with the greeting"


@pytest.mark.parametrize("keys", [{"language": "ja"}, {"recording": {"notice": ""}}])
def test_a_language_without_the_sentence_needs_one(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"context one: .*notice"):
        decided(ON, **keys)


def test_a_recorder_is_made_where_something_is_recorded_or_was(tmp_path: Any) -> None:
    def made(settings: RecordingSettings) -> bool:
        settings = settings.model_copy(update={"folder": tmp_path / "recordings"})
        return make_recorder(announced({"one": context()}, settings), settings, Metrics()) is not None

    assert made(ON)
    assert not made(OFF)
    (tmp_path / "recordings").mkdir()
    assert made(OFF), "what is kept from before goes on growing old"


def test_only_actions_that_there_are_are_taken() -> None:
    assert [check_action(action) for action in ("pause", "resume", "stop", "discard")]
    for action in ("", "Pause", "delete", "../pause"):
        with pytest.raises(ValueError, match="there are pause, resume, stop, discard"):
            check_action(action)


class Line:
    """A conversation on virtual time whose caller is recorded."""

    def __init__(self, tmp_path: Any, *, owns_turn_taking: bool = False, **knobs: Any) -> None:
        self.transport = VirtualTransport()
        self.now = 10.0
        self.conversation = Conversation(
            self.transport,
            settings=ConversationSettings(**knobs),
            phrases=Phrases(greeting=GREETING, disclosure=NOTICE),
            owns_turn_taking=owns_turn_taking,
        )
        settings = ON.model_copy(update={"folder": tmp_path / "r", "min_free_mb": 0})
        contexts = announced({"one": context()}, settings)
        self.recorder = make_recorder(contexts, settings, Metrics())
        recording = recording_for(self.recorder, contexts["one"], "call-1", self.transport, self.conversation)
        assert recording is not None
        self.recording = recording
        self.conversation.start(self.now)

    def tell(self, *events: Any) -> None:
        for event in events:
            self.conversation.provider_event(event, self.now)

    def run(self, seconds: float, probability: float = 0.0) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            frame = Frame(b"\x00\x10" * 160, FrameKind.SPEECH)
            self.conversation.hear(frame, self.now)
            self.conversation.speech_probability(probability, self.now, self.now)
            self.conversation.tick(self.now)
            self.recording.tick(frame.pcm, self.transport.transmit(self.now), self.now)


def audio(turn: int, text: str, seconds: float) -> AgentAudio:
    return AgentAudio(turn, 1, b"\x10" * round(8000 * seconds), MULAW_8K, text)


@pytest.mark.parametrize("owns_turn_taking", [False, True])
def test_it_begins_when_the_notice_was_heard_in_the_middle_of_the_greeting(
    tmp_path: Any, owns_turn_taking: bool
) -> None:
    line = Line(tmp_path, owns_turn_taking=owns_turn_taking)
    line.tell(audio(1, NOTICE, 2.0), audio(1, f" {GREETING}", 3.0), AgentAudioDone(1, 1))
    line.run(1.8)
    assert line.recording.state == "waiting"
    line.run(0.6)
    assert line.recording.state == "recording"
    line.run(4.0)
    line.recording.end()
    assert line.recorder is not None
    line.recorder.work_off()
    (file,) = (tmp_path / "r").rglob("*.wav")
    with wave.open(str(file), "rb") as reader:
        seconds = reader.getnframes() / 8000
    assert 4.0 <= seconds <= 4.5, "nothing of the notice is in it"


def test_a_call_that_ends_before_leaves_nothing(tmp_path: Any) -> None:
    line = Line(tmp_path)
    line.tell(audio(1, f"{NOTICE} {GREETING}", 5.0))
    line.run(1.0)
    line.conversation.end(line.now)
    line.recording.end()
    assert line.recorder is not None
    line.recorder.work_off()
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("mode", [GreetingMode.NONE, GreetingMode.WAIT])
def test_where_a_provider_takes_the_turns_it_is_said_first_and_waited_for(tmp_path: Any, mode: GreetingMode) -> None:
    line = Line(tmp_path, owns_turn_taking=True, greeting_mode=mode)
    (say,) = [one for one in line.conversation.decisions if isinstance(one, Say)]
    assert say.text == NOTICE
    line.tell(audio(say.turn, NOTICE, 2.0), AgentAudioDone(say.turn, 1))
    line.run(1.5)
    assert line.recording.state == "waiting"
    line.run(1.0)
    assert line.recording.state == "recording"


def test_a_notice_that_could_not_be_spoken_lets_nothing_be_recorded(tmp_path: Any) -> None:
    line = Line(tmp_path, say_timeout_s=0.5)
    line.run(10.0)
    assert line.recording.state == "waiting"


class Deaf:
    """In place of the speech detector."""

    def open(self, *_: Any, **__: Any) -> Deaf:
        return self

    def push(self, pcm: bytes, at: float) -> None: ...

    def close(self) -> None: ...


class Swallows:
    """An echo canceller that takes everything out."""

    def process(self, near: bytes, far: bytes) -> bytes:
        return bytes(len(near))


async def test_a_call_is_recorded_as_it_came_and_steered_on_the_media_thread(tmp_path: Any) -> None:
    settings = UNASKED.model_copy(update={"folder": tmp_path / "r", "min_free_mb": 0})
    contexts = announced({"one": context()}, settings)
    recorder = make_recorder(contexts, settings, Metrics())
    assert isinstance(recorder, Recorder)
    recorder.start()
    media = MediaLoop()
    media.start()
    transport = VirtualTransport()
    came = Frame(np.full(160, 1234, "<i2").tobytes(), FrameKind.SPEECH)
    received: list[float] = []

    def receive(now: float) -> Frame:
        received.append(now)
        return came

    transport.receive = receive  # type: ignore[method-assign]
    conversation = Conversation(transport, phrases=Phrases(greeting=""))
    recording = recording_for(recorder, contexts["one"], "call-1", transport, conversation)
    guard = EchoGuard(Swallows(), MULAW_8K, always=True)
    call = CallMedia(
        media,
        transport,
        conversation,
        call_id="call-1",
        detector=Deaf(),  # type: ignore[arg-type]
        control=asyncio.get_running_loop(),
        on_decisions=lambda _decisions: None,
        on_failed=pytest.fail,
        echo=guard,
        recording=recording,
    )
    try:
        call.start()
        threads: list[str] = []
        paused: list[int] = []

        def pause(one: CallRecording, _now: float) -> str:
            threads.append(threading.current_thread().name)
            return act(one, "pause")

        assert await call.record(pause) == "paused"
        assert threads == ["media"]

        def resume(one: CallRecording, _now: float) -> str:
            paused.append(len(received))
            return act(one, "resume")

        assert await call.record(resume) in {"waiting", "recording"}
        assert recording is not None
        async with asyncio.timeout(30):
            while recording.written_blocks < 2:
                await asyncio.sleep(0.02)
        await call.close()
        await call.close()
        assert recording.state == "ended"
    finally:
        media.stop()
        await asyncio.to_thread(recorder.stop, 30.0)
    assert await call.record(lambda one, _now: act(one, "pause")) is None, "the media loop has ended"
    (file,) = (tmp_path / "r").rglob("*.wav")
    with wave.open(str(file), "rb") as reader:
        left = np.frombuffer(reader.readframes(reader.getnframes()), "<i2")[::2]
    # Ticks that a busy machine left out, and those of the pause, are silence; all others are there as they came.
    assert set(np.unique(left)) <= {0, 1234}
    assert len(received) - paused[0] <= np.count_nonzero(left == 1234) / 160 <= len(received)
