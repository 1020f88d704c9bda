"""What a small model is offered for a remark, and what is done without asking it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ai_engine.conversation.embedding import Vectors
from ai_engine.providers.components.component import ToolWanted
from ai_engine.providers.tool_choice import ToolChoice, ToolChooser
from ai_engine.tools.tool import ToolSpec
from model_worker.errors import WorkerUnavailable


def parameters(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


TRANSFER = ToolSpec("transfer", "…", parameters(to={"enum": ["sales", "workshop"]}), said=("Put me through.",))
ORDER = ToolSpec("order", "…", parameters(number={"type": "string", "pattern": "^[0-9]{4}$"}), said=("My order?",))
HANG_UP = ToolSpec("hang_up", "…", parameters(), said=("Goodbye.",))
OPEN = ToolSpec("weather", "…", parameters())
TOOLS = (TRANSFER, ORDER, HANG_UP, OPEN)
MEANT = {"put me through": 0, "my order": 1, "goodbye": 2}


class FakeEmbedder:
    """The words of a wording mean it; all else means nothing of it."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.down = False

    async def embed(self, texts: Sequence[str], *, speculative: bool = False) -> Vectors:
        if self.down:
            raise WorkerUnavailable("the worker is away")
        self.asked.append(list(texts))
        vectors = np.zeros((len(texts), 8), np.float32)
        for row, text in enumerate(texts):
            vectors[row, next((place for words, place in MEANT.items() if words in text), 5)] = 1.0
        return vectors


@pytest.mark.parametrize(
    ("remark", "choice"),
    [
        ("Put me through to sales.", ToolChoice((), (ToolWanted("transfer", '{"to": "sales"}'),))),
        ("Put me through to somebody.", ToolChoice((TRANSFER,))),
        ("My order is 4711.", ToolChoice((), (ToolWanted("order", '{"number": "4711"}'),))),
        ("My order is late.", ToolChoice((OPEN,))),
        ("Goodbye.", ToolChoice((), (ToolWanted("hang_up", "{}"),))),
        ("What is the weather like?", ToolChoice((OPEN,))),
    ],
)
async def test_words_choose(remark: str, choice: ToolChoice) -> None:
    assert await ToolChooser(FakeEmbedder()).choose(remark, TOOLS, speculative=True) == choice


async def test_tools_without_wordings_are_offered_and_nothing_is_compared() -> None:
    embedder = FakeEmbedder()
    chooser = ToolChooser(embedder)
    await chooser.prepare((OPEN,))
    assert await chooser.choose("Goodbye.", (OPEN,), speculative=False) == ToolChoice((OPEN,))
    assert embedder.asked == []


async def test_wordings_are_embedded_once_with_what_callers_say_who_want_none() -> None:
    embedder = FakeEmbedder()
    chooser = ToolChooser(embedder, ["Do you have a terrace?"])
    await chooser.prepare(TOOLS)
    await chooser.choose("Goodbye.", TOOLS, speculative=False)
    assert [len(texts) > 1 for texts in embedder.asked] == [True, False]
    assert "do you have a terrace" in embedder.asked[0]


async def test_where_meanings_cannot_be_compared_the_model_chooses() -> None:
    embedder = FakeEmbedder()
    embedder.down = True
    assert await ToolChooser(embedder).choose("Goodbye.", TOOLS, speculative=False) == ToolChoice(TOOLS)


async def test_sets_of_tools_are_not_kept_for_ever() -> None:
    embedder = FakeEmbedder()
    chooser = ToolChooser(embedder)
    for n in range(9):
        await chooser.prepare((ToolSpec(f"tool{n}", "…", parameters(), said=("Goodbye.",)),))
    await chooser.prepare((ToolSpec("tool0", "…", parameters(), said=("Goodbye.",)),))
    assert len(embedder.asked) == 10
