"""The messages of one call: taken by its conversation, written as they are spoken, and handed on.

Lives on the control loop. What has been said counts however the call ends: `finish` before its sound is given back, and
`close` after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

import numpy as np
import structlog

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.decisions import MessageTaken
from ai_engine.conversation.message_taking import MessageRequest
from ai_engine.media.call_recording import CallRecording
from ai_engine.messages.desk import MessageDesk
from ai_engine.messages.voice_message import VoiceMessage
from ai_engine.messages.wish import MessageOutcome, MessageWish
from ai_engine.tools.call_hooks import CallFacts
from voice_wire.audio import AudioFormat, encode, fade_in, fade_out

log = structlog.get_logger(__name__)

ToConversation = Callable[[Callable[[Conversation, float], object]], None]

_FINISH_S: Final = 11.0
"""For the last words to be transcribed; the conversation itself gives up a little earlier."""
_WRITTEN_S: Final = 10.0
"""For the disk to have the file."""
_TONE_HZ: Final = 1000.0
_TONE_MS: Final = 350.0
_TONE_LEVEL: Final = 0.15
_EDGE_MS: Final = 8.0


class TellsOfMessages(Protocol):
    """A call's report."""

    def message(self, file: str, seconds: float) -> None: ...


class _Attempt:
    """One recording, and whether the disk has all of it."""

    def __init__(self, recording: CallRecording, closed: asyncio.Event) -> None:
        self.recording = recording
        self.closed = closed


class CallMessages:
    """One call's. `take` is for a tool, the rest for the call."""

    def __init__(
        self,
        desk: MessageDesk,
        to_conversation: ToConversation,
        facts: CallFacts,
        *,
        rate_hz: int,
        line_format: AudioFormat,
        report: TellsOfMessages,
    ) -> None:
        """`to_conversation` has something done to the conversation, on its own thread and in order.

        `rate_hz` is that of the caller's sound, `line_format` that of the agent's.
        """
        self._desk = desk
        self._to_conversation = to_conversation
        self._facts = facts
        self._rate_hz = rate_hz
        self._format = line_format
        self._report = report
        self._number = 0
        self._attempts: list[_Attempt] = []
        self._taken: asyncio.Future[MessageTaken] | None = None
        self._task: asyncio.Task[MessageOutcome] | None = None
        self._log = log.bind(call_id=facts.call_id)

    @property
    def taking(self) -> bool:
        """A message is spoken, or its last words are transcribed."""
        return self._taken is not None and not self._taken.done()

    async def take(self, wish: MessageWish) -> MessageOutcome:
        """Ask for a message, record it and have it delivered. It goes on when who asked for it is cancelled."""
        if self._task is not None and not self._task.done():
            return MessageOutcome("stopped", kept=False)
        self._task = asyncio.create_task(self._take(wish), name=f"message-{self._facts.call_id}")
        return await asyncio.shield(self._task)

    def say(self, text: str, *, hang_up: bool = False) -> None:
        """The agent says it, as a turn of its own."""
        if hang_up:
            self._to_conversation(lambda talk, now: talk.say_farewell_and_hang_up(text, now, reason="message left"))
        else:
            self._to_conversation(lambda talk, now: talk.say(text, now))

    def ended(self, taken: MessageTaken) -> None:
        """The conversation's decision."""
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(taken)

    async def finish(self) -> None:
        """The caller is gone, or goes: his last words are waited for while there still is a conversation."""
        if self._taken is not None and not self._taken.done():
            self._to_conversation(Conversation.finish_message)
            await asyncio.wait((self._taken,), timeout=_FINISH_S)

    async def close(self) -> None:
        """The call is over: what there is of a message is filed and handed on. Lets go of the call. Idempotent."""
        self.ended(MessageTaken("", "hung_up", kept=False))
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._to_conversation = _nowhere

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _take(self, wish: MessageWish) -> MessageOutcome:
        self._number += 1
        self._attempts = []
        self._taken = asyncio.get_running_loop().create_future()
        left_at = datetime.now(UTC)
        message = VoiceMessage(self._facts, left_at, 0.0, "", "", whole=False, number=self._number)
        try:
            await self._desk.begin(message, wish.deliver_to)
        except OSError as error:  # it is taken all the same: perhaps there is room by its end
            self._log.warning("message_not_noted", error=str(error))
        request = MessageRequest(
            id=message.id,
            prompt=wish.prompt,
            once_more=wish.once_more,
            tone=tone(self._format) if wish.tone else b"",
            record=partial(self._record, asyncio.get_running_loop()),
            silence_s=wish.silence_s,
            first_words_s=wish.first_words_s,
            max_s=wish.max_s,
            min_s=wish.min_s,
            review=wish.review,
        )
        self._to_conversation(lambda talk, now: talk.take_message(request, now))
        return await self._file(message, await self._taken, wish.deliver_to)

    def _record(self, loop: asyncio.AbstractEventLoop) -> CallRecording:
        """On the media thread."""
        closed = asyncio.Event()

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(closed.set)
            except RuntimeError:  # the control loop has ended
                self._log.debug("message_written_late")

        recording = self._desk.recorder.recording(self._facts.call_id, self._rate_hz, self._format, on_closed=tell)
        self._attempts.append(_Attempt(recording, closed))
        return recording

    async def _file(self, message: VoiceMessage, taken: MessageTaken, takers: tuple[str, ...]) -> MessageOutcome:
        if not taken.kept or not self._attempts:
            self._log.info("no_message", end=taken.end, spoken_s=round(taken.spoken_s, 1))
            await self._desk.drop(message, takers)
            return MessageOutcome(taken.end, kept=False)
        attempt = self._attempts[-1]
        try:
            async with asyncio.timeout(_WRITTEN_S):
                await attempt.closed.wait()
        except TimeoutError:
            self._log.error("message_not_written", waited_s=_WRITTEN_S)
        recording = attempt.recording
        file = str(recording.path.relative_to(self._desk.path)) if recording.path is not None else ""
        recorded = bool(file) and not recording.failed and attempt.closed.is_set()
        if not file and not taken.text:
            await self._desk.drop(message, takers)
            return MessageOutcome(taken.end, kept=False, failed=True)
        message = replace(
            message, seconds=recording.seconds, file=file, transcript=taken.text, whole=taken.whole and recorded
        )
        await self._desk.deliver(message, takers)
        self._report.message(file, message.seconds)
        return MessageOutcome(taken.end, kept=True, recorded=recorded, seconds=message.seconds, transcript=taken.text)


def tone(line_format: AudioFormat) -> bytes:
    """What tells a caller to begin, in that format."""
    rate_hz = line_format.sample_rate_hz
    at = np.arange(round(rate_hz * _TONE_MS / 1000)) / rate_hz
    pcm = np.round(32767 * _TONE_LEVEL * np.sin(2 * np.pi * _TONE_HZ * at)).astype(np.int16)
    return encode(fade_out(fade_in(pcm, _EDGE_MS, rate_hz), _EDGE_MS, rate_hz), line_format.encoding)


def _nowhere(_: Callable[[Conversation, float], object]) -> None:
    """For a call that is over."""
