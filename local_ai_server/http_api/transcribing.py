"""A recording's text, piece by piece: whoever is on the telephone goes first."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final, Literal

from local_ai_server.errors import ServeError
from local_ai_server.http_api.recording import RATE_HZ, Recording
from local_ai_server.http_api.speech_pieces import LONGEST_S, Piece, PieceCutter
from local_ai_server.service import Place
from local_ai_server.speech_stream import ATTEMPTS
from local_ai_server.switchboard import Switchboard
from model_worker.spec import Priority

Task = Literal["transcribe", "translate"]

_BLOCK_SAMPLES: Final = 10 * RATE_HZ
_BUSY_WAIT_S: Final = 0.5
_BUSY_ATTEMPTS: Final = 120
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What one stretch of the recording says, and between which seconds."""

    start_s: float
    end_s: float
    text: str
    confidence: float | None
    no_speech_probability: float | None


@dataclass(eq=False, slots=True, kw_only=True)
class Transcription:
    """One recording to be heard. `language` becomes what was listened for, as far as the engine says."""

    switchboard: Switchboard
    language: str | None
    """None: the model's own."""
    task: Task = "transcribe"

    def __post_init__(self) -> None:
        """Raises `ServeError`."""
        if self.language is not None:
            self.language = _read_language(self.language)
        backend = self.switchboard.service("stt").backend
        if self.task == "translate" and not backend.translates:
            raise ServeError(
                "not_supported", f"{backend.name} does not translate; load a multilingual model of faster_whisper"
            )

    async def segments(self, recording: Recording) -> AsyncGenerator[Segment, None]:
        """In order; what holds no words is left out. Raises `ServeError`; leaving it ends the work."""
        # Somebody may wait for one that is as short as an utterance; a long one takes what time calls leave.
        is_short = recording.duration_s <= LONGEST_S
        priority = Priority.LIVE if is_short else Priority.SPECULATIVE
        cutter = PieceCutter(RATE_HZ)
        begun = False
        for at in range(0, recording.n_samples + _BLOCK_SAMPLES, _BLOCK_SAMPLES):
            for piece, speech in await asyncio.to_thread(_pieces, cutter, recording, at):
                result = await self._hear(piece, priority, may_wait=begun)
                begun = True
                text = str(result.get("text", "")).strip()
                if text:
                    yield Segment(
                        start_s=round(speech[0] / RATE_HZ, 2),
                        end_s=round(speech[1] / RATE_HZ, 2),
                        text=text,
                        confidence=result.get("confidence"),
                        no_speech_probability=result.get("no_speech_probability"),
                    )

    async def _hear(self, piece: Piece, priority: Priority, *, may_wait: bool) -> dict[str, Any]:
        """What the model answers. `may_wait`: a recording that is half done is not given up because many are asking."""
        args = {"encoding": "linear16", "sample_rate_hz": RATE_HZ, "language": self.language}
        if self.task != "transcribe":
            args["task"] = self.task
        body = piece.pcm.astype("<i2").tobytes()
        died = busy = 0
        while True:
            try:
                async with self.switchboard.service("stt").call(
                    "transcribe", args, body, place=Place(priority)
                ) as answers:
                    result, _ = await answers.finish()
                return self._checked(result)
            except ServeError as error:
                if error.code == "worker_failed":
                    died += 1
                elif error.code == "server_at_capacity" and may_wait:
                    busy += 1
                    await asyncio.sleep(_BUSY_WAIT_S)
                else:
                    raise
                if died == ATTEMPTS or busy == _BUSY_ATTEMPTS:
                    raise

    def _checked(self, result: dict[str, Any]) -> dict[str, Any]:
        heard = result.get("language")
        if heard is not None and self.language not in (None, heard):
            message = f"the speech model understands {heard} only; leave language out, or load a multilingual model"
            raise ServeError("not_supported", message)
        self.language = heard or self.language
        return result


def _pieces(cutter: PieceCutter, recording: Recording, at: int) -> list[tuple[Piece, tuple[int, int]]]:
    """Those with sound that the block from `at` on completes, and where in them it is. Blocks on the disk."""
    block = recording.read(at, _BLOCK_SAMPLES)
    pieces = cutter.feed(block) if block.size else cutter.end()
    return [(piece, speech) for piece in pieces if (speech := piece.speech(RATE_HZ)) is not None]


def _read_language(language: str) -> str:
    """`en` of `en-US`. Raises `ServeError`."""
    code = language.strip().lower().replace("_", "-")
    if not _LANGUAGE.fullmatch(code):
        raise ServeError("invalid_message", "language is a code as en, de or ja (ISO 639-1)")
    return code.partition("-")[0]
