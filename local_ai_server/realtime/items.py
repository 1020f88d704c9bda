"""A session's conversation: its items in order, and what the language model reads of them. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from local_ai_server.realtime.errors import EventRefused
from voice_core.spoken_text import SpokenText
from voice_wire.audio import AudioFormat

MAX_ITEMS: Final = 400
"""The oldest go first, as they do in the model's context long before."""
_MAX_CHARS: Final = 100_000
_MAX_ALL_CHARS: Final = 1_000_000
"""Of all items, as in a chat completion; beyond it the oldest go as well."""
_MAX_CALL_ID_CHARS: Final = 512
_ROLES: Final = ("system", "user", "assistant")
_TEXT: Final = ("input_text", "output_text", "text")
_SOUND: Final = ("output_audio", "audio", "input_audio")

Status = Literal["in_progress", "completed", "incomplete"]


def new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:21]}"


@dataclass(eq=False)
class Item:
    """One line of the conversation."""

    id: str = field(default_factory=lambda: new_id("item"))
    status: Status = "completed"

    def fields(self) -> dict[str, Any]:
        """As the protocol states it."""
        return {"id": self.id, "object": "realtime.item", "status": self.status}

    def lines(self, calls: Mapping[str, Call]) -> Iterator[dict[str, str]]:
        """What the model reads. `calls`: those of the conversation, by `call_id`."""
        raise NotImplementedError

    @property
    def n_chars(self) -> int:
        """Of its text."""
        raise NotImplementedError


@dataclass(eq=False)
class Remark(Item):
    """What somebody wrote, or what a user said."""

    role: str = "user"
    text: str = ""
    heard: bool = False
    """It was said, and `text` is the transcript, once there is one."""
    awaited: bool = False
    """Its transcript is being made."""

    def fields(self) -> dict[str, Any]:
        content: dict[str, Any] = {"type": "output_text" if self.role == "assistant" else "input_text"}
        if self.heard:
            content = {"type": "input_audio", "transcript": None if self.awaited else self.text}
        else:
            content["text"] = self.text
        return super().fields() | {"type": "message", "role": self.role, "content": [content]}

    def lines(self, calls: Mapping[str, Call]) -> Iterator[dict[str, str]]:
        if self.text:
            yield {"role": self.role, "content": self.text}

    @property
    def n_chars(self) -> int:
        return len(self.text)


@dataclass(eq=False)
class Spoken(Item):
    """What the model said aloud."""

    format: AudioFormat = field(kw_only=True)
    spoken: SpokenText = field(kw_only=True)
    heard_bytes: int | None = None
    """The user heard no more than so much of it."""
    n_bytes: int = 0

    @property
    def transcript(self) -> str:
        """What the user has heard of it."""
        return self.spoken.text if self.heard_bytes is None else self.spoken.until(self.heard_bytes)

    @property
    def sent_ms(self) -> float:
        """The length of its sound."""
        return 1000 * self.format.duration_s(self.n_bytes)

    def phrase(self, text: str) -> None:
        """The sound of `text` follows."""
        self.spoken.add(text, 0)

    def sound(self, n_bytes: int) -> None:
        """So much of it."""
        self.spoken.add("", n_bytes)
        self.n_bytes += n_bytes

    def heard_until(self, ms: float) -> None:
        """Nothing after that was heard."""
        self.heard_bytes = self.format.bytes_for_ms(ms)

    def fields(self) -> dict[str, Any]:
        content = [{"type": "output_audio", "transcript": self.transcript}] if self.n_bytes else []
        return super().fields() | {"type": "message", "role": "assistant", "content": content}

    def lines(self, calls: Mapping[str, Call]) -> Iterator[dict[str, str]]:
        if self.transcript:
            yield {"role": "assistant", "content": self.transcript}

    @property
    def n_chars(self) -> int:
        return len(self.spoken.text)


@dataclass(eq=False)
class Call(Item):
    """A function that the model wants called."""

    name: str = ""
    arguments: str = "{}"
    """JSON of an object."""
    call_id: str = field(default_factory=lambda: new_id("call"))

    def fields(self) -> dict[str, Any]:
        return super().fields() | {
            "type": "function_call",
            "name": self.name,
            "call_id": self.call_id,
            "arguments": self.arguments,
        }

    def lines(self, calls: Mapping[str, Call]) -> Iterator[dict[str, str]]:
        return iter(())  # it is told with its result: small models would copy a call's form

    @property
    def n_chars(self) -> int:
        return len(self.name) + len(self.arguments)


@dataclass(eq=False)
class CallOutput(Item):
    """What came of a function."""

    call_id: str = ""
    output: str = ""

    def fields(self) -> dict[str, Any]:
        return super().fields() | {"type": "function_call_output", "call_id": self.call_id, "output": self.output}

    def lines(self, calls: Mapping[str, Call]) -> Iterator[dict[str, str]]:
        call = calls.get(self.call_id)
        asked = f"The tool {call.name} was called with {call.arguments}." if call else "A tool was called."
        yield {"role": "system", "content": f"{asked} Its result: {self.output}"}

    @property
    def n_chars(self) -> int:
        return len(self.output)


class Conversation:
    """The items of one session, in order."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    @property
    def last_id(self) -> str | None:
        return self._items[-1].id if self._items else None

    def get(self, item_id: object) -> Item:
        """Raises `EventRefused` where there is none."""
        for item in self._items:
            if item.id == item_id:
                return item
        raise EventRefused("item_id: no item of this conversation has it", code="item_not_found", param="item_id")

    def has(self, item_id: str) -> bool:
        return any(item.id == item_id for item in self._items)

    def add(self, item: Item, *, after: object = None) -> str | None:
        """Puts it behind the item `after` ("root": first), or last; the id of the one before it.

        Raises `EventRefused` for an id that is there already, or for an `after` that is not.
        """
        if self.has(item.id):
            raise EventRefused("item.id: the conversation has it already", code="item_already_exists", param="item.id")
        at = len(self._items)
        if after == "root":
            at = 0
        elif after is not None:
            at = self._items.index(self.get(after)) + 1
        self._items.insert(at, item)
        previous = self._items[at - 1].id if at else None
        self._forget_oldest()
        return previous

    def remove(self, item_id: object) -> None:
        """Raises `EventRefused` where there is none."""
        self._items.remove(self.get(item_id))

    def _forget_oldest(self) -> None:
        del self._items[:-MAX_ITEMS]
        left = sum(item.n_chars for item in self._items) - _MAX_ALL_CHARS
        while left > 0 and len(self._items) > 1:
            left -= self._items.pop(0).n_chars

    def lines(self, instructions: str, items: Iterable[Item] | None = None) -> list[dict[str, str]]:
        """What the model reads: the instructions, then the items, or only those that are given."""
        chosen = self._items if items is None else list(items)
        calls = {item.call_id: item for item in (*self._items, *chosen) if isinstance(item, Call)}
        lines = [{"role": "system", "content": instructions}] if instructions else []
        for item in chosen:
            lines += item.lines(calls)
        return lines


def read_item(asked: object, *, where: str = "item") -> Item:
    """An item as a client creates it. Raises `EventRefused`."""
    if not isinstance(asked, Mapping):
        raise EventRefused(f"{where}: it is no object", param=where)
    item = _read(asked, where)
    given = asked.get("id")
    if given is not None:
        if not isinstance(given, str) or not 0 < len(given) <= 64:
            raise EventRefused(f"{where}.id: it is no text of 1 to 64 characters", param=f"{where}.id")
        item.id = given
    return item


def _read(asked: Mapping[str, Any], where: str) -> Item:
    match asked.get("type"):
        case "message":
            role = asked.get("role")
            if role not in _ROLES:
                raise EventRefused(f"{where}.role: it is none of {', '.join(_ROLES)}", param=f"{where}.role")
            return Remark(role=role, text=_content(asked.get("content"), f"{where}.content"))
        case "function_call":
            name, arguments = _text(asked, "name", where), _text(asked, "arguments", where)
            try:
                json.loads(arguments)
            except (ValueError, RecursionError):
                raise EventRefused(f"{where}.arguments: it is no JSON", param=f"{where}.arguments") from None
            call_id = _call_id(asked, where) if asked.get("call_id") else new_id("call")
            return Call(name=name, arguments=arguments, call_id=call_id)
        case "function_call_output":
            return CallOutput(call_id=_call_id(asked, where), output=_text(asked, "output", where))
    raise EventRefused(
        f"{where}.type: it is none of message, function_call, function_call_output", param=f"{where}.type"
    )


def _content(content: object, where: str) -> str:
    if not isinstance(content, list):
        raise EventRefused(f"{where}: it is no list of parts", param=where)
    texts = []
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXT:
            texts.append(_text(part, "text", f"{where}[{at}]"))
        elif kind in _SOUND and isinstance(part.get("transcript"), str):
            texts.append(_text(part, "transcript", f"{where}[{at}]"))
        elif kind in _SOUND:
            raise EventRefused(
                f"{where}[{at}]: sound comes in by input_audio_buffer.append, or with its transcript", param=where
            )
        else:
            raise EventRefused(f"{where}[{at}].type: it is none of {', '.join(_TEXT)}", param=where)
    text = " ".join(texts)
    if len(text) > _MAX_CHARS:
        raise EventRefused(f"{where}: its parts have more than {_MAX_CHARS} characters together", param=where)
    return text


def _call_id(asked: Mapping[str, Any], where: str) -> str:
    return _text(asked, "call_id", where, most=_MAX_CALL_ID_CHARS)


def _text(fields: Mapping[str, Any], name: str, where: str, *, most: int = _MAX_CHARS) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > most:
        where = f"{where}.{name}"
        raise EventRefused(f"{where}: it is no text of at most {most} characters", param=where)
    return value
