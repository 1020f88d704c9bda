"""Why a language model on another server did not answer. local_ai_server tells these apart by name.

LlmError
├── LlmUnavailable    the server cannot be reached, is starting, failed, or hung up: try again
├── LlmMisconfigured  it will refuse every time: a wrong key, a model that it does not have
├── LlmBusy           it has no room now (429): try again later
├── LlmTimeout        it was silent for too long
└── LlmRefused        it cannot do what this one request asks for
    └── LlmPromptTooLong  the prompt does not fit into its window
"""

from __future__ import annotations


class LlmError(RuntimeError):
    """Root of these errors."""


class LlmUnavailable(LlmError):
    """Another attempt may succeed."""


class LlmMisconfigured(LlmError):
    """No attempt will succeed until a setting is changed."""


class LlmBusy(LlmError):
    """The server said that it has too much to do."""


class LlmTimeout(LlmError):
    """No token came in time."""


class LlmRefused(LlmError):
    """A schema that makes no grammar, a field that the server does not know."""


class LlmPromptTooLong(LlmRefused):
    """More than the model's window holds."""
