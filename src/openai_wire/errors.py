"""Why another server did not answer, or did not speak. local_ai_server tells these apart by name.

LlmError
├── LlmUnavailable    the server cannot be reached, is starting, failed, or hung up: try again
├── LlmMisconfigured  it will refuse every time: a wrong key, a model that it does not have
├── LlmBusy           it has no room now (429): try again later
├── LlmTimeout        it was silent for too long
└── LlmRefused        it cannot do what this one request asks for
    └── LlmPromptTooLong  the prompt does not fit into its window

TtsError              of a server that speaks, in the same sense:
├── TtsUnavailable, TtsMisconfigured, TtsBusy, TtsTimeout
└── SpeechRefused     this one request asks for what cannot be: a speed, a text that is too long

SttError              of a server that hears:
└── SttUnavailable, SttMisconfigured, SttBusy, SttTimeout, SttRefused
"""

from __future__ import annotations


def without_key(words: str, key: str) -> str:
    """What a server said, less the key that it was shown. Before anything is cut off, or a part of it would stay."""
    return words.replace(key, "(the key)") if key else words


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


class TtsError(RuntimeError):
    """Root of those of speech."""


class SpeechRefused(TtsError):
    """The request cannot be met as it is."""


class TtsUnavailable(TtsError):
    """Another attempt may succeed."""


class TtsMisconfigured(TtsError):
    """No attempt will succeed until a setting is changed."""


class TtsBusy(TtsError):
    """The other server said that it has too much to do."""


class TtsTimeout(TtsError):
    """No audio came in time."""


class SttError(RuntimeError):
    """Root of those of hearing."""


class SttUnavailable(SttError):
    """Another attempt may succeed."""


class SttMisconfigured(SttError):
    """No attempt will succeed until a setting is changed."""


class SttBusy(SttError):
    """The other server said that it has too much to do."""


class SttTimeout(SttError):
    """No transcript came in time."""


class SttRefused(SttError):
    """The request cannot be met as it is."""
