"""Text to the tokens that Kokoro-82M v1.0 was trained on.

The sounds come from espeak-ng, as `piper-tts` carries it with its data: it works offline and adds no package. It is
GPL-3, so this module is used in a worker process only. Kokoro's own front end, `misaki`, would need spaCy and a model
that spaCy downloads.

English sounds stay as espeak writes them: a listener (whisper tiny.en, 4 voices) misheard 1 or 2 of 161 words. With
misaki's letters for them (one for a diphthong, weaker vowels) it misheard 5 or 6. Other languages are written as misaki
does, which takes them from espeak, too.

espeak's state is global to the process: one text at a time.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

VOCABULARY: Final[dict[str, int]] = {
    symbol: first + offset
    for first, symbols in (
        (1, ";:,.!?"),
        (9, '—…"()“” \u0303ʣʥʦʨᵝꭧAI'),
        (31, "O"),
        (33, "Q"),
        (35, "ST"),
        (39, "W"),
        (41, "Yᵊabcdef"),
        (50, "hijklmnopqrstuvwxyzɑɐɒæ"),
        (75, "βɔɕç"),
        (80, "ɖðʤə"),
        (85, "ɚɛɜ"),
        (90, "ɟ"),
        (92, "ɡ"),
        (99, "ɥ"),
        (101, "ɨɪʝ"),
        (110, "ɯɰŋɳɲɴø"),
        (118, "ɸθœ"),
        (123, "ɹ"),
        (125, "ɾɻ"),
        (128, "ʁɽʂʃʈʧ"),
        (135, "ʊʋ"),
        (138, "ʌɣɤ"),
        (142, "χʎ"),
        (147, "ʒʔ"),
        (156, "ˈˌː"),
        (162, "ʰ"),
        (164, "ʲ"),
        (169, "↓"),
        (171, "→↗↘"),
        (177, "ᵻ"),
    )
    for offset, symbol in enumerate(symbols)
}
"""`vocab` of config.json in the model's repository (hexgrad/Kokoro-82M). 0 stands before and after a phrase."""
MAX_TOKENS: Final = 510
"""The two zeros not counted."""

LANGUAGES: Final = {
    "a": "en-us",
    "b": "en-gb-x-rp",
    "e": "es",
    "f": "fr",
    "h": "hi",
    "i": "it",
    "p": "pt-br",
}
"""First letter of a voice's name → espeak-ng's voice. Japanese (j) and Chinese (z) have no usable phonemes there."""

_ENGLISH: Final = (("r", "ɹ"), ("x", "k"), ("ɬ", "l"), ("ʲ", ""))
_OTHERS: Final = (("tʃ", "ʧ"), ("dʒ", "ʤ"), ("ts", "ʦ"), ("dz", "ʣ"), ("aɪ", "I"), ("aʊ", "W"), ("eɪ", "A"),
                  ("ɔɪ", "Y"), ("oʊ", "O"), ("əʊ", "Q"), ("-", ""))  # fmt: skip
_MARKS: Final = str.maketrans({"—": ", ", "–": ", ", "(": ", ", ")": ", ", "…": "... ", "‘": "'", "’": "'"})
_TITLE_STOP: Final = re.compile(r"\b(Dr|Mr|Mrs|Ms|Prof|Rev)\.(?=\s)")
"""espeak ends a sentence there, and Kokoro would pause."""
_QUOTES: Final = re.compile(r"[\"“”«»„\[\]{}]")


class Phonemizer:
    """espeak-ng with Kokoro's spelling."""

    def __init__(self) -> None:
        from piper.phonemize_espeak import EspeakPhonemizer  # noqa: PLC0415 - GPL: in this process only

        self._espeak: Any = EspeakPhonemizer()

    def phonemes(self, text: str, language: str) -> str:
        """What Kokoro reads for `text`; `language` is one of `LANGUAGES`."""
        plain = _TITLE_STOP.sub(r"\1", _QUOTES.sub(" ", text.translate(_MARKS)))
        sentences = self._espeak.phonemize(LANGUAGES[language], plain)
        spoken = " ".join("".join(sentence).strip() for sentence in sentences)
        return in_kokoro_spelling(spoken, language)


def in_kokoro_spelling(ipa: str, language: str) -> str:
    """espeak's `ipa` with Kokoro's letters; what its vocabulary lacks is left out."""
    text = unicodedata.normalize("NFD", ipa).replace("c\u0327", "ç")
    for espeak, kokoro in _ENGLISH if language in ("a", "b") else _OTHERS:
        text = text.replace(espeak, kokoro)
    kept = "".join(symbol for symbol in text if symbol in VOCABULARY)
    return re.sub(r"\s+", " ", kept).strip()


def chunks(phonemes: str) -> list[str]:
    """`phonemes` in pieces that the model takes, cut at a mark, else at a space."""
    pieces = []
    rest = phonemes
    while len(rest) > MAX_TOKENS:
        window = rest[:MAX_TOKENS]
        cut = max((window.rfind(mark) + 1 for mark in ".!?;:,"), default=0) or window.rfind(" ") or MAX_TOKENS
        cut = cut if cut > 0 else MAX_TOKENS
        pieces.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [piece for piece in (*pieces, rest) if any(symbol.isalpha() for symbol in piece)]


def tokens(phonemes: str) -> list[int]:
    """The model's input for one piece."""
    return [0, *(VOCABULARY[symbol] for symbol in phonemes), 0]
