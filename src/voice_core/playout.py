"""The one clock of sound: what the agent has sent, what the caller has heard of it, and what is still to come.

Whatever asks "is the agent speaking?", "what was heard?", "may the STT listen?" asks the call's `Playout`.

*Sent* is when the pacer took a frame. *Heard* is `downstream_ms` after that: packet, Asterisk, the phone's jitter
buffer and speaker, the frame's own length included. A turn is *finished* when its end has been announced (`end_turn`)
and all its sound has been heard. Pauses and underruns are not playing. Turns sound one after the other in the order
of their first audio: the first audio of a new turn ends the turn before it.

Times are seconds of one monotonic clock. Should that clock jump back all the same, stored times move with it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from voice_core.spoken_text import TYPICAL_MS_PER_CHARACTER, SpeakingRate, SpokenText
from voice_wire.audio import AudioFormat, decode, encode, fade_in, fade_out

FADE_MS: Final = 8.0
"""Long enough to hide the click of a cut, short enough to keep the consonant it cuts into."""

_REWIND_S: Final = 1.5
_BOUNDARY_SEARCH_S: Final = 0.12
_REMEMBERED_TURNS: Final = 16
_PARTIAL_FRAME_HELD_TICKS: Final = 2
_CLOCK_SLIP_S: Final = 0.25
_ECHO_MEMORY_FRAMES: Final = 40
_SILENT_DBFS: Final = -120.0
_FULL_SCALE_POWER: Final = 32768.0**2


@dataclass(slots=True, eq=False)
class _Turn:
    number: int
    spoken: SpokenText
    audio: bytearray = field(default_factory=bytearray)
    base: int = 0
    """Position of `audio[0]`; what lies before has been sent and dropped."""
    queued: int = 0
    sent: int = 0
    delivered: int = 0
    heard: int = 0
    in_flight: int = 0
    """Frames sent and not yet heard."""
    done: bool = False
    flushed: bool = False
    first_packet_at: float | None = None
    powers: list[float] = field(default_factory=list)
    """Mean square of each whole frame of the turn, for what echo may come back."""
    measured: int = 0


class Playout:
    """The agent's sound of one call, frame by frame. Not thread-safe: it lives on the media loop.

    `paced=True` (RTP, AudioSocket): `next_frame` is called on a 20 ms schedule and a frame it returns counts as sent.
    `paced=False` (a peer that buffers): `next_frame` only hands audio out; the transport reports `delivered`, and
    `acknowledged` where the peer tells. The estimate `bytes / (rate × bytes_per_sample) + tail_ms` is the watchdog.
    """

    def __init__(
        self,
        format: AudioFormat,
        *,
        frame_ms: int = 20,
        downstream_ms: float = 80.0,
        tail_ms: float = 250.0,
        paced: bool = True,
    ) -> None:
        self.format = format
        self.frame_ms = frame_ms
        self.frame_bytes = format.bytes_for_ms(frame_ms)
        self._frame_s = frame_ms / 1000
        self._downstream_s = downstream_ms / 1000
        self._tail_s = tail_ms / 1000
        self._paced = paced
        self._rewind_bytes = format.bytes_for_ms(_REWIND_S * 1000)
        self._rate = SpeakingRate(format.bytes_per_second * TYPICAL_MS_PER_CHARACTER / 1000)
        self._turns: dict[int, _Turn] = {}
        self._newest: _Turn | None = None
        self._queue: deque[_Turn] = deque()
        # (sounds from, heard at, turn, position after it, mean square), oldest first
        self._in_flight: deque[tuple[float, float, _Turn, int, float]] = deque()
        self._heard_powers: deque[tuple[float, float]] = deque(maxlen=_ECHO_MEMORY_FRAMES)
        self._fade: tuple[_Turn, bytes] | None = None
        """A last frame, where sound was cut, and the turn it is of."""
        self._fade_in_next = False
        self._paused = False
        self._paused_at = 0.0
        self._cut: _Turn | None = None
        """The turn that a pause cut in the middle of its sound."""
        self._held_ticks = 0
        self._peer_busy_until = -math.inf
        self._last_sent_at = -math.inf
        self._last_heard_at: float | None = None
        self._last_frame_turn = 0
        self._now = -math.inf

    # --- what the conversation queues ---------------------------------------------------------------------------------

    def play(self, turn: int, audio: bytes, text: str, now: float) -> None:
        """Queue `audio` (in `format`) that speaks `text`; empty text goes on with the last one.

        Audio for a turn that was flushed after some of it had sounded, or that a later turn has ended, is dropped.
        """
        self._advance(now)
        record = self._turns.get(turn)
        if record is None or (record.flushed and record.first_packet_at is None):
            record = self._open(turn)
        elif record.flushed or record is not self._newest:
            return
        elif record not in self._queue:  # it ran dry: late audio, or an end that came before its audio
            if record.queued:
                return
            self._queue.append(record)
        record.audio += audio
        record.queued += len(audio)
        record.spoken.add(text, len(audio))
        if record.done:
            record.spoken.complete()
        self._measure(record)

    def end_turn(self, turn: int, now: float) -> None:
        """All audio of `turn` has been queued. Again, before any audio, or with none at all: all fine."""
        self._advance(now)
        record = self._turns.get(turn)
        if record is None:
            record = self._open(turn)
        if not record.done:
            record.done = True
            record.spoken.complete()

    def pause(self, now: float) -> None:
        """Send no more after one fading frame; what was sent is still heard."""
        now = self._advance(now)
        if self._paused:
            return
        self._fade_away(now)
        head = self._queue[0] if self._queue else None
        self._cut = head if head is not None and 0 < head.sent < head.queued else None
        self._paused = True
        self._paused_at = now

    def resume(self, now: float) -> None:
        """Go on, from the beginning of the word that the pause cut."""
        now = self._advance(now)
        if not self._paused:
            return
        self._paused = False
        if not self._paced:
            self._shift(now - self._paused_at, after=self._paused_at)
            return
        if self._fade is not None:  # paused and resumed between two frames: nothing was cut
            self._fade = None
            return
        record = self._cut
        if record is not None and not record.flushed:
            target = max(record.spoken.word_start(record.sent), record.sent - self._rewind_bytes)
            target = max(self._quietest(record, target), record.base)
            record.sent = min(record.sent, target - target % self.format.bytes_per_sample)
            self._fade_in_next = True

    def flush(self, now: float) -> None:
        """Drop what has not been sent, end every queued turn, end a pause."""
        now = self._advance(now)
        if not self._paused and self._queue and self.heard_ms(self._queue[0].number, now) > 0:
            self._fade_away(now)
        for record in self._queue:
            record.done = record.flushed = True
            record.spoken.complete()
            record.queued = record.sent
            record.audio = bytearray()
            record.base = record.sent
        self._queue.clear()
        if not self._paced:
            from_time = self._paused_at if self._paused else now
            kept = [entry for entry in self._in_flight if entry[0] <= from_time]
            for entry in list(self._in_flight)[len(kept) :]:
                entry[2].in_flight -= 1
            self._in_flight = deque(kept)
            self._peer_busy_until = now
        self._paused = False
        self._fade_in_next = False
        self._held_ticks = 0

    def forget(self, turn: int, now: float) -> None:
        """Nothing of `turn` counts as having been said: its next audio begins it anew. Flush first."""
        self._advance(now)
        record = self._turns.pop(turn, None)
        if record is not None and record is self._newest:
            self._newest = None

    # --- what the transport takes -------------------------------------------------------------------------------------

    def next_frame(self, now: float) -> bytes | None:
        """The next 20 ms to send, or None when there is nothing to say now."""
        now = self._advance(now)
        if self._fade is not None:
            (record, frame), self._fade = self._fade, None
            self._sent(record, record.sent, now)
            return frame
        if self._paused or not self._queue:
            return None
        record = self._queue[0]
        while record.done and record.sent >= record.queued:
            self._queue.popleft()
            record.audio = bytearray()
            record.base = record.sent
            if not self._queue:
                return None
            record = self._queue[0]
        size = self.frame_bytes
        ready = record.queued - record.sent
        if ready < size:
            if ready <= 0:
                return None
            if not record.done and self._held_ticks < _PARTIAL_FRAME_HELD_TICKS:
                self._held_ticks += 1  # the rest of the frame is likely on its way
                return None
            size = ready
        self._held_ticks = 0
        start = record.sent - record.base
        frame = bytes(record.audio[start : start + size])
        if size < self.frame_bytes:
            frame = self._padded(frame)
        if self._fade_in_next:
            self._fade_in_next = False
            frame = self._faded_in(frame)
        record.sent += size
        self._last_frame_turn = record.number
        if self._paced:
            self._sent(record, record.sent, now)
        if record.sent - record.base > 4 * self._rewind_bytes:
            drop = record.sent - record.base - self._rewind_bytes
            del record.audio[:drop]
            record.base += drop
        return frame

    def delivered(self, turn: int, n_bytes: int, now: float) -> None:
        """An unpaced transport handed `n_bytes` of `turn` to its peer, which plays them after what it already has."""
        now = self._advance(now)
        record = self._turns.get(turn)
        if record is None or n_bytes <= 0:
            return
        begins = max(now, self._peer_busy_until)
        self._peer_busy_until = begins + self.format.duration_s(n_bytes)
        while n_bytes > 0:
            size = min(n_bytes, self.frame_bytes)
            n_bytes -= size
            ends = begins + self.format.duration_s(size)
            record.delivered = min(record.delivered + size, record.sent)
            self._enter(record, record.delivered, begins, ends + self._tail_s)
            begins = ends

    def acknowledged(self, turn: int, n_bytes: int | None, now: float) -> None:
        """The peer has played `turn` up to `n_bytes` from its beginning (None: all that was delivered)."""
        now = self._advance(now)
        heard_at = now + self._downstream_s
        self._in_flight = deque(
            (min(begins, now), min(known, heard_at), record, position, power)
            if record.number == turn and (n_bytes is None or position <= n_bytes)
            else (begins, known, record, position, power)
            for begins, known, record, position, power in self._in_flight
        )

    # --- what is asked ------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def last_frame_turn(self) -> int:
        """The turn that the last frame belonged to; 0 before the first."""
        return self._last_frame_turn

    @property
    def queued_ms(self) -> float:
        """Sound that waits to be sent."""
        return 1000 * self.format.duration_s(sum(record.queued - record.sent for record in self._queue))

    def speaking(self, now: float) -> bool:
        """Some agent sound has been sent and not yet been heard to its end, or waits and is not paused."""
        self._advance(now)
        if self._in_flight or self._fade is not None:
            return True
        if self._paused or not self._queue:
            return False
        return any(record.queued > record.sent for record in self._queue)

    def audible(self, now: float) -> bool:
        """The caller hears the agent at this moment, or will within `downstream_ms`."""
        self._advance(now)
        return bool(self._in_flight)

    def idle(self, now: float) -> bool:
        """Everything has been heard and no turn is open: the agent does not have the floor."""
        self._advance(now)
        if self._in_flight or self._fade is not None:
            return False
        return not self._queue or all(record.done and record.sent >= record.queued for record in self._queue)

    def finished(self, turn: int, now: float) -> bool:
        """The end of `turn` was announced and all its sound has been heard. False for a turn never seen."""
        self._advance(now)
        record = self._turns.get(turn)
        if record is None:
            return bool(self._turns) and turn < min(self._turns)
        if self._fade is not None and self._fade[0] is record:
            return False
        return record.done and record.sent >= record.queued and record.in_flight == 0

    def text(self, turn: int) -> str:
        """All that the queued audio of `turn` speaks, heard or not."""
        record = self._turns.get(turn)
        return record.spoken.text if record is not None else ""

    def heard_text(self, turn: int, now: float) -> str:
        """The words of `turn` whose end has been heard: a prefix of `text`, cut between words."""
        self._advance(now)
        record = self._turns.get(turn)
        return record.spoken.until(record.heard) if record is not None and record.heard else ""

    def heard_ms(self, turn: int, now: float) -> float:
        """How much of `turn` has been heard; going back to a word's beginning does not count twice."""
        self._advance(now)
        record = self._turns.get(turn)
        return 1000 * self.format.duration_s(record.heard) if record is not None else 0.0

    def first_packet_at(self, turn: int) -> float | None:
        """When the first frame of `turn` was sent; None before that."""
        record = self._turns.get(turn)
        return record.first_packet_at if record is not None else None

    @property
    def last_heard_at(self) -> float | None:
        """When the last agent sound was, or will be, heard to its end; None before the first."""
        return self._in_flight[-1][1] if self._in_flight else self._last_heard_at

    def loudest_dbfs(self, now: float, window_s: float) -> float:
        """Level (RMS of a frame) of the loudest agent sound of the last `window_s`: what an echo may stem from."""
        now = self._advance(now)
        loudest = 0.0
        for at, power in self._heard_powers:
            if at >= now - window_s and power > loudest:
                loudest = power
        for begins, _, _, _, power in self._in_flight:
            if begins > now:
                break
            loudest = max(loudest, power)
        return _SILENT_DBFS if loudest <= 0 else max(_SILENT_DBFS, 10 * math.log10(loudest / _FULL_SCALE_POWER))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _open(self, turn: int) -> _Turn:
        for earlier in self._queue:
            if not earlier.done:
                earlier.done = True
                earlier.spoken.complete()
        record = _Turn(turn, SpokenText(self._rate))
        self._turns[turn] = self._newest = record
        self._queue.append(record)
        while len(self._turns) > _REMEMBERED_TURNS:
            oldest = next(iter(self._turns))
            if self._turns[oldest].in_flight or self._turns[oldest] in self._queue:
                break
            del self._turns[oldest]
        return record

    def _advance(self, now: float) -> float:
        """Bring what has been heard up to `now`; returns the time to reckon with."""
        if now < self._now:
            if self._now - now <= _CLOCK_SLIP_S:
                now = self._now
            else:
                self._shift(now - self._now, after=-math.inf)
        self._now = now
        in_flight = self._in_flight
        if in_flight:
            stopped_at = self._paused_at if self._paused and not self._paced else math.inf
            while in_flight and in_flight[0][1] <= now and in_flight[0][0] <= stopped_at:
                begins, heard_at, record, position, power = in_flight.popleft()
                record.in_flight -= 1
                record.heard = max(record.heard, position)
                self._last_heard_at = heard_at
                self._heard_powers.append((begins, power))
        return now

    def _shift(self, by_s: float, *, after: float) -> None:
        """Move every time that lies after `after`: the clock jumped, or the peer stood still."""
        self._in_flight = deque(
            (begins + by_s, heard_at + by_s, record, position, power)
            if begins > after or heard_at > after
            else (begins, heard_at, record, position, power)
            for begins, heard_at, record, position, power in self._in_flight
        )
        if self._peer_busy_until > after:
            self._peer_busy_until += by_s
        if after == -math.inf:
            self._last_sent_at += by_s
            self._paused_at += by_s
            if self._last_heard_at is not None:
                self._last_heard_at += by_s
            shifted = [(at + by_s, power) for at, power in self._heard_powers]
            self._heard_powers = deque(shifted, maxlen=_ECHO_MEMORY_FRAMES)

    def _sent(self, record: _Turn, position: int, now: float) -> None:
        self._last_sent_at = now
        self._enter(record, position, now, now + self._downstream_s)

    def _enter(self, record: _Turn, position: int, begins: float, heard_at: float) -> None:
        if record.first_packet_at is None:
            record.first_packet_at = begins
        index = (position - 1) // self.frame_bytes
        powers = record.powers
        power = powers[index] if 0 <= index < len(powers) else (powers[-1] if powers else 0.0)
        record.in_flight += 1
        self._in_flight.append((begins, heard_at, record, position, power))

    def _measure(self, record: _Turn) -> None:
        whole = (record.queued - record.measured) // self.frame_bytes
        if whole <= 0:
            return
        start = record.measured - record.base
        audio = bytes(record.audio[start : start + whole * self.frame_bytes])
        samples = decode(audio, self.format.encoding).astype(np.float32).reshape(whole, -1)
        record.powers.extend((np.einsum("ij,ij->i", samples, samples) / samples.shape[1]).tolist())
        record.measured += whole * self.frame_bytes

    def _fade_away(self, now: float) -> None:
        """Keep one frame that fades, where sound would otherwise be cut."""
        if not self._paced or not self._queue or now - self._last_sent_at > 1.5 * self._frame_s:
            return
        record = self._queue[0]
        start = record.sent - record.base
        audio = bytes(record.audio[start : start + self.frame_bytes])
        audio = audio[: len(audio) - len(audio) % self.format.bytes_per_sample]
        if not audio:
            return
        pcm = decode(audio, self.format.encoding)
        n_fade = round(self.format.sample_rate_hz * FADE_MS / 1000)
        faded = encode(fade_out(pcm[:n_fade], FADE_MS, self.format.sample_rate_hz), self.format.encoding)
        self._fade = (record, self._padded(faded))

    def _padded(self, frame: bytes) -> bytes:
        width = self.format.bytes_per_sample
        whole = len(frame) - len(frame) % width
        return frame[:whole] + self.format.silence_bytes * ((self.frame_bytes - whole) // width)

    def _quietest(self, record: _Turn, position: int) -> int:
        """The quietest frame near the estimated beginning of a word is likelier to be it."""
        size = self.frame_bytes
        near = round(_BOUNDARY_SEARCH_S / self._frame_s)
        wanted = position // size
        last = min(wanted + near, record.sent // size, len(record.powers) - 1)
        frames = range(max(0, wanted - near), last + 1)
        best = min(frames, key=lambda frame: (record.powers[frame], abs(frame - wanted)), default=wanted)
        return position if best == wanted else best * size

    def _faded_in(self, frame: bytes) -> bytes:
        pcm = decode(frame, self.format.encoding)
        return encode(fade_in(pcm, FADE_MS, self.format.sample_rate_hz), self.format.encoding)
