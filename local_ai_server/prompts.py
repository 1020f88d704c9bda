"""Fitting a conversation into a context window. Pure: messages and a token counter in, messages out.

The client sends the whole conversation each time. What does not fit goes in this order:

1. the oldest turns, and when that has to happen so many at once that the prompt falls to 60 % of the window: the next
   turns then only append, and the prompt's prefix stays in the model's cache for several turns instead of none;
2. the end of the system prompt;
3. the beginning of the caller's last message (and the end of facts beside it), the longest first;

and `max_tokens` shrinks to what is left, down to `min_answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

REFILL: Final = 0.6
"""Share of the window that the prompt may fill after turns were dropped."""
MIN_ANSWER_TOKENS: Final = 64
"""About two spoken sentences. Turns are dropped rather than the answer be shorter than this (or than was asked)."""


class Message(TypedDict):
    role: str
    content: str


Count = Callable[[Sequence[Message]], int]
"""Tokens of a prompt made of these messages, template and generation prompt included."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A prompt that fits, and what it cost."""

    messages: tuple[Message, ...]
    prompt_tokens: int
    max_tokens: int
    dropped_messages: int
    """Oldest messages after the system prompt that were left out."""
    cut: bool
    """The system prompt or the last message lost a part."""


class PromptTooLong(ValueError):
    """The window is too small for the template and an answer, whatever is cut."""


class PromptFitter:
    """One session's fitting. It remembers where the kept turns begin, so that the next prompt begins the same."""

    def __init__(self, *, context_tokens: int) -> None:
        self._context_tokens = context_tokens
        self._dropped = 0
        self._first_kept: Message | None = None

    def fit(self, messages: Sequence[Message], *, max_tokens: int, count: Count) -> Fit:
        """`messages` cut to what fits beside an answer. Raises `PromptTooLong`."""
        head, turns = _split(messages)
        budget = self._context_tokens - min(max_tokens, MIN_ANSWER_TOKENS, max(1, self._context_tokens // 4))
        dropped = self._dropped_before(turns)
        tokens = count([*head, *turns[dropped:]])
        if tokens > budget:
            dropped, tokens = self._drop(head, turns, dropped, count)
        self._dropped, self._first_kept = dropped, turns[dropped] if dropped else None
        kept = turns[dropped:]
        cut = tokens > budget
        if cut:
            head, kept, tokens = _cut(head, kept, budget, count)
        return Fit(
            (*head, *kept),
            prompt_tokens=tokens,
            max_tokens=min(max_tokens, self._context_tokens - tokens),
            dropped_messages=dropped,
            cut=cut,
        )

    def _dropped_before(self, turns: Sequence[Message]) -> int:
        """How much of this conversation was dropped already; 0 when it is another conversation."""
        if 0 < self._dropped < len(turns) and turns[self._dropped] == self._first_kept:
            return self._dropped
        return 0

    def _drop(self, head: list[Message], turns: list[Message], dropped: int, count: Count) -> tuple[int, int]:
        """Oldest turns away until the prompt is at 60 %, or only the last question is left."""
        last = _last_question(turns)
        starts = [at for at in range(dropped + 1, last) if turns[at]["role"] == "user"] + [last]
        tokens = 0
        for start in starts:
            dropped = max(dropped, start)
            tokens = count([*head, *turns[dropped:]])
            if tokens <= self._context_tokens * REFILL:
                break
        return dropped, tokens


def _split(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system prompt (all leading system messages) and the rest."""
    at = 0
    while at < len(messages) and messages[at]["role"] == "system":
        at += 1
    return list(messages[:at]), list(messages[at:])


def _last_question(turns: Sequence[Message]) -> int:
    """Where the last user message begins, with the system messages right before it: the facts that belong to it."""
    at = len(turns) - 1
    while at > 0 and turns[at]["role"] != "user":
        at -= 1
    while at > 0 and turns[at - 1]["role"] == "system":
        at -= 1
    return max(at, 0)


def _cut(
    head: list[Message], turns: list[Message], budget: int, count: Count
) -> tuple[list[Message], list[Message], int]:
    """Shortens the system prompt, then the longest of the rest, until all fits; an emptied system prompt goes."""
    if head:
        head = [{"role": "system", "content": "\n".join(message["content"] for message in head)}]
    messages = [*head, *turns]
    longest_first = sorted(range(len(head), len(messages)), key=lambda at: -len(messages[at]["content"]))
    for at in (*range(len(head)), *longest_first):
        messages = _shorten(messages, at, budget, count)
        if count(messages) <= budget:
            break
    if head and turns and not messages[0]["content"]:
        messages, head = messages[1:], []
    tokens = count(messages)
    if tokens > budget or not any(message["content"] for message in messages):
        raise PromptTooLong(f"no prompt fits into {budget} tokens; give the model a larger context (LOCAL_LLM_CONTEXT)")
    return messages[: len(head)], messages[len(head) :], tokens


def _shorten(messages: list[Message], at: int, budget: int, count: Count) -> list[Message]:
    """`messages` with as much of the one at `at` as fits. Of what the caller said the end matters, where the question
    is; of instructions and facts the beginning."""
    role, text = messages[at]["role"], messages[at]["content"]

    def cut_to(n_chars: int) -> list[Message]:
        kept = text[len(text) - n_chars :] if role == "user" else text[:n_chars]
        shortened: Message = {"role": role, "content": kept}
        return [*messages[:at], shortened, *messages[at + 1 :]]

    return cut_to(_longest(len(text), lambda n: count(cut_to(n)) <= budget))


def _longest(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest n up to `limit` for which `fits(n)`, by halving; 0 when there is none."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
