"""Known answers: a persona's question-answer pairs, matched by meaning and spoken as written.

A wrong fact is worse than none, so a match must pass four checks: the score (meaning and shared subject words), the
margin to the second best *pair*, the same days, numbers and names on both sides, and the form of the question: compound
and follow-up questions, statements and small talk are never answered from the pairs. What is close but not sure is
`near`: its facts go beside the question to the language model. Words that only answer or greet ('Yes.') match where
they are a wording word for word.

The score is `(1 - w) * similarity + w * coverage`. Similarity is the cosine of the embeddings after the mean of
everyday phrases and of the persona's wordings is taken off: e5 puts any two texts at 0.75 to 0.95, centring spreads
that to 0.2 to 1. Coverage is the share of the question's subject words that occur in the pair.

Everything here is pure given the vectors. `KnownAnswerIndex` takes them from outside (the embedding worker):

    index = KnownAnswerIndex(pairs, await worker.embed(texts_to_index(pairs)), thresholds)
    question = read_question(words)
    match = index.decide(question, await worker.embed(texts_to_match(question)))

`KnownAnswers` does the same with a synchronous embedder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ai_engine.conversation.embedding import Embedder, Vectors
from ai_engine.conversation.english_words import subject_words
from ai_engine.conversation.question_form import (
    QuestionForm,
    bindings,
    read_question,
    spanned_weekdays,
    words_of,
)
from ai_engine.conversation.small_talk import SMALL_TALK

_EVERYDAY = tuple(read_question(said).text or said.lower().strip(".?") for said, _ in SMALL_TALK)
"""Their mean, with that of the persona's wordings, is the point similarity is measured from."""

_CLOSEST_EXAMPLES = 2
_EXAMPLE_SPREAD = 0.2
"""Examples this much less similar than the closest mislead more than they teach."""

_OTHER_DAY_PENALTY = 0.1
"""Off a wording's similarity when it names a day, a number or a name that the question does not."""

_OTHER_DAY_LEAD = 0.05
"""A pair about the right day takes the place of a better one about another day from no further behind than this."""

_LEAST_WEIGHT = 0.2
_FOREIGN_WEIGHT = 1.3
"""Of a subject word that no pair holds: the question is probably about something else."""
_ANSWER_CREDIT = 0.4

_SETTLED_SCORE = 0.93
"""What scores less is answered too, but lacks something: "what is your e-mail" 0.91, "can you repair" 0.82."""

_COVERAGE_POWER = 2
"""One foreign word ('do you repair electric *scooters*') costs more than its share."""


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    id: str
    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores from 0 to 1; a persona may set its own (`known_answers:` in its YAML)."""

    accept_score: float = 0.65
    """At least this to be spoken. Above 1 nothing is: every fact goes through the language model."""
    margin: float = 0.03
    """At least this far ahead of the second best pair."""
    near_score: float = 0.36
    """At least this for the fact to be put beside the question."""
    coverage_weight: float = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    kind: Literal["answer", "near", "none"]
    pair: KnownAnswer | None
    """The best pair; for `answer` the one to speak."""
    score: float
    margin: float
    facts: tuple[KnownAnswer, ...] = ()
    """For `near`: what to put beside the question, best first; two when they tie, each part's for a compound one."""
    examples: tuple[tuple[str, str], ...] = ()
    """Small talk closest in meaning, the closest last: what callers say and its answer, for the prompt."""
    settled: bool | None = None
    """True: it is an answer, and more words would not change it. False: they may ("what are your opening hours" … "on
    Sunday"), or it is the beginning of a wording ("can you repair"). None: nothing can be told."""
    reason: str = ""
    """Why it is no answer: 'score', 'margin', 'bindings', 'compound', 'follow-up', 'statement'. For the timeline."""


@dataclass(frozen=True, slots=True)
class _IndexedPair:
    pair: KnownAnswer
    vocabulary: frozenset[str]
    """Subject words of its wordings."""
    answer_vocabulary: frozenset[str]
    bindings: frozenset[str]
    words: frozenset[str]
    has_statements: bool
    """One of its wordings is no question ('My chain broke'), so a statement may match it."""
    formulas: frozenset[str]
    """Wordings like 'Yes, please', which match word for word."""

    def covers(self, word: str) -> float:
        """1 for a word it is asked by, less for one that only its answer holds ('... with a helmet and a lock')."""
        return 1.0 if word in self.vocabulary else _ANSWER_CREDIT if word in self.answer_vocabulary else 0.0


def texts_to_index(pairs: Sequence[KnownAnswer], *, language: str = "en") -> list[str]:
    """What to embed once per persona, in the order `KnownAnswerIndex` expects."""
    texts = [read_question(wording, language=language).text for pair in pairs for wording in pair.questions]
    return [*_EVERYDAY, *texts]


def texts_to_match(question: QuestionForm) -> list[str]:
    """What to embed for one question: all of it and, of a compound one, each clause."""
    return [question.text, *(question.clauses if question.compound else ())]


class KnownAnswerIndex:
    def __init__(
        self,
        pairs: Sequence[KnownAnswer],
        vectors: Vectors,
        thresholds: Thresholds | None = None,
        *,
        language: str = "en",
    ) -> None:
        """`vectors`: the embeddings of `texts_to_index(pairs)`. Raises ValueError when they are not as many."""
        self.thresholds = thresholds or Thresholds()
        self._pairs = [_index(pair, language) for pair in pairs]
        counts = [len(pair.questions) for pair in pairs]
        if len(vectors) != len(_EVERYDAY) + sum(counts):
            raise ValueError(f"{len(vectors)} vectors for {len(_EVERYDAY) + sum(counts)} texts")
        everyday, wordings = vectors[: len(_EVERYDAY)], vectors[len(_EVERYDAY) :]
        means = [part.mean(axis=0) for part in (everyday, wordings) if len(part)]
        self._centre = np.mean(means, axis=0, dtype=np.float32)
        self._wordings = self._centred(wordings)
        self._everyday = self._centred(everyday)
        self._pair_of = np.repeat(np.arange(len(pairs)), counts)
        self._weights = self._subject_weights()
        self._wording_bindings = [bindings(wording) for pair in pairs for wording in pair.questions]
        forms = [read_question(wording, language=language) for pair in pairs for wording in pair.questions]
        self._wording_words = [form.text.split() for form in forms]
        self._wording_subjects = [form.subject for form in forms]

    def decide(self, question: QuestionForm, vectors: Vectors) -> Match:
        """`vectors`: the embeddings of `texts_to_match(question)`."""
        examples = self._closest_examples(vectors[0])
        if question.formula and self.thresholds.accept_score <= 1:
            agreed = next((one.pair for one in self._pairs if question.formula in one.formulas), None)
            if agreed is not None:
                return Match("answer", agreed, 1.0, 1.0, settled=True)
        if not self._pairs or not question.text:
            return Match("none", None, 0.0, 0.0, examples=examples, reason="statement")
        scores = self._scores(question.subject, question.bindings, vectors[0])
        order, margin = self._ranked(question, scores)
        best = self._pairs[order[0]]
        score = float(scores[order[0]])
        goes_on = self._goes_on(question)
        if question.compound and not self._clauses_agree(question, vectors, order[0]):
            reason: str | None = "compound"
        else:
            reason = self._objection(question, best, score, margin)
        unsettled = False if goes_on else None
        if reason is None:
            settled = score >= _SETTLED_SCORE and not goes_on and not self._varies(question, order[0])
            return Match("answer", best.pair, score, margin, settled=settled)
        if reason == "statement":
            return Match("none", best.pair, score, margin, examples=examples, settled=unsettled, reason=reason)
        facts = self._facts(question, vectors, order, scores)
        return Match("near" if facts else "none", best.pair, score, margin, facts, examples, unsettled, reason)

    def _goes_on(self, question: QuestionForm) -> bool:
        """The words are the beginning of a wording that goes on."""
        words = question.text.split()
        n = len(words)
        return n > 1 and any(len(wording) > n and wording[:n] == words for wording in self._wording_words)

    def _varies(self, question: QuestionForm, best: int) -> bool:
        """It names no day, and with one behind it, it is a question that another pair answers."""
        return not question.bindings and any(
            pair != best and bound and subject and subject <= question.subject
            for pair, bound, subject in zip(self._pair_of, self._wording_bindings, self._wording_subjects, strict=True)
        )

    def _closest_examples(self, vector: Vectors) -> tuple[tuple[str, str], ...]:
        similarity = self._everyday @ self._centred(vector[None])[0]
        order = np.argsort(similarity, kind="stable")[-_CLOSEST_EXAMPLES:]
        least = similarity[order[-1]] - _EXAMPLE_SPREAD
        return tuple(SMALL_TALK[index] for index in order if similarity[index] >= least)

    def _ranked(self, question: QuestionForm, scores: np.ndarray) -> tuple[list[int], float]:
        """Pairs best first, and the best one's margin.

        Where the best is about another day and one about the right day is close behind, that one leads; pairs about
        another day are then no rivals.
        """
        order = [int(index) for index in np.argsort(-scores, kind="stable")]
        if question.bindings:
            fitting = [index for index in order if _same_bindings(question, self._pairs[index])]
            if fitting and scores[order[0]] - scores[fitting[0]] <= _OTHER_DAY_LEAD:
                rivals = fitting[1:]
                order = [fitting[0], *(index for index in order if index != fitting[0])]
                return order, float(scores[order[0]] - (scores[rivals[0]] if rivals else 0.0))
        return order, float(scores[order[0]] - (scores[order[1]] if len(order) > 1 else 0.0))

    def _objection(self, question: QuestionForm, best: _IndexedPair, score: float, margin: float) -> str | None:
        if not question.asks and not best.has_statements:
            return "statement"
        if question.follow_up or question.pronouns - best.words:
            return "follow-up"
        if not _same_bindings(question, best):
            return "bindings"
        if score < self.thresholds.accept_score:
            return "score" if question.asks else "statement"
        if margin < self.thresholds.margin:
            return "margin"
        return None

    def _clauses_agree(self, question: QuestionForm, vectors: Vectors, best: int) -> bool:
        return all(
            int(np.argmax(self._scores(subject_words(clause), bindings(clause), vector))) == best
            for clause, vector in zip(question.clauses, vectors[1:], strict=True)
        )

    def _facts(
        self, question: QuestionForm, vectors: Vectors, order: list[int], scores: np.ndarray
    ) -> tuple[KnownAnswer, ...]:
        best = scores[order[0]]
        tied = [index for index in order[:2] if best - scores[index] < self.thresholds.margin]
        chosen = tied if best >= self.thresholds.near_score else []
        if question.compound:
            for clause, vector in zip(question.clauses, vectors[1:], strict=True):
                clause_scores = self._scores(subject_words(clause), bindings(clause), vector)
                index = int(np.argmax(clause_scores))
                if clause_scores[index] >= self.thresholds.near_score and index not in chosen:
                    chosen.append(index)
        return tuple(self._pairs[index].pair for index in chosen)

    def _scores(self, subject: frozenset[str], bound: frozenset[str], vector: Vectors) -> np.ndarray:
        """One score per pair: its best wording's similarity, weighed with the coverage of the subject."""
        similarity = self._wordings @ self._centred(vector[None])[0]
        similarity -= [_OTHER_DAY_PENALTY if wording - bound else 0.0 for wording in self._wording_bindings]
        per_pair = np.full(len(self._pairs), -1.0, np.float32)
        np.maximum.at(per_pair, self._pair_of, similarity)
        weight = self.thresholds.coverage_weight if subject else 0.0
        weights = {word: self._weights.get(word, _FOREIGN_WEIGHT) for word in subject}
        whole = sum(weights.values()) or 1.0
        coverage = np.array([sum(weights[word] * p.covers(word) for word in subject) / whole for p in self._pairs])
        mixed: np.ndarray = (1 - weight) * np.clip(per_pair, 0, 1) + weight * coverage**_COVERAGE_POWER
        return mixed

    def _subject_weights(self) -> dict[str, float]:
        """1 for a word of one pair, less for one that many share: 'bike' says little at a bicycle repair shop."""
        counts = Counter(word for pair in self._pairs for word in pair.vocabulary)
        return {word: max(1.0 - (count - 1) / len(self._pairs), _LEAST_WEIGHT) for word, count in counts.items()}

    def _centred(self, vectors: Vectors) -> Vectors:
        shifted = vectors - self._centre
        lengths = np.linalg.norm(shifted, axis=1, keepdims=True)
        result: Vectors = shifted / np.maximum(lengths, 1e-9)
        return result


class KnownAnswers:
    """A `KnownAnswerIndex` with its embedder, for use inside the worker, in tests and in benchmarks."""

    def __init__(
        self,
        pairs: Sequence[KnownAnswer],
        embed: Embedder,
        thresholds: Thresholds | None = None,
        *,
        language: str = "en",
    ) -> None:
        self._embedder = embed
        self._language = language
        vectors = embed.embed(texts_to_index(pairs, language=language))
        self.index = KnownAnswerIndex(pairs, vectors, thresholds, language=language)

    def match(self, question: str) -> Match:
        form = read_question(question, language=self._language)
        return self.index.decide(form, self._embedder.embed(texts_to_match(form)))


def _same_bindings(question: QuestionForm, pair: _IndexedPair) -> bool:
    return all(
        binding.removeprefix("name:") in pair.words if binding.startswith("name:") else binding in pair.bindings
        for binding in question.bindings
    )


def _index(pair: KnownAnswer, language: str) -> _IndexedPair:
    texts = (*pair.questions, pair.answer)
    forms = [read_question(wording, language=language) for wording in pair.questions]
    return _IndexedPair(
        pair=pair,
        vocabulary=frozenset().union(*(form.subject for form in forms)),
        answer_vocabulary=subject_words(pair.answer.lower()),
        bindings=frozenset().union(*(bindings(text) | spanned_weekdays(text) for text in texts)),
        words=words_of(texts),
        has_statements=not all(form.asks for form in forms),
        formulas=frozenset(form.formula for form in forms if form.formula),
    )
