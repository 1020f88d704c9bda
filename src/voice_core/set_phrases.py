"""Words that act whatever a language model thinks: "operator", an emergency, what the configuration adds.

A caller's turn is such a phrase when it consists of it and nothing else but courtesies ("um, the operator, please"), or
when one of its clauses is an explicit request ("… and I want to talk to a real person about it"). A word inside an
unrelated sentence ("the operator manual") never is.

Patterns are words; `[the|a]` may be left out, `(speak|talk)` is one of several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from voice_core.set_phrase_words import LANGUAGES, SetWords
from voice_core.words import tokens

Meaning = Literal["person", "emergency"]

MAX_WORDS: Final = 60
"""Longer turns are stories: of these only the last words are looked at."""
_NONE: Final = SetWords()
_CLAUSE: Final = re.compile(r"[.!?…,;:\n–—]+")
_PIECE: Final = re.compile(r"\[([^\[\]()]*)\]|\(([^\[\]()]*)\)|([^\[\]()|]+)")


class PatternError(ValueError):
    """A pattern that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class SetPhrase:
    """One thing to listen for."""

    id: str
    said: tuple[str, ...] = ()
    """Patterns. With the meaning `person` they also name whom a request may ask for."""
    meaning: Meaning | None = None
    """The wordings of the language for it are listened for too."""
    keys: str = ""
    """A keypad input that means the same."""


class SetPhrases:
    """The phrases of one persona, compiled. Raises `PatternError`."""

    def __init__(self, phrases: Sequence[SetPhrase], language: str = "en") -> None:
        """`language` as `en` or `en-US`. One that is not in `LANGUAGES` has no courtesies and no meanings."""
        for phrase in phrases:
            for pattern in phrase.said:
                check_pattern(pattern)
        words = LANGUAGES.get(language.partition("-")[0], _NONE)
        no = "|".join(words.no)
        self._no_then = re.compile(rf"\b(?:{no})\b\s*[,.;!–—-]+(?=\s*\w)", re.IGNORECASE) if no else None
        self._joints = frozenset(words.joints)
        self._around = re.compile(_any(words.around))
        self._phrases = [(phrase, _alone(phrase, words), _request(phrase, words)) for phrase in phrases]

    def match(self, text: str) -> str | None:
        """The id of the first phrase that the turn `text` is."""
        if self._no_then is not None:
            text = self._no_then.sub(" ", text)  # "no, operator!" asks for one, "no operator" does not
        whole = _spaced(tokens(text)[-MAX_WORDS:])
        if not whole:
            return None
        clauses: list[str] | None = None
        for phrase, form, is_request in self._phrases:
            if self._consists_of(form, whole):
                return phrase.id
            if is_request is not None:
                clauses = clauses or list(self._clauses(text))
                if any(is_request.fullmatch(clause) for clause in clauses):
                    return phrase.id
        return None

    def match_keys(self, keys: str) -> str | None:
        """The id of the phrase that the keypad input `keys` stands for; a closing `#` does not count."""
        typed = keys.removesuffix("#") or keys
        return next((phrase.id for phrase, _, _ in self._phrases if phrase.keys and phrase.keys == typed), None)

    def _consists_of(self, form: re.Pattern[str], whole: str) -> bool:
        """`form`, once or more, and for the rest courtesies."""
        at, found = 0, False
        while at < len(whole):
            if (match := form.match(whole, at)) is not None:
                found = True
            elif (match := self._around.match(whole, at)) is None:
                return False
            at = match.end()
        return found

    def _clauses(self, text: str) -> Iterable[str]:
        for clause in _CLAUSE.split(text):
            current: list[str] = []
            for token in tokens(clause)[-MAX_WORDS:]:
                if token in self._joints and current:
                    yield _spaced(current)
                    current = []
                current.append(token)
            if current:
                yield _spaced(current)


class Mentions:
    """Tells texts that hold one of some patterns, wherever in it. Raises `PatternError`."""

    def __init__(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            check_pattern(pattern)
        self._mentioned = re.compile(f"(?:^| ){_any(patterns)}")

    def __call__(self, text: str) -> bool:
        return self._mentioned.search(_spaced(tokens(text))) is not None


def check_pattern(pattern: str) -> None:
    """Raises `PatternError` where `pattern` cannot be read or has no words that must be there."""
    if re.fullmatch(_compiled(pattern), ""):
        raise PatternError(f"{pattern!r} holds no word that has to be said")


def _alone(phrase: SetPhrase, words: SetWords) -> re.Pattern[str]:
    """What may make up a whole turn."""
    forms = [*phrase.said]
    if phrase.meaning == "person":
        forms += words.person_alone
    elif phrase.meaning == "emergency":
        forms += words.emergency_alone
    return re.compile(_any(forms))


def _request(phrase: SetPhrase, words: SetWords) -> re.Pattern[str] | None:
    """One clause: the request, with courtesies around it and perhaps what it is about."""
    if phrase.meaning == "emergency":
        forms = [_compiled(form) for form in words.emergency]
    elif phrase.meaning == "person":
        person = _any([*words.persons, *phrase.said])
        forms = [_compiled(form).replace("@ ", person) for form in words.requests]
    else:
        forms = []
    if not forms:
        return None
    about = f"(?:{_any(words.about)}.*)?" if words.about else ""
    around = _any((*words.around, *words.joints))
    return re.compile(f"{around}*+(?:{'|'.join(forms)}){around}*+{about}")


def _any(patterns: Sequence[str]) -> str:
    """One of `patterns`, longest first, so that "thank you" is not taken for "thank"."""
    ordered = sorted(patterns, key=len, reverse=True)
    return f"(?:{'|'.join(_compiled(pattern) for pattern in ordered)})" if ordered else "(?!)"


def _compiled(pattern: str) -> str:
    """A regular expression over words that each have a space behind them. `@` stands for itself."""
    found, end = [], 0
    for piece in _PIECE.finditer(pattern):
        if piece.start() != end:
            break
        end = piece.end()
        optional, choice, plain = piece.groups()
        if plain is not None:
            found.append(_escaped(plain))
            continue
        inner = optional if optional is not None else choice
        options = [_escaped(option) for option in inner.split("|")]
        if not all(options):
            raise PatternError(f"{pattern!r}: write words between the brackets, with | between them")
        found.append(f"(?:{'|'.join(options)}){'?' if optional is not None else ''}")
    if end != len(pattern):
        raise PatternError(f"{pattern!r}: brackets are closed in the order they are opened, and not nested")
    return "".join(found)


def _escaped(plain: str) -> str:
    return "".join(f"{re.escape(token)} " for token in (["@"] if plain.strip() == "@" else _words(plain)))


def _words(plain: str) -> list[str]:
    """The words of a pattern's piece, `@` among them."""
    return [word for part in re.split(r"(@)", plain) for word in (["@"] if part == "@" else tokens(part))]


def _spaced(words: Sequence[str]) -> str:
    return "".join(f"{word} " for word in words)
