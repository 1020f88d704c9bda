"""One utterance on the WebSocket of a Kroko server, on this machine or hosted.

The client sends 16 kHz mono as raw float32 (-1 to 1), and gets a JSON object for what is new in the segment at hand:

    {"type": "partial" | "final", "text": "…", "segment": 0, "startedAt": 0.0, "elements": {…}}

(kroko-onnx, README, "WebSocket Server Format"; it is a fork of sherpa-onnx's server, and takes its "Done" for the end.)
The hosted one greets with {"type": "connected"} and takes `languageCode`, `endpoints` and `apiKey` in the address.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from local_ai_server.backends.stt.streaming import Heard, StreamLost
from voice_wire.audio import Pcm

CONNECT_S: Final = 5.0
_MAX_SECONDS: Final = 4
"""Of audio in one message."""
_RATE_HZ: Final = 16_000
_QUIET_S: Final = 0.15
"""No word for so long after the last: the server has caught up."""
_HEARD_S: Final = 1.0
_END_S: Final = 3.0
"""The longest waits for that."""


def address(url: str, *, language: str, api_key: str = "") -> str:
    """The address with the language and the key in its query; Kroko's own servers take no other way."""
    parts = urlsplit(url)
    known = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
    query = {"languageCode": language, "endpoints": "true", **known}
    if api_key:
        query["apiKey"] = api_key
    return urlunsplit(parts._replace(query=urlencode(query)))


class SocketUtterance:
    """A connection is an utterance."""

    def __init__(self, url: str) -> None:
        """Raises `ConnectionError`; the address, which may hold a key, stays out of it."""
        self._open = ExitStack()
        try:
            # A proxy of the environment's is for the way out, not for a server of one's own.
            connecting = connect(url, open_timeout=CONNECT_S, close_timeout=1.0, compression=None, proxy=None)
            self._socket = self._open.enter_context(connecting)
        except (OSError, TimeoutError, WebSocketException) as error:
            host = urlsplit(url).hostname
            raise ConnectionError(
                f"no Kroko server answers at {host} ({type(error).__name__}); check KROKO_URL, the key and the network"
            ) from None
        self._segments: dict[int, str] = {}
        self._final: set[int] = set()
        self._ended = False

    def accept(self, pcm: Pcm) -> None:
        samples = pcm.astype("<f4") / np.float32(32768)
        step = _MAX_SECONDS * _RATE_HZ
        try:
            for at in range(0, samples.size, step):
                self._socket.send(samples[at : at + step].tobytes())
        except (OSError, WebSocketException) as error:
            raise StreamLost(f"the Kroko server is gone: {type(error).__name__}") from None
        self._read(0)

    def text(self) -> str:
        self._read(0)
        return " ".join(filter(None, (self._segments[number].strip() for number in sorted(self._segments))))

    def heard(self) -> Heard:
        self._settle(_HEARD_S, last=False)
        return Heard(self.text())

    def end(self) -> Heard:
        try:
            self._socket.send("Done")
        except (OSError, WebSocketException) as error:
            raise StreamLost(f"the Kroko server is gone: {type(error).__name__}") from None
        self._settle(_END_S, last=True)
        heard = Heard(self.text())
        self.close()
        return heard

    def close(self) -> None:
        self._ended = True
        self._open.close()

    def _settle(self, most_s: float, *, last: bool) -> None:
        """Reads until the server has been quiet for a while; `last`: or has said that a segment is final."""
        deadline = time.monotonic() + most_s
        while time.monotonic() < deadline:
            if not self._read(_QUIET_S) or (last and self._segments and self._final >= self._segments.keys()):
                return

    def _read(self, wait_s: float) -> bool:
        """Takes all that has come, waiting up to `wait_s` for the first. False when nothing came."""
        came = False
        while not self._ended:
            try:
                message = self._socket.recv(timeout=wait_s)
            except TimeoutError:
                return came
            except (OSError, WebSocketException):
                self._ended = True  # after the end it closes; before it the next audio finds out
                return came
            came = True
            wait_s = 0
            self._take(message)
        return came

    def _take(self, message: str | bytes) -> None:
        try:
            said: Any = json.loads(message)
        except ValueError:
            return  # "Done!", where the server says goodbye
        if isinstance(said, dict) and said.get("type") in ("partial", "final"):
            segment = said.get("segment")
            number = segment if isinstance(segment, int) else 0
            self._segments[number] = str(said.get("text") or "")
            if said["type"] == "final":
                self._final.add(number)
