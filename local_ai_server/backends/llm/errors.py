"""Why a language model did not answer; `local_ai_server.service` tells these apart by name."""

from __future__ import annotations

from openai_wire.errors import (
    LlmBusy,
    LlmError,
    LlmMisconfigured,
    LlmPromptTooLong,
    LlmRefused,
    LlmTimeout,
    LlmUnavailable,
)

__all__ = [
    "LlmBusy",
    "LlmError",
    "LlmMisconfigured",
    "LlmPromptTooLong",
    "LlmRefused",
    "LlmTimeout",
    "LlmUnavailable",
]
