"""Speech that was rendered before it is needed: greetings, known answers, and the apology for when nothing else works.

Texts here are spoken forms: 5:30 pm and 5.30 p.m. are rendered once.

Kept in memory, where a call finds it without waiting, and on disk, where the next start finds it without rendering.
The folder may be deleted at any time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from ai_engine.providers.components.component import ComponentFailed, TextToSpeech
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, AudioFormat, convert

log = structlog.get_logger(__name__)

_MAGIC: Final = b"parley speech 1\n"
_DIGEST_BYTES: Final = 32
_TRIES: Final = 5
_RETRY_PAUSE_S: Final = 2.0

_NO_SOUND: Final = AudioFormat("linear16", 8000)
_FORMATS: Final = (PCM_16K, PCM_8K, MULAW_8K, ALAW_8K)
"""Of lines, the best first."""

Progress = Callable[[int, int, str], None]
"""(done, of how many, the text that is next); called on the event loop, once before each text and once at the end."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` did: texts that were there already, and those rendered now."""

    found: int
    rendered: int


class RenderedSpeech:
    """A store of rendered texts. `get` is for the control loop; all else leaves the disk to a thread."""

    def __init__(self, folder: Path, *, max_memory_bytes: int = 64 * 1024 * 1024) -> None:
        self._folder = folder
        self._max_memory_bytes = max_memory_bytes
        self._audio: OrderedDict[str, bytes] = OrderedDict()
        self._memory_bytes = 0

    @property
    def memory_bytes(self) -> int:
        """Audio held in memory; the least recently used goes when it would exceed its limit."""
        return self._memory_bytes

    def get(self, text: str, voice: str, audio_format: AudioFormat) -> bytes | None:
        """The text as that voice says it, if it is in memory in this format or in another, from which it is made."""
        audio = self._kept(text, voice, audio_format)
        if audio is None:
            for other in _FORMATS:
                if other != audio_format and (kept := self._kept(text, voice, other)) is not None:
                    return convert(kept, other, audio_format)
        return audio

    def _kept(self, text: str, voice: str, audio_format: AudioFormat) -> bytes | None:
        key = _key(text, voice, audio_format)
        audio = self._audio.get(key)
        if audio is not None:
            self._audio.move_to_end(key)
        return audio

    async def put(self, text: str, voice: str, audio_format: AudioFormat, audio: bytes) -> None:
        """Keep `audio`, on disk too. A disk that takes nothing costs the next start some time, nothing else."""
        key = _key(text, voice, audio_format)
        self._remember(key, audio)
        try:
            await asyncio.to_thread(_write, self._folder / key, audio)
        except OSError as error:
            log.warning("rendered speech not kept", folder=str(self._folder), reason=str(error))

    async def load(self, text: str, voice: str, audio_format: AudioFormat) -> bytes | None:
        """In this format, also from disk. A file that is cut short or changed counts as none."""
        audio = self._kept(text, voice, audio_format)
        if audio is None:
            key = _key(text, voice, audio_format)
            audio = await asyncio.to_thread(_read, self._folder / key)
            if audio is not None:
                self._remember(key, audio)
        return audio

    async def keep_voice(self, asked_for: str, voice: str) -> None:
        """Remember across restarts which voice speaks where `asked_for` is asked for."""
        try:
            await asyncio.to_thread(_write, self._folder / _key(asked_for, "voice", _NO_SOUND), voice.encode())
        except OSError as error:
            log.warning("voice not kept", folder=str(self._folder), reason=str(error))

    async def load_voice(self, asked_for: str) -> str | None:
        """The voice that was kept for `asked_for`: what it rendered can be played before any TTS is there."""
        name = await asyncio.to_thread(_read, self._folder / _key(asked_for, "voice", _NO_SOUND))
        return None if name is None else name.decode(errors="replace")

    async def prepare(
        self,
        texts: Sequence[str],
        tts: TextToSpeech,
        audio_format: AudioFormat,
        progress: Progress | None = None,
    ) -> Prepared:
        """Have all `texts` ready, rendering what is missing at the lowest priority, in their order.

        Each is kept as soon as it is rendered, so a start that was broken off goes on where it was. Raises
        `ComponentFailed` when the TTS cannot do it, after some tries where trying again can help.
        """
        found = rendered = 0
        for done, text in enumerate(texts):
            if progress is not None:
                progress(done, len(texts), text)
            if await self.load(text, tts.voice, audio_format) is not None:
                found += 1
                continue
            audio = await _render(text, tts, audio_format)
            await self.put(text, tts.voice, audio_format, audio)
            rendered += 1
        if progress is not None:
            progress(len(texts), len(texts), "")
        return Prepared(found, rendered)

    def _remember(self, key: str, audio: bytes) -> None:
        self._memory_bytes += len(audio) - len(self._audio.pop(key, b""))
        self._audio[key] = audio
        while self._memory_bytes > self._max_memory_bytes:
            _, dropped = self._audio.popitem(last=False)
            self._memory_bytes -= len(dropped)


async def _render(text: str, tts: TextToSpeech, audio_format: AudioFormat) -> bytes:
    for attempt in range(1, _TRIES + 1):
        try:
            async with tts.speak(text, audio_format=audio_format, speculative=True) as output:
                audio = b"".join([chunk async for chunk in output])
            break
        except ComponentFailed as failure:
            if not failure.retryable or attempt == _TRIES:
                raise
            await asyncio.sleep(_RETRY_PAUSE_S)
    if not audio:
        raise ComponentFailed("tts", f"there was no sound for {text[:40]!r}")
    return audio


def _key(text: str, voice: str, audio_format: AudioFormat) -> str:
    """A file name that no text, voice and format share with another."""
    parts = (voice, audio_format.encoding, str(audio_format.sample_rate_hz), text)
    return hashlib.sha256("\0".join(part.replace("\0", " ") for part in parts).encode()).hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head = len(_MAGIC) + _DIGEST_BYTES
    audio = content[head:]
    if not audio or content[:head] != _MAGIC + hashlib.sha256(audio).digest():
        return None
    return audio


def _write(path: Path, audio: bytes) -> None:
    """Whole or not at all, also when two engines write the same text: renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".rendering-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(audio).digest() + audio)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
