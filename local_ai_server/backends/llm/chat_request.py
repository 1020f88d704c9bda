"""What every binding does alike with a request: reading its wishes, cleaning its text, telling what it cost."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from local_ai_server.backends.llm.speakable import speakable
from local_ai_server.prompts import Fit, Message
from model_worker.model import Answer
from openai_wire.stream import Outcome
from openai_wire.thinking import ThinkingFilter

DEFAULT_MAX_TOKENS: Final = 160
"""A spoken minute is about 200 tokens; nobody wants to be talked at for longer."""
CANARY: Final = ("generate", {"messages": [{"role": "user", "content": "Hi"}], "sampling": {"max_tokens": 2}})
LLAMA_SAMPLING: Final = {"repetition_penalty": "repeat_penalty"}
"""llama.cpp's names of sampling overrides, where they differ from ours."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """A request's `sampling`, taken apart."""

    max_tokens: int
    stop: tuple[str, ...]
    sanitize: bool
    overrides: Mapping[str, Any]
    """The rest, by our names; only what was set."""

    @classmethod
    def of(cls, sampling: Mapping[str, Any] | None) -> Wishes:
        """`sampling` as `voice_wire.messages.Sampling` has it; None is not set."""
        given = {name: value for name, value in (sampling or {}).items() if value is not None}
        return cls(
            max_tokens=given.pop("max_tokens", DEFAULT_MAX_TOKENS),
            stop=tuple(given.pop("stop", ())),
            sanitize=bool(given.pop("sanitize_output", False)),
            overrides=given,
        )

    def renamed(self, names: Mapping[str, str]) -> dict[str, Any]:
        """The overrides by an engine's names."""
        return {names.get(name, name): value for name, value in self.overrides.items()}


class SpokenText:
    """The text of one answer, piece by piece: no thoughts, no space before it, no marks if that was asked for."""

    def __init__(self, wishes: Wishes, *, inside_thoughts: bool = False) -> None:
        self._sanitize = wishes.sanitize
        self._thinking = ThinkingFilter(inside=inside_thoughts)
        self._begun = False

    def feed(self, text: str) -> str:
        """What of `text`, and of what was held back before it, may be said."""
        return self._clean(self._thinking.feed(text))

    def thoughts_are_apart(self) -> None:
        """The engine sends thoughts beside the answer: this text is none, however it would have begun."""
        self._thinking.leave()

    def rest(self, *, complete: bool = True) -> str:
        """What was held back, at the end; `complete`: the model ended by itself."""
        return self._clean(self._thinking.rest(complete=complete))

    def _clean(self, text: str) -> str:
        piece = speakable(text) if self._sanitize else text
        if not self._begun:
            piece = piece.lstrip()
            self._begun = bool(piece)
        return piece


def answer_of(outcome: Outcome, fit: Fit) -> Answer:
    """What `generate` returns; tokens are the prompt fitter's own count where the engine tells none."""
    cached = (outcome.usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    result: dict[str, Any] = {
        "finish_reason": "tool_calls" if outcome.tool_calls else outcome.finish_reason,
        "prompt_tokens": outcome.usage.get("prompt_tokens", fit.prompt_tokens),
        "cached_tokens": cached or 0,
        "completion_tokens": outcome.usage.get("completion_tokens", 0),
        "dropped_messages": fit.dropped_messages,
        "cut": fit.cut,
    }
    if outcome.tool_calls:
        result["tool_calls"] = outcome.tool_calls
    return result, b""


def to_be_answered(messages: list[Message]) -> list[Message]:
    """`messages` for a warm-up, with a question last.

    An assistant's line left last would be taken for the beginning of the answer and written differently from how the
    next question's prompt writes it: that line would then be read again every turn.
    """
    if messages and messages[-1]["role"] == "assistant":
        return [*messages, {"role": "user", "content": ""}]
    return messages


def without_text(generation: Generator[Answer, None, Answer]) -> Answer:
    """Runs a warm-up to its end and throws its text away."""
    while True:
        try:
            next(generation)
        except StopIteration as end:
            usage: dict[str, Any] = end.value[0]
            return {**usage, "completion_tokens": 0}, b""
