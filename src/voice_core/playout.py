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
from typing import Final, NamedTuple

from voice_core.spoken_text import TYPICAL_MS_PER_CHARACTER, SpeakingRate, SpokenText
from voice_core.turn_sound import TurnSound
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


class _Sounding(NamedTuple):
    """A frame on its way to the caller's ear."""

    begins: float
    heard_at: float
    turn: TurnSound
    position: int
    """Of the turn, after this frame."""
    power: float
    start: int
    """Of the turn, before it."""


class Playout:
    """The agent's sound of one call, frame by frame. Not thread-safe: it lives on the media loop.

    `paced=True` (RTP, AudioSocket): `next_frame` is called on a 20 ms schedule and a frame it returns counts as sent.
    Where the peer has a few frames in hand (chan_websocket), `next_frame` is told how far ahead of its sound a frame is
    sent, `acknowledged` says what the peer has really played, and `take_back` what it was told to drop.
    `paced=False` (a peer that buffers): `next_frame` only hands audio out; the transport reports `delivered`, and
    `acknowledged` where the peer tells. The estimate `bytes / (rate × bytes_per_sample) + tail_ms` is the watchdog:
    what is not acknowledged by then counts as heard all the same, and what is acknowledged late moves the estimate of
    all that follows.
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
        self._turns: dict[int, TurnSound] = {}
        self._newest: TurnSound | None = None
        self._queue: deque[TurnSound] = deque()
        self._in_flight: deque[_Sounding] = deque()
        """Sent and not yet heard, oldest first."""
        self._heard_powers: deque[tuple[float, float]] = deque(maxlen=_ECHO_MEMORY_FRAMES)
        """When a frame began and its power, oldest first; without those that a louder one came after."""
        self._fade: tuple[TurnSound, bytes] | None = None
        """A last frame, where sound was cut, and the turn it is of."""
        self._fade_in_next = False
        self._paused = False
        self._paused_at = 0.0
        self._cut: TurnSound | None = None
        """The turn that a pause cut in the middle of its sound."""
        self._held_ticks = 0
        self._peer_busy_until = -math.inf
        self._delivered_bytes = 0
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
        record.add(audio, text)

    def end_turn(self, turn: int, now: float, *, cut_short: bool = False) -> None:
        """All audio of `turn` has been queued. Again, before any audio, or with none at all: all fine.

        `cut_short`: what made the sound has failed, and of the last text only a part may have become sound.
        """
        self._advance(now)
        record = self._turns.get(turn)
        if record is None:
            record = self._open(turn)
        record.end(cut_short=cut_short)

    def pause(self, now: float) -> None:
        """Send no more after one fading frame; what was sent is still heard."""
        now = self._advance(now)
        if self._paused:
            return
        self._fade_away(now)
        head = self._queue[0] if self._queue else None
        self._cut = head if head is not None and head.sent and head.ready > 0 else None
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
            search_frames = round(_BOUNDARY_SEARCH_S / self._frame_s)
            record.go_back(at_most_bytes=self._rewind_bytes, search_frames=search_frames)
            self._fade_in_next = True

    def flush(self, now: float) -> None:
        """Drop what has not been sent, end every queued turn, end a pause."""
        now = self._advance(now)
        if not self._paused:
            self._fade_away(now)
        for record in self._queue:
            record.flush()
        self._queue.clear()
        if not self._paced:
            self._flush_peer(now)
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

    def next_frame(self, now: float, *, ahead_s: float = 0.0) -> bytes | None:
        """The next 20 ms to send, or None when there is nothing to say now.

        `ahead_s`: so much later the frame will begin to sound, because the peer plays what it has before it.
        """
        now = self._advance(now)
        if self._fade is not None:
            (record, frame), self._fade = self._fade, None
            self._sent(record, record.sent, now, ahead_s)
            return frame
        if self._paused or not self._queue:
            return None
        record = self._queue[0]
        while record.all_sent:
            self._queue.popleft()
            record.release()
            if not self._queue:
                return None
            record = self._queue[0]
        size = self.frame_bytes
        ready = record.ready
        if ready < size:
            if ready <= 0:
                return None
            if not record.done and self._held_ticks < _PARTIAL_FRAME_HELD_TICKS:
                self._held_ticks += 1  # the rest of the frame is likely on its way
                return None
            size = ready
        self._held_ticks = 0
        frame = record.ahead(size)
        if size < self.frame_bytes:
            frame = self._padded(frame)
        if self._fade_in_next:
            self._fade_in_next = False
            frame = self._faded_in(frame)
        start = record.sent
        record.advance(size, keep_bytes=self._rewind_bytes)
        self._last_frame_turn = record.number
        if self._paced:
            self._sent(record, start, now, ahead_s)
        return frame

    def take_back(self, n_frames: int, now: float) -> bool:
        """The last `n_frames` that were sent will not sound: the peer drops them. They wait again to be sent.

        False, and nothing has changed, where one of them cannot be had back (it ended a turn that is over).
        """
        now = self._advance(now)
        if not 0 < n_frames <= len(self._in_flight):
            return False
        dropped = [self._in_flight[-n] for n in range(1, n_frames + 1)]
        if any(one.turn not in self._queue or one.start < one.turn.base for one in dropped):
            return False
        for one in dropped:
            self._in_flight.pop()
            one.turn.in_flight -= 1
            one.turn.sent = one.start
            if not one.start and one.turn.first_heard_at is None:
                one.turn.first_packet_at = None  # nothing of it has sounded
        self._last_sent_at = now  # what sounds now is the frame before them
        return True

    def delivered(self, turn: int, n_bytes: int, now: float) -> None:
        """An unpaced transport handed `n_bytes` of `turn` to its peer, which plays them after what it already has.

        What was under way when the turn was flushed is not reckoned with: the peer was told to drop it.
        """
        now = self._advance(now)
        record = self._turns.get(turn)
        if record is None or record.flushed or n_bytes <= 0:
            return
        if not record.delivered:
            record.delivered_before = self._delivered_bytes
        self._delivered_bytes += n_bytes
        begins = max(now, self._peer_busy_until)
        self._peer_busy_until = begins + self.format.duration_s(n_bytes)
        while n_bytes > 0:
            size = min(n_bytes, self.frame_bytes)
            n_bytes -= size
            ends = begins + self.format.duration_s(size)
            record.delivered = min(record.delivered + size, record.sent)
            self._enter(record, record.delivered - size, record.delivered, begins, ends + self._tail_s)
            begins = ends
        if record.acknowledged:  # its acknowledgement may have overtaken the report
            self._take_acknowledged(record, now)

    def acknowledged(self, turn: int, n_bytes: int | None, now: float) -> None:
        """The peer has played `turn` up to `n_bytes` from its beginning (None: all that was delivered).

        Acknowledgements may come late, twice, in the wrong order, for a turn that was flushed, or not at all.
        """
        now = self._advance(now)
        record = self._turns.get(turn)
        if record is None:
            return
        position = record.delivered if n_bytes is None else n_bytes
        if position > record.acknowledged:
            record.acknowledged = position
            self._take_acknowledged(record, now)

    # --- what is asked ------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def last_frame_turn(self) -> int:
        """The turn that the last frame belonged to; 0 before the first."""
        return self._last_frame_turn

    @property
    def last_frame_position(self) -> int:
        """Where the last frame ended, in bytes from the beginning of its turn."""
        record = self._turns.get(self._last_frame_turn)
        return record.sent if record is not None else 0

    @property
    def queued_ms(self) -> float:
        """Sound that waits to be sent."""
        return 1000 * self.format.duration_s(sum(record.queued - record.sent for record in self._queue))

    def speaking(self, now: float) -> bool:
        """Some agent sound has been sent and not yet been heard to its end, or waits and is not paused."""
        self._advance(now)
        if self._in_flight or self._fade is not None or self._undelivered():
            return True
        if self._paused or not self._queue:
            return False
        return any(record.ready > 0 for record in self._queue)

    def audible(self, now: float) -> bool:
        """The caller hears the agent at this moment, or will within `downstream_ms`."""
        self._advance(now)
        return bool(self._in_flight)

    def idle(self, now: float) -> bool:
        """Everything has been heard and no turn is open: the agent does not have the floor."""
        self._advance(now)
        if self._in_flight or self._fade is not None or self._undelivered():
            return False
        return not self._queue or all(record.all_sent for record in self._queue)

    def finished(self, turn: int, now: float) -> bool:
        """The end of `turn` was announced and all its sound has been heard. False for a turn never seen."""
        self._advance(now)
        record = self._turns.get(turn)
        if record is None:
            return bool(self._turns) and turn < min(self._turns)
        if self._fade is not None and self._fade[0] is record:
            return False
        return record.all_sent and record.in_flight == 0 and (self._paced or not record.undelivered)

    def text(self, turn: int) -> str:
        """All that the queued audio of `turn` speaks, heard or not."""
        record = self._turns.get(turn)
        return record.spoken.text if record is not None else ""

    def heard_text(self, turn: int, now: float, *, ago_s: float = 0.0) -> str:
        """The words of `turn` whose end has been heard: a prefix of `text`, cut between words.

        `ago_s`: as of so long before `now`, if the turn has sounded without a break since.
        """
        self._advance(now)
        record = self._turns.get(turn)
        heard = 0 if record is None else record.heard - self.format.bytes_for_ms(1000 * ago_s)
        return record.spoken.until(heard) if record is not None and heard > 0 else ""

    def heard_ms(self, turn: int, now: float) -> float:
        """How much of `turn` has been heard; going back to a word's beginning does not count twice."""
        self._advance(now)
        record = self._turns.get(turn)
        return 1000 * self.format.duration_s(record.heard) if record is not None else 0.0

    def first_packet_at(self, turn: int) -> float | None:
        """When the first frame of `turn` was sent; None before that."""
        record = self._turns.get(turn)
        return record.first_packet_at if record is not None else None

    def first_heard_at(self, turn: int, now: float) -> float | None:
        """When the caller had heard the first frame of `turn`; None before that."""
        self._advance(now)
        record = self._turns.get(turn)
        return record.first_heard_at if record is not None else None

    @property
    def last_heard_at(self) -> float | None:
        """When the last agent sound was, or will be, heard to its end; None before the first."""
        return self._in_flight[-1].heard_at if self._in_flight else self._last_heard_at

    def loudest_dbfs(self, now: float, window_s: float) -> float:
        """Level (RMS of a frame) of the loudest agent sound of the last `window_s`: what an echo may stem from."""
        now = self._advance(now)
        since = now - window_s
        loudest = 0.0
        for at, power in self._heard_powers:
            if at >= since:  # each is louder than all that come after it
                loudest = power
                break
        for sounding in self._in_flight:
            if sounding.begins > now:
                break
            loudest = max(loudest, sounding.power)
        return _SILENT_DBFS if loudest <= 0 else max(_SILENT_DBFS, 10 * math.log10(loudest / _FULL_SCALE_POWER))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _open(self, turn: int) -> TurnSound:
        for earlier in self._queue:
            earlier.end()
        record = TurnSound(turn, self.format, self.frame_bytes, SpokenText(self._rate))
        self._turns[turn] = self._newest = record
        self._queue.append(record)
        while len(self._turns) > _REMEMBERED_TURNS:
            oldest = next(iter(self._turns.values()))
            if oldest.in_flight or oldest in self._queue:
                break
            del self._turns[oldest.number]
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
            while in_flight and in_flight[0].heard_at <= now and in_flight[0].begins <= stopped_at:
                begins, heard_at, record, position, power, _ = in_flight.popleft()
                record.in_flight -= 1
                record.heard = max(record.heard, position)
                if record.first_heard_at is None:
                    record.first_heard_at = heard_at
                self._last_heard_at = heard_at
                powers = self._heard_powers
                while powers and powers[-1][1] <= power:
                    powers.pop()
                powers.append((begins, power))
        return now

    def _shift(self, by_s: float, *, after: float) -> None:
        """Move every time that lies after `after`: the clock jumped, or the peer stood still."""
        self._in_flight = deque(
            one._replace(begins=one.begins + by_s, heard_at=one.heard_at + by_s) if one.begins > after else one
            for one in self._in_flight
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
            for record in self._turns.values():
                if record.first_packet_at is not None:
                    record.first_packet_at += by_s
                if record.first_heard_at is not None:
                    record.first_heard_at += by_s

    def _sent(self, record: TurnSound, start: int, now: float, ahead_s: float) -> None:
        self._last_sent_at = now
        begins = now + ahead_s
        self._enter(record, start, record.sent, begins, begins + self._downstream_s)

    def _enter(self, record: TurnSound, start: int, position: int, begins: float, heard_at: float) -> None:
        if record.first_packet_at is None:
            record.first_packet_at = begins
        record.in_flight += 1
        self._in_flight.append(_Sounding(begins, heard_at, record, position, record.power_before(position), start))

    # --- a peer that buffers ------------------------------------------------------------------------------------------

    def _undelivered(self) -> bool:
        return not self._paced and any(record.undelivered for record in self._turns.values())

    def _take_acknowledged(self, record: TurnSound, now: float) -> None:
        """All up to there has been played, earlier turns too; what follows begins no earlier than now."""
        entries = list(self._in_flight)
        played = 0
        for index, one in enumerate(entries):
            if one.turn is record and one.position <= record.acknowledged:
                played = index + 1
        at = self._paused_at if self._paused else now
        heard_at = now + self._downstream_s
        for index in range(played):
            one = entries[index]
            entries[index] = one._replace(begins=min(one.begins, at), heard_at=min(one.heard_at, heard_at))
        self._in_flight = deque(entries)
        if played == len(entries) or record.flushed:
            return
        following = entries[played]
        begins = following.turn.delivered_before + following.position - self.frame_bytes
        # Between the two may lie what counts as heard by the estimate already.
        between = max(0, begins - record.delivered_before - record.acknowledged)
        late_s = at + self.format.duration_s(between) - following.begins
        if late_s > 0:
            self._shift(late_s, after=math.nextafter(following.begins, -math.inf))

    def _flush_peer(self, now: float) -> None:
        """The peer drops what it has not begun to play."""
        stopped_at = self._paused_at if self._paused else now
        while self._in_flight and self._in_flight[-1].begins > stopped_at:
            self._in_flight.pop().turn.in_flight -= 1
        self._peer_busy_until = now
        for record in self._turns.values():
            if record.undelivered or (record.in_flight and not record.flushed):
                record.flush()

    # --- no clicks ----------------------------------------------------------------------------------------------------

    def _fade_away(self, now: float) -> None:
        """Keep one frame that fades, where sound would otherwise be cut."""
        if not self._paced or not self._queue or now - self._last_sent_at > 1.5 * self._frame_s:
            return
        record = self._queue[0]
        if not record.sent or self._fade_in_next or self._fade is not None:
            return  # nothing of it sounds at this moment
        audio = record.ahead(self.frame_bytes)
        if not audio:
            return
        pcm = decode(audio, self.format.encoding)
        n_fade = round(self.format.sample_rate_hz * FADE_MS / 1000)
        faded = encode(fade_out(pcm[:n_fade], FADE_MS, self.format.sample_rate_hz), self.format.encoding)
        self._fade = (record, self._padded(faded))

    def _padded(self, frame: bytes) -> bytes:
        missing = self.frame_bytes - len(frame)
        return frame + self.format.silence_bytes * (missing // self.format.bytes_per_sample)

    def _faded_in(self, frame: bytes) -> bytes:
        pcm = decode(frame, self.format.encoding)
        return encode(fade_in(pcm, FADE_MS, self.format.sample_rate_hz), self.format.encoding)
