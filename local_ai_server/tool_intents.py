"""What a caller plainly asked for, told from the words alone: the last resort where no model is to be trusted.

Conservative on purpose: only short remarks, only when exactly one tool fits, only when that tool can be called without
knowing more. English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from local_ai_server.tool_schemas import Tool

_MAX_WORDS: Final = 14
"""A longer remark says something beside."""
_DENIED: Final = re.compile(r"\b(not|no|never|don'?t|doesn'?t|didn'?t|won'?t|why|if|before|after|unless|wait|but)\b")
_INTENTS: Final = (
    (
        re.compile(r"\b(hang up|good ?bye|bye|end (the|this) call|that('?s| is| will be|'?ll be) all)\b"),
        re.compile(r"hang_?up|end_?call|terminate|disconnect|goodbye"),
    ),
    (
        re.compile(
            r"\b(transfer|connect|put) me\b|\b(speak|talk) (to|with) (a|an|the|some)? ?(real )?"
            r"(human|person|operator|agent|representative|receptionist|somebody|someone|manager)\b"
            r"|^(operator|human|agent|representative)( please)?$"
        ),
        re.compile(r"transfer|operator|human|forward|handoff|escalate"),
    ),
)
_REQUEST: Final = re.compile(r"^(hello |hi |okay |so )*(can|could|may|would|will) (i|you|we|somebody|someone)\b")
"""A question that asks for something to be done."""
_NOT_WORDS: Final = re.compile(r"[^a-z' ]+")


def plain_intent(said: str, tools: Sequence[Tool]) -> tuple[Tool, dict[str, Any]] | None:
    """The one tool that `said` asks for, with its arguments; None when there is any doubt."""
    words = " ".join(_NOT_WORDS.sub(" ", said.lower().replace("\u2019", "'")).split())
    if (
        not words
        or len(words.split()) > _MAX_WORDS
        or _DENIED.search(words)
        or (said.rstrip().endswith("?") and not _REQUEST.search(words))
    ):
        return None
    found = [
        tool
        for asked, meant in _INTENTS
        if asked.search(words)
        for tool in tools
        if meant.search(tool.name.lower().replace("-", "_"))
    ]
    if len(found) != 1:
        return None
    arguments = _only_arguments(found[0])
    return None if arguments is None else (found[0], arguments)


def _only_arguments(tool: Tool) -> dict[str, Any] | None:
    """The arguments of a tool for which there is only one choice; None when something would have to be guessed."""
    arguments: dict[str, Any] = {}
    for name in tool.required:
        schema = tool.parameters.get("properties", {}).get(name, {})
        choices = [schema[key] for key in ("const", "default") if key in schema] or schema.get("enum", [])
        if len(choices) != 1:
            return None
        arguments[name] = choices[0]
    return None if tool.complaint(arguments) else arguments
