"""The caller's telephone and the network on virtual time: sounds are mixed, packed, lost and delayed, and come out of
the engine's own jitter buffer and concealment as frames.

The core gets what it would get over RTP; only sockets are left out. Beside the sound goes the truth about it: whether
somebody speaks in a frame, so that the voice-activity network need not run.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from ai_engine.media.concealment import Concealment
from ai_engine.media.jitter import JitterBuffer, Payload
from ai_engine.media.rtp import PT_PCMU, RtpPacket
from ai_engine.media.transport import Frame, FrameKind
from tools.call.impairment import Impairer, Impairment
from tools.line_noise import SOUNDS, pink
from tools.scenarios.model import SPEECH_DBFS, Line
from voice_wire.audio import Pcm, decode, decode_mulaw, encode_mulaw

Signal = npt.NDArray[np.float32]

RATE_HZ: Final = 8000
FRAME: Final = 160
TICK_S: Final = 0.02
NOT_SPEECH: Final = 0.02
"""What the network says of line noise."""
ECHO_LIKE_SPEECH: Final = 0.9
"""And of the agent's own voice coming back."""
_FLOOR_DBFS: Final = -66.0
_AUDIBLE_DBFS: Final = -55.0
_POOL_S: Final = 20.0
_QUIET_PEAK: Final = 512
"""As the RTP transport has it."""
_EVENT_TYPE: Final = 101
"""Telephone events; a key takes the place of the sound."""
_FULL_SCALE: Final = 32768.0


def at_level(signal: npt.NDArray[np.float64], dbfs: float) -> Signal:
    """`signal` scaled to that mean level, in units of 16-bit samples."""
    level = float(np.sqrt(np.mean(signal**2))) or 1.0
    return (signal * (_FULL_SCALE * 10 ** (dbfs / 20) / level)).astype(np.float32)


@cache
def _pool(kind: str, dbfs: float) -> Signal:
    """Whole frames of a sound at that level, the same ones every time; to be played again and again."""
    chance = np.random.default_rng([*kind.encode()])
    return at_level((pink if kind == "voice" else SOUNDS[kind])(chance, _POOL_S), dbfs)


def _frame_of(kind: str, begin: int, dbfs: float) -> Signal:
    """The frame that begins at sample `begin`, a multiple of its length."""
    pool = _pool(kind, dbfs)
    begin %= pool.size
    return pool[begin : begin + FRAME]


def voice_like_sound(seconds: float, *, louder_db: float = 0.0) -> Signal:
    """What stands for speech where none was recorded: the core hears levels, and the truth tells the rest."""
    return np.resize(_pool("voice", SPEECH_DBFS + louder_db), round(seconds * RATE_HZ))


@dataclass(slots=True)
class _Sounding:
    begin: int  # sample number
    samples: Signal


@dataclass(slots=True)
class Truth:
    """Somebody speaks, or something makes a sound like speech."""

    begins: float
    ends: float
    probability: float


class VirtualLine:
    """Times are seconds on the call's clock; one `frame` per tick."""

    def __init__(self, line: Line, begin_s: float) -> None:
        self._line = line
        self._begin_s = begin_s
        self._sample = 0
        self._sounding: list[_Sounding] = []
        self._truths: list[Truth] = []
        self._impairer = Impairer(
            Impairment(loss=line.loss_percent / 100, jitter_ms=line.jitter_ms), seed=2 * line.seed
        )
        self._network: list[tuple[float, int, RtpPacket]] = []
        self._order = itertools.count()
        self._event_until = -1.0
        self._jitter = JitterBuffer(is_quiet=_is_quiet)
        self._concealment = Concealment()
        self._last_probability = NOT_SPEECH
        self._numbers: dict[bytes, int] = {}  # payload → number of the frame
        self._captured: dict[int, tuple[float, float]] = {}  # number → when it ended, probability of speech
        self.by_sound: dict[bytes, float] = {}
        """When the sound of a frame, as the core gets it, was made: the end of those 20 ms."""
        self.received: list[tuple[float, float]] = []
        """(time, probability of speech) of the frames handed out, newest last; the reader empties it."""

    # --- what happens on the caller's side ----------------------------------------------------------------------------

    def play(self, samples: Signal, truths: Sequence[Truth] = (), *, after_s: float = 0.0) -> None:
        """A sound begins now or in a while, beside whatever is sounding."""
        self._sounding.append(_Sounding(self._sample + round(after_s * RATE_HZ), samples))
        self._truths.extend(truths)

    def press(self, seconds: float, now: float) -> None:
        """A key is held down: its events take the place of sound."""
        self._event_until = now + seconds

    def freeze(self, seconds: float, now: float, *, lost: bool) -> None:
        self._impairer.freeze(now, seconds, lost=lost)

    # --- one tick -----------------------------------------------------------------------------------------------------

    def frame(self, now: float, echo: Pcm | None) -> Frame:
        """The 20 ms up to `now` go into the network; what the engine gets of it is returned."""
        self._send(now, echo)
        while self._network and self._network[0][0] <= now:
            arrived_s, _, packet = heapq.heappop(self._network)
            if packet.payload_type == PT_PCMU:
                self._jitter.put(packet, arrived_s)
            else:
                self._jitter.skip(packet, arrived_s)
        payload, kind = self._jitter.get(now)
        if payload is not None:
            return self._heard(payload, kind, now)
        made_up = self._concealment.conceal() if kind is FrameKind.CONCEALED else None
        if kind is not FrameKind.CONCEALED:
            self._concealment.fell_silent()
        probability = self._last_probability if made_up is not None else NOT_SPEECH
        self.received.append((now, probability))
        return Frame(bytes(2 * FRAME) if made_up is None else made_up.tobytes(), kind)

    def _heard(self, payload: Payload, kind: FrameKind, now: float) -> Frame:
        payload = bytes(payload)
        pcm = self._concealment.heard(decode_mulaw(payload)).tobytes()
        number = self._numbers.get(payload)
        if number is not None:
            made_at, probability = self._captured[number]
            self.by_sound[pcm] = made_at
            self._last_probability = probability
        self.received.append((now, self._last_probability))
        return Frame(pcm, kind)

    def _send(self, now: float, echo: Pcm | None) -> None:
        number = self._sample // FRAME
        begin, self._sample = self._sample, self._sample + FRAME
        mixed = _frame_of("white noise", begin, _FLOOR_DBFS).copy()
        if self._line.noise is not None:
            mixed += _frame_of(self._line.noise.kind, begin, SPEECH_DBFS - self._line.noise.snr_db)
        for sounding in self._sounding:
            offset = begin - sounding.begin
            if offset > -FRAME:
                piece = sounding.samples[max(0, offset) : offset + FRAME]
                into = max(0, -offset)
                mixed[into : into + piece.size] += piece
        self._sounding = [s for s in self._sounding if s.begin + s.samples.size > self._sample]
        middle = now - TICK_S / 2
        probability = max((t.probability for t in self._truths if t.begins <= middle < t.ends), default=NOT_SPEECH)
        if echo is not None:
            mixed += echo
            if _dbfs(echo) > _AUDIBLE_DBFS:
                probability = max(probability, ECHO_LIKE_SPEECH)
        payload = encode_mulaw(np.clip(np.rint(mixed), -32768, 32767).astype(np.int16))
        self._numbers[payload] = number
        self._captured[number] = now, probability
        is_event = middle < self._event_until
        packet = RtpPacket(_EVENT_TYPE if is_event else PT_PCMU, number & 0xFFFF, begin, 1, payload)
        for due_s, datagram in self._impairer.take(bytes(packet), now):
            heapq.heappush(self._network, (due_s, next(self._order), RtpPacket.parse(datagram)))


def _is_quiet(payload: Payload) -> bool:
    return int(np.abs(decode_mulaw(payload).astype(np.int32)).max()) < _QUIET_PEAK


def _dbfs(pcm: npt.NDArray[np.float32] | Pcm) -> float:
    power = float(np.mean(pcm.astype(np.float64) ** 2))
    return 10 * float(np.log10(power / _FULL_SCALE**2)) if power > 0 else -np.inf


def echo_of(wire: Sequence[tuple[float, bytes]], now: float, *, loss_db: float, delay_s: float) -> Pcm | None:
    """What comes back, in the 20 ms up to `now`, of the mu-law frames the agent sent; None where it was silent."""
    for sent_at, frame in reversed(wire):
        if abs(sent_at + delay_s - now) < TICK_S / 2:
            echoed: Pcm = (decode(frame, "mulaw") * 10 ** (-loss_db / 20)).astype(np.int16)
            return echoed
        if sent_at + delay_s < now - TICK_S:
            break
    return None
