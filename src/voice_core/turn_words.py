"""What turn-taking has to know of a language: the shape of its word lists (`turn_words_en` and so on are the data).

All words are lower case. What a list leaves out costs waiting time or a needless pause of the agent, never words: a
word that no list names ends no turn early and is no listening noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_NONE: Final[frozenset[str]] = frozenset()


def words(*lines: str) -> frozenset[str]:
    """The words of `lines`, which are separated by spaces."""
    return frozenset(" ".join(lines).split())


_NOISES: Final = words("uh-huh uhuh mhm mm mmm mm-hmm mmhm mm-hm hm hmm hmmm ah aha oh okay ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnWords:
    """The lists of one language. What is not given is that of a language nothing is known about."""

    listed: bool = True
    """False: nothing tells its unfinished sentences from finished ones, so every pause gets longer."""

    # Kinds of short utterances
    backchannels: frozenset[str] = _NOISES
    """An utterance of these alone listens on: "uh-huh", "I see"."""
    greetings: frozenset[str] = _NONE
    firm_answers: frozenset[str] = _NONE
    """Yes and no."""
    answers: frozenset[str] = words("ok okay")
    """What makes a short utterance a whole answer; the firm ones among them."""
    around_answers: frozenset[str] = _NONE
    """What may stand beside it: "no, thank *you*"."""

    corrections: frozenset[str] = _NONE
    """What begins with these takes back what was said before, and does not go on with it."""

    # Sentences that cannot be over
    never_last: frozenset[str] = _NONE
    """No sentence ends in these, whatever mark a recogniser puts behind them."""
    seldom_last: frozenset[str] = _NONE
    """Sentences end in these too, but seldom without a mark behind them."""
    needs_object: frozenset[str] = _NONE
    """Verbs that end no question: "can you *repair*" … "an old bike". In languages with the verb first."""
    object_words: frozenset[str] = _NONE
    """The object is named already in a clause that has one of these: "*what* do you repair"."""
    clause_words: frozenset[str] = _NONE
    determiners: frozenset[str] = _NONE
    """With a clause word before them and a noun behind, the clause's verb is still to come: "*who the* owner"."""
    verb_frames: frozenset[str] = _NONE
    frame_verbs: frozenset[str] = _NONE
    """Behind one of the frames, of three words, one of these verbs has to come: "*how much would* a chain *cost*"."""
    open_tails: tuple[str, ...] = ()
    """The same as `never_last`, of several words."""

    # Numbers, as they are dictated
    units: frozenset[str] = _NONE
    """One digit each; zero with all its names."""
    two_digits: frozenset[str] = _NONE
    """Ten to nineteen, and where tens and unit are one word, those."""
    tens: frozenset[str] = _NONE
    """Twenty to ninety: two digits together with a unit that follows."""
    zeros: frozenset[str] = _NONE
    number_joins: frozenset[str] = words("plus")
    """Between numbers they count for nothing: "treinta *y* uno"."""
    scales: Mapping[str, int] = field(default_factory=dict)
    """Hundred and thousand: how many digits they add."""
    repeats: Mapping[str, int] = field(default_factory=dict)
    """"*Double* five": how often the next digit or letter stands there."""
    number_names: frozenset[str] = _NONE
    """Announce a long number: a telephone's, a card's."""
    code_names: frozenset[str] = _NONE
    """Announce a number of four to six digits."""
    phone_digits: tuple[int, int] = (10, 11)
    """The least and the most digits of a telephone number, its area code included."""

    # Spelling and e-mail addresses
    as_in: tuple[str, ...] = ()
    """"B *as in* Bravo"."""
    one_letter_words: frozenset[str] = _NONE
    """Single letters that are words as well."""
    email_names: frozenset[str] = words("email e-mail mail")
    at_words: frozenset[str] = words("at")
    dot_words: frozenset[str] = words("dot")
    address_marks: frozenset[str] = _NONE
    """Other marks inside an address: "underscore"."""

    # Dates
    months: frozenset[str] = _NONE
    ordinals: frozenset[str] = _NONE
    month_joins: frozenset[str] = _NONE
    """Between day and month: "the third *of*"."""
    before_month: frozenset[str] = _NONE
    """A month right behind one of these lacks its day: "*on* March"."""
    birth_words: frozenset[str] = _NONE
    """Announce a date with its year."""

    number_words: frozenset[str] = field(init=False)
    """Every word above that says a number or a part of one."""

    def __post_init__(self) -> None:
        numbers = self.units | self.two_digits | self.tens | self.zeros | frozenset((*self.scales, *self.repeats))
        object.__setattr__(self, "number_words", numbers)


UNLISTED: Final = TurnWords(listed=False)
"""A language without lists."""
