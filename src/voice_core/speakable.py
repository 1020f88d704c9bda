"""What of a language model's text is for the ear."""

from __future__ import annotations

import html
import re
from typing import Final

MAX_ASIDE_CHARACTERS: Final = 80
"""The longest bracketed, parenthesised or starred aside that is looked at as one piece."""
MAX_TAG_CHARACTERS: Final = 160
"""The longest tag."""

_STAGE_WORDS: Final = (
    r"laugh(?:s|ing|ter)?|chuckl(?:e|es|ing)|giggl(?:e|es|ing)|sigh(?:s|ing)?|smil(?:e|es|ing)|grin(?:s|ning)?"
    r"|paus(?:e|es|ing)|clear(?:s|ing) (?:\w+ )?throat|nod(?:s|ding)?|wink(?:s|ing)?|shrug(?:s|ging)?"
    r"|whisper(?:s|ing)?|cough(?:s|ing)?|gasp(?:s|ing)?|typ(?:es|ing)|think(?:s|ing)|takes a|in an? \w+ (?:tone|voice)"
    r"|cheerfully|softly|warmly|excitedly|enthusiastically"
    r"|lacht|lächelt|schmunzelt|kichert|seufzt|räuspert sich|flüstert|nickt|zwinkert|hustet"
    r"|risas|ríe|sonríe|suspira|asiente|susurra|rires?|sourit|soupire|chuchote|tousse|hoche la"
    r"|risate|ridendo|sorride|sospira|annuisce|sussurra|risos|sorri|glimlacht|zucht|fluistert|knikt|knipoogt"
    r"|笑|微笑|叹气|ため息"
)
_ASIDE: Final = rf"(?:\w{{1,40}} )?(?:{_STAGE_WORDS})\b".replace(" ", "[ ]")  # it stands in a verbose pattern
TAG: Final = re.compile(
    r"</?[A-Za-z][\w:-]{0,30}(?:\s{1,4}[\w:-]{1,30}=(?:\"[^\"<>\n]{0,80}\"|'[^'<>\n]{0,80}'|[^\s\"'<>]{1,80})){0,6}\s{0,4}/?>"
)
"""<break time="1s"/>, </b>, <end_of_turn>; not a < b."""

_REMOVED: Final = re.compile(
    rf"""
      <think>.*?(?:</think>|\Z) | </?think>           # reasoning, closed or not
    | <\|[^|<>\n]{{0,40}}(?:\|>|\Z) | <</?SYS>>      # control tokens
    | {TAG.pattern}
    | \[[^\[\]\n]{{0,{MAX_ASIDE_CHARACTERS}}}\](?!\()  # [pause], [INST], [Your Name]
    | \*{_ASIDE}[^*\n]{{0,{MAX_ASIDE_CHARACTERS}}}\*   # *laughs softly*
    | [(（]{_ASIDE}[^()（）\n]{{0,{MAX_ASIDE_CHARACTERS}}}[)）]  # (laughs)
    | ^[ \t]*Assistant:
    | ^[ \t]*(?:(?:\#{{1,6}}|>|[-*+•‣◦●▪])[ \t]+)+     # heading, quotation, bullet
    | ^[ \t]*\|?(?:[ \t]*:?-{{2,}}:?[ \t]*\|)+[ \t:-]*$  # a table's second line
    | ^[ \t]*(?:```\w*|[-*_]{{3,}})[ \t]*$             # fence, rule
    | \*\* | __(?!\w)|(?<!\w)__ | ~~ | `               # bold, struck, code
    | (?<!\w)[*_](?=\S) | (?<=\S)[*_](?!\w)            # emphasis
    | \\(?=[\\*_`\#\[\]<>()~.!+-])                      # an escape
    | [\U0001F000-\U0001FAFF\u2190-\u21FF\u25A0-\u27BF\u2B00-\u2BFF]  # emoji, arrows, shapes
    | [\uFE0E\uFE0F\u200D\u20E3\U000E0020-\U000E007F]  # what joins and colours them
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_LINK: Final = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*\)")
_ENTITY: Final = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#39|hellip|ndash|mdash);")
_ROW_BEGINS: Final = re.compile(r"^[ \t]*\|+", re.MULTILINE)
_ROW_ENDS: Final = re.compile(r"\|[ \t]*$", re.MULTILINE)
_SPACE: Final = re.compile(r"\s+")
_UNSEEN: Final = dict.fromkeys([0x00AD, 0x200B, 0x200E, 0x200F, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
"""Soft hyphens, spaces without width, marks of direction."""
_STOPS: Final = re.compile(r"[ ,;:.!?]{2,}")
_MARKUP: Final = re.compile(r"[<\[(*_~`#>+|\\&-]|Assistant:")
_ROUNDS: Final = 6
_ALL_MARKUP: Final = re.compile(r"[<>\[\](){}*_~`#|\\（）]")


def speakable(text: str) -> str:
    """`text` without what nobody says aloud: Markdown, emoji, stage directions, control tokens, reasoning.

    Words, figures and punctuation stay as they are; empty when nothing is left to say. Twice is as once. Takes time in
    proportion to the text: markup nested deeper than people write it loses its signs all at once.
    """
    for _ in range(_ROUNDS):
        cleaned = _tidied(_without_markup(text))
        if cleaned == text:
            break
        text = cleaned  # what is removed may leave new markup behind
    else:
        text = _tidied(_ALL_MARKUP.sub(" ", text).replace("Assistant:", "Assistant")).lstrip("-+•‣◦●▪ ")
    return text if any(character.isalnum() for character in text) else ""


def _without_markup(text: str) -> str:
    if text.isascii() and _MARKUP.search(text) is None:
        return text
    text = _ENTITY.sub(lambda match: f" {html.unescape(match[0])} ", text.translate(_UNSEEN))
    text = _REMOVED.sub(" ", _LINK.sub(r"\1", text))
    return _ROW_ENDS.sub(".", _ROW_BEGINS.sub(" ", text)).replace("|", ", ") if "|" in text else text


def _tidied(text: str) -> str:
    """Spaces single, and none, nor a comma, left before a stop."""
    return _STOPS.sub(_one_stop, _SPACE.sub(" ", text)).strip()


def _one_stop(match: re.Match[str]) -> str:
    """A run of stops and spaces without what an aside that is gone has left before a stop. From the right."""
    run, kept = match[0], []
    at, ends = len(run) - 1, match.end() == len(match.string)
    while at >= 0:
        mark = run[at]
        kept.append(mark)
        at -= 1
        if ends and mark != " ":
            while at >= 0 and run[at] in " ,;:":
                at -= 1
        ends = mark == " "
    return "".join(reversed(kept))
