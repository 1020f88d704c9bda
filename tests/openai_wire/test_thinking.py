"""A reasoning model's thoughts are not spoken, wherever its pieces are cut."""

import pytest

from local_ai_server.backends.llm.chat_request import SpokenText, Wishes
from openai_wire.thinking import ThinkingFilter


def spoken(text, size, *, inside=False, complete=True):
    thoughts = ThinkingFilter(inside=inside)
    said = "".join(thoughts.feed(text[i : i + size]) for i in range(0, len(text), size))
    return said + thoughts.rest(complete=complete)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>hm</think>Yes.", "Yes."),
        ("Well <think>a</think>then <thinking>b < c</thinking>yes.", "Well then yes."),
        ("5 < 6 and <b>bold</b>, <thin", "5 < 6 and <b>bold</b>, <thin"),
        ("Yes.<think>never ends", "Yes."),
        ("<think>a</thin</think>b", "b"),
        ("", ""),
    ],
)
def test_thoughts_are_left_out(text, said, size):
    assert spoken(text, size) == said


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_thought_that_began_in_the_prompt(size):
    assert spoken("hm</think>Yes.", size, inside=True) == "Yes."
    assert spoken("Yes, no thought.", size, inside=True) == "Yes, no thought."
    assert spoken("hm, cut off", size, inside=True, complete=False) == ""


def test_the_first_words_stand_without_a_space_before_them():
    text = SpokenText(Wishes.of({"sanitize_output": True}))
    assert [text.feed(piece) for piece in ("<think>x</think>", "\n\n", " **Yes**", " sir")] == ["", "", "Yes", " sir"]
