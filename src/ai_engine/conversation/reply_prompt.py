"""The messages of one reply: the persona as a stable prefix, then the history, then what belongs to this turn only.

A prompt is read once and kept in the model's cache as long as its beginning does not change. So facts, the time and
the caller's data never go into the system message: they stand in the last message, beside the question.

Very small models do not follow instructions, they follow examples: `Match.examples` holds those closest to what the
caller said. They too stand beside the question; larger models do better without.
"""

from __future__ import annotations

from collections.abc import Sequence

from ai_engine.conversation.known_answers import KnownAnswer
from ai_engine.conversation.small_talk import HONEST_LINE
from voice_core.history import Message

__all__ = ["HONEST_LINE", "build_messages"]


def build_messages(
    system_prompt: str,
    history: Sequence[Message],
    question: str,
    near_facts: Sequence[KnownAnswer],
    *,
    notes: Sequence[str] = (),
    examples: Sequence[tuple[str, str]] = (),
) -> list[dict[str, str]]:
    """System prompt, history as it was said, examples (remark and answer), the question with its facts.

    `notes` are short sentences of this turn, such as the time or the caller's name. The history holds earlier questions
    bare, as they were asked, so that the cached prefix only ever grows.
    """
    messages = [{"role": "system", "content": system_prompt}]
    messages += [{"role": message.role, "content": message.content} for message in history]
    for said, answer in examples:
        messages.append({"role": "user", "content": said})
        messages.append({"role": "assistant", "content": answer})
    known = [*notes, *(fact.answer for fact in near_facts)]
    messages.append({"role": "user", "content": f"(Known: {' '.join(known)}) {question}" if known else question})
    return messages
