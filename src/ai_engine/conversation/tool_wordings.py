"""Which tool a caller plainly asks for, by what callers say who want it: for models too small to choose.

The wordings of the tools are compared in meaning with the remark, and so is what callers say who want none: small talk,
the persona's known questions, and what the configuration names as `not_said`. Pure given the vectors, as known answers
are (`known_answers`): every similarity is a cosine after the mean of all these texts was taken off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from ai_engine.conversation.embedding import Vectors
from ai_engine.conversation.small_talk import SMALL_TALK

ACCEPT_SIMILARITY: Final = 0.4
"""Chosen on the utterances of benchmarks/tool_choice.py: 0.45 misses two more, 0.3 calls some that were not meant."""
_MARGIN: Final = 0.03
"""So far ahead of the next tool, at least; of remarks that want none it need only not be behind."""
_MOST_WORDS: Final = 24
"""A longer remark says something beside, and its meaning is a mixture."""
_POLITE_IF: Final = re.compile(r"\bif (possible|you can|you could|that('s| is) (possible|okay|ok|all right|fine))\b")
_DENIALS: Final[Mapping[str, re.Pattern[str]]] = {
    "en": re.compile(r"\b(not|never|cannot|why|if|wait)\b|n't\b"),
    "de": re.compile(r"\b(nicht|kein\w*|nie|niemals|warum|wieso|wenn|falls|warten?)\b"),
    "fr": re.compile(r"\b(pas|jamais|pourquoi|si|attendez)\b"),
    "es": re.compile(r"\b(nunca|por qué|si|espere?)\b|\bno (?!,)"),
    "it": re.compile(r"\b(non|mai|perché|se|aspetti?)\b"),
    "pt": re.compile(r"\b(não|nunca|por que|se|espere?)\b"),
    "nl": re.compile(r"\b(niet|geen|nooit|waarom|als|wacht)\b"),
}
"""Words that turn a wording into its contrary, or into a question about it: meaning alone does not see them."""


class Worded(Protocol):
    """What is known of a tool here: `ToolSpec`."""

    @property
    def name(self) -> str: ...
    @property
    def said(self) -> tuple[str, ...]: ...
    @property
    def not_said(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Wordings:
    """The texts of one set of tools, and of what else callers say."""

    tools: tuple[Worded, ...]
    others: tuple[str, ...] = ()
    """What they say who want no tool: the persona's known questions."""

    def texts(self) -> list[str]:
        """What is to be embedded, in the order that `ToolWordingIndex` expects."""
        wanted = [text for tool in self.tools for text in tool.said]
        unwanted = [text for tool in self.tools for text in tool.not_said]
        return [plain(text) for text in (*wanted, *unwanted, *(said for said, _ in SMALL_TALK), *self.others)]


class ToolWordingIndex:
    def __init__(self, wordings: Wordings, vectors: Vectors, *, language: str = "en") -> None:
        """`vectors`: the embeddings of `wordings.texts()`. Raises `ValueError` when they are not as many."""
        self._names = [tool.name for tool in wordings.tools for _ in tool.said]
        if len(vectors) != len(wordings.texts()):
            raise ValueError(f"{len(vectors)} vectors for {len(wordings.texts())} texts")
        wanted, unwanted = vectors[: len(self._names)], vectors[len(self._names) :]
        self._centre = np.mean([wanted.mean(axis=0), unwanted.mean(axis=0)], axis=0, dtype=np.float32)
        self._wanted = self._centred(wanted)
        self._unwanted = self._centred(unwanted)
        self._denial = _DENIALS.get(language.partition("-")[0].lower())

    def guess(self, remark: str, vector: Vectors) -> str | None:
        """The name of the tool that is asked for; `vector` is the embedding of `plain(remark)`, of one dimension."""
        said = _POLITE_IF.sub("", remark.lower().replace("\u2019", "'"))
        if len(said.split()) > _MOST_WORDS or (self._denial is not None and self._denial.search(said)):
            return None
        centred = self._centred(vector[None])[0]
        best: dict[str, float] = {}
        for name, similarity in zip(self._names, self._wanted @ centred, strict=True):
            best[name] = max(best.get(name, -1.0), float(similarity))
        (name, similarity), *rest = sorted(best.items(), key=lambda item: -item[1])
        if similarity < ACCEPT_SIMILARITY or similarity < float(np.max(self._unwanted @ centred)) - 1e-6:
            return None
        return None if rest and similarity - rest[0][1] < _MARGIN else name

    def _centred(self, vectors: Vectors) -> Vectors:
        shifted = vectors - self._centre
        result: Vectors = shifted / np.maximum(np.linalg.norm(shifted, axis=1, keepdims=True), 1e-9)
        return result


def plain(text: str) -> str:
    """As wordings and remarks are embedded: capitals and the last mark would count for more than they mean."""
    return text.lower().strip(" .?!")
