"""What kind of question a caller's words are: its clauses, its subject, the days, numbers and names that bind it.

Made for transcripts: capitals and punctuation help where they are there and are not needed. English rules; in another
language every text counts as one plain question and only the meaning (the embedding) decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ai_engine.conversation.english_words import (
    COUNTED,
    DATE_WORDS,
    NUMBER_TENS,
    NUMBER_UNITS,
    WEEKDAYS,
    subject_words,
)

_CONTRACTIONS = (
    (re.compile(r"\b(what|where|who|when|how|that|there|it|he|she)'s\b"), r"\1 is"),
    (re.compile(r"\b(can|could|do|does|did|is|are|was|would|have|has|should)n't\b"), r"\1 not"),
    (re.compile(r"\b(i|you|we|they|who|what)'(?:re)\b"), r"\1 are"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"\b(\w+)'d\b"), r"\1 would"),
    (re.compile(r"\b(\w+)'ll\b"), r"\1 will"),
    (re.compile(r"\b(i|you|we|they)'ve\b"), r"\1 have"),
)
_FILLER = re.compile(
    r"^(?:(?:uh+|um+|er+|hmm+|oh|so|well|yes|yeah|yep|okay|ok|right|hi|hello|hey|good (?:morning|afternoon|evening|day)"
    r"|excuse me|sorry|please|thanks|thank you|great|now|just)\b[\s,]*)+"
)
_POLITE = re.compile(
    r"^(?:(?:can|could|would|will) you (?:please |maybe |just )*(?:tell|say to|give|explain to) me (?:please )?"
    r"|(?:please )?(?:tell|give) me |do you know |do you happen to know |may i ask |can i ask |could i ask |can i know "
    r"|i (?:was|am) (?:just )?(?:wondering|calling to (?:ask|know)|asking) ?"
    r"|i (?:would|want|wanted|need)(?: like)? to "
    r"(?:know|ask)(?: you)? |i have a question |i wonder |let me ask(?: you)? )(?:about |if |whether )?"
)
_WH = r"what(?! an? )|when|where|which|who|whom|whose|why|how|until when|at what|until what|on which|from what"
_AUXILIARY = (
    r"(?:is|are|am|was|were|do|does|did|can|could|will|would|shall|should|may|might|must|has|have)"
    r" (?:not |the |this |that |there |it |he |she |i |you |we |they |my |your |our |an? |any |some |[a-z]+ )"
)
_INTERROGATIVE = re.compile(rf"^(?:{_WH})\b|^{_AUXILIARY}")
_REQUEST = re.compile(
    r"^(?:i (?:would like|want|wanted|need|have) to\b|i (?:want|need|would like) (?:a|an|my|some|your|the)\b"
    r"|let me (?:speak|talk|leave)\b|put me\b|give me\b|connect me\b|send me\b|tell me\b"
    r"|i am (?:looking for|calling (?:about|to))\b)"
)
_CLAUSE_END = re.compile(
    r"[.?!;:]+|,|\b(?:and|or|but|plus|also)\b(?=\s+(?:also\s+)?(?:" + _WH + "|" + _AUXILIARY + "))"
)
_FOLLOW_UP = re.compile(
    r"^(?:and|or|but|then|what about|how about|what if|what else|why not|why is that|why)\b|\b(?:instead|cheaper)$"
)
_ELLIPSIS = re.compile(r"^(?:and (?:on|in|at|for|with|the|your|if|what|how|who)|what about|how about)\b")
"""A follow-up that asks whatever its punctuation: 'And on Sunday.'"""
_POINTERS = frozenset(("that", "those", "these", "them", "they", "he", "she", "him", "her", "one", "ones"))
_WEAK_POINTERS = frozenset(("it", "this"))
_WITHOUT_OBJECT = frozenset(("cost", "duration", "repair", "ready", "open"))
"""Subjects that leave 'it' unexplained: 'how much is it', but not 'what does it cost to replace the chain'."""
_PREPOSITIONS_OF_TIME = frozenset(("at", "by", "until", "till", "before", "after", "for"))
_WORD = re.compile(r"[A-Za-z0-9']+")


@dataclass(frozen=True, slots=True)
class QuestionForm:
    text: str
    """Lower case, contractions written out, without punctuation, filler and polite opening: what is embedded."""
    clauses: tuple[str, ...]
    """The clauses that ask or request something; more than one make a compound question."""
    asks: bool
    """False for statements, small talk and scraps."""
    follow_up: bool
    """It leans on what was said before: 'and on Sunday?', 'how much is that?'."""
    pronouns: frozenset[str]
    """Pronouns that nothing in the question itself explains."""
    subject: frozenset[str]
    """Stems of the words that carry the subject."""
    bindings: frozenset[str]
    """The days, dates, numbers and names in it; an answer must be about the same."""
    formula: str = ""
    """The words where there are no others than those that only lead in or close: 'yes', 'okay thank you'. They mean
    too little to be compared by meaning ('okay' is near 'yes', and so is 'no')."""

    @property
    def compound(self) -> bool:
        return len(self.clauses) > 1


def read_question(raw: str, *, language: str = "en") -> QuestionForm:
    """Analyse a caller's words; any text is accepted."""
    if not language.lower().startswith("en"):
        text = " ".join(raw.lower().split())
        return QuestionForm(text, (text,), bool(text), False, frozenset(), frozenset(), frozenset())
    lowered = _expand(raw)
    asking: list[str] = []
    others: list[str] = []
    follow_up = bool(_FOLLOW_UP.search(_FILLER.sub("", _plain(lowered))))
    dangling: frozenset[str] = frozenset()
    for piece in _CLAUSE_END.split(lowered):
        clause = _plain(piece)
        if not clause:
            continue
        unfilled = _FILLER.sub("", clause).strip()
        stripped = _POLITE.sub("", unfilled).strip()
        if not subject_words(stripped) and not _INTERROGATIVE.match(stripped):
            stripped = unfilled  # 'I have a question for you' is all there is
        if not stripped:
            continue
        if _INTERROGATIVE.match(stripped) or _REQUEST.match(stripped) or stripped != unfilled:
            if not any(subject_words(other) for other in (*asking, *others)):
                dangling = dangling | _unexplained(stripped)
            asking.append(stripped)
        else:
            others.append(stripped)
    asks = (
        bool(asking)
        or bool(_ELLIPSIS.match(_plain(lowered)))
        or ((raw.rstrip().endswith("?") or "please" in lowered) and bool(others))
    )
    clauses = tuple(asking) if asking else tuple(others)
    text = " ".join((*others, *asking))
    return QuestionForm(
        text=text,
        clauses=clauses if asks else (),
        asks=asks,
        follow_up=follow_up,
        pronouns=dangling,
        subject=subject_words(text),
        bindings=bindings(raw),
        formula="" if text else " ".join(_WORD.findall(lowered)),
    )


def bindings(raw: str) -> frozenset[str]:
    """The weekdays, date words, numbers (as digits) and capitalised names in a text."""
    lowered = _expand(raw)
    words = re.findall(r"[a-z0-9]+", lowered.replace("new year", "newyear"))
    found: set[str] = set()
    for word in words:
        base = word.removesuffix("s")
        if base in WEEKDAYS:
            found.add(base)
        elif base in DATE_WORDS or word in DATE_WORDS:
            found.add(base if base in DATE_WORDS else word)
        elif word == "newyear":
            found.add("new-year")
    found.update(_numbers(words))
    found.update(_names(raw))
    return frozenset(found)


def spanned_weekdays(raw: str) -> frozenset[str]:
    """The weekdays a text covers by 'Monday to Friday'."""
    found: set[str] = set()
    names = "|".join(WEEKDAYS)
    for first, last in re.findall(rf"\b({names})s?\s+(?:to|through|until|till)\s+({names})", raw.lower()):
        start, end = WEEKDAYS.index(first), WEEKDAYS.index(last)
        found.update(WEEKDAYS[(start + step) % 7] for step in range((end - start) % 7 + 1))
    return frozenset(found)


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """All words of some texts in lower case; a name among them is no new name."""
    return frozenset(word.lower().removesuffix("'s") for text in texts for word in _WORD.findall(text))


def _unexplained(clause: str) -> frozenset[str]:
    words = frozenset(clause.split())
    pointers = words & _POINTERS
    return pointers | (words & _WEAK_POINTERS) if subject_words(clause) <= _WITHOUT_OBJECT else pointers


def _expand(raw: str) -> str:
    lowered = raw.lower().replace("’", "'")
    for pattern, replacement in _CONTRACTIONS:
        lowered = pattern.sub(replacement, lowered)
    return lowered


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9' -]+", " ", text).split())


def _numbers(words: list[str]) -> set[str]:
    """'forty two' is 42, 'one hundred and forty dollars' 140 and 140 dollar.

    'one' alone counts only as a time or an amount ('at one', 'one day').
    """
    found: set[str] = set()
    value: int | None = None
    previous = ""

    def add(number: int, next_word: str) -> None:
        found.add(str(number))
        unit = next_word.removesuffix("s")
        if unit in COUNTED:
            found.add(f"{number} {unit}")

    for index, word in enumerate([*words, ""]):
        following = words[index + 1] if index + 1 < len(words) else ""
        if word.isdigit():
            add(int(word), following)
        unit, tens = NUMBER_UNITS.get(word), NUMBER_TENS.get(word)
        if tens is not None and (value is None or value % 100 == 0):
            value = (value or 0) + tens
        elif unit is not None and value is not None and (value % 100 == 0 or (value % 10 == 0 and 0 < unit < 10)):
            value += unit
        elif word == "hundred" and value is not None:
            value *= 100
        elif word == "and" and value is not None and value % 100 == 0 and value:
            pass
        else:
            if value is not None:
                add(value, word)
            value = tens
            counts = (
                word != "one"
                or previous in _PREPOSITIONS_OF_TIME
                or following == "hundred"
                or following.removesuffix("s") in COUNTED
            )
            if unit is not None and counts:
                value = unit
        previous = word
    return found


def _names(raw: str) -> set[str]:
    """Capitalised words inside a sentence; a transcript in capitals throughout has none."""
    found: set[str] = set()
    if raw.isupper():
        return found
    for sentence in re.split(r"[.?!]+\s*", raw):
        for word in _WORD.findall(sentence)[1:]:
            lowered = word.lower().removesuffix("'s")
            ordinary = lowered.removesuffix("s") in WEEKDAYS or lowered in DATE_WORDS or lowered.startswith("i'")
            if word[0].isupper() and len(word) > 1 and not ordinary:
                found.add("name:" + lowered)
    return found
