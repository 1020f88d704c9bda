"""An answer that is long whatever the model would say: left to itself it ends when it likes, and may say nothing."""

from typing import Any, Final

WORDS: Final = ("wave", "ship", "storm")
LENGTH: Final = 60
SIXTY_WORDS: Final[dict[str, Any]] = {
    "type": "json_schema",
    "json_schema": {"type": "array", "items": {"enum": list(WORDS)}, "minItems": LENGTH, "maxItems": LENGTH},
}
"""As `response_format`."""
STORY: Final = [{"role": "user", "content": "Tell me a very long story about the sea."}]


def long_answer(request_id: str) -> dict[str, Any]:
    """The request of protocol version 3."""
    return {
        "type": "llm_request",
        "request_id": request_id,
        "messages": STORY,
        "response_format": SIXTY_WORDS,
        "sampling": {"max_tokens": 400},
        "stream": True,
    }
