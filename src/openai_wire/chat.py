"""What a server of chat completions is asked, and which of its models: built from its vendor's ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openai_wire.errors import LlmMisconfigured
from openai_wire.setting_names import SettingNames
from openai_wire.vendors import STANDARD_SAMPLING, Vendor, without_thinking

_NAMED = 8
"""Models named in an error."""


def chat_request(
    vendor: Vendor,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    max_tokens: int,
    stop: Sequence[str] = (),
    sampling: Mapping[str, Any],
    thinking: bool,
    tools: Sequence[Mapping[str, Any]] = (),
    conversation: str = "",
) -> dict[str, Any]:
    """The body of a streamed request. Overrides in `sampling` that the vendor has no name for are left out.

    `conversation`: a name that its requests have in common, for servers that keep prompts by it.
    """
    names = {name: name for name in STANDARD_SAMPLING} | dict(vendor.sampling)
    return {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        vendor.max_tokens: max_tokens,
        **({"stop": list(stop)} if stop else {}),
        **({"tools": list(tools)} if tools else {}),
        **{names[name]: value for name, value in sampling.items() if name in names},
        **({} if thinking else without_thinking(vendor, model)),
        **({vendor.cache_key: conversation} if vendor.cache_key and conversation else {}),
    }


def choose_model(
    listing: Mapping[str, Any], wanted: str | None, *, url: str, names: SettingNames, only_one: bool = False
) -> Mapping[str, Any]:
    """The entry of `listing` (an answer of /models) that is asked; one that is not listed at all is taken on trust.

    Without `wanted` the first one, or with `only_one` the one there is. Raises `LlmMisconfigured` with what there is.
    """
    entries = listing.get("data")
    entries = [e for e in entries if isinstance(e, Mapping) and e.get("id")] if isinstance(entries, list) else []
    entries = [entry for entry in entries if entry.get("kind", "llm") == "llm"]  # local_ai_server lists all it has
    there = ", ".join(str(entry["id"]) for entry in entries[:_NAMED])
    if wanted is None:
        if not entries:
            raise LlmMisconfigured(f"{url}/models lists no model; load one there or set {names.model}")
        if only_one and len(entries) > 1:
            raise LlmMisconfigured(f"{url} has several models; set {names.model} to one of them: {there}")
        return dict(entries[0])
    found = next((entry for entry in entries if wanted in (entry["id"], *_aliases(entry))), None)
    if found is None and entries:
        raise LlmMisconfigured(f"{url} has no model {wanted!r}; set {names.model} to one of: {there}")
    return found or {"id": wanted}


def _aliases(entry: Mapping[str, Any]) -> Sequence[str]:
    aliases = entry.get("aliases")
    return aliases if isinstance(aliases, list) else ()


def ends_in_a_question(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """`messages` for a warm-up, with a question last.

    An assistant's line left last would be taken for the beginning of the answer and written differently from how the
    next question's prompt writes it: that line would then be read again every turn.
    """
    if messages and messages[-1]["role"] == "assistant":
        return [*messages, {"role": "user", "content": ""}]
    return list(messages)
