"""What a chat completion may ask for: OpenAI's fields, those of other local servers, and what becomes of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from voice_wire.wire_model import BlankIsNone

IGNORED: Final[Mapping[str, str]] = {
    "metadata": "nothing is stored",
    "store": "nothing is stored",
    "service_tier": "there is one",
    "reasoning_effort": "models answer without thinking aloud",
    "chat_template_kwargs": "models answer without thinking aloud",
    "verbosity": "say it in the prompt",
    "prediction": "answers are the same without it",
    "prompt_cache_retention": "prompts are kept in memory as long as there is room",
    "prompt_cache_options": "prompts are kept in memory as long as there is room",
    "cache_prompt": "prompts are always cached",
    "id_slot": "`prompt_cache_key` says which prompts belong together",
}
"""Taken and without effect: the answer is what it would be."""
REFUSED: Final[Mapping[str, str]] = {
    "logit_bias": "it is not supported; leave it out",
    "logprobs": "it is not supported; leave it out",
    "top_logprobs": "it is not supported; leave it out",
    "audio": "answers are text; speak them with /v1/audio/speech",
    "functions": "it is deprecated; use tools",
    "function_call": "it is deprecated; use tool_choice",
    "web_search_options": "nothing is searched here; leave it out",
    "moderation": "nothing is moderated here; leave it out",
}
"""Refused with these words, unless it asks for nothing (null, false, 0, empty)."""

_Penalty = Annotated[float, Field(ge=-5, le=5, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Tokens = Annotated[int, Field(ge=1)]
_Stop = Annotated[str, Field(min_length=1, max_length=200)]
_Key = Annotated[Annotated[str, Field(max_length=512)] | None, BlankIsNone]


class StreamOptions(BaseModel):
    """`stream_options`"""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The body of `/v1/chat/completions`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)

    model: Annotated[str, Field(max_length=300)] = "default"
    """An id of `/v1/models`; `default` and `local` are the language model that is loaded."""
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=2000)]
    """Roles system, developer, user, assistant, tool; content is text, or a list of text parts."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None

    temperature: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=10_000)] | None = None
    min_p: _Share | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=5, allow_inf_nan=False)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=5, allow_inf_nan=False)] | None = None
    """llama-server's name of `repetition_penalty`."""
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    """The same; it goes before `max_tokens`."""
    stop: _Stop | Annotated[list[_Stop], Field(max_length=16)] | None = None
    seed: int | None = None

    tools: Annotated[list[dict[str, Any]], Field(max_length=64)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None

    prompt_cache_key: _Key = None
    """Requests of one conversation: what they have in common is read once."""
    safety_identifier: _Key = None
    """Stands for `prompt_cache_key` where that is not given."""
    user: _Key = None
    """The same."""
    sanitize_output: bool | None = None
    """Leave out what cannot be spoken: markdown marks, emoji."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, body: Any) -> Any:
        if not isinstance(body, Mapping):
            return body
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise _refused("a text holds half a character (a lone surrogate); send valid Unicode") from None
        for name, reason in REFUSED.items():
            if body.get(name):
                raise _refused(f"{name}: {reason}")
        left = {name: value for name, value in body.items() if name not in IGNORED and name not in REFUSED}
        if unknown := sorted(set(left) - set(cls.model_fields)):
            raise _refused(
                f"{unknown[0][:60]}: no such field; docs/http-api.md lists those that are served, beside them are "
                f"ignored: {', '.join(IGNORED)}"
            )
        return left

    @property
    def cache_key(self) -> str | None:
        """Names the conversation; None where nothing does."""
        return self.prompt_cache_key or self.safety_identifier or self.user


def _refused(reason: str) -> PydanticCustomError:
    return PydanticCustomError("chat_field", "{reason}", {"reason": reason})
