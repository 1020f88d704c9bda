"""Leaving out what a voice cannot say."""

from __future__ import annotations

import re
from typing import Final

_UNSPEAKABLE: Final = re.compile(
    "[*_#`~|<>\\[\\]{}"
    "\U0001f000-\U0001faff"  # pictographs and emoji
    "\u2190-\u21ff\u2300-\u23ff\u2500-\u27bf\u2b00-\u2bff"  # arrows, technical signs, shapes, dingbats
    "\ufe0e\ufe0f\u200d]+"  # what joins and varies emoji
)
_LINES: Final = re.compile(r"(?<!\s)\s*\n\s*")
"""Begun at the first white space of a run only: a long run of spaces would be gone through once for each of them."""


def speakable(text: str) -> str:
    """`text`, a piece of a streamed answer, without markdown marks and pictures; line ends become spaces."""
    return _LINES.sub(" ", _UNSPEAKABLE.sub("", text))
