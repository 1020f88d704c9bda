"""Events of the Wyoming protocol as bytes: a line of JSON, then more JSON, then a payload. Pure.

Where it is written: github.com/OHF-Voice/wyoming, README ("Format").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_MOST_HEADER_BYTES: Final = 64 * 1024
_MOST_DATA_BYTES: Final = 1024 * 1024
_MOST_PAYLOAD_BYTES: Final = 16 * 1024 * 1024


class WyomingError(ValueError):
    """Bytes that are no events."""


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""

    def __bytes__(self) -> bytes:
        data = json.dumps(dict(self.data), ensure_ascii=False).encode() if self.data else b""
        header: dict[str, Any] = {"type": self.kind}
        if data:
            header["data_length"] = len(data)
        if self.payload:
            header["payload_length"] = len(self.payload)
        return b"".join((json.dumps(header).encode(), b"\n", data, self.payload))


@dataclass(frozen=True, slots=True)
class _Header:
    kind: str
    data: dict[str, Any]
    data_bytes: int
    payload_bytes: int


class EventDecoder:
    """Takes a connection's bytes in pieces of any size."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._header: _Header | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises `WyomingError`; nothing may be fed after it."""
        self._rest += data
        events = []
        while (event := self._next()) is not None:
            events.append(event)
        return events

    def _next(self) -> Event | None:
        if self._header is None:
            end = self._rest.find(b"\n")
            if end < 0:
                if len(self._rest) > _MOST_HEADER_BYTES:
                    raise WyomingError(f"a header of more than {_MOST_HEADER_BYTES} bytes")
                return None
            self._header = _read_header(bytes(self._rest[:end]))
            del self._rest[: end + 1]
        header = self._header
        whole = header.data_bytes + header.payload_bytes
        if len(self._rest) < whole:
            return None
        more = _read_object(bytes(self._rest[: header.data_bytes])) if header.data_bytes else {}
        payload = bytes(self._rest[header.data_bytes : whole])
        del self._rest[:whole]
        self._header = None
        return Event(header.kind, {**header.data, **more}, payload)


def _read_header(line: bytes) -> _Header:
    header = _read_object(line)
    kind, data = header.get("type"), header.get("data") or {}
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise WyomingError(f"a header without a type: {line[:80]!r}")
    return _Header(
        kind,
        data,
        _length(header, "data_length", _MOST_DATA_BYTES),
        _length(header, "payload_length", _MOST_PAYLOAD_BYTES),
    )


def _read_object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise WyomingError(f"no JSON object: {text[:80]!r}")
    return found


def _length(header: Mapping[str, Any], name: str, most: int) -> int:
    length = header.get(name) or 0
    if type(length) is not int or not 0 <= length <= most:
        raise WyomingError(f"{name} is {str(length)[:20]}; up to {most} bytes are taken")
    return length
