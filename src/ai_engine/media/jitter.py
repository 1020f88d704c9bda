"""An adaptive jitter buffer on injected time: packets in as they come, one frame out per tick, as little late as the
network allows.

Packets lie on the sender's timeline: RTP timestamps, unwrapped. The playout point moves along it by one frame per tick,
whether packets come or not, and is kept where the transit of the sound handed out is

    least transit of the packets + the delay most of them stay below        (`NetworkDelay`)

or up to a frame above. A frame is held back, or left out, to get there, and only where the caller is quiet or a packet
is missing anyway. So clock skew, a changed route, a freeze of the network and a freeze of ourselves are all mended by
one rule, and no backlog becomes latency for good: what exceeds `max_delay_ms` is dropped at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ai_engine.media.network_delay import NetworkDelay
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.transport import FrameKind

_IDLE_FRAMES: Final = 3
"""After so many frames without a packet nobody speaks, or the network stands still: 60 ms, as long as concealment."""
_SLACK_S: Final = 0.005
"""Beyond a whole frame: keeps hold and drop from taking turns."""
_MISFITS: Final = 3
"""Consecutive packets far off the timeline that prove that the sender began a new one."""
_OFF_TIMELINE_S: Final = 3.0
_LATE_FOR_S: Final = 0.1
"""Nothing but late packets for so long proves the same: a sender that stopped its clock while it was silent, or that
cannot keep up. (What a frozen network held up comes all at once.)"""
_OVERDUE_FRAMES: Final = 50
"""Where the caller is never quiet (music, a fan) a frame that is too many is dropped after this long: 1 s."""
_SEEN: Final = 256
"""Sequence numbers remembered, to tell duplicates, and loss from silence. A power of two."""

Payload = bytes | memoryview


@dataclass(slots=True)
class JitterStats:
    """Counts of packets and frames since the call began."""

    received: int = 0
    """Packets of the stream, duplicates left out."""
    late: int = 0
    """Packets that came after their frame had been handed out; discarded."""
    duplicates: int = 0
    concealed: int = 0
    """Frames handed out as `CONCEALED`."""
    held: int = 0
    """Frames by which the delay was lengthened."""
    dropped: int = 0
    """Frames by which the delay was shortened."""
    restarts: int = 0
    """A new source, or a new timeline of the same one."""


class JitterBuffer:
    """One received stream. `put` each packet with its arrival time, `get` one frame per tick; monotonic seconds.

    Packets may be of any length (10, 30, 40 ms …); frames are always `frame_samples`.
    """

    def __init__(
        self,
        *,
        clock_hz: int = 8000,
        frame_samples: int = 160,
        bytes_per_sample: int = 1,
        silence: bytes = b"\xff",
        max_delay_ms: int = 200,
        is_quiet: Callable[[Payload], bool] = lambda payload: False,
    ) -> None:
        """`silence` is one sample of it; by default mu-law's.

        `is_quiet` says of a frame that nobody speaks in it; it is only asked while the delay wants changing.
        """
        self.stats = JitterStats()
        self._clock_hz = clock_hz
        self._frame_samples = frame_samples
        self._frame_bytes = frame_samples * bytes_per_sample
        self._bytes_per_sample = bytes_per_sample
        self._silence = silence
        self._frame_s = frame_samples / clock_hz
        self._max_delay_s = max_delay_ms / 1000
        self._is_quiet = is_quiet
        self._ssrc: int | None = None
        self._lost_before = 0
        self._handed_out = 0
        self._delays_s = 0.0  # of all that was handed out
        self._delay = NetworkDelay(0.0, 0.0, max_delay_s=self._max_delay_s)
        self._clear()

    def _clear(self) -> None:
        self._started = False
        self._packets: dict[int, tuple[int, Payload]] = {}  # first sample → extended sequence number, payload
        self._play_at = 0  # the next sample to hand out, on the extended timeline
        self._played_sequence = 0
        self._first_sequence = 0
        self._highest_sequence = 0
        self._highest_timestamp = 0
        self._sound_until = 0  # the end of the packet with the highest number
        self._received = 0
        self._seen = [-1] * _SEEN
        self._missing_frames = 0
        self._last: Payload = b""
        self._overdue_frames = 0
        self._said_silence = False
        self._misfits = 0
        self._late_since_s = math.inf

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter, RFC 3550 section 6.4.1."""
        return self._delay.jitter_s * 1000

    @property
    def target_ms(self) -> float:
        """How far packets are expected to come behind the fastest."""
        return self._delay.target_s * 1000

    @property
    def lost(self) -> int:
        """Packets, RFC 3550: expected minus received. One out of order counts until it comes.

        Numbers that a relay left out are not lost: Asterisk keeps telephone events (RFC 4733) to itself and passes on
        the sequence numbers of the rest, with a hole where the key was pressed.
        """
        if not self._received:
            return self._lost_before
        return self._lost_before + max(0, self._highest_sequence - self._first_sequence + 1 - self._received)

    @property
    def ready(self) -> bool:
        """The sound of the next frame is there, or its beginning is."""
        return self._play_at in self._packets

    def delay_ms(self, now_s: float) -> float:
        """How long the fastest packet of the last seconds waits before it is handed out."""
        if not self._started:
            return 0.0
        return (self._delay.target_s + self._excess_s(now_s, self._play_at)) * 1000

    @property
    def mean_delay_ms(self) -> float:
        """`delay_ms` of the frames handed out since the call began."""
        return self._delays_s / self._handed_out * 1000 if self._handed_out else 0.0

    def put(self, packet: RtpPacket, arrived_s: float) -> None:
        """A packet of audio."""
        samples = len(packet.payload) // self._bytes_per_sample
        placed = self._place(packet, arrived_s, samples)
        if placed is None:
            return
        sequence, timestamp = placed
        # A packet that begins inside a frame (10 or 30 ms packets) is needed when that frame begins.
        early_s = (timestamp - self._play_at) % self._frame_samples / self._clock_hz
        self._delay.measure(arrived_s - timestamp / self._clock_hz, arrived_s, early_s)
        if self._started and timestamp + samples <= self._play_at:
            self._late_since_s = min(self._late_since_s, arrived_s)
            if arrived_s - self._late_since_s >= _LATE_FOR_S:
                self._begin(packet, arrived_s, restarted=True)
                self.stats.received -= 1
                self.put(packet, arrived_s)
                return
            if self._missing_frames < _IDLE_FRAMES or self._excess_s(arrived_s, timestamp) > self._max_delay_s / 2:
                self.stats.late += 1
                return
            # Nothing was handed out meanwhile: better a little later than lost (half, or `get` would drop it again).
            self._play_at = timestamp
            self.stats.held += 1
        self._late_since_s = math.inf
        self._said_silence = False
        self._packets[timestamp] = (sequence, packet.payload)

    def skip(self, packet: RtpPacket, arrived_s: float) -> None:
        """A packet of the stream that holds no audio: comfort noise (silence from here on) or a telephone event.

        It says nothing of the timeline: all packets of an event bear the time at which the key went down.
        """
        placed = self._place(packet, arrived_s, None)
        if placed is not None and placed[0] == self._highest_sequence:
            self._said_silence = True

    def get(self, now_s: float) -> tuple[Payload | None, FrameKind]:
        """The next frame: a payload of exactly `frame_samples`, or None and what stands in its place."""
        if not self._started and not self._start(now_s):
            return None, FrameKind.SILENCE
        excess_s = self._excess_s(now_s, self._play_at)
        if excess_s > self._max_delay_s:  # we slept, or the network did: do not carry it along
            self._drop(int(excess_s / self._frame_s))
            excess_s = self._excess_s(now_s, self._play_at)
        segment = self._packets.get(self._play_at)
        if segment is not None and len(segment[1]) == self._frame_bytes:
            del self._packets[self._play_at]
        else:
            segment = self._gather(excess_s)
            if segment is None:
                return None, self._missing(excess_s)
        sequence, payload = segment

        if excess_s < 0:
            if self._is_quiet(payload):
                self._packets[self._play_at] = segment
                self.stats.held += 1
                return None, FrameKind.SILENCE
        elif excess_s > self._frame_s + _SLACK_S:
            self._overdue_frames += 1
            if self._overdue_frames >= _OVERDUE_FRAMES or self._is_quiet(payload):
                self._overdue_frames = 0
                self._drop(1)
                self._played_sequence = sequence
                return self.get(now_s)
        self._play_at += self._frame_samples
        self._played_sequence = sequence
        self._missing_frames = 0
        self._last = payload
        self._handed_out += 1
        self._delays_s += excess_s + self._delay.target_s
        return payload, FrameKind.SPEECH

    # --- where a packet belongs ------------------------------------------------------------------------------------

    def _place(self, packet: RtpPacket, arrived_s: float, samples: int | None) -> tuple[int, int] | None:
        """Extended sequence number and timestamp of a packet that is new; None for one that is not to be used.

        `samples` of audio, None for a packet without.
        """
        if packet.ssrc != self._ssrc:
            self._begin(packet, arrived_s, restarted=self._ssrc is not None)
        ahead = ((packet.sequence - self._highest_sequence + 0x8000) & 0xFFFF) - 0x8000
        sequence = self._highest_sequence + ahead
        turned = (packet.timestamp - self._highest_timestamp + 0x80000000) & 0xFFFFFFFF
        timestamp = self._highest_timestamp + turned - 0x80000000
        if samples is not None:
            if abs(arrived_s - timestamp / self._clock_hz - self._delay.least_transit_s) > _OFF_TIMELINE_S:
                self._misfits += 1
                if self._misfits < _MISFITS:
                    self.stats.late += 1
                    return None
                self._begin(packet, arrived_s, restarted=True)
                return self._place(packet, arrived_s, samples)
            self._misfits = 0
        slot = sequence % _SEEN
        if self._seen[slot] == sequence:
            self.stats.duplicates += 1
            return None
        self._seen[slot] = sequence
        self._received += 1
        self.stats.received += 1
        if ahead > 0:
            if samples and ahead > 1 and (ahead - 1) * samples > timestamp - self._sound_until + samples // 2:
                self._left_out(sequence, ahead - 1)
            self._highest_sequence = sequence
            self._highest_timestamp = max(self._highest_timestamp, timestamp)
            self._sound_until = timestamp + (samples or 0)
        return sequence, timestamp

    def _left_out(self, sequence: int, missing: int) -> None:
        """More numbers are missing before `sequence` than its sound has room for: they were no sound, so not lost."""
        self._received += missing
        for number in range(max(sequence - missing, sequence - _SEEN + 1), sequence):
            self._seen[number % _SEEN] = number

    def _begin(self, packet: RtpPacket, arrived_s: float, *, restarted: bool) -> None:
        """A new timeline, with this packet as its first."""
        self._lost_before = self.lost
        self._clear()
        self.stats.restarts += restarted
        self._ssrc = packet.ssrc
        # One turn up, so that packets from before the first one have positive extended numbers.
        self._first_sequence = self._highest_sequence = packet.sequence + 0x10000
        self._highest_timestamp = self._play_at = self._sound_until = packet.timestamp + 0x100000000
        transit_s = arrived_s - self._play_at / self._clock_hz
        self._delay = NetworkDelay(transit_s, arrived_s, max_delay_s=self._max_delay_s, jitter_s=self._delay.jitter_s)

    def _excess_s(self, now_s: float, sample: int) -> float:
        """By how much `sample`, handed out now, is later than it need be."""
        return now_s - sample / self._clock_hz - self._delay.least_transit_s - self._delay.target_s

    # --- what is handed out ----------------------------------------------------------------------------------------

    def _start(self, now_s: float) -> bool:
        if not self._packets:
            return False
        self._play_at = min(self._packets)
        self._played_sequence = self._packets[self._play_at][0] - 1
        self._started = self._excess_s(now_s, self._play_at) >= 0
        return self._started

    def _gather(self, excess_s: float) -> tuple[int, Payload] | None:
        """A frame out of packets of other lengths or another alignment; None where it is not there (yet)."""
        if not self._packets:
            return None
        timestamps = sorted(self._packets)
        early = timestamps[0] - self._play_at
        if self._missing_frames and 0 < early < self._frame_samples and excess_s >= early / self._clock_hz:
            self._play_at += early  # a talkspurt begins within this frame: line the frames up with its packets
        start, end = self._play_at, self._play_at + self._frame_samples
        inside = [t for t in timestamps if t < end]
        if not inside or (inside[0] > start and excess_s < 0):
            return None
        covered = inside[-1] + len(self._packets[inside[-1]][1]) // self._bytes_per_sample
        if covered < end and inside[-1] == timestamps[-1]:
            return None  # the rest has yet to come
        frame = bytearray()
        sequence = self._played_sequence
        for timestamp in inside:
            sequence, payload = self._packets.pop(timestamp)
            hole = (timestamp - start) * self._bytes_per_sample - len(frame)
            frame += self._filling(frame, hole) + bytes(payload[max(0, -hole) :])
        if len(frame) > self._frame_bytes:
            self._packets[end] = (sequence, bytes(frame[self._frame_bytes :]))
        frame += self._filling(frame, self._frame_bytes - len(frame))
        return sequence, bytes(frame[: self._frame_bytes])

    def _filling(self, frame: bytearray, n_bytes: int) -> bytes:
        """For a hole of less than a frame: the last sound before it once more."""
        if n_bytes <= 0:
            return b""
        before = bytes(frame or (b"" if self._missing_frames else self._last))[-n_bytes:] or self._silence
        return (before * (n_bytes // len(before) + 1))[:n_bytes]

    def _missing(self, excess_s: float) -> FrameKind:
        """No sound for this frame: lost, late, or never sent."""
        self._missing_frames += 1
        kind = FrameKind.CONCEALED if self._is_lost() else FrameKind.SILENCE
        if kind is FrameKind.CONCEALED:
            self.stats.concealed += 1
        if self._packets and (excess_s < 0 or self._play_at in self._packets):
            self.stats.held += 1  # a good moment to wait longer
            return kind
        self._play_at += self._frame_samples
        room = not self._packets or min(self._packets) >= self._play_at + self._frame_samples
        if room and kind is FrameKind.SILENCE and excess_s > self._frame_s + _SLACK_S:
            self._drop(1)
        return kind

    def _is_lost(self) -> bool:
        """Whether a packet ought to be there. Without a later packet to tell, that is so for `_IDLE_FRAMES`."""
        if not self._packets:
            return not self._said_silence and self._missing_frames <= _IDLE_FRAMES
        following = self._packets[min(self._packets)][0]
        if following - self._played_sequence > _SEEN:
            return True
        return any(self._seen[s % _SEEN] != s for s in range(self._played_sequence + 1, following))

    def _drop(self, frames: int) -> None:
        """Leave the next frames out."""
        self._play_at += frames * self._frame_samples
        self.stats.dropped += frames
        for timestamp in sorted(t for t in self._packets if t < self._play_at):
            sequence, payload = self._packets.pop(timestamp)
            kept = payload[(self._play_at - timestamp) * self._bytes_per_sample :]
            if kept:
                self._packets[self._play_at] = (sequence, kept)
            else:
                self._played_sequence = max(self._played_sequence, sequence)
