"""The caller's sound on its way to the provider: from the line's rate to what the provider takes, without seams."""

from __future__ import annotations

from voice_wire.audio import AudioFormat, StreamingResampler, decode, encode


class CallerAudioConverter:
    """One call's. Audio that has the provider's format already passes untouched."""

    def __init__(self, rate_hz: int) -> None:
        """`rate_hz`: of the line's PCM16."""
        self._source = AudioFormat("linear16", rate_hz)
        self._resampler = StreamingResampler(rate_hz, rate_hz)
        self._turn = 0

    def convert(self, turn: int, audio: bytes, target: AudioFormat) -> bytes:
        """The next PCM16 of `turn` in the provider's format. A new turn, or a new format, begins a new stream."""
        if target == self._source:
            return audio
        if turn != self._turn or target.sample_rate_hz != self._resampler.to_hz:
            self._turn = turn
            self._resampler = StreamingResampler(self._source.sample_rate_hz, target.sample_rate_hz)
        return encode(self._resampler.feed(decode(audio, "linear16")), target.encoding)
