"""Agent audio of any format on its way into the transport's: chunk by chunk without a seam, however it was cut.

A chunk may end in the middle of a sample, and a provider may change its format in the middle of a turn.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final

import numpy as np

from ai_engine.providers.provider import AgentAudio, AgentAudioDone
from voice_wire.audio import AudioFormat, StreamingResampler, decode, encode

_STREAMS: Final = 4
"""Answers whose audio may come at the same time: the reply, its filler, a speculation, and one that ends late."""


class AgentAudioConverter:
    """One call's. Audio that has the transport's format already passes untouched."""

    def __init__(self, format: AudioFormat) -> None:
        self._format = format
        self._streams: OrderedDict[tuple[int, int], _Stream] = OrderedDict()

    def convert(self, event: AgentAudio) -> AgentAudio:
        """The same sound in the transport's format; perhaps none yet."""
        key = (event.turn, event.revision)
        stream = self._streams.get(key)
        if stream is None:
            if event.format == self._format:
                return event
            stream = self._streams[key] = _Stream(event.format, self._format)
            if len(self._streams) > _STREAMS:
                self._streams.popitem(last=False)
        rest = b""
        if stream.source != event.format:
            rest = stream.end()
            stream = self._streams[key] = _Stream(event.format, self._format)
        return replace(event, audio=rest + stream.feed(event.audio), format=self._format)

    def end(self, event: AgentAudioDone) -> AgentAudio | None:
        """The last milliseconds of a turn whose end has come; None where there are none."""
        stream = self._streams.pop((event.turn, event.revision), None)
        rest = stream.end() if stream is not None else b""
        return AgentAudio(event.turn, event.revision, rest, self._format) if rest else None


class _Stream:
    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self.source = source
        self._target = target
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
        return self._encoded(self._resampler.feed(decode(audio, self.source.encoding)))

    def end(self) -> bytes:
        return self._encoded(self._resampler.flush()) if self._begun else b""

    def _encoded(self, pcm: np.ndarray[tuple[int], np.dtype[np.int16]]) -> bytes:
        return encode(pcm, self._target.encoding)
