"""Which tool a caller asks for, by the wordings of the configuration, on vectors made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ai_engine.conversation.tool_wordings import ToolWordingIndex, Wordings, plain
from ai_engine.tools.tool import ToolSpec

DIMENSIONS = 16
MESSAGE = ToolSpec("leave_message", "Takes a message.", {}, said=("I want to leave a message.",))
GOODBYE = ToolSpec("hang_up", "Ends the call.", {}, said=("Goodbye.",), not_said=("Thank you.",))
WORDINGS = Wordings((MESSAGE, GOODBYE), ("Do you have a terrace?",))


def axis(n: int) -> np.ndarray:
    vector = np.zeros(DIMENSIONS, np.float32)
    vector[n] = 1.0
    return vector


def made_index(language: str = "en") -> ToolWordingIndex:
    """The message is axis 0, goodbye 1, "thank you" 2, all else 3."""
    texts = WORDINGS.texts()
    assert texts[:3] == ["i want to leave a message", "goodbye", "thank you"]
    assert texts[-1] == "do you have a terrace"
    return ToolWordingIndex(WORDINGS, np.stack([axis(min(n, 3)) for n in range(len(texts))]), language=language)


@pytest.mark.parametrize(
    ("remark", "vector", "name"),
    [
        ("A message, please.", axis(0), "leave_message"),
        ("Bye!", axis(1), "hang_up"),
        ("Thanks.", axis(2), None),
        ("Is there a terrace?", axis(3), None),
        ("Something else.", axis(9), None),
        ("A message and goodbye.", axis(0) + axis(1), None),
        ("I do not want to leave a message.", axis(0), None),
        ("Don\u2019t hang up.", axis(1), None),
        ("If I leave a message, who listens?", axis(0), None),
        ("A message, if possible.", axis(0), "leave_message"),
        (" ".join(["message"] * 25), axis(0), None),
    ],
)
def test_the_remark_gets_the_tool_that_it_means(remark: str, vector: np.ndarray, name: str | None) -> None:
    assert made_index().guess(remark, vector / np.linalg.norm(vector)) == name


def test_each_language_has_its_own_denials() -> None:
    assert made_index("de-AT").guess("Ich will keine Nachricht hinterlassen.", axis(0)) is None
    assert made_index("fr").guess("Je veux laisser un message.", axis(0)) == "leave_message"
    assert made_index("fi").guess("En halua.", axis(0)) == "leave_message"


def test_vectors_have_to_be_those_of_the_texts() -> None:
    with pytest.raises(ValueError, match="1 vectors for"):
        ToolWordingIndex(WORDINGS, axis(0)[None])


def test_capitals_and_the_last_mark_count_for_nothing() -> None:
    assert plain(" Goodbye! ") == plain("goodbye")
