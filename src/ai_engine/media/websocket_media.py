"""A call's sound over Asterisk's chan_websocket: a `MediaTransport` on a WebSocket that is read when the pacer ticks.

Asterisk paces its own queue and would take 20 s of sound at once. We send one frame per tick all the same, with a few
frames ahead (`Lead`): what plays at this moment is known, and little has to be dropped when the agent falls silent.
A pause or flush drops what Asterisk has in hand and sends the fading frame after what sounds now, so silence comes at
once. PAUSE_MEDIA is never used: after a pause sound begins at the beginning of a word, so nothing in the queue is worth
keeping, and a paused Asterisk would neither tell marks nor be set going by a flush.

Nothing is sent in silence: Asterisk's own timer makes it, and what it was behind it catches up with meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import structlog

from ai_engine.media.frame_queue import FrameQueue
from ai_engine.media.heard_frames import FRAME_MS, HeardFrames
from ai_engine.media.lead import Lead, Place
from ai_engine.media.line_quality import LineQuality
from ai_engine.media.lines import MediaError
from ai_engine.media.paced_playout import PacedPlayout
from ai_engine.media.transport import Frame
from ai_engine.media.websocket_connection import WebsocketConnection
from ai_engine.media.websocket_control import (
    AsteriskError,
    ControlError,
    ControlForm,
    DtmfEnd,
    MarkProcessed,
    MediaXoff,
    MediaXon,
    flush_media,
    mark_media,
    parse_event,
)
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, AudioFormat, Pcm, decode_alaw, decode_mulaw

_log = structlog.get_logger(__name__)

_FRAME_S: Final = FRAME_MS / 1000
_MOST_UNSENT_BYTES: Final = 4096
"""More than this not taken by the peer: wait, and keep the agent's sound here."""
_UNTOLD_S: Final = 2.0
"""A closed socket hangs the channel up, and ARI says so; if nobody heard that, the call ends."""


def _decode_slin(payload: bytes | memoryview) -> Pcm:
    return np.frombuffer(payload, "<i2").astype(np.int16, copy=False)


@dataclass(frozen=True, slots=True)
class WebsocketFormat:
    """What Asterisk calls a format, and what that is on the wire."""

    format: AudioFormat
    decode: Callable[[bytes | memoryview], Pcm]


WEBSOCKET_FORMATS: Final[Mapping[str, WebsocketFormat]] = {
    "ulaw": WebsocketFormat(MULAW_8K, decode_mulaw),
    "alaw": WebsocketFormat(ALAW_8K, decode_alaw),
    "slin": WebsocketFormat(PCM_8K, _decode_slin),
    "slin16": WebsocketFormat(PCM_16K, _decode_slin),
}
"""`slin` is little-endian here. Compressed formats (opus) would take away marks, flush and Asterisk's pacing."""


@dataclass(slots=True)
class WebsocketStats:
    """What went and came besides sound, since the call began."""

    frames_sent: int = 0
    marks_sent: int = 0
    marks_processed: int = 0
    flushes: int = 0
    xoffs: int = 0
    digits: int = 0
    """DTMF_END; ignored, for ARI tells the digit too."""
    errors: int = 0
    """ERROR: what Asterisk would not do."""
    malformed: int = 0


class WebsocketTransport(PacedPlayout):
    """One call's. Made anywhere, used on the media loop; nothing in it blocks."""

    def __init__(self, wire_format: str, *, downstream_ms: float = 80.0, lead_frames: int = 3) -> None:
        """Silent until `attach`. Raises `ValueError` for a format that is not among `WEBSOCKET_FORMATS`.

        `lead_frames`: how many frames Asterisk has in hand after a tick. Each makes up for 20 ms by which a tick may be
        late; neither the first sound nor a pause comes later for it.
        """
        wire = WEBSOCKET_FORMATS.get(wire_format)
        if wire is None:
            raise ValueError(f"chan_websocket does not carry {wire_format!r}; use {', '.join(WEBSOCKET_FORMATS)}")
        super().__init__(wire.format, downstream_ms=downstream_ms)
        self.pcm_rate_hz = wire.format.sample_rate_hz
        self.stats = WebsocketStats()
        self._heard = HeardFrames(wire.decode, rate_hz=self.pcm_rate_hz)
        self._queue = FrameQueue(self.played.frame_bytes, is_quiet=self._heard.is_quiet)
        self._sample_bytes = wire.format.bytes_per_sample
        self._lead = Lead(lead_frames)
        self._connection: WebsocketConnection | None = None
        self._form = ControlForm.PLAIN
        self._lost_at: float | None = None
        self._closed = False

    def attach(self, connection: WebsocketConnection, form: ControlForm, early: Sequence[bytes | str] = ()) -> None:
        """The connection is ours from here on. `early`: messages that have come already, MEDIA_START not among them."""
        if self._closed:
            connection.close()
            return
        self._connection = connection
        self._form = form
        for message in early:
            self._take(message, None)

    def line_quality(self) -> LineQuality:
        """The line's figures since the call began; from any thread, also after `close`."""
        queue, stats = self._queue.stats, self.stats
        return LineQuality(
            received=queue.received,
            sent=stats.frames_sent,
            late=queue.dropped,
            concealed=queue.concealed,
            malformed=stats.malformed,
            events=stats.digits,
            delay_ms=queue.mean_delay_ms,
        )

    # --- in -----------------------------------------------------------------------------------------------------------

    def receive(self, now: float) -> Frame:
        """The next 20 ms of the caller, always a frame. Raises `MediaError` when nobody ends a dead call."""
        connection = self._connection
        if connection is not None:
            for message in connection.receive():
                self._take(message, now)
            if connection.lost is not None:
                self._lost(connection.lost, now)
        return self._heard.frame(*self._queue.get())

    def _take(self, message: bytes | str, now: float | None) -> None:
        if isinstance(message, bytes):
            if not message or len(message) % self._sample_bytes:
                self.stats.malformed += 1
            else:
                self._queue.put(message)
            return
        try:
            event, self._form = parse_event(message)
        except ControlError:
            self.stats.malformed += 1
            return
        match event:
            case MarkProcessed(mark_id):
                self.stats.marks_processed += 1
                played = self._lead.acknowledged(mark_id)
                if played is not None and played.position and now is not None:
                    self.played.acknowledged(played.turn, played.position, now)
            case MediaXoff():
                self.stats.xoffs += 1
                self._lead.xoff()
            case MediaXon():
                self._lead.xon()
            case DtmfEnd():
                self.stats.digits += 1
            case AsteriskError(text):
                self.stats.errors += 1
                if self.stats.errors == 1:
                    _log.warning("media_websocket_error", error=text[:200])

    def _lost(self, reason: str, now: float) -> None:
        if self._closed:
            return
        if self._lost_at is None:
            self._lost_at = now
            _log.debug("media_websocket_closed", reason=reason)
        elif now - self._lost_at > _UNTOLD_S:
            raise MediaError(f"the media connection to Asterisk is gone ({reason}), yet its channel has not ended")

    # --- out ----------------------------------------------------------------------------------------------------------

    def transmit(self, now: float) -> bytes | None:
        """Keep Asterisk's lead full; returns the frame that begins to sound now, which was sent a few ticks ago."""
        connection, lead = self._connection, self._lead
        if connection is None or connection.lost is not None:
            return None
        if connection.unsent_bytes <= _MOST_UNSENT_BYTES:
            for _ in range(lead.wanted):
                if not self._send_next(connection, now):
                    break
            if lead.end_unmarked:
                self._send_mark(connection)
        connection.flush()
        return lead.take()

    def pause(self, now: float) -> None:
        """Silence from the next frame on, faded; what Asterisk had in hand is ours again."""
        if self.played.paused:
            return
        taken = self._take_back(now)
        self.played.pause(now)
        self._fade_at_once(taken, now)

    def flush(self, now: float) -> None:
        """Drop what has not begun to sound; `played` then says what was heard."""
        taken = not self.played.paused and self._take_back(now)  # in a pause Asterisk has its fading frame at most
        self.played.flush(now)
        self._fade_at_once(taken, now)

    def _take_back(self, now: float) -> bool:
        """Have Asterisk drop what it has in hand. Not where that could not be had back: then it plays to its end.

        One that stands still drops it in any case: by our clock it counts as heard, and would be when nobody wants it.
        """
        connection = self._connection
        if connection is None or connection.lost is not None:
            return False
        taken = self.played.take_back(len(self._lead), now)
        if taken or self._lead.stands_still:
            connection.send(flush_media(self._form))
            self._lead.drop()
            self.stats.flushes += 1
        return taken

    def _fade_at_once(self, taken: bool, now: float) -> None:
        """With the flush, not a tick later: Asterisk's timer must not find nothing in between."""
        if taken and self._connection is not None:
            self._send_next(self._connection, now)
            self._connection.flush()

    def _send_next(self, connection: WebsocketConnection, now: float) -> bool:
        lead, played = self._lead, self.played
        before = Place(played.last_frame_turn, played.last_frame_position)
        frame = played.next_frame(now, ahead_s=(len(lead) + 1) * _FRAME_S)
        if frame is None:
            return False
        if lead.mark_due:
            connection.send(mark_media(self._form, lead.mark(before)))
            self.stats.marks_sent += 1
        connection.send(frame)
        lead.push(frame)
        self.stats.frames_sent += 1
        return True

    def _send_mark(self, connection: WebsocketConnection) -> None:
        """Nothing more to say: when that has sounded, Asterisk shall tell."""
        played = Place(self.played.last_frame_turn, self.played.last_frame_position)
        connection.send(mark_media(self._form, self._lead.mark(played, trailing=True)))
        self.stats.marks_sent += 1

    async def close(self) -> None:
        """Give the socket back; Asterisk then hangs the media channel up. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._connection is not None:
            self._connection.close()
        lead = self._lead
        _log.debug(
            "media_websocket_closing", **asdict(self.stats), marks_lost=lead.marks_lost, waited=lead.waited_ticks
        )
