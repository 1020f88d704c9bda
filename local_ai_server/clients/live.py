"""`python -m local_ai_server.clients.live`: a chat in the terminal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from local_ai_server.clients.answer import Answer
from local_ai_server.clients.command import new_parser, run, say
from local_ai_server.clients.connection import RequestFailed, Server
from local_ai_server.clients.prompt import add_prompt_options, sampling_of, system_message
from local_ai_server.clients.session import Session, open_session
from local_ai_server.clients.sound import WavWriter
from voice_wire.messages import ChatMessage, Sampling

_READ_BYTES: Final = 4096
_MOST_TURNS: Final = 400
"""The protocol takes 512 messages; the model's context is smaller than that."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser(
        "python -m local_ai_server.clients.live",
        "A live chat: type a line, and the answer's words come as they are made. The conversation is kept.\n"
        "/reset forgets it, /quit or Ctrl-D ends. Ctrl-C stops the answer, twice in a row ends.",
    )
    add_prompt_options(parser, max_tokens=200)
    parser.add_argument("--speak", type=Path, metavar="OUT.wav", help="the answers as sound, in a file")
    return run(parser, _chat, arguments)


async def _chat(server: Server, options: argparse.Namespace) -> int:
    system = system_message(options)
    with contextlib.ExitStack() as stack:
        wav = stack.enter_context(WavWriter(options.speak)) if options.speak else None
        async with open_session(server, call_id="live") as session:
            await session.require("llm", *(("tts",) if wav else ()))
            with Chat(session, system, sampling_of(options), wav) as chat:
                await chat.talk()
    return 0


class Chat:
    """The conversation and whoever types. While it is entered, Ctrl-C and standard input are its own."""

    def __init__(self, session: Session, system: ChatMessage, sampling: Sampling, wav: WavWriter | None) -> None:
        self._session = session
        self._system = system
        self._sampling = sampling
        self._wav = wav
        self._history: list[ChatMessage] = []
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        """None: nothing more will be typed."""
        self._half_line = b""
        self._answer: Answer | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._interrupts = 0
        """Since the last line was typed."""

    def __enter__(self) -> Chat:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        try:
            loop.add_reader(0, self._read)
        except PermissionError:  # a file, which epoll does not take and which never blocks
            while self._read():
                pass
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(0)
        loop.remove_signal_handler(signal.SIGINT)

    async def talk(self) -> None:
        """Until the end is asked for. Raises `ClientError` when the connection is lost."""
        while True:
            say("you> ", end="")
            line = await self._next_line()
            if line is None or line == "/quit":
                say()
                return
            if line == "/reset":
                self._history.clear()
                say("(forgotten)")
            elif line.startswith("/"):
                say("(commands: /reset /quit)")
            elif line:
                await self._reply(line)

    async def _reply(self, line: str) -> None:
        self._history.append(ChatMessage(role="user", content=line))
        answer = self._answer = Answer(
            self._session, speaks=self._wav is not None, sampling=self._sampling, on_text=lambda text: say(text, end="")
        )
        say("agent> ", end="")
        try:
            answered = await answer.get((self._system, *self._history))
        except RequestFailed as error:  # the next line may be served
            self._history.pop()
            say(f"\n({error})")
            return
        finally:
            self._answer = None
            if self._stopping is not None:
                await self._stopping
                self._stopping = None
        say()
        if answered.text:
            self._history.append(ChatMessage(role="assistant", content=answered.text))
        del self._history[:-_MOST_TURNS]
        if self._wav is not None:
            self._wav.agent(answered.audio)

    async def _next_line(self) -> str | None:
        """What is typed next; None at the end of it, and when Ctrl-C was pressed twice."""
        waiting = asyncio.ensure_future(self._lines.get())
        lost = asyncio.ensure_future(self._session.lost())
        try:
            await asyncio.wait((waiting, lost), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            raise lost.result()
        finally:
            for task in (waiting, lost):
                task.cancel()
            await asyncio.gather(waiting, lost, return_exceptions=True)

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            self._drop_lines()
            self._lines.put_nowait(None)
        if self._answer is not None and self._stopping is None:
            self._stopping = asyncio.create_task(self._answer.stop())
        elif self._interrupts == 1:
            say("\n(Ctrl-C again ends)\nyou> ", end="")

    def _drop_lines(self) -> None:
        while not self._lines.empty():
            self._lines.get_nowait()

    def _read(self) -> bool:
        """Takes in what was typed. False at its end."""
        data = os.read(0, _READ_BYTES)
        for line in self._whole_lines(data):
            self._interrupts = 0
            self._lines.put_nowait(line)
        if not data:
            self._lines.put_nowait(None)
            asyncio.get_running_loop().remove_reader(0)
        return bool(data)

    def _whole_lines(self, data: bytes) -> Iterator[str]:
        *lines, self._half_line = (self._half_line + data).split(b"\n")
        if not data and self._half_line:
            lines.append(self._half_line)
        for line in lines:
            yield line.decode(errors="replace").strip()


if __name__ == "__main__":
    sys.exit(main())
