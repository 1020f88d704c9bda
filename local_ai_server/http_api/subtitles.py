"""Segments as subtitles: SubRip and WebVTT. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from local_ai_server.http_api.transcribing import Segment


def srt(segments: Iterable[Segment]) -> str:
    """As SubRip has it."""
    return "".join(
        f"{number}\n{_clock(segment.start_s, ',')} --> {_clock(segment.end_s, ',')}\n{_line(segment.text)}\n\n"
        for number, segment in enumerate(segments, 1)
    )


def vtt(segments: Iterable[Segment]) -> str:
    """As WebVTT has it."""
    cues = (
        f"{_clock(segment.start_s, '.')} --> {_clock(segment.end_s, '.')}\n{_escaped(_line(segment.text))}\n\n"
        for segment in segments
    )
    return "WEBVTT\n\n" + "".join(cues)


def _clock(seconds: float, mark: str) -> str:
    ms = round(1000 * seconds)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"


def _line(text: str) -> str:
    """An arrow or an empty line within would end the cue."""
    return " ".join(text.replace("-->", "→").split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
