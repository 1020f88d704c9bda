"""What a queue of received payloads hands out, as frames of PCM: decoded, or made up where sound is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ai_engine.media.concealment import Concealment
from ai_engine.media.transport import Frame, FrameKind
from voice_wire.audio import Pcm

FRAME_MS: Final = 20
_QUIET_PEAK: Final = 512
"""-36 dBFS: a frame without a louder sample can be left out or stretched unnoticed."""


class HeardFrames:
    """One caller's, each 20 ms long, in order."""

    def __init__(
        self,
        decode: Callable[[bytes | memoryview], Pcm],
        *,
        rate_hz: int = 8000,
        peek: Callable[[bytes | memoryview], Pcm] | None = None,
    ) -> None:
        """`decode` makes samples at `rate_hz` of a payload, and is given each once and in order.

        `peek` does so out of order, where `decode` keeps a state.
        """
        self._decode = decode
        self._peek = peek or decode
        self._concealment = Concealment(rate_hz=rate_hz, frame_ms=FRAME_MS)
        silence = bytes(2 * rate_hz * FRAME_MS // 1000)
        self._silent_frame = Frame(silence, FrameKind.SILENCE)
        self._faded_frame = Frame(silence, FrameKind.CONCEALED)

    def frame(self, payload: bytes | memoryview | None, kind: FrameKind) -> Frame:
        """The next one: of `payload`, or what stands in its place."""
        if payload is not None:
            return Frame(self._concealment.heard(self._decode(payload)).tobytes(), kind)
        if kind is FrameKind.CONCEALED:
            made_up = self._concealment.conceal()
            return self._faded_frame if made_up is None else Frame(made_up.tobytes(), kind)
        self._concealment.fell_silent()
        return self._silent_frame

    def is_quiet(self, payload: bytes | memoryview) -> bool:
        """Nobody speaks in it: it can be left out, or silence put before it, unnoticed."""
        return int(np.abs(self._peek(payload).astype(np.int32)).max()) < _QUIET_PEAK
