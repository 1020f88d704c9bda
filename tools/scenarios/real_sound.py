"""Real sound on virtual time: the caller's lines by the local voice, judged by the real voice-activity network.

Lines that were never spoken before are spoken by a local_ai_server that is started for it; after that they lie in
var/speech.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from local_ai_server.catalog import ModelMissing, find_model
from speech_detection.detector import SpeechDetector, SpeechDetectorError
from tools.call.wav import Pcm, read_wav
from tools.free_ports import free_tcp_port
from tools.scenarios.virtual import VoiceNetwork
from tools.speech import SpeechError, kept_line, speak
from tools.stack import PROJECT, Process, StackError

_KEPT = PROJECT / "var" / "speech"
_READY_S = 120.0


class RealSoundError(Exception):
    """There is no voice or no network here; the message says what mends it."""


class RealSound:
    """Enter it to have both; a server that was needed ends when it is left."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="scenarios-")
        self._server: Process | None = None
        self._port = 0

    def __enter__(self) -> RealSound:
        try:
            self._detector = SpeechDetector(find_model("silero_vad"), _at_once)
        except (ModelMissing, SpeechDetectorError) as error:
            raise RealSoundError(str(error)) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            asyncio.run(self._server.stop(5.0))
        self._folder.cleanup()

    def speak(self, text: str) -> Pcm:
        """The caller's line as 8 kHz samples."""
        kept = kept_line(_KEPT, text)
        if kept.exists():
            return read_wav(kept)
        try:
            return asyncio.run(self._speak(text))
        except (StackError, SpeechError, OSError) as error:
            raise RealSoundError(f"{text!r} cannot be spoken: {error}") from error

    async def _speak(self, text: str) -> Pcm:
        if self._server is None:
            self._port = free_tcp_port()
            placed = {"LOCAL_AI_MODE": "minimal", "LOCAL_WS_HOST": "127.0.0.1", "LOCAL_WS_PORT": str(self._port)}
            environment = {**os.environ, **placed, "LOCAL_WS_AUTH_TOKEN": ""}
            log = Path(self._folder.name) / "server.log"
            self._server = Process("local_ai_server", [sys.executable, "-m", "local_ai_server"], environment, log)
            self._server.start()
            await self._server.ready(f"http://127.0.0.1:{self._port}/readyz", _READY_S)
        return await speak(f"ws://127.0.0.1:{self._port}", text, cache=_KEPT)

    def network(self) -> VoiceNetwork:
        """The network, fresh, for one call: it judges each window at once, without the detector's thread."""
        judged: list[tuple[float, float]] = []
        detector = self._detector
        stream = detector.open("scenario", lambda probability, at: judged.append((probability, at)))

        def hear(pcm: bytes, at: float) -> list[tuple[float, float]]:
            detector._judge([(stream, pcm, at)])
            taken = judged[:]
            judged.clear()
            return taken

        return hear


def _at_once(function: object, *arguments: object) -> None:
    """In place of the media loop."""
    assert callable(function)
    function(*arguments)
