"""AudioSocket to and from Asterisk: a `MediaTransport` on a TCP connection that Asterisk has made.

The socket is read when the pacer ticks, as RTP's is, and one message of 20 ms is written per tick, silence included:
Asterisk's driver waits for the next message with its channel locked, and a pause stalls the call and others with it.
For the same reason the connection is kept going (`keep_going`) from its first moment until the call ticks it.

A message goes out whole or not at all. Asterisk gives a channel up whose message stays unfinished for 5 ms, so where
the kernel takes a part only, the rest goes first at the next tick; until it has gone nothing else is taken from
`played`, so that nothing counts as heard that never left.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Final

from ai_engine.media.audiosocket import (
    DTMF,
    ERROR,
    HANG_UP,
    SLIN,
    SLIN16,
    AudioSocketError,
    AudioSocketParser,
    Message,
    header,
)
from ai_engine.media.comfort_noise import ComfortNoise
from ai_engine.media.frame_queue import FrameQueue
from ai_engine.media.heard_frames import FRAME_MS, HeardFrames
from ai_engine.media.line_quality import LineQuality
from ai_engine.media.lines import MediaError
from ai_engine.media.paced_playout import PacedPlayout
from ai_engine.media.transport import Frame
from voice_wire.audio import PCM_8K, PCM_16K, AudioFormat, Pcm, decode

FORMATS: Final[Mapping[str, tuple[int, AudioFormat]]] = {"slin": (SLIN, PCM_8K), "slin16": (SLIN16, PCM_16K)}
"""Asterisk's names → the kind of message and what is in it. Not slin24: speech is heard at 16 kHz anyway, and no
telephone brings more but with Opus; it would cost half as much again on the wire and a resampler in each call."""

_READ_BYTES: Final = 4096
_MOST_READS: Final = 16
"""Per tick: four seconds of slin, so that a flood cannot keep the loop busy."""
_MOST_MESSAGES: Final = 500
"""Per tick; more than ten seconds of 20 ms each is no sound."""
_SEND_BUFFER_BYTES: Final = 8192
"""Half a second of slin waits in it, as the kernel counts; what a network that stands still holds up is played late."""
_UNREAD_TICKS: Final = 100
"""After 2 s in which nothing could be written the peer does not read any more."""
_GONE_AFTER_MS: Final = 5000
"""What was sent has not been confirmed by the peer's kernel for so long: the connection is half open."""
_UNTOLD_S: Final = 2.0
"""Asterisk closes the connection when the channel is gone, and says so on ARI; if nobody heard that, the call ends."""
_FOREIGN_MESSAGES: Final = 50
"""Sound of another kind alone, for so long: Asterisk is too old for this format."""


def _samples(payload: bytes | memoryview) -> Pcm:
    return decode(payload, "linear16")


class AudioSocketTransport(PacedPlayout):
    """A call's sound on AudioSocket; silence as long as nothing is attached. Used on the media loop.

    `receive` and `transmit` raise `MediaError` once the connection is of no further use.
    """

    def __init__(
        self,
        media_format: str,
        *,
        downstream_ms: float = 80.0,
        comfort_noise_dbfs: float | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """`media_format` is one of `FORMATS`. `on_close` is called on the media loop, once."""
        self._kind, wire = FORMATS[media_format]
        super().__init__(wire, downstream_ms=downstream_ms)
        self.pcm_rate_hz = wire.sample_rate_hz
        self._media_format = media_format
        self._on_close = on_close
        self._connection: socket.socket | None = None
        self._closed = False
        self._served = False
        self._ended_at: float | None = None
        self._failure: MediaError | None = None

        self._parser = AudioSocketParser()
        self._heard = HeardFrames(_samples, rate_hz=wire.sample_rate_hz)
        self._queue = FrameQueue(wire.bytes_for_ms(FRAME_MS), is_quiet=self._heard.is_quiet)
        silence = wire.silence(FRAME_MS)
        self._header = header(self._kind, len(silence))
        self._silent_message = self._header + silence
        self._noise = None if comfort_noise_dbfs is None else ComfortNoise(wire, comfort_noise_dbfs)
        self._unsent = b""
        self._unread_ticks = 0
        self._received = self._sent = self._waited_ticks = 0
        self._digits = self._unexpected = self._malformed = 0

    # --- the connection -----------------------------------------------------------------------------------------------

    def attach(self, connection: socket.socket) -> None:
        """Take over a TCP connection whose UUID has been read. Closes it when the transport is closed already."""
        if self._closed or self._connection is not None:
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_AFTER_MS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._connection = connection

    def keep_going(self, now: float) -> bool:
        """Read, and send silence, in place of a call that does not tick yet. False once it does, or all is over."""
        if self._served or self._closed or self._ended_at is not None:
            return False
        self._read(now)
        self._queue.get()
        if self._takes_more(now):
            self._send(self._silent_message, now)
        return True

    async def close(self) -> None:
        """Give the connection back; Asterisk then hangs its channel up. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._connection is not None:
            # What lies unread would make the kernel end it with a reset, which Asterisk logs as an error.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
                self._connection.recv(_READ_BYTES * _MOST_READS)
            self._connection.close()
        self._on_close()

    def line_quality(self) -> LineQuality:
        """The figures of this leg up to now. From any thread."""
        queue = self._queue.stats
        return LineQuality(
            received=self._received,
            sent=self._sent,
            late=queue.dropped,
            concealed=queue.concealed,
            malformed=self._malformed,
            events=self._digits,
            unexpected=self._unexpected,
            send_errors=self._waited_ticks,
            delay_ms=queue.mean_delay_ms,
        )

    # --- in -----------------------------------------------------------------------------------------------------------

    def receive(self, now: float) -> Frame:
        """The next 20 ms of the caller, always a frame: silence when there is none."""
        self._served = True
        self._read(now)
        if self._ended_at is not None and now - self._ended_at > _UNTOLD_S and not self._closed:
            raise self._failed("Asterisk closed the AudioSocket connection, yet its channel has not ended")
        return self._heard.frame(*self._queue.get())

    def _read(self, now: float) -> None:
        """Take what has come since the last tick."""
        if self._failure is not None:
            raise self._failure
        if self._connection is None or self._closed or self._ended_at is not None:
            return
        count = 0
        try:
            for _ in range(_MOST_READS):
                data = self._connection.recv(_READ_BYTES)
                if not data:
                    self._ended_at = now
                    return
                for message in self._parser.feed(data):
                    self._take(message, now)
                    count += 1
                if count > _MOST_MESSAGES:
                    raise self._failed(f"more than {_MOST_MESSAGES} AudioSocket messages came within 20 ms")
                if len(data) < _READ_BYTES:
                    return
        except BlockingIOError:
            return
        except AudioSocketError as error:
            self._malformed += 1
            raise self._failed(f"AudioSocket has lost step: {error}") from error
        except OSError as error:
            self._lost(error, now)

    def _take(self, message: Message, now: float) -> None:
        if message.kind == self._kind:
            self._received += 1
            self._queue.put(message.payload)
        elif message.is_audio:
            self._unexpected += 1
            if not self._received and self._unexpected >= _FOREIGN_MESSAGES:
                raise self._failed(
                    f"Asterisk sends AudioSocket kind 0x{message.kind:02x} where {self._media_format} is "
                    f"0x{self._kind:02x}: this Asterisk knows slin alone; set media.format to slin"
                )
        elif message.kind == DTMF:  # the digit itself comes by ARI, once
            self._digits += 1
        elif message.kind == HANG_UP:
            self._ended_at = now
        elif message.kind == ERROR:
            raise self._failed(f"Asterisk reports AudioSocket error {message.payload.hex() or 'without a number'}")
        else:  # a UUID again
            self._unexpected += 1

    # --- out ----------------------------------------------------------------------------------------------------------

    def transmit(self, now: float) -> bytes | None:
        """Send the next 20 ms of `played`, or silence. Where nobody is there or reads, what is said waits."""
        self._served = True
        if not self._takes_more(now):
            return None
        frame = self.played.next_frame(now)
        self._send(self._quiet() if frame is None else self._header + frame, now)
        return frame

    def _quiet(self) -> bytes:
        return self._silent_message if self._noise is None else self._header + self._noise.frame()

    def _takes_more(self, now: float) -> bool:
        """Whether all that was sent before has left; False where nobody is there, too."""
        if self._failure is not None:
            raise self._failure
        connection = self._connection
        if connection is None or self._closed or self._ended_at is not None:
            return False
        if not self._unsent:
            return True
        try:
            self._unsent = self._unsent[connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(error, now)
            return False
        if not self._unsent:
            self._unread_ticks = 0
            return True
        self._waited_ticks += 1
        self._unread_ticks += 1
        if self._unread_ticks >= _UNREAD_TICKS:
            raise self._failed("Asterisk has not read its AudioSocket connection for two seconds")
        return False

    def _send(self, message: bytes, now: float) -> None:
        """What the kernel does not take of it goes first at the next tick."""
        connection = self._connection
        assert connection is not None
        self._sent += 1
        try:
            self._unsent = message[connection.send(message) :]
        except BlockingIOError:
            self._unsent = message
        except OSError as error:
            self._lost(error, now)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _lost(self, error: OSError, now: float) -> None:
        """The peer closed it, which ARI will tell about, or vanished, which nobody else will."""
        if isinstance(error, ConnectionError):
            self._ended_at = now
            return
        raise self._failed(f"the AudioSocket connection is lost: {error.strerror or error}") from error

    def _failed(self, why: str) -> MediaError:
        self._failure = MediaError(why)
        return self._failure
