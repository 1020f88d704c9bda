"""What a handful of words says about turn-taking: answers, listening noises, sentences that cannot be over.

English word lists; other languages pass their own `TurnWords`. An unknown language costs waiting time, never words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_BACKCHANNELS: Final = _words(
    "uh-huh uhuh uh huh mhm mm mmm mm-hmm mmhm mm-hm hm hmm hmmm ah aha oh ooh okay ok yeah yep yup right sure wow",
    "alright great good i see got it really interesting um er erm eh",
)
_GREETINGS: Final = _words("hello hi hey hallo good morning afternoon evening there")
_FIRM_ANSWERS: Final = _words("yes no nope nah correct stop exactly yeah yep yup")
_ANSWERS: Final = _FIRM_ANSWERS | _words(
    "okay ok sure thanks thank bye goodbye please fine none nothing never maybe that's right absolutely certainly",
    "course",
)
_AROUND_ANSWERS: Final = _words("you it all not really of that very much so alright then")
# No sentence ends in these, whatever mark a recogniser puts behind them.
_NEVER_LAST: Final = _words(
    "and or but because since while if whether than though although unless until so",
    "a an the my your our their every um uh er erm",
    "i i'm i'd i'll i've we're we'd we'll they're you're it's there's what's who's where's how's",
    "want need wondering trying calling",
)
# Sentences end in these too, but seldom without a mark behind them.
_SELDOM_LAST: Final = _words(
    "to of in on at by for from with without about into onto over under between during through per via near",
    "this these those that his her its some any each another as when then which who what where how why",
    "is are was were am be been being do does did have has had can could will would shall should may might must",
    "we they he she like tell ask looking going book get make give let hmm well also just basically actually",
)
_OPEN_TAILS: Final = (
    "can you", "could you", "can i", "could i", "tell me", "let me", "would like", "i'd like", "kind of", "sort of",
    "what kind of", "what time do", "do you", "is there", "are there", "let's see", "hold on", "one moment",
    "one second", "just a second", "my name is", "number is", "i would", "i want to", "like to", "to know", "to ask",
    "do you have", "do you know", "could you please", "can you please",
)  # fmt: skip
_NUMBER_WORDS: Final = _words(
    "zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred double triple",
)


@dataclass(frozen=True, slots=True)
class TurnWords:
    """The word lists of one language, lower case."""

    backchannels: frozenset[str] = _BACKCHANNELS
    greetings: frozenset[str] = _GREETINGS
    firm_answers: frozenset[str] = _FIRM_ANSWERS
    answers: frozenset[str] = _ANSWERS
    around_answers: frozenset[str] = _AROUND_ANSWERS
    never_last: frozenset[str] = _NEVER_LAST
    seldom_last: frozenset[str] = _SELDOM_LAST
    open_tails: tuple[str, ...] = _OPEN_TAILS
    number_words: frozenset[str] = _NUMBER_WORDS


ENGLISH: Final = TurnWords()


def tokens(text: str) -> list[str]:
    """The words of `text` in lower case, without marks; "it's" and "uh-huh" are one word each."""
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
        0 < len(found) <= 4
        and any(token in words.answers for token in found)
        and all(token in words.answers or token in words.around_answers for token in found)
    )


def is_firm_answer(text: str, words: TurnWords = ENGLISH) -> bool:
    """A yes or no, alone or politely wrapped; kept even when it is said over the agent."""
    return is_answer(text, words) and any(token in words.firm_answers for token in tokens(text))


def is_digits(text: str, words: TurnWords = ENGLISH) -> bool:
    """Only numbers: digits or number words."""
    found = tokens(text)
    return bool(found) and all(token.isdigit() or token in words.number_words for token in found)


def spoken_digits(text: str, words: TurnWords = ENGLISH) -> int:
    """How many digits the end of `text` spells: "my number is 0 3 0" has three."""
    count = 0
    for token in reversed(tokens(text)):
        if token.isdigit():
            count += len(token)
        elif token in words.number_words:
            count += 1
        else:
            break
    return count


def is_question(text: str) -> bool:
    """The last sentence of `text` asks something."""
    return text.rstrip().rstrip("\"'”’)").endswith(("?", "？", "؟"))


def is_open_ended(text: str, words: TurnWords = ENGLISH) -> bool:
    """`text` ends where no sentence ends: after "and", "the", "um", a comma, a dash, three dots.

    Recognisers put a full stop or a question mark behind fragments too, so some words are open whatever follows them;
    others ("what is that?", "where are you from?") are open only without a mark.
    """
    stripped = text.rstrip()
    if stripped.endswith((",", ";", ":", "-", "–", "—", "...", "…", "،")):
        return True
    found = tokens(stripped)
    if not found:
        return False
    if found[-1] in words.never_last:
        return True
    tail = " " + " ".join(found[-4:])
    if any(tail.endswith(" " + ending) for ending in words.open_tails):
        return True
    return found[-1] in words.seldom_last and not stripped.endswith((".", "!", "?"))


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
