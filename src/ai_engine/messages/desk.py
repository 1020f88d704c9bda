"""The engine's messages: the folder they lie in, who writes them, and the deliveries that are not done.

A message is on the disk while it is spoken, and so is what has to be known to deliver it: an engine that dies in the
middle of one delivers at its next start what had been said by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from ai_engine.media.recorder import Recorder
from ai_engine.media.recording_folder import PART, RecordingFolder
from ai_engine.media.wav_file import HEADER_BYTES, mend, wav_seconds
from ai_engine.messages.outbox import RETRY_DELAYS_S, Delivery, DeliveryFailed, Outbox
from ai_engine.messages.spool import Spool
from ai_engine.messages.voice_message import TakesMessages, VoiceMessage

if TYPE_CHECKING:
    from ai_engine.settings import Settings

log = structlog.get_logger(__name__)

MESSAGE_DELAYS_S: Final = (*RETRY_DELAYS_S, 1800.0, *(3600.0,) * 72)
"""Three days: the message is not lost when the mail server is away for a weekend."""
_LEAST_CUT_OFF_BYTES: Final = HEADER_BYTES + 2 * 8000 * 2
"""Two seconds: of one that an engine did not live to end it is not known how much of it was speech."""


KIND: Final = "leave_message"


class MessageDesk:
    """One engine's. Lives on the control loop."""

    def __init__(
        self,
        folder: Path,
        spool: Spool,
        *,
        keep_days: float = 0,
        keep_mb: float = 0,
        min_free_mb: float = 0,
        on_done: Callable[[str, str], None] = lambda taker, outcome: None,
    ) -> None:
        """`on_done` is told taker and outcome (delivered, failed, dropped) of each delivery."""
        self.folder = RecordingFolder(
            folder, keep_days=keep_days, keep_mb=keep_mb, min_free_mb=min_free_mb, section="messages"
        )
        self.path = folder
        self.recorder = Recorder(self.folder, channels=1, sync_s=2.0)
        self._spool = spool
        self._outbox = Outbox("message", spool, delays_s=MESSAGE_DELAYS_S, on_done=on_done)
        self._taker: Callable[[str], TakesMessages | None] = lambda _name: None

    @property
    def waiting(self) -> int:
        """Deliveries that are not done."""
        return self._outbox.waiting

    async def start(self, taker: Callable[[str], TakesMessages | None]) -> None:
        """`taker` knows the tools that messages go to. Takes up what an engine before this one left."""
        self._taker = taker
        self.recorder.start()
        await self._outbox.resume(self._of)

    async def stop(self) -> None:
        """After the last call. Idempotent."""
        await self._outbox.stop()
        await asyncio.to_thread(self.recorder.stop)

    async def begin(self, message: VoiceMessage, takers: tuple[str, ...]) -> None:
        """It is about to be spoken. Raises `OSError` where that cannot be noted."""
        for name in takers:
            content = {"taker": name, "message": message.content(), "cut_off": True}
            await asyncio.to_thread(self._spool.put, f"{message.id}.{name}", content)

    async def drop(self, message: VoiceMessage, takers: tuple[str, ...]) -> None:
        """There is none."""
        for name in takers:
            try:
                await asyncio.to_thread(self._spool.remove, f"{message.id}.{name}")
            except OSError as error:  # the next start finds no sound of it
                log.warning("message_not_removed", call_id=message.call.call_id, error=str(error))

    async def deliver(self, message: VoiceMessage, takers: tuple[str, ...]) -> None:
        """It is complete. When this returns it is noted for each taker, and on its way."""
        for name in takers:
            delivery = self._delivery(message, name)
            if delivery is None:
                continue
            try:
                await asyncio.to_thread(self._spool.put, delivery.name, delivery.content())
            except OSError as error:
                log.warning("message_not_noted", call_id=message.call.call_id, error=str(error))
            self._outbox.add(delivery)

    def delete_call(self, call_id: str) -> int:
        """Delete its messages, delivered or not; returns how many files there were. Blocks; raises `OSError`."""
        self._outbox.delete_call(call_id)
        return self.folder.delete_call(call_id)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _of(self, content: Mapping[str, Any]) -> Delivery | None:
        message = VoiceMessage.from_content(content["message"])
        return self._delivery(message, str(content["taker"]), cut_off=bool(content.get("cut_off")))

    def _delivery(self, message: VoiceMessage, name: str, *, cut_off: bool = False) -> Delivery | None:
        taker = self._taker(name)
        if taker is None:
            return None
        content = {"taker": name, "message": message.content(), "cut_off": cut_off}
        send = partial(self._send_cut_off if cut_off else self._send, taker, message)
        return Delivery(message.call.call_id, name, send, lambda: content, id=f"{message.id}.{name}")

    async def _send(self, taker: TakesMessages, message: VoiceMessage) -> None:
        await taker.deliver_message(message, self.path / message.file)

    async def _send_cut_off(self, taker: TakesMessages, message: VoiceMessage) -> None:
        """Its engine died while it was spoken: what there is of the sound, without words."""
        found = await asyncio.to_thread(self._cut_off_sound, message)
        if found is None:
            raise DeliveryFailed("nothing of it had been recorded")
        file, seconds = found
        name = str(file.relative_to(self.path))
        await taker.deliver_message(
            VoiceMessage(message.call, message.left_at, seconds, name, "", whole=False, number=message.number), file
        )

    def _cut_off_sound(self, message: VoiceMessage) -> tuple[Path, float] | None:
        files = sorted(self.folder.of_call(message.call.call_id), key=lambda path: path.name)
        # One that began before it was asked for is an earlier message of the call.
        if not files or files[-1].name < f"{message.left_at.astimezone(UTC):%Y%m%dT%H%M%SZ}":
            return None
        file = files[-1]
        size = file.stat().st_size
        if file.suffix == PART:
            if size < _LEAST_CUT_OFF_BYTES or not mend(file):
                return None
            file = self.folder.end(file)
        return file, wav_seconds(file)


def make_desk(settings: Settings, spool: Spool, on_done: Callable[[str, str], None]) -> MessageDesk | None:
    """None where no tool takes messages, nor any is kept from before."""
    chosen = settings.messages
    if not chosen.folder.exists() and not any(tool.kind == KIND for tool in settings.tools.values()):
        return None
    return MessageDesk(
        chosen.folder,
        spool,
        keep_days=chosen.keep_days,
        keep_mb=chosen.keep_mb,
        min_free_mb=chosen.min_free_mb,
        on_done=on_done,
    )
