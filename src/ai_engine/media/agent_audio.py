"""Agent audio of any format on its way into the transport's: chunk by chunk without a seam, however it was cut.

A chunk may end in the middle of a sample, and a provider may change its format in the middle of a turn. On the way its
voice is brought to the level that all voices have, where that is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final

import numpy as np

from ai_engine.media.agent_level import TurnLevel, amplified
from ai_engine.providers.provider import AgentAudio, AgentAudioDone
from voice_wire.audio import AudioFormat, StreamingResampler, decode, encode

_STREAMS: Final = 4
"""Answers whose audio may come at the same time: the reply, its filler, a speculation, and one that ends late."""


class AgentAudioConverter:
    """One call's. Audio that has the transport's format already passes untouched, but for its level."""

    def __init__(self, format: AudioFormat, level: TurnLevel | None = None) -> None:
        self._format = format
        self._level = level
        self._streams: OrderedDict[tuple[int, int], _Stream] = OrderedDict()

    def convert(self, event: AgentAudio) -> AgentAudio:
        """The same sound in the transport's format; perhaps none yet."""
        key = (event.turn, event.revision)
        stream = self._streams.get(key)
        if stream is None:
            if event.format == self._format and self._level is None:
                return event
            stream = self._streams[key] = _Stream(event.format, self._format, self._level)
            if len(self._streams) > _STREAMS:
                self._streams.popitem(last=False)
        rest = b""
        if stream.source != event.format:
            rest = stream.end()
            stream = self._streams[key] = _Stream(event.format, self._format, self._level, stream.gain_db)
        return replace(event, audio=rest + stream.feed(event.audio), format=self._format)

    def end(self, event: AgentAudioDone) -> AgentAudio | None:
        """The last milliseconds of a turn whose end has come; None where there are none."""
        stream = self._streams.pop((event.turn, event.revision), None)
        rest = stream.end() if stream is not None else b""
        return AgentAudio(event.turn, event.revision, rest, self._format) if rest else None


class _Stream:
    def __init__(
        self, source: AudioFormat, target: AudioFormat, level: TurnLevel | None, gain_db: float | None = None
    ) -> None:
        """`gain_db`: that of the turn, where some of it has been heard."""
        self.source = source
        self.gain_db = gain_db
        self._target = target
        self._level = level
        self._resampler = StreamingResampler(source.sample_rate_hz, target.sample_rate_hz)
        self._half_sample = b""
        self._begun = False

    def feed(self, audio: bytes) -> bytes:
        audio = self._half_sample + audio
        whole = len(audio) - len(audio) % self.source.bytes_per_sample
        audio, self._half_sample = audio[:whole], audio[whole:]
        if not audio:
            return b""
        self._begun = True
        pcm = decode(audio, self.source.encoding)
        if self._level is not None:
            if self.gain_db is None:
                self.gain_db = self._level.begin(pcm, self.source.sample_rate_hz)
            else:
                self._level.go_on(pcm, self.source.sample_rate_hz)
        return self._encoded(self._resampler.feed(pcm))

    def end(self) -> bytes:
        return self._encoded(self._resampler.flush()) if self._begun else b""

    def _encoded(self, pcm: np.ndarray[tuple[int], np.dtype[np.int16]]) -> bytes:
        return encode(amplified(pcm, self.gain_db) if self.gain_db else pcm, self._target.encoding)
