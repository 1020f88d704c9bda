"""`python local_ai_server/smoke_test_ws.py`: does a server do what clients of protocol version 2 expect?

Every message is checked against the protocol. Nothing of version 3 is used.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not __package__:
    # As in main.py: run as a file, this folder's modules would hide others of their names.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "local_ai_server.smoke_test_ws", *sys.argv[1:]])  # noqa: S606

import argparse
import asyncio
import base64
import difflib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from local_ai_server.clients.command import new_parser, run, say
from local_ai_server.clients.connection import ClientError, Connection, RequestFailed, Server, open_connection
from voice_wire.audio import PCM_16K, AudioFormat, convert
from voice_wire.messages import (
    Audio,
    BackendType,
    BargeIn,
    BargeInAck,
    Capabilities,
    CapabilitiesResponse,
    Error,
    LlmRequest,
    LlmResponse,
    LlmToolRequest,
    LlmToolResponse,
    ModeReady,
    ServerMessage,
    SetMode,
    Status,
    StatusResponse,
    SttResult,
    TtsRequest,
    TtsResponse,
)

CALL_ID: Final = "smoke-test"
SENTENCE: Final = "Good morning, please tell me when the office is open."
ALIKE: Final = 0.6
"""So much of the sentence must come back; small models mishear a word now and then."""
_SILENCE_MS: Final = 1500.0
"""After it, to end the utterance."""
_TOOL: Final = {
    "name": "transfer",
    "description": "Puts the caller through to a department.",
    "parameters": {
        "type": "object",
        "properties": {"to": {"type": "string", "enum": ["sales", "workshop"]}},
        "required": ["to"],
    },
}
_ABSENT: Final = frozenset({"llm_not_loaded", "llm_unavailable", "stt_unavailable", "tts_unavailable"})

Wanted = TypeVar("Wanted", bound=ServerMessage)


class Skip(Exception):
    """The step cannot be tried on this server; why."""


class Fail(Exception):
    """What came instead of what the protocol says."""


@dataclass
class Smoke:
    """The steps, in order; each returns what it saw."""

    connection: Connection
    patience_s: float
    missing: dict[str, str] = field(default_factory=dict)
    """Kinds that this server is not meant to serve, and why."""
    spoken: bytes = b""
    """`SENTENCE` as the server said it, in `PCM_16K`."""

    async def set_mode(self) -> str:
        await self.connection.send(SetMode(mode="stt", call_id=CALL_ID))
        ready = await self._next(ModeReady)
        if ready.mode != "stt" or ready.call_id != CALL_ID:
            raise Fail(f"mode {ready.mode!r} of call {ready.call_id!r}; mode 'stt' of {CALL_ID!r} was set")
        return f"mode {ready.mode}"

    async def status(self) -> str:
        await self.connection.send(Status())
        status = await self._next(StatusResponse)
        models = {"stt": status.models.stt, "llm": status.models.llm, "tts": status.models.tts}
        for kind, model in models.items():
            if not model.loaded and kind not in status.config.startup_errors:
                self.missing[kind] = model.reason or model.state or "not loaded"
        if status.config.startup_errors:
            raise Fail("; ".join(f"{kind}: {reason}" for kind, reason in status.config.startup_errors.items()))
        running = ", ".join(f"{kind} {model.backend}" for kind, model in models.items() if model.loaded)
        return f"{status.status}, {status.config.runtime_mode}: {running or 'nothing loaded'}"

    async def capabilities(self) -> str:
        await self.connection.send(Capabilities())
        found = (await self._next(CapabilitiesResponse)).capabilities
        return f"{sum(found.values())} of {len(found)} backends can run here"

    async def tts_request(self) -> str:
        self._need("tts")
        await self.connection.send(TtsRequest(text=SENTENCE, call_id=CALL_ID, request_id="tts"))
        answer = await self._next(TtsResponse, "tts")
        audio = base64.b64decode(answer.audio_data, validate=True)
        if not audio or len(audio) != answer.byte_length:
            raise Fail(f"{len(audio)} bytes of audio, byte_length says {answer.byte_length}")
        audio_format = AudioFormat(answer.encoding, answer.sample_rate_hz)
        self.spoken = convert(audio, audio_format, PCM_16K)
        return f"{audio_format.duration_s(len(audio)):.1f} s of {answer.encoding} at {answer.sample_rate_hz} Hz"

    async def audio(self) -> str:
        """Its own speech back to it, in base64; raw binary is the same path."""
        self._need("stt")
        if not self.spoken:
            raise Skip("there is no speech to send: tts_request gave none")
        data = base64.b64encode(self.spoken + PCM_16K.silence(_SILENCE_MS)).decode()
        await self.connection.send(Audio(data=data, rate=16_000, mode="stt", call_id=CALL_ID, request_id="stt"))
        while not (result := await self._next(SttResult)).is_final:
            pass
        if result.error:
            raise Fail(f"{result.error}; the server's log says why")
        alike = likeness(SENTENCE, result.text)
        heard = f"{100 * alike:.0f} % of the words: {result.text!r}"
        if alike < ALIKE:
            raise Fail(f"{heard}; sent was {SENTENCE!r}")
        return heard

    async def llm_request(self) -> str:
        self._need("llm")
        for request_id in ("llm", "llm-again"):  # the smallest models now and then have nothing to say
            question = LlmRequest(text="Please say hello.", mode="llm", call_id=CALL_ID, request_id=request_id)
            await self.connection.send(question)
            answer = await self._next(LlmResponse, request_id)
            if answer.text.strip():
                return repr(answer.text[:60])
        raise Fail("the answer was empty, twice")

    async def llm_tool_request(self) -> str:
        self._need("llm")
        await self.connection.send(
            LlmToolRequest(
                text="Please put me through to sales.",
                tools=[{"type": "function", "function": _TOOL}],
                tool_choice="required",
                call_id=CALL_ID,
                request_id="tools",
            )
        )
        answer = await self._next(LlmToolResponse, "tools")
        calls = [f"{call['name']}({call['parameters']})" for call in answer.tool_calls]
        if any(call["name"] != _TOOL["name"] for call in answer.tool_calls):
            raise Fail(f"{calls}: there is no such tool")
        if not calls:
            raise Fail("no call, though tool_choice was required")
        return f"{', '.join(calls)} by {answer.tool_path}"

    async def barge_in(self) -> str:
        if "llm" not in self.missing:  # something to interrupt
            await self.connection.send(LlmRequest(text="Tell me a long story.", mode="llm", request_id="story"))
        await self.connection.send(BargeIn(call_id=CALL_ID, request_id="barge-in"))
        ack = await self._next(BargeInAck, "barge-in")
        if ack.status != "ok":
            raise Fail(f"status {ack.status}")
        return "acknowledged"

    async def unknown_message(self) -> str:
        await self.connection.send('{"type": "no_such_message", "request_id": "unknown"}')
        error = await self._receive()
        while not isinstance(error, Error):  # an answer that was under way; none may come of what was interrupted
            if getattr(error, "request_id", None) == "story":
                raise Fail(f"{error.type} of a request that was interrupted")
            error = await self._receive()
        if error.code != "unknown_type" or error.request_id != "unknown":
            raise Fail(f"error {error.code} about {error.request_id}; unknown_type was due")
        return f"error {error.code}"

    def _need(self, kind: BackendType) -> None:
        if kind in self.missing:
            raise Skip(self.missing[kind])

    async def _next(self, wanted: type[Wanted], request_id: str | None = None) -> Wanted:
        """The next message of that type, about that request. What else comes meanwhile belongs to another step."""
        while True:
            message = await self._receive()
            if isinstance(message, wanted) and request_id in (None, getattr(message, "request_id", None)):
                return message
            if isinstance(message, Error) and message.request_id in (None, request_id):
                if message.code in _ABSENT:
                    raise Skip(message.message)
                raise RequestFailed(message)

    async def _receive(self) -> ServerMessage:
        try:
            async with asyncio.timeout(self.patience_s):
                while isinstance(message := await self.connection.receive(), bytes):
                    pass
        except TimeoutError:
            raise Fail(f"no answer within {self.patience_s:g} s") from None
        return message


def likeness(sent: str, heard: str) -> float:
    """How much of the words came back in order, 0 to 1."""
    words, back = (re.findall(r"\w+", text.lower()) for text in (sent, heard))
    return difflib.SequenceMatcher(a=words, b=back).ratio()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser(
        "python -m local_ai_server.smoke_test_ws",
        "Tries each message of protocol version 2 on a running server: PASS, FAIL, or SKIP with the reason.\n"
        "Status 1 where one failed.",
    )
    return run(parser, _smoke, arguments)


async def _smoke(server: Server, options: argparse.Namespace) -> int:
    began = time.perf_counter()
    async with open_connection(server, version=2, call_id=CALL_ID) as (connection, _):
        _tell("PASS", "auth", began, "with a token" if server.token else "without a token")
        smoke = Smoke(connection, server.patience_s)
        steps: list[Callable[[], Awaitable[str]]] = [
            *(smoke.set_mode, smoke.status, smoke.capabilities, smoke.tts_request, smoke.audio),
            *(smoke.llm_request, smoke.llm_tool_request, smoke.barge_in, smoke.unknown_message),
        ]
        outcomes = ["PASS", *[await _try(step.__name__, step) for step in steps]]
    counts = {outcome: outcomes.count(outcome) for outcome in ("PASS", "FAIL", "SKIP")}
    say(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return 1 if counts["FAIL"] else 0


async def _try(name: str, step: Callable[[], Awaitable[str]]) -> str:
    began = time.perf_counter()
    try:
        outcome, seen = "PASS", await step()
    except Skip as reason:
        outcome, seen = "SKIP", str(reason)
    except (Fail, ClientError, ValueError) as error:
        outcome, seen = "FAIL", str(error)
    _tell(outcome, name, began, seen)
    return outcome


def _tell(outcome: str, name: str, began: float, seen: str) -> None:
    say(f"{outcome}  {name:18} {1000 * (time.perf_counter() - began):7.0f} ms  {seen}")


if __name__ == "__main__":
    sys.exit(main())
