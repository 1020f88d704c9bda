"""Frames on the socket between a worker and its parent: a JSON header and raw bytes. Pure: bytes in, frames out.

uint32 header length | uint32 body length | header: one JSON object, UTF-8 | body
(both lengths in network byte order)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, Never

from model_worker.errors import FrameError

Header = dict[str, Any]

MAX_HEADER_BYTES: Final = 8 * 1024 * 1024
"""A conversation's messages travel in the header; a context window of 128 k tokens is about half a MiB."""
MAX_BODY_BYTES: Final = 256 * 1024 * 1024

_LENGTHS: Final = struct.Struct("!II")
_encode_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode_frame(header: Mapping[str, Any], body: bytes | bytearray | memoryview = b"") -> bytes:
    """One frame. A header that JSON cannot say, or a part above its limit, raises `FrameError`."""
    try:
        encoded = _encode_json(header).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"header cannot be sent as JSON: {error}") from error
    size = memoryview(body).nbytes
    if len(encoded) > MAX_HEADER_BYTES or size > MAX_BODY_BYTES:
        raise FrameError(
            f"frame of {len(encoded)} + {size} bytes is above the limit of {MAX_HEADER_BYTES} + {MAX_BODY_BYTES}"
        )
    return b"".join((_LENGTHS.pack(len(encoded), size), encoded, body))


class FrameDecoder:
    """Cuts a byte stream into frames, however it was split on the way.

    After a `FrameError` the stream has lost its step: every later `feed` raises the same error.
    """

    def __init__(self, *, max_header_bytes: int = MAX_HEADER_BYTES, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()
        self._needed = _LENGTHS.size
        """Bytes the buffer must hold before there is anything new to see in it."""
        self._error: FrameError | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[tuple[Header, bytes]]:
        """The frames that `data` completes, in order. `data` is taken at once, frames are cut as they are asked for.

        Raises `FrameError`, after the frames before the fault, when what follows is not a frame.
        """
        self._buffer += data
        return self._frames()

    def _frames(self) -> Iterator[tuple[Header, bytes]]:
        if self._error is not None:
            raise self._error
        buffer = self._buffer
        while len(buffer) >= self._needed:
            header_size, body_size = _LENGTHS.unpack_from(buffer)
            if header_size > self._max_header_bytes or body_size > self._max_body_bytes:
                self._fail(f"a frame of {header_size} + {body_size} bytes is announced, above the limit")
            body_at = _LENGTHS.size + header_size
            self._needed = body_at + body_size
            if len(buffer) < self._needed:
                return
            with memoryview(buffer) as view:
                encoded, body = bytes(view[_LENGTHS.size : body_at]), bytes(view[body_at : self._needed])
            del buffer[: self._needed]
            self._needed = _LENGTHS.size
            yield self._parse(encoded), body

    def _parse(self, encoded: bytes) -> Header:
        try:
            header = json.loads(encoded)
        except (ValueError, RecursionError) as error:
            self._fail(f"a frame's header is not JSON: {error}")
        if not isinstance(header, dict):
            self._fail(f"a frame's header is a JSON {type(header).__name__}, not an object")
        return header

    def _fail(self, reason: str) -> Never:
        self._error = FrameError(reason)
        self._buffer.clear()
        raise self._error from None
