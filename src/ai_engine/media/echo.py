"""The agent's own sound taken out of the caller's, frame by frame, on the media thread.

A telephone with its loudspeaker on sends the agent back, up to some hundred milliseconds later and mixed with what its
owner says. What was sent is known exactly, so it can be subtracted: WebRTC's echo canceller (AEC3) finds the delay by
itself, follows it, and needs a second or less of speech to learn the room. It comes as a compiled library in the wheel
of `livekit` (extra `echo`); nothing else of that package is used.

On a line without echo the same canceller takes the caller's words for one and swallows them, for as long as it has not
learnt better (86 of 98 words five seconds into a call). So it is only put to work where an echo was found: where what
comes resembles what was sent a while ago. And it only works while an echo is possible: from the agent's first frame
until `HANGOVER_S` after its last one. All other sound goes through untouched, and costs nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import structlog

from ai_engine.media.transport import Frame, MediaTransport
from voice_wire.audio import AudioFormat, Encoding, decode

HANGOVER_S: Final = 0.8
"""Longest delay of an echo (0.3 s), the jitter buffers' own (0.2 s) and the room's reverberation."""
INSTALL_COMMAND: Final = "pip install 'parley[echo]'"

_FRAME_S: Final = 0.020
_RATES_HZ: Final = frozenset({8000, 16000, 32000, 48000})
_LOOK_EVERY_FRAMES: Final = 5
_LOOK_AGAIN_FRAMES: Final = 50
_COMPARED_FRAMES: Final = 13
_REMEMBERED_FRAMES: Final = 38
"""13 to compare with, after delays of up to half a second."""
_RESEMBLANCE: Final = 0.33
"""Of a quarter of a second: an echo in a room of strong reverberation has 0.39 or more in 95 of 100 looks (the median
is 0.54), the caller's own words stay below 0.28 in 199 of 200."""
_ENOUGH_FINDS: Final = 2
_MOST_MISSES: Final = 20
_PRE_EMPHASIS: Final = 0.95
_LEAST_POWER: Final = 50.0
_BLOCKS: Final = 2
"""AEC3 takes 10 ms at a time."""
_HANGOVER_FRAMES: Final = round(HANGOVER_S / _FRAME_S)
_LEAVE_AT_LATEST_FRAMES: Final = 150
_FULL_SCALE_POWER: Final = 32768.0**2
_QUIET_DBFS: Final = -50.0
"""Between two words. To leave shifts the sound by the canceller's 13 ms, which is not for mid-word."""
_PCM: Final[Encoding] = "linear16"

_log = structlog.get_logger(__name__)


class EchoUnavailable(Exception):
    """The canceller's library is not there or cannot be loaded; the message says what mends it."""


class EchoCanceller(Protocol):
    """One call's. Both frames are PCM16 of 20 ms at the same rate."""

    def process(self, near: bytes, far: bytes) -> bytes:
        """`near` (what the caller's line brought) without the echo of `far` (what went out in the tick before)."""


class WebRtcCanceller:
    """WebRTC's AEC3. 5 to 6 ms of CPU for a second of sound at 8 kHz, 0.5 MB; delays its output by 13 ms."""

    def __init__(self, rate_hz: int) -> None:
        """`rate_hz`: 8000, 16000, 32000 or 48000. Raises `EchoUnavailable`."""
        try:
            from livekit.rtc.apm import AudioProcessingModule  # noqa: PLC0415 - optional
            from livekit.rtc.audio_frame import AudioFrame  # noqa: PLC0415

            self._module = AudioProcessingModule(echo_cancellation=True)
        except (ImportError, OSError) as error:  # not there, or its compiled part does not run on this machine
            raise EchoUnavailable(f"the echo canceller is not installed; {INSTALL_COMMAND} ({error})") from error
        n_samples = rate_hz // 100
        self._bytes = 2 * n_samples
        self._near = bytearray(self._bytes)
        self._far = bytearray(self._bytes)
        self._near_frame = AudioFrame(self._near, rate_hz, 1, n_samples)
        self._far_frame = AudioFrame(self._far, rate_hz, 1, n_samples)
        self._out = bytearray(_BLOCKS * self._bytes)
        self._module.set_stream_delay_ms(0)

    def process(self, near: bytes, far: bytes) -> bytes:
        size, out = self._bytes, self._out
        for start in range(0, _BLOCKS * size, size):
            end = start + size
            self._far[:] = far[start:end]
            self._near[:] = near[start:end]
            self._module.process_reverse_stream(self._far_frame)
            self._module.process_stream(self._near_frame)
            out[start:end] = self._near
        return bytes(out)


class EchoGuard:
    """A call's canceller at work: engages it, aligns it with what was sent, rests it, and outlives its failure."""

    def __init__(self, canceller: EchoCanceller, agent_format: AudioFormat, *, always: bool = False) -> None:
        """`agent_format`: of the frames that are sent; its rate is the caller's. `always`: do not look for an echo."""
        self._canceller: EchoCanceller | None = canceller
        self._always = always
        self._encoding = agent_format.encoding
        self._frame_bytes = 2 * round(agent_format.sample_rate_hz * _FRAME_S)
        self._silence = bytes(self._frame_bytes)
        self._since_sent = _LEAVE_AT_LATEST_FRAMES
        self._engaged = always
        self._working = False
        self._fresh = True
        self._found = 0
        self._look_in = _LOOK_EVERY_FRAMES
        self._far = self._silence
        self._nears: deque[bytes] = deque(maxlen=_REMEMBERED_FRAMES)
        self._fars: deque[bytes] = deque(maxlen=_REMEMBERED_FRAMES)

    @property
    def engaged(self) -> bool:
        """An echo was found on this line."""
        return self._engaged

    @property
    def working(self) -> bool:
        """False while no echo is possible or none was found, and after a failure."""
        return self._working

    @property
    def failed(self) -> bool:
        """The canceller is given up: frames go through as they come."""
        return self._canceller is None

    def sent(self, frame: bytes | None) -> None:
        """What went out in this tick; None for silence. Once per tick, after `hear`."""
        if self._canceller is None:
            return
        if frame is None:
            self._far = self._silence
            self._since_sent += 1
            return
        self._since_sent = 0
        pcm = frame if self._encoding == _PCM else decode(frame, self._encoding).tobytes()
        self._far = pcm if len(pcm) == self._frame_bytes else self._silence

    def hear(self, frame: Frame) -> Frame:
        """The caller's frame without the agent's echo."""
        canceller, near = self._canceller, frame.pcm
        if canceller is None or len(near) != self._frame_bytes:
            return frame
        self._nears.append(near)
        self._fars.append(self._far)
        if not self._working and self._since_sent > (0 if self._engaged else _HANGOVER_FRAMES):
            return frame
        if not self._always:
            self._look_for_echo()
        if not self._engaged:
            return frame
        try:
            if not self._working:
                self._begin(canceller)
            clean = canceller.process(near, self._far)
        except Exception as error:  # noqa: BLE001 - whatever a native library raises, the call goes on without it
            _log.error("echo_canceller_failed", exc_info=error)
            self._canceller, self._engaged, self._working = None, False, False
            return frame
        came_dbfs = _level_dbfs(near)
        if self._since_sent > _HANGOVER_FRAMES and (
            came_dbfs < _QUIET_DBFS or self._since_sent > _LEAVE_AT_LATEST_FRAMES
        ):
            self._working = False
        return Frame(clean, frame.kind, came_dbfs)

    def _begin(self, canceller: EchoCanceller) -> None:
        """Give it the frames that led here: those an echo now comes from, and fresh ones for what it held back."""
        self._working = True
        n_before = len(self._nears) - 1
        first = 0 if self._fresh else n_before - 1
        self._fresh = False
        for n in range(first, n_before):
            canceller.process(self._nears[n], self._fars[n])

    def _look_for_echo(self) -> None:
        self._look_in -= 1
        if self._look_in > 0:
            return
        self._look_in = _LOOK_AGAIN_FRAMES if self._engaged else _LOOK_EVERY_FRAMES
        if len(self._nears) < _REMEMBERED_FRAMES:
            return
        near = b"".join(list(self._nears)[-_COMPARED_FRAMES:])
        if _level_dbfs(near) < _QUIET_DBFS:
            if not self._engaged:
                self._found = 0
            return
        if resemblance(near, b"".join(self._fars)) > _RESEMBLANCE:
            self._found = min(self._found + 1, _ENOUGH_FINDS) if not self._engaged else _ENOUGH_FINDS
            self._engaged = self._engaged or self._found >= _ENOUGH_FINDS
        elif self._engaged:
            self._found -= 1
            if self._found < -_MOST_MISSES:  # the loudspeaker was switched off
                self._engaged = self._working = False
                self._fresh, self._found = True, 0
        else:
            self._found = 0


def resemblance(near: bytes, far: bytes) -> float:
    """How much `near` is like some equally long part of `far`, 0 to 1: the greatest normalised cross-correlation.

    Of the differences between samples, so that the loud low notes which all voices share do not count for everything.
    """
    heard, sent = _differences(near), _differences(far)
    n, size = heard.size, 1 << (sent.size - 1).bit_length()
    spectrum = np.conj(np.fft.rfft(heard, size)) * np.fft.rfft(sent, size)
    correlation = np.abs(np.fft.irfft(spectrum, size)[: sent.size - n + 1])
    energies = np.cumsum(np.concatenate(([0.0], sent * sent)))
    energies = energies[n:] - energies[:-n]
    energies += _LEAST_POWER * n  # a part in which nothing was sent resembles nothing
    return float((correlation / np.sqrt(energies)).max() / math.sqrt(float(heard.dot(heard)) + 1.0))


def _differences(pcm: bytes) -> npt.NDArray[np.float64]:
    samples = np.frombuffer(pcm, np.int16).astype(np.float64)
    return samples[1:] - _PRE_EMPHASIS * samples[:-1]


def _level_dbfs(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, np.int16).astype(np.float32)
    power = float(samples.dot(samples)) / max(samples.size, 1)
    return 10 * math.log10(power / _FULL_SCALE_POWER) if power > 0 else -math.inf


MakeCanceller = Callable[[int], EchoCanceller]
"""A new call's canceller for a sample rate."""
GuardMaker = Callable[[MediaTransport], EchoGuard | None]
"""A new call's guard; None where there is no canceller for what goes over its wire."""


def guard_for(transport: MediaTransport, make: MakeCanceller, *, always: bool = False) -> EchoGuard | None:
    """A call's guard; None where `make` has no canceller for what goes over this wire."""
    rate_hz = transport.pcm_rate_hz
    if rate_hz != transport.format.sample_rate_hz or rate_hz not in _RATES_HZ:
        return None
    try:
        return EchoGuard(make(rate_hz), transport.format, always=always)
    except Exception as error:  # noqa: BLE001 - whatever a native library raises, the call goes on without it
        _log.error("echo_canceller_failed", exc_info=error)
        return None


def guards_for(choice: str) -> GuardMaker | None:
    """What `media.echo` names; loads the library, so call it before the first call. None: no canceller.

    `auto` does without where the library is missing. Raises `EchoUnavailable` when `always` asks for it all the same.
    """
    if choice == "off":
        return None
    try:
        WebRtcCanceller(8000)
    except EchoUnavailable as error:
        if choice == "always":
            raise
        _log.info("echo_canceller_absent", detail=str(error))
        return None
    return partial(guard_for, make=WebRtcCanceller, always=choice == "always")
