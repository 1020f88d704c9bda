"""Numbers, spelled names, e-mail addresses and dates at the end of what the caller said: are they over?

Callers dictate in groups with pauses between them that would end any other turn; and when the last digit is said, they
expect an answer at once. So what can be known of the length of such a thing is used: a telephone number has ten or so
digits, a card sixteen in fours, an address ends in a dot and a word, a spelled name when it has spelled a word that was
said before. Works on any transcript: digits or number words, "b r o" or "B-R-O", "anna at" or "anna@".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

from voice_core.turn_words import TurnWords
from voice_core.turn_words import words as _words
from voice_core.turn_words_en import ENGLISH
from voice_core.words import is_question, tokens


class Dictated(Enum):
    """How far something dictated has come."""

    HALF = "half"
    """More has to come."""
    MAYBE = "maybe"
    """It can be whole."""
    WHOLE = "whole"


_LOCAL_NUMBER_DIGITS: Final = 7
"""The shortest telephone numbers, which leave the area code out."""
_CODE_DIGITS: Final = 4
_CARD_GROUP: Final = 4
_CARD_DIGITS: Final = 16
_INTERNATIONAL_DIGITS: Final = 13
"""A telephone number with its country code has up to so many (E.164 allows 15; few have them)."""
_AMOUNT: Final = re.compile(r"\d+(?:[:.,]\d{1,3})+|\d{1,2}[./]\d{1,2}(?:[./](?:\d\d){1,2})?")
"""Times, prices, dates: numbers that are said in one go."""
_ABBREVIATION: Final = re.compile(r"[^\W\d_]\.[^\W\d_]\.?")
"""Of two letters: "p.m.", "U.S."; a name has more."""
_ADDRESS_END: Final = re.compile(r"[\w-]+(?:\.[\w-]+)*\.([^\W\d_]{2,})")
_IS: Final = _words("is ist lautet es est c'est è é")
_MAIL_SERVICES: Final = _words("gmail googlemail yahoo hotmail outlook icloud gmx web aol live proton")
_HALF_ENDINGS: Final = _words("co")
"""After "dot co" comes "dot uk"."""
_SPELLING_ALPHABET: Final = _words(
    "alpha alfa bravo charlie delta echo foxtrot golf hotel india juliet juliett kilo lima mike november oscar papa",
    "quebec romeo sierra tango uniform victor whiskey whisky x-ray xray yankee zulu",
)


@dataclass(frozen=True, slots=True)
class _Item:
    word: str
    amount: bool = False
    """A time, a price, an abbreviation: of a piece."""

    @property
    def is_letter(self) -> bool:
        return len(self.word) == 1 and self.word.isalpha() and not self.amount


def dictated(text: str, words: TurnWords = ENGLISH) -> Dictated | None:
    """What the end of `text` is in the middle of; None when nothing is being dictated."""
    if is_question(text):
        return None
    items = _items(text, words)
    if not items:
        return None
    for read in (_address, _spelling, _date, _number):
        found = read(text, items, words)
        if found is not None:
            return found
    return None


def _items(text: str, words: TurnWords) -> list[_Item]:
    items: list[_Item] = []
    for chunk in text.split():
        bare = chunk.strip(".,;:!?()[]\"'“”„«»…")
        if _AMOUNT.fullmatch(bare.strip("€$£%")) or _ABBREVIATION.fullmatch(chunk.strip(",;:!?")):
            items.append(_Item(bare.lower(), amount=True))
            continue
        for token in tokens(chunk):
            parts = token.split("-")
            apart = len(parts) > 1 and token not in words.number_words and token not in words.ordinals
            if apart and (all(len(part) == 1 for part in parts) or all(_is_number(part, words) for part in parts)):
                items.extend(map(_Item, parts))
            else:
                items.append(_Item(token))
    return items


def _is_number(word: str, words: TurnWords) -> bool:
    return word.isdigit() or word in words.number_words


# --- e-mail addresses -------------------------------------------------------------------------------------------------


def _address(text: str, items: Sequence[_Item], words: TurnWords) -> Dictated | None:
    last = text.rsplit(maxsplit=1)[-1].rstrip(".,;:!").lower()
    said = [item.word for item in items]
    announced = _announced_address(said, words)
    if "@" in last:
        end = _ADDRESS_END.fullmatch(last.rpartition("@")[2])
        return Dictated.WHOLE if end and end[1] not in _HALF_ENDINGS else Dictated.HALF
    if said[-1] in words.at_words and len(said) > 1:
        return Dictated.HALF
    at = max((index for index, word in enumerate(said) if word in words.at_words and index > 0), default=0)
    in_address = announced or at > 0 or len(said) <= 3
    if said[-1] == "underscore" or (in_address and said[-1] in words.dot_words | words.address_marks):
        return Dictated.HALF
    if at:
        return _domain(last, said, at, announced=announced, words=words)
    return Dictated.HALF if announced else None


def _domain(last: str, said: list[str], at: int, *, announced: bool, words: TurnWords) -> Dictated | None:
    """What comes behind the word for "@"; which may have been an ordinary word."""
    ending = _ADDRESS_END.fullmatch(last)
    if (ending and said[at + 1] in last) or (len(said) - at > 3 and said[-2] in words.dot_words):
        return Dictated.HALF if said[-1] in _HALF_ENDINGS else Dictated.WHOLE
    behind = said[at + 1 :]
    unfinished = len(behind) <= 2 and not words.dot_words.intersection(behind)
    return Dictated.HALF if unfinished and (announced or behind[-1] in _MAIL_SERVICES) else None


def _announced_address(said: list[str], words: TurnWords) -> bool:
    """ "My e-mail address is anna": few words behind the announcement, nothing of which is an address's end."""
    for index in range(len(said) - 1, -1, -1):
        if said[index] in words.email_names:
            behind = said[index + 1 :]
            verb = next((position for position, word in enumerate(behind[:3]) if word in _IS), None)
            return verb is not None and len(behind) - verb <= 5
    return False


# --- spelled names ----------------------------------------------------------------------------------------------------


def _spelling(_text: str, items: Sequence[_Item], words: TurnWords) -> Dictated | None:
    letters = ""
    sure = False
    """Something in it is no word that consists of one letter."""
    start = len(items)
    while start > 0:
        item = items[start - 1]
        taken = 0
        if item.is_letter:
            letter, taken = item.word, 1
            sure = sure or item.word not in words.one_letter_words
        elif as_in := _as_in(items, start, words):
            letter, taken = item.word[0], as_in
            sure = sure or letter not in words.one_letter_words
        elif item.word in _SPELLING_ALPHABET:
            letter, taken = item.word[0], 1
        if not taken:
            break
        start -= taken
        if start > 0 and (times := words.repeats.get(items[start - 1].word)):
            letter, start = letter * times, start - 1
        letters = letter + letters
    if len(letters) < 2 and len(items) - start < 2:
        return None
    alphabet = sum(item.word in _SPELLING_ALPHABET for item in items[start:])
    if not sure and alphabet < 2:
        return None
    return Dictated.WHOLE if any(item.word == letters for item in items[:start]) else Dictated.HALF


def _as_in(items: Sequence[_Item], end: int, words: TurnWords) -> int:
    """How many items before `end` are "b as in bravo"; 0 when they are something else."""
    for phrase in words.as_in:
        linking = phrase.split()
        first = end - len(linking) - 2
        if (
            first >= 0
            and items[first].is_letter
            and [item.word for item in items[first + 1 : end - 1]] == linking
            and items[end - 1].word.startswith(items[first].word)
        ):
            return len(linking) + 2
    return 0


# --- dates ------------------------------------------------------------------------------------------------------------


def _date(_text: str, items: Sequence[_Item], words: TurnWords) -> Dictated | None:
    said = [item.word for item in items]
    before = said[-2] if len(said) > 1 else ""
    if said[-1] in words.month_joins and (_is_ordinal(before, words) or _is_number(before, words)):
        return Dictated.HALF
    if said[-1] in words.months and before in words.before_month:
        return Dictated.HALF
    birth = max((index for index, word in enumerate(said) if word in words.birth_words), default=-1)
    if birth >= 0:
        date = said[birth + 1 :]
        dated = any(word in words.months or _is_ordinal(word, words) or _is_number(word, words) for word in date)
        if dated and not _has_year(items[birth + 1 :], words):
            return Dictated.HALF
        return Dictated.MAYBE if dated and said[-1] in words.tens else None
    if said[-1] in words.tens and before in words.months:
        return Dictated.MAYBE  # "March twenty" … "first"
    dated = any(word in words.months for word in said[-3:-1])
    return Dictated.MAYBE if dated and _is_number(said[-1], words) and not _has_year(items, words) else None


def _is_ordinal(word: str, words: TurnWords) -> bool:
    return word in words.ordinals or (word[:1].isdigit() and word[-2:] in ("st", "nd", "rd", "th"))


def _has_year(items: Sequence[_Item], words: TurnWords) -> bool:
    if any(len(item.word) == 4 and item.word.isdigit() for item in items):
        return True
    if any(item.amount and item.word[-4:].isdigit() for item in items):
        return True
    said = [item.word for item in items]
    if any(word in words.scales for word in said):
        return True
    in_two = words.two_digits | words.tens  # "nineteen eighty four"
    return any(one in words.two_digits and other in in_two for one, other in pairwise(said))


# --- numbers ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """The numbers at the end, as they were said."""

    sizes: list[int]
    """Digits of each group."""
    leading_zero: bool = False
    repeated: bool = False
    unfinished: bool = False
    """Ends in "double"."""

    @property
    def digits(self) -> int:
        return sum(self.sizes)


def spoken_digits(text: str, words: TurnWords = ENGLISH) -> int:
    """How many digits the end of `text` spells: "my number is 0 3 0" has three, "double seven" two."""
    return _run(_items(text, words), words)[0].digits


def _number(_text: str, items: Sequence[_Item], words: TurnWords) -> Dictated | None:
    run, start = _run(items, words)
    if run.unfinished:
        return Dictated.HALF
    digits, groups = run.digits, len(run.sizes)
    if digits < 2:
        return None
    before = {item.word for item in items[:start]}
    if groups >= 2 and digits <= _CARD_DIGITS and set(run.sizes) == {_CARD_GROUP}:
        return Dictated.WHOLE if digits == _CARD_DIGITS else Dictated.HALF
    least, most = words.phone_digits
    if digits >= _LOCAL_NUMBER_DIGITS:
        whole = least <= digits <= max(most, _INTERNATIONAL_DIGITS) or digits == _CARD_DIGITS
        return Dictated.WHOLE if whole else Dictated.MAYBE
    if digits >= _CODE_DIGITS and (before & words.code_names or (groups == 1 and before & words.number_names)):
        return Dictated.MAYBE
    single_digits = groups >= 2 and set(run.sizes) == {1}
    if run.leading_zero or run.repeated or groups >= 3 or single_digits or before & words.number_names:
        return Dictated.HALF
    alone = before <= words.backchannels | words.answers | words.around_answers
    return Dictated.MAYBE if alone else None


def _run(items: Sequence[_Item], words: TurnWords) -> tuple[_Run, int]:
    """The numbers at the end of `items`, and where they begin."""
    start = len(items)
    while start > 0 and not items[start - 1].amount:
        word = items[start - 1].word
        if not _is_number(word, words) and not (word in words.number_joins and start < len(items)):
            break
        start -= 1
    while start < len(items) and items[start].word in words.number_joins:
        start += 1
    run = _Run([])
    times, after_tens = 1, False
    for position, item in enumerate(items[start:]):
        word = item.word
        if word in words.number_joins:
            continue
        if word in words.repeats:
            times = words.repeats[word]
            run.repeated = run.unfinished = True
            continue
        run.unfinished = False
        if position == 0:
            run.leading_zero = word in words.zeros or (len(word) > 1 and word.startswith("0"))
        if word in words.scales and run.sizes:
            run.sizes[-1] += words.scales[word]
        elif not (after_tens and word in words.units):
            run.sizes.append(_digits_of(word, words) * times)
        times, after_tens = 1, word in words.tens
    return run, start


def _digits_of(word: str, words: TurnWords) -> int:
    if word.isdigit():
        return len(word)
    if word in words.scales:
        return 1 + words.scales[word]
    return 2 if word in words.two_digits or word in words.tens else 1
