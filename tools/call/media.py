"""The caller's two audio directions over baresip: speech out in real time, what comes back recorded."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

import numpy as np
from baresip import AudioNotActive, AudioRestarted, Call

from tools.call.measure import Ear
from tools.call.surroundings import Surroundings
from tools.call.timeline import Position, Track
from tools.call.wav import RATE_HZ, Pcm

LEAD_BYTES = 5 * 320
"""What is queued ahead in baresip, 100 ms: rides out a busy event loop. The track records when it is really sent."""

ROOM_LEAD_BYTES = 2 * 320
"""The same where an echo comes back, which cannot be said before it was heard."""

PACKET = 160
"""Samples in 20 ms."""

READ_BYTES = 32000

HEARD_TOLERANCE_S = 0.060
"""A packet this late still continues what came before, as a telephone's jitter buffer would have it."""


class Utterance:
    """Speech given to `SipCall.play`: when its first sample was sent and its last one ended, on `time.monotonic`."""

    def __init__(self, pcm: Pcm, at_s: float | None) -> None:
        self.pcm = pcm
        self.at_s = at_s
        self._first: Position | None = None
        self._end: Position | None = None
        self._done = asyncio.Event()

    @property
    def begin_s(self) -> float | None:
        """When the first sample was sent; None before."""
        return self._first.at_s if self._first else None

    @property
    def end_s(self) -> float | None:
        """When the last sample sent so far ends; None before the first."""
        return self._end.at_s if self._end else None

    async def sent(self) -> float:
        """Wait until the last sample has been sent (or the call has ended) and return when it ended."""
        await self._done.wait()
        return self.end_s if self.end_s is not None else time.monotonic()

    def advance(self, at: Position, samples: int) -> None:
        """`samples` more have been sent, from `at` on."""
        self._first = self._first or at
        self._end = Position(at.stretch, at.offset + samples)

    def finish(self) -> None:
        """Nothing more of it will be sent."""
        self._done.set()


class Media:
    """Feeds and drains one call's audio; `poll` is called every few milliseconds."""

    def __init__(self, call: Call) -> None:
        self._audio = call.audio
        self.sent = Track()
        self.heard = Track()
        self.ear = Ear()
        self._queue: deque[Utterance] = deque()  # not yet wholly written
        self._written: deque[tuple[Utterance | None, Pcm, bool]] = deque()  # written, not yet sent; True: last piece
        self._offset = 0  # samples of the first in the queue that are written
        self._ahead_bytes = 0  # written, not yet sent
        self._ran_dry = True
        self._last_poll_s = time.monotonic()
        self._surroundings: Surroundings | None = None

    @property
    def surroundings(self) -> Surroundings:
        """What is sent beside the speech; from the first look on it is, without a break."""
        if self._surroundings is None:
            self._surroundings = Surroundings()
        return self._surroundings

    def ready(self) -> bool:
        """Both directions are up."""
        try:
            info = self._audio.info()
        except AudioNotActive:
            return False
        if not (info.tx_ready and info.rx_ready):
            return False
        if (info.tx_sample_rate, info.rx_sample_rate) != (RATE_HZ, RATE_HZ):
            raise ValueError(f"the call was set up at {info.tx_sample_rate} Hz; dial with codecs pcmu or pcma")
        return True

    def queue(self, utterance: Utterance) -> None:
        self._queue.append(utterance)

    def stop_speaking(self) -> None:
        """Forget what has not been written yet; at most `LEAD_BYTES` more are spoken."""
        for utterance in self._queue:
            utterance.finish()
        self._queue.clear()
        self._offset = 0

    def poll(self) -> None:
        now_s = time.monotonic()
        try:
            self._note_sent(now_s)
            if self._surroundings is None:
                self._write(now_s)
            else:
                self._write_with(self._surroundings, now_s)
            self._read(now_s)
        except AudioRestarted:  # renegotiated: what was queued in baresip is lost, the next poll binds anew
            self._written.clear()
            self._ahead_bytes = 0
        except AudioNotActive:
            pass
        self._last_poll_s = now_s

    def close(self) -> None:
        """The call is over: nobody waits any longer."""
        self.stop_speaking()
        for utterance, _, _ in self._written:
            if utterance is not None:
                utterance.finish()
        self._written.clear()
        if self._surroundings is not None:
            self._surroundings.close()

    def _note_sent(self, now_s: float) -> None:
        if not self._ahead_bytes:
            return
        sent_bytes = self._ahead_bytes - self._audio.info().tx_buffered
        if sent_bytes <= 0:
            return
        self._ahead_bytes -= sent_bytes
        count = sent_bytes // 2
        sent: list[tuple[Utterance | None, Pcm, bool]] = []
        while count and self._written:
            utterance, samples, last = self._written.popleft()
            if len(samples) > count:
                self._written.appendleft((utterance, samples[count:], last))
                samples, last = samples[:count], False
            sent.append((utterance, samples, last))
            count -= len(samples)
        at = self.sent.place(
            np.concatenate([samples for _, samples, _ in sent]),
            now_s=now_s,
            last_look_s=self._last_poll_s,
            # an utterance is one piece: a sender held up catches up, and its RTP timestamps never had a gap
            tolerance_s=0.0 if self._ran_dry else math.inf,
        )
        for utterance, samples, last in sent:
            if utterance is not None:
                utterance.advance(at, len(samples))
                if last:
                    utterance.finish()
            at = Position(at.stretch, at.offset + len(samples))
        self._ran_dry = not self._ahead_bytes

    def _write(self, now_s: float) -> None:
        while self._queue and self._ahead_bytes < LEAD_BYTES:
            utterance = self._queue[0]
            if utterance.at_s is not None and now_s < utterance.at_s:
                return
            piece = utterance.pcm[self._offset : self._offset + (LEAD_BYTES - self._ahead_bytes + 1) // 2]
            taken = self._audio.write(piece.tobytes()) // 2 if len(piece) else 0
            self._ahead_bytes += 2 * taken
            self._offset += taken
            last = self._offset >= len(utterance.pcm)
            if taken:
                self._written.append((utterance, piece[:taken], last))
            if last:
                self._queue.popleft()
                self._offset = 0
                if not taken:
                    utterance.finish()
            if taken < len(piece):
                return

    def _write_with(self, surroundings: Surroundings, now_s: float) -> None:
        """Speech or silence, and what sounds beside it: one packet at a time."""
        lead_bytes = LEAD_BYTES if surroundings.room is None else ROOM_LEAD_BYTES
        while self._ahead_bytes < lead_bytes:
            mixed = surroundings.sound(now_s + self._ahead_bytes / 2 / RATE_HZ, PACKET)
            utterance, speech, last = self._next_speech(now_s)
            mixed[: len(speech)] += speech
            packet = np.clip(mixed, -32768, 32767).astype(np.int16)
            taken = self._audio.write(packet.tobytes()) // 2
            self._ahead_bytes += 2 * taken
            self._written.append((utterance, packet[:taken], last))
            if taken < PACKET:  # the call is being torn down
                return

    def _next_speech(self, now_s: float) -> tuple[Utterance | None, Pcm, bool]:
        """The next packet's worth of what is to be said now, and whether it is its utterance's last."""
        if not self._queue or (self._queue[0].at_s is not None and now_s < self._queue[0].at_s):
            return None, np.zeros(0, np.int16), False
        utterance = self._queue[0]
        piece = utterance.pcm[self._offset : self._offset + PACKET]
        self._offset += len(piece)
        last = self._offset >= len(utterance.pcm)
        if last:
            self._queue.popleft()
            self._offset = 0
        return utterance, piece, last

    def _read(self, now_s: float) -> None:
        data = self._audio.read(READ_BYTES)
        if data:
            samples = np.frombuffer(data, np.int16)
            at = self.heard.place(samples, now_s=now_s, last_look_s=self._last_poll_s, tolerance_s=HEARD_TOLERANCE_S)
            self.ear.hear(samples, at.at_s)
            if self._surroundings is not None:
                self._surroundings.hear(samples, at.at_s)
