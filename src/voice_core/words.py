"""What a handful of words says about turn-taking: answers, listening noises, sentences that cannot be over.

The lists of each language are data (`TurnWords`); `turn_words_by_language` has them by language.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from voice_core.turn_words import TurnWords
from voice_core.turn_words_en import ENGLISH

END_MARKS: Final = (".", "!", "?", "。", "？", "！", "؟")
"""What a recogniser puts behind a sentence it takes for finished."""

_FRAME_WORDS: Final = 8
"""Further behind "how much does" the verb may be one that no list has."""
_TOKEN: Final = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def tokens(text: str) -> list[str]:
    """The words of `text` in lower case, without marks; "it's" and "uh-huh" are one word each."""
    if not text.isascii():  # an accent may come as a letter or as a mark of its own
        text = unicodedata.normalize("NFC", text)
    return [token.replace("’", "'") for token in _TOKEN.findall(text.lower())]


def is_backchannel(text: str, words: TurnWords = ENGLISH) -> bool:
    """Only listening noises ("uh-huh", "okay", "mm, right"): the caller does not want the floor."""
    found = tokens(text)
    return 0 < len(found) <= 5 and all(token in words.backchannels for token in found)


def is_greeting(text: str, words: TurnWords = ENGLISH) -> bool:
    """Only a hello, said over the agent's own."""
    found = tokens(text)
    return 0 < len(found) <= 4 and all(token in words.greetings for token in found)


def is_answer(text: str, words: TurnWords = ENGLISH) -> bool:
    """A short answer that is complete as it is: "yes", "no thank you", "that's all"."""
    found = tokens(text)
    return (
        0 < len(found) <= 5
        and any(token in words.answers for token in found)
        and all(token in words.answers or token in words.around_answers for token in found)
    )


def is_firm_answer(text: str, words: TurnWords = ENGLISH) -> bool:
    """A yes or no, alone or politely wrapped; kept even when it is said over the agent."""
    return is_answer(text, words) and any(token in words.firm_answers for token in tokens(text))


def is_correction(text: str, words: TurnWords = ENGLISH) -> bool:
    """It takes back what was said before, or wants the other to stop: "sorry, I meant", "no, wait"."""
    found = tokens(text)
    return bool(found) and found[0] in words.corrections


def is_digits(text: str, words: TurnWords = ENGLISH) -> bool:
    """Only numbers: digits or number words."""
    found = tokens(text)
    return bool(found) and all(token.isdigit() or token in words.number_words for token in found)


def is_question(text: str) -> bool:
    """The last sentence of `text` asks something."""
    return text.rstrip().rstrip("\"'”’)").endswith(("?", "？", "؟"))


def breaks_off(text: str) -> bool:
    """The last mark of `text` says that more was to come: a comma, a dash, three dots."""
    return text.rstrip().endswith((",", ";", ":", "-", "–", "—", "...", "…", "،", "、"))


def is_open_ended(text: str, words: TurnWords = ENGLISH) -> bool:
    """`text` ends where no sentence ends: after "and", "the", "um", a comma, a dash, three dots.

    Recognisers put a full stop or a question mark behind fragments too, so some words are open whatever follows them;
    others ("what is that?", "where are you from?") are open only without a mark.
    """
    if breaks_off(text):
        return True
    stripped = text.rstrip()
    found = tokens(stripped)
    if not found:
        return False
    if found[-1] in words.never_last:
        return True
    tail = " " + " ".join(found[-4:])
    if any(tail.endswith(" " + ending) for ending in words.open_tails):
        return True
    if _lacks_verb(found, words):
        return True
    return found[-1] in words.seldom_last and not stripped.endswith(END_MARKS)


def _lacks_verb(found: list[str], words: TurnWords) -> bool:
    """Ends in "who the owner" … "is", or asks "how much would a new chain" … "cost"."""
    if len(found) > 2 and found[-3] in words.clause_words and found[-2] in words.determiners:
        return True
    for start in range(len(found) - 2):
        if " ".join(found[start : start + 3]) in words.verb_frames:
            return len(found) - start <= _FRAME_WORDS and words.frame_verbs.isdisjoint(found[start + 3 :])
    return False


def lacks_object(text: str, words: TurnWords = ENGLISH) -> bool:
    """Ends in a verb whose object has to come, and has not come before it ("what do you repair?")."""
    found = tokens(text)
    return bool(found) and found[-1] in words.needs_object and words.object_words.isdisjoint(found)


def asks_about_now(text: str, heard: str) -> bool:
    """Of a turn that says `text`, `heard` was heard: has a question just been put, or all but its last words?

    People answer a question before its last word is over.
    """
    if is_question(heard):
        return True
    rest = text[len(heard) :].split()[:3]
    for word in rest:
        if is_question(word):
            return True
        if word.endswith((".", "!")):
            return False
    return False
