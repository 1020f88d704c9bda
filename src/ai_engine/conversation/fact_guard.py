"""What a language model says is checked phrase by phrase before it is spoken: no price, hour or name of its own.

Always: numbers, weekdays and dates, e-mail and web addresses, money words and names must occur in the facts given for
this turn or in the persona. The caller's own words allow names and, in an echo ("you said …"), numbers; they are no
source for "Yes, we open at seven."

`strict`, for models too small to be trusted with any fact: an answer to a question about the business is either a quote
of a fact given for this turn or a refusal; anything else holds only words of everyday courtesy and of the caller.

Pure, no I/O. For a stream: `GuardedReply.offer` each phrase as it is cut, speak what it returns, cancel the model when
`closed`, and speak what `finish` returns at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ai_engine.conversation.english_words import COURTESY_WORDS, FUNCTION_WORDS, is_number_word, stem
from ai_engine.conversation.known_answers import KnownAnswer
from ai_engine.conversation.question_form import bindings, read_question, spanned_weekdays, words_of
from ai_engine.conversation.small_talk import HONEST_LINE

COURTEOUS_LINE = "I understand. How can I help you?"
"""Said to a caller who asked nothing when the model's answer may not be spoken."""
FACT_LEAD_IN = "What I can tell you is this."
_LONGEST_STRICT_WORDS = 30

_CONTACT = re.compile(r"\S+@\S+|\bwww\b|https?:|\b\w+(?:\.| dot )(?:com|org|net|info|biz|co|us|uk|de)\b", re.IGNORECASE)
_MONEY_WORDS = frozenset(("free", "discount", "refund", "percent", "half", "euro", "euros", "pound", "pounds", "dollar",
                          "dollars", "bucks", "cent", "cents"))  # fmt: skip
_CLOCK = re.compile(r"\b(?:o'?clock|a\.?m\.?|p\.?m\.?)(?=\W|$)", re.IGNORECASE)
_HARMLESS_DATES = frozenset(("today", "now", "next", "last", "eve"))
_OPENING = re.compile(r"\b(?:open|opens|closed|close|closes|available|ready)\b", re.IGNORECASE)
_ECHO = re.compile(r"\byou (?:said|asked|want|would like|mean)\b|\bdid you\b|\?\s*$", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:sorry|afraid)\b|\b(?:don't|do not|can't|cannot|not able to|unable to) (?:have|know|tell|say|give|find)\b"
    r"|\bnot sure\b|\btake a message\b|\bcall you back\b",
    re.IGNORECASE,
)
_BUSINESS = re.compile(r"\b(?:we|we're|we've|our|ours|us)\b", re.IGNORECASE)
_NOT_NAMES = frozenset(("i", "ok", "okay", "mr", "mrs", "ms", "dr", "mister", "doctor", "sir", "madam", "english"))
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


@dataclass(frozen=True, slots=True)
class Objection:
    kind: Literal["number", "date", "name", "contact", "money", "claim", "repeat"]
    what: str


class FactGuard:
    """Decides on the phrases of one reply. Sources are plain texts; any of them may be empty."""

    def __init__(
        self,
        *,
        facts: Iterable[str] = (),
        persona: Iterable[str] = (),
        caller: Iterable[str] = (),
        question: str = "",
        strict: bool = False,
    ) -> None:
        """`caller` holds what the caller said earlier in this call, `question` what this reply answers."""
        self._facts, persona, caller = list(facts), list(persona), [*caller, question]
        own = [*self._facts, *persona]
        self._bound = frozenset().union(*(bindings(text) | spanned_weekdays(text) for text in own))
        self._caller_bound = frozenset().union(*(bindings(text) for text in caller))
        self._own_words = words_of(own)
        self._names = self._own_words | words_of(caller)
        self._own_text = " ".join(own).lower()
        self._stems = frozenset(stem(word) for word in words_of([*own, *caller]))
        self._strict = strict
        form = read_question(question)
        self._about_business = form.asks and (bool(self._facts) or not form.subject <= COURTESY_WORDS)

    def objection(self, phrase: str, *, after: str = "") -> Objection | None:
        """Why the phrase may not be spoken; None when it may. `after` is what the reply said before it."""
        return self._invention(phrase) or (self._strict_objection(phrase, after) if self._strict else None)

    def _invention(self, phrase: str) -> Objection | None:
        allowed = self._bound | self._caller_bound if _ECHO.search(phrase) else self._bound
        for binding in sorted(bindings(phrase) - allowed):
            if binding.startswith("name:"):
                name = binding.removeprefix("name:")
                if name not in self._names and name not in _NOT_NAMES and not name.startswith("i'"):
                    return Objection("name", name)
            elif binding[0].isdigit():
                return Objection("number", binding)
            elif binding not in _HARMLESS_DATES or (binding in ("today", "now") and _OPENING.search(phrase)):
                return Objection("date", binding)
        contact = _CONTACT.search(phrase)
        if contact and contact.group().lower().rstrip(".,!?") not in self._own_text:
            return Objection("contact", contact.group())
        if (clock := _CLOCK.search(phrase)) and clock.group().lower() not in self._own_text:
            return Objection("number", clock.group())
        money = (words_of([phrase]) & _MONEY_WORDS) - self._own_words
        return Objection("money", min(money)) if money else self._leading_name(phrase)

    def _leading_name(self, phrase: str) -> Objection | None:
        """A sentence that begins with a name: 'Susan owns it', 'Peter Smith will see you'."""
        match = re.match(r"\W*([A-Z][a-z]+) (?:[A-Z][a-z]+ |is |was |will |can |owns |works |has )", phrase)
        if match is None:
            return None
        word = match.group(1).lower()
        known = word in self._names or word in FUNCTION_WORDS or stem(word) in COURTESY_WORDS or word in _NOT_NAMES
        return None if known else Objection("name", word)

    def _strict_objection(self, phrase: str, after: str) -> Objection | None:
        words, said = _words(phrase), _words(after)
        if len(said) + len(words) > _LONGEST_STRICT_WORDS or _repeats(said + words):
            return Objection("repeat", phrase)
        if self._quotes_a_fact(words):
            return None
        refusal = bool(_REFUSAL.search(f"{after} {phrase}"))
        if self._about_business and (self._facts or not refusal):
            return Objection("claim", phrase)
        if _BUSINESS.search(phrase) and not refusal:
            return Objection("claim", phrase)
        for word in words:
            stemmed = stem(word)
            ordinary = word in FUNCTION_WORDS or "'" in word or is_number_word(word)
            if not ordinary and stemmed not in COURTESY_WORDS and stemmed not in self._stems:
                return Objection("claim", word)
        return None

    def _quotes_a_fact(self, words: list[str]) -> bool:
        quoted = f" {' '.join(words)} "
        says_something = any(word not in FUNCTION_WORDS for word in words)
        return says_something and any(quoted in f" {' '.join(_words(fact))} " for fact in self._facts)


class GuardedReply:
    """The phrases of one reply on their way to the voice.

    The first phrase that may not be spoken ends the reply: `fallback` is said instead, except where something was
    already said to a caller who asked nothing.
    """

    def __init__(self, guard: FactGuard, *, fallback: str = HONEST_LINE, asked: bool = True) -> None:
        self.closed = False
        """No more phrases are taken: cancel the model."""
        self.objection: Objection | None = None
        """Why the reply was cut; for the timeline."""
        self._guard = guard
        self._fallback = fallback
        self._asked = asked
        self._spoken = ""

    def offer(self, phrase: str) -> str | None:
        """What to speak now: the phrase, the fallback or nothing."""
        if self.closed or not phrase.strip():
            return None
        self.objection = self._guard.objection(phrase, after=self._spoken)
        if self.objection is None:
            self._spoken = f"{self._spoken} {phrase}".strip()
            return phrase
        self.closed = True
        return self._fallback if self._asked or not self._spoken else None

    def finish(self) -> str | None:
        """The model has ended: the fallback when it said nothing at all."""
        ended_silent = not self.closed and not self._spoken
        self.closed = True
        return self._fallback if ended_silent else None


def fallback_line(facts: Sequence[KnownAnswer], *, asked: bool = True) -> str:
    """What to say in place of an invention: the near facts as they are written, else that it is not known."""
    if facts:
        return " ".join([FACT_LEAD_IN, *(fact.answer for fact in facts)])
    return HONEST_LINE if asked else COURTEOUS_LINE


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("’", "'").replace("-", " "))


def _repeats(words: list[str]) -> bool:
    """The same word thrice in a row, or the same three words twice: a small model running in circles."""
    thrice = any(words[i] == words[i + 1] == words[i + 2] for i in range(len(words) - 2))
    triples = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    return thrice or len(set(triples)) < len(triples)
