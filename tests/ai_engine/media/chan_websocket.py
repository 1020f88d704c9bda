"""A stand-in for Asterisk's end of chan_websocket, with its queue, its limits and its odd ways.

As channels/chan_websocket.c of Asterisk 22 has them. Its timer is `tick`; nothing here waits.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections import deque

from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from ai_engine.media.websocket_connection import WebsocketConnection
from ai_engine.media.websocket_control import ControlForm

QUEUE_MAX, XOFF_LEVEL, XON_LEVEL = 1000, 900, 800
MOST_TEXT_BYTES = 128


def connection_pair() -> tuple[WebsocketConnection, socket.socket]:
    """Our end, open, and the socket of the other."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return WebsocketConnection(ours, ClientProtocol(parse_uri("ws://asterisk/media/1"), state=OPEN)), theirs


class ChanWebsocket:
    """`played` is what its timer handed to the core, a frame or None (silence) per tick."""

    def __init__(self, sock: socket.socket, *, frame_bytes: int = 160, form: ControlForm = ControlForm.JSON) -> None:
        self.socket = sock
        self.protocol = ServerProtocol(state=OPEN, max_size=65536)
        self.frame_bytes = frame_bytes
        self.form = form
        self.queue: deque[bytes | str] = deque()
        self.queue_full = self.paused = self.report_drained = False
        self.closed = False
        self.played: list[bytes | None] = []
        self.commands: list[str] = []
        self.dropped_bytes = 0
        self.ignored_commands = 0
        self.most_queued = 0

    # --- what it does by itself ---------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Its 20 ms timer."""
        self.read()
        self.played.append(self._dequeue())
        self.write()

    def start(self) -> None:
        """MEDIA_START."""
        size = self.frame_bytes
        self.event("MEDIA_START", connection_id="1", channel_id="m", format="ulaw", optimal_frame_size=size, ptime=20)

    def say(self, audio: bytes) -> None:
        """The caller's sound, as the core writes it to the channel."""
        self.protocol.send_binary(audio)
        self.write()

    def event(self, name: str, **fields: object) -> None:
        self.protocol.send_text(self._text(name, fields).encode())
        self.write()

    def hang_up(self) -> None:
        """The channel ends: a close frame, then the socket."""
        self.protocol.send_close(1000)
        self.write()
        self.tear()

    def tear(self) -> None:
        self.closed = True
        self.socket.close()

    @property
    def queued(self) -> int:
        return sum(isinstance(one, bytes) for one in self.queue)

    # --- its insides --------------------------------------------------------------------------------------------------

    def _dequeue(self) -> bytes | None:
        if self.paused:
            return None
        if self.queue_full and self.queued < XON_LEVEL:
            self.queue_full = False
            self.event("MEDIA_XON")
        if not self.queue:
            if self.report_drained:
                self.report_drained = False
                self.event("QUEUE_DRAINED")
            return None
        while self.queue:
            one = self.queue.popleft()
            if isinstance(one, bytes):
                return one
            self.protocol.send_text(one.encode())
        return None

    def read(self) -> None:
        """All that has come, as the channel's thread does."""
        if self.closed:
            return
        try:
            while data := self.socket.recv(65536):
                self.protocol.receive_data(data)
            self.tear()
        except BlockingIOError:
            pass
        except ConnectionError:
            self.tear()
        for event in self.protocol.events_received():
            if event.opcode is Opcode.TEXT:  # type: ignore[union-attr]
                self._command(bytes(event.data).decode())  # type: ignore[union-attr]
            elif event.opcode is Opcode.BINARY:  # type: ignore[union-attr]
                self._media(bytes(event.data))  # type: ignore[union-attr]
        self.write()

    def write(self) -> None:
        data = b"".join(self.protocol.data_to_send())
        if data and not self.closed:
            with contextlib.suppress(BrokenPipeError):
                self.socket.sendall(data)

    def _media(self, audio: bytes) -> None:
        if self.queued >= QUEUE_MAX:
            self.dropped_bytes += len(audio)
            return
        whole = len(audio) - len(audio) % self.frame_bytes
        for start in range(0, whole, self.frame_bytes):
            self.queue.append(audio[start : start + self.frame_bytes])
        self.dropped_bytes += len(audio) - whole
        self.most_queued = max(self.most_queued, self.queued)
        if not self.queue_full and self.queued >= XOFF_LEVEL:
            self.queue_full = True
            self.event("MEDIA_XOFF")

    def _command(self, text: str) -> None:
        if len(text) > MOST_TEXT_BYTES:
            self.ignored_commands += 1
            return
        if self.form is ControlForm.JSON:
            message = json.loads(text)
            command, data = message["command"], message.get("correlation_id", "")
        else:
            command, _, data = text.partition(" ")
        self.commands.append(command)
        match command:
            case "MARK_MEDIA":
                self.queue.append(self._text("MEDIA_MARK_PROCESSED", {"correlation_id": data}))
            case "FLUSH_MEDIA":  # marks too, and a pause goes on
                self.queue.clear()
            case "PAUSE_MEDIA":
                self.paused = True
            case "CONTINUE_MEDIA":
                self.paused = False
            case "REPORT_QUEUE_DRAINED":
                self.report_drained = True
            case "GET_STATUS":
                flags = {"queue_full": self.queue_full, "bulk_media": False, "media_paused": self.paused}
                self.event("STATUS", channel_id="m", queue_length=self.queued, **flags)
            case _:
                self.ignored_commands += 1

    def _text(self, name: str, fields: dict[str, object]) -> str:
        if self.form is ControlForm.JSON:
            return json.dumps({"event": name, "channel_id": "m"} | fields)
        if "correlation_id" in fields:
            return f"{name} {fields['correlation_id']}"
        return " ".join([name, *(f"{key}:{str(value).lower()}" for key, value in fields.items())])
