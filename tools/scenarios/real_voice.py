"""The callers' voices in real time: text spoken by the local server's TTS, at the level that scenarios count from.

A recogniser makes mistakes, the more so on a synthetic voice that sounds different each time. Scenarios are about the
conversation, so of some sayings of a text the one is kept (on disk) that the server's own recogniser understands best.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np

from tools.call.measure import voiced_segments
from tools.call.sounds import louder, speech_at
from tools.call.wav import RATE_HZ, Pcm, read_wav, write_wav
from tools.scenarios.judge import with_digits
from tools.scenarios.model import SPEECH_DBFS, Say
from tools.speech import CALLER_PITCH, speak, transcribe
from voice_wire.audio import decode_mulaw, encode_mulaw

NEVER_STOPS_GAP_S: Final = 0.2
_SECOND_PITCH: Final = 0.9
_TRIES: Final = 8
_AROUND_S: Final = ((0.05, 0.15), (0.3, 0.5))
"""Silence before and after: a recogniser gets it with less or more in a call, and is to understand it either way."""
_PIECES_APART_MS: Final = 1500
_LONGEST_PIECE_S: Final = 25.0
"""Whisper takes 30 s at once."""
_UNDERSTOOD: Final = 0.99
"""Share of the words: good enough to try no further."""


class CallerVoice:
    """Speaks through the server at `url` (a WebSocket's)."""

    def __init__(self, url: str, token: str, cache: Path) -> None:
        self._url = url
        self._token = token
        self._cache = cache

    async def sound(self, say: Say, folder: Path) -> Pcm:
        """All that is said, its pauses and repetitions included; WAV files lie in `folder`."""
        once = read_wav(folder / say.wav) if say.wav else await self._spoken(say)
        once = louder(once, say.louder_db)
        gap = np.zeros(round(NEVER_STOPS_GAP_S * RATE_HZ), np.int16)
        parts = [once]
        while sum(len(part) for part in parts) < say.for_s * RATE_HZ:
            parts += [gap, once]
        return np.concatenate(parts)

    async def _spoken(self, say: Say) -> Pcm:
        parts: list[Pcm] = []
        for words, pause_s in say.pieces():
            if words:
                pcm = await self.words(words, pitch=_SECOND_PITCH if say.second_voice else CALLER_PITCH)
                parts.append(speech_at(pcm, SPEECH_DBFS))
            parts.append(np.zeros(round(pause_s * RATE_HZ), np.int16))
        return np.concatenate(parts)

    async def words(self, text: str, *, pitch: float = CALLER_PITCH) -> Pcm:
        """`text` without the silence around it, as the recogniser understands it best."""
        kept = self._cache / f"{hashlib.sha256(f'{pitch} {text}'.encode()).hexdigest()[:24]}.wav"
        if kept.exists():
            return read_wav(kept)
        best, best_share = np.zeros(0, np.int16), -1.0
        for _ in range(_TRIES):
            pcm = _voiced_part(await speak(self._url, text, token=self._token, pitch=pitch))
            share = await self._understood(text, pcm)
            if share > best_share:
                best, best_share = pcm, share
            if share >= _UNDERSTOOD:
                break
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{id(best)}.part")  # two calls may say the same at once
        write_wav(partial, best)
        partial.replace(kept)
        return best

    async def _understood(self, text: str, pcm: Pcm) -> float:
        """The share of the words that come through telephone and recogniser, at the worst."""
        on_the_line = decode_mulaw(encode_mulaw(pcm))
        shares = []
        for before_s, after_s in _AROUND_S:
            padded = np.pad(on_the_line, (round(before_s * RATE_HZ), round(after_s * RATE_HZ)))
            shares.append(_share(text, await transcribe(self._url, padded, token=self._token)))
        return min(shares)

    async def understand(self, pcm: Pcm) -> str:
        """Everything that the recogniser hears in a recording, its pieces one after the other."""
        texts: list[str] = []
        for segment in voiced_segments(pcm, join_ms=_PIECES_APART_MS):
            begin, end = (
                round((at_s + aside) * RATE_HZ) for at_s, aside in ((segment.begin_s, -0.2), (segment.end_s, 0.2))
            )
            for at in range(max(0, begin), end, round(_LONGEST_PIECE_S * RATE_HZ)):
                piece = pcm[at : min(end, at + round(_LONGEST_PIECE_S * RATE_HZ))]
                texts.append(await transcribe(self._url, piece, token=self._token))
        return " ".join(text for text in texts if text)


def _share(said: str, heard: str) -> float:
    wanted, found = list(with_digits(said)), set(with_digits(heard))
    return sum(word in found for word in wanted) / max(1, len(wanted))


def _voiced_part(pcm: Pcm) -> Pcm:
    segments = voiced_segments(pcm)
    return pcm[round(segments[0].begin_s * RATE_HZ) : round(segments[-1].end_s * RATE_HZ)] if segments else pcm
