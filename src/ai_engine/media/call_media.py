"""A call's half on the media thread: transport, voice activity and conversation, driven by one tick in 20 ms.

The other half, `Call` and its provider, lives on the control loop. What crosses: decisions, as one list per tick that
has any; provider events, one by one and in order; and the few things that a call does to its conversation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.decisions import Decision, SendAudio
from ai_engine.media.agent_audio import AgentAudioConverter
from ai_engine.media.agent_level import TurnLevel
from ai_engine.media.call_recording import CallRecording
from ai_engine.media.echo import EchoGuard
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.transport import MediaTransport
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, ProviderEvent
from speech_detection.detector import SpeechDetector, SpeechStream

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class CallMedia:
    """One call's sound. Public methods are for the control loop, unless they say otherwise."""

    def __init__(
        self,
        media: MediaLoop,
        transport: MediaTransport,
        conversation: Conversation,
        *,
        call_id: str,
        detector: SpeechDetector,
        control: asyncio.AbstractEventLoop,
        on_decisions: Callable[[list[Decision]], None],
        on_failed: Callable[[Exception], None],
        echo: EchoGuard | None = None,
        recording: CallRecording | None = None,
        level: TurnLevel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_decisions` and `on_failed` are called on `control`; after `on_failed` nothing is heard or said.

        `echo` takes the agent's sound out of the caller's before anything else hears it; `recording` has it as it came.
        `level` decides how loud the agent is.
        """
        self.transport = transport
        self.conversation = conversation
        self._media = media
        self._detector = detector
        self._control = control
        self._on_decisions = on_decisions
        self._on_failed = on_failed
        self._call_id = call_id
        self._echo = echo
        self._recording = recording
        self._clock = clock
        self._stream: SpeechStream | None = None
        self._converter = AgentAudioConverter(transport.format, level)
        self._ended = False

    def __repr__(self) -> str:
        return f"CallMedia({self._call_id!r})"

    # --- from the control loop --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to hear and speak: the caller is connected."""
        self._media.post(self._start)

    def provider_event(self, event: ProviderEvent) -> None:
        """Hand the provider's next event to the conversation; agent audio in any format."""
        if isinstance(event, AgentAudio):
            event = self._converter.convert(event)
        elif isinstance(event, AgentAudioDone) and (rest := self._converter.end(event)) is not None:
            self._media.post(self._provider_event, rest)
        self._media.post(self._provider_event, event)

    def run(self, action: Callable[[Conversation, float], object]) -> None:
        """Do something to the conversation on the media thread: `media.run(lambda c, now: c.dtmf("5", now))`."""
        self._media.post(self._act, action)

    async def record(self, action: Callable[[CallRecording, float], _T]) -> _T | None:
        """Do something to the recording on the media thread; None where there is none, or the media loop has ended."""

        async def on_media_thread() -> _T | None:
            return action(self._recording, self._clock()) if self._recording is not None else None

        try:
            return await asyncio.wrap_future(self._media.submit(on_media_thread()))
        except RuntimeError:
            return None

    async def close(self) -> None:
        """End the conversation, whose last decisions come first, and give the transport back. Idempotent."""
        try:
            closing = self._media.submit(self._close())
        except RuntimeError:  # the media loop has ended: nothing ticks any more
            await self._close()
            return
        await asyncio.wrap_future(closing)

    def _report(self, error: Exception) -> None:
        _log.error("call_media_failed", call_id=self._call_id, exc_info=error)
        self._on_failed(error)

    # --- on the media thread ----------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """20 ms of the caller in, 20 ms of the agent out."""
        transport, conversation = self.transport, self.conversation
        echo, came = self._echo, transport.receive(now)
        frame = came
        if echo is not None:
            engaged = echo.engaged
            frame = echo.hear(frame)
            if echo.engaged and not engaged:
                conversation.echo_found(now)
        conversation.hear(frame, now)
        if self._stream is not None:
            self._stream.push(frame.pcm, now)
        conversation.tick(now)
        if conversation.decisions:
            self._hand_over()
        sent = transport.transmit(now)
        if echo is not None:
            echo.sent(sent)
        if self._recording is not None:
            self._recording.tick(came.pcm, sent, now)

    def failed(self, error: Exception) -> None:
        """The tick raised; the pacer has removed this call."""
        self._to_control(self._report, error)

    def _start(self) -> None:
        if self._ended:
            return
        self._stream = self._detector.open(self._call_id, self._speech_probability, rate_hz=self.transport.pcm_rate_hz)
        self._act(Conversation.start)
        self._media.add(self)

    def _speech_probability(self, probability: float, at: float) -> None:
        self._act(lambda conversation, now: conversation.speech_probability(probability, at, now))

    def _provider_event(self, event: ProviderEvent) -> None:
        self._act(lambda conversation, now: conversation.provider_event(event, now))

    def _act(self, action: Callable[[Conversation, float], object]) -> None:
        try:
            action(self.conversation, self._clock())
        except Exception as error:  # noqa: BLE001 - a call's root on this thread, as its tick is: only this call ends
            self._media.remove(self)
            self.failed(error)
        if self.conversation.decisions:
            self._hand_over()

    async def _close(self) -> None:
        if not self._ended:
            self._ended = True
            self._media.remove(self)
            if self._stream is not None:
                self._stream.close()
            self._act(Conversation.end)
            self._let_go()
            if self._recording is not None:
                self._recording.end()
        await self.transport.close()

    def _let_go(self) -> None:
        """Break the circles: what a call held (0.5 MB with a canceller) is freed now, not when garbage is collected."""
        self.conversation.let_go()
        self._stream = self._echo = None
        self._on_decisions = self._on_failed = _nothing

    def _hand_over(self) -> None:
        decisions, self.conversation.decisions = self.conversation.decisions, []
        self._to_control(self._on_decisions, _joined(decisions))

    def _to_control(self, function: Callable[..., None], argument: object) -> None:
        try:
            self._control.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the control loop has ended; so has the call
            _log.debug("decisions_dropped", call_id=self._call_id)


def _nothing(_: object) -> None:
    """For who has ended."""


def _joined(decisions: list[Decision]) -> list[Decision]:
    """The same decisions, with the audio of a replay (hundreds of frames after an interruption) in one piece."""
    if len(decisions) < 2:
        return decisions
    joined: list[Decision] = []
    pieces: list[bytes] = []
    for position, decision in enumerate(decisions):
        if not isinstance(decision, SendAudio):
            joined.append(decision)
            continue
        pieces.append(decision.audio)
        following = decisions[position + 1] if position + 1 < len(decisions) else None
        if not isinstance(following, SendAudio) or following.turn != decision.turn:
            joined.append(SendAudio(decision.turn, b"".join(pieces)))
            pieces.clear()
    return joined
