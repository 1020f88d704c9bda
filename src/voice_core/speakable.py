"""What of a language model's text is for the ear."""

from __future__ import annotations

import re
from typing import Final

MAX_ASIDE_CHARACTERS: Final = 80
"""The longest bracketed, parenthesised or starred aside that is looked at as one piece."""

_STAGE_WORDS: Final = (
    r"laugh(?:s|ing|ter)?|chuckl(?:e|es|ing)|giggl(?:e|es|ing)|sigh(?:s|ing)?|smil(?:e|es|ing)|grin(?:s|ning)?"
    r"|paus(?:e|es|ing)|clear(?:s|ing) (?:\w+ )?throat|nod(?:s|ding)?|wink(?:s|ing)?|shrug(?:s|ging)?"
    r"|whisper(?:s|ing)?|cough(?:s|ing)?|gasp(?:s|ing)?|typ(?:es|ing)|think(?:s|ing)|takes a|in an? \w+ (?:tone|voice)"
    r"|cheerfully|softly|warmly|excitedly|enthusiastically"
)
_ASIDE: Final = rf"(?:\w+ )?(?:{_STAGE_WORDS})\b".replace(" ", "[ ]")  # it stands in a verbose pattern

_REMOVED: Final = re.compile(
    rf"""
      <think>.*?(?:</think>|\Z) | </?think>           # reasoning, closed or not
    | <\|[^|<>\n]{{0,40}}(?:\|>|\Z) | </?s>            # control tokens
    | \[[^\[\]\n]{{0,{MAX_ASIDE_CHARACTERS}}}\](?!\()  # [pause], [INST], [Your Name]
    | \*{_ASIDE}[^*\n]{{0,{MAX_ASIDE_CHARACTERS}}}\*   # *laughs softly*
    | \({_ASIDE}[^()\n]{{0,{MAX_ASIDE_CHARACTERS}}}\)  # (laughs)
    | ^[ \t]*(?:\#{{1,6}}|>|[-*+•])[ \t]+              # heading, quotation, bullet
    | ^[ \t]*(?:```\w*|[-*_]{{3,}})[ \t]*$             # fence, rule
    | \*\* | __(?!\w)|(?<!\w)__ | ~~ | `               # bold, struck, code
    | (?<!\w)[*_](?=\S) | (?<=\S)[*_](?!\w)            # emphasis
    | [\U0001F000-\U0001FAFF\u2600-\u27BF\u2B00-\u2BFF\uFE0E\uFE0F\u200D\u20E3\U000E0020-\U000E007F]  # emoji
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_LINK: Final = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*\)")
_SPACE: Final = re.compile(r"\s+")
_ORPHANED_STOP: Final = re.compile(r"(?: |[,;:] ?)(?=[,.;:!?](?:\s|$))")
"""What stood before an aside that is gone, where a stop followed it."""
_MARKUP: Final = re.compile(r"[<\[(*_~`#>+-]")


def speakable(text: str) -> str:
    """`text` without what nobody says aloud: Markdown, emoji, stage directions, control tokens, reasoning.

    Words, figures and punctuation stay as they are; empty when nothing is left to say. Twice is as once.
    """
    while True:
        cleaned = _REMOVED.sub(" ", _LINK.sub(r"\1", text)) if _has_markup(text) else text
        cleaned = _ORPHANED_STOP.sub("", _SPACE.sub(" ", cleaned)).strip()
        if cleaned == text:
            return cleaned if any(character.isalnum() for character in cleaned) else ""
        text = cleaned  # what is removed may leave new markup behind


def _has_markup(text: str) -> bool:
    return not text.isascii() or _MARKUP.search(text) is not None
