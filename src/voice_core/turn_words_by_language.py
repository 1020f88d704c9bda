"""Which word lists belong to a language tag."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from voice_core.turn_words import UNLISTED, TurnWords
from voice_core.turn_words_de import GERMAN
from voice_core.turn_words_en import ENGLISH
from voice_core.turn_words_es import SPANISH
from voice_core.turn_words_fr import FRENCH
from voice_core.turn_words_it import ITALIAN
from voice_core.turn_words_nl import DUTCH
from voice_core.turn_words_pt import PORTUGUESE

LISTED: Final[Mapping[str, TurnWords]] = MappingProxyType(
    {
        "de": GERMAN,
        "en": ENGLISH,
        "es": SPANISH,
        "fr": FRENCH,
        "it": ITALIAN,
        "nl": DUTCH,
        "pt": PORTUGUESE,
    }
)


def turn_words(language: str) -> TurnWords:
    """The lists for a tag such as "de" or "pt-BR"; `UNLISTED` for a language that has none."""
    return LISTED.get(language.replace("_", "-").partition("-")[0].lower(), UNLISTED)
