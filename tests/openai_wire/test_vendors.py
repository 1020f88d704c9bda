"""How models are kept from thinking aloud, by their server and name."""

import pytest

from openai_wire.vendors import OLLAMA, OPENAI, REASONING_EFFORTS, UNKNOWN, VLLM, without_thinking


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("gpt-5", "minimal"),
        ("gpt-5-mini-2025-08-07", "minimal"),
        ("gpt-5.1", "none"),
        ("gpt-5.4-mini", "none"),
        ("o3", "low"),
        ("o4-mini-2025-04-16", "low"),
        ("gpt-4o-mini", None),
        ("gpt-4.1", None),
        ("gpt-5-chat-latest", None),
        ("gpt-5-pro", None),
    ],
)
def test_openais_models_think_as_little_as_they_can(model: str, effort: str | None) -> None:
    assert without_thinking(OPENAI, model) == ({} if effort is None else {"reasoning_effort": effort})
    assert effort is None or effort in REASONING_EFFORTS


def test_other_servers_are_told_in_their_own_words() -> None:
    assert without_thinking(VLLM, "qwen3") == {"chat_template_kwargs": {"enable_thinking": False}}
    assert without_thinking(OLLAMA, "gpt-5") == {"reasoning_effort": "none"}
    assert without_thinking(UNKNOWN, "gpt-5") == {}
