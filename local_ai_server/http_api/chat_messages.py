"""OpenAI's messages as the lines that a small model reads: roles and text, what tools did told in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from local_ai_server.errors import ServeError

_ROLES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_MAX_CHARS: Final = 200_000
"""Of one message, as in the WebSocket's requests."""
_MAX_ALL_CHARS: Final = 1_000_000
_TEXT_PARTS: Final = {"text": "text", "refusal": "refusal"}
_INSTEAD: Final = {
    "image_url": "images are not understood here; send text",
    "input_audio": "sound is not understood here; send it to /v1/audio/transcriptions first",
    "file": "files are not read here; send their text",
}


def chat_lines(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The messages as `role` and `content`. Raises `ServeError` (invalid_message) that says which one and why.

    Small models know no other form of a tool's use than a remark, and would copy a call's.
    """
    lines: list[dict[str, str]] = []
    wanted: dict[str, tuple[str, str]] = {}
    for at, message in enumerate(messages):
        lines += _lines(f"messages[{at}]", message, wanted)
    if sum(len(line["content"]) for line in lines) > _MAX_ALL_CHARS:
        raise _refused("messages", f"they have more than {_MAX_ALL_CHARS} characters")
    return lines


def _lines(where: str, message: Mapping[str, Any], wanted: dict[str, tuple[str, str]]) -> Iterator[dict[str, str]]:
    """`wanted`: name and arguments of the calls so far, by their ids."""
    named = message.get("role")
    role = _ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        raise _refused(where, f"its role is none of {', '.join(_ROLES)}")
    calls = message.get("tool_calls")
    text = _text(where, message.get("content"), may_be_absent=role == "assistant")
    if role == "tool":
        call_id = message.get("tool_call_id")
        if not isinstance(call_id, str) or call_id not in wanted:
            raise _refused(where, "its tool_call_id names no call of a message before it")
        name, arguments = wanted[call_id]
        said = f"The tool {name} was called with {arguments}. Its result: {text}"
        yield {"role": "system", "content": said}
        return
    if role == "assistant" and calls:
        wanted |= _calls(where, calls)
        if not text:
            return
    yield {"role": role, "content": text}


def _calls(where: str, calls: object) -> dict[str, tuple[str, str]]:
    if not isinstance(calls, list):
        raise _refused(f"{where}.tool_calls", "it is no list")
    read = {}
    for at, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        call_id = call.get("id") if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        arguments = function.get("arguments", "{}") if isinstance(function, Mapping) else None
        if not (isinstance(call_id, str) and isinstance(name, str) and isinstance(arguments, str)):
            raise _refused(f"{where}.tool_calls[{at}]", "a call has an id and a function with name and arguments")
        if len(name) + len(arguments) > _MAX_CHARS:
            raise _refused(f"{where}.tool_calls[{at}]", f"it has more than {_MAX_CHARS} characters")
        read[call_id] = (name, arguments)
    return read


def _text(where: str, content: object, *, may_be_absent: bool) -> str:
    if content is None and may_be_absent:
        return ""
    if isinstance(content, list):
        content = "".join(_part(f"{where}.content[{at}]", part) for at, part in enumerate(content))
    if not isinstance(content, str):
        raise _refused(f"{where}.content", "it is neither text nor a list of text parts")
    if len(content) > _MAX_CHARS:
        raise _refused(f"{where}.content", f"it has more than {_MAX_CHARS} characters")
    return content


def _part(where: str, part: object) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise _refused(where, 'a part is {"type": "text", "text": …}')
    if kind not in _TEXT_PARTS:
        raise _refused(where, _INSTEAD.get(kind, "only parts of type text are read"))
    text = part.get(_TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise _refused(where, f"it has no {_TEXT_PARTS[kind]}")
    return text


def _refused(where: str, reason: str) -> ServeError:
    return ServeError("invalid_message", f"{where}: {reason}")
