"""`python -m local_ai_server.clients.conversation`: a scripted conversation, heard, answered and spoken."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from local_ai_server.clients.answer import Answer, Answered
from local_ai_server.clients.command import ms, new_parser, percentile, read_text, run, say, table
from local_ai_server.clients.connection import Server, UsageError
from local_ai_server.clients.prompt import add_prompt_options, sampling_of, system_message
from local_ai_server.clients.session import Session, open_session
from local_ai_server.clients.sound import FORMAT, WavWriter, read_wav
from voice_wire.messages import ChatMessage, Warm


@dataclass(frozen=True, slots=True)
class Line:
    """What the caller says: words for the server's own voice, or a recording."""

    words: str
    audio: bytes | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    said: str
    heard: str
    stt_ms: float
    answered: Answered | None
    """None: nothing was heard, so nothing is answered."""

    @property
    def total_ms(self) -> float | None:
        """From the end of what was said to the first sound of the answer."""
        first_ms = self.answered.first_audio_ms if self.answered else None
        return None if first_ms is None else self.stt_ms + first_ms


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser(
        "python -m local_ai_server.clients.conversation",
        "Plays a conversation through speech to text, language model and text to speech. SCRIPT has one line for\n"
        "each turn of the caller: words, which the server's own voice speaks, or the name of a WAV file beside\n"
        "it. Lines that begin with # are left out. Prints the latencies of each turn and one line of JSON.",
    )
    parser.add_argument("script", type=Path, metavar="SCRIPT")
    parser.add_argument("--wav", type=Path, metavar="OUT.wav", help="both sides: caller left, agent right")
    parser.add_argument("--transcript", type=Path, metavar="OUT.txt", help="what was said, heard and answered")
    add_prompt_options(parser, max_tokens=60)
    return run(parser, _converse, arguments)


def read_script(path: Path) -> list[Line]:
    """Raises `UsageError`."""
    lines = []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        if line.lower().endswith(".wav"):
            lines.append(Line(line, read_wav(path.parent / line)))
        elif not line.startswith("#"):
            lines.append(Line(line))
    if not lines:
        raise UsageError(f"{path} says nothing: write a line for each turn of the caller")
    return lines


async def _converse(server: Server, options: argparse.Namespace) -> int:
    lines = read_script(options.script)
    history = [system_message(options)]
    turns = []
    with ExitStack() as stack:
        wav = stack.enter_context(WavWriter(options.wav)) if options.wav else None
        transcript = stack.enter_context(_open(options.transcript)) if options.transcript else None
        async with open_session(server, call_id="conversation") as session:
            await session.require("stt", "llm", "tts")
            await (await session.request(lambda name: Warm(request_id=name, messages=tuple(history)))).finish()
            for line in lines:
                turn, audio = await _take(session, line, history, options)
                turns.append(turn)
                _tell(turn)
                if wav:
                    wav.caller(audio)
                    wav.agent(turn.answered.audio if turn.answered else b"")
                if transcript:
                    answer = turn.answered.text if turn.answered else ""
                    transcript.write(f"caller: {turn.said}\nheard:  {turn.heard}\nagent:  {answer}\n\n")
    _show(turns)
    return 0


def _open(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


async def _take(
    session: Session, line: Line, history: list[ChatMessage], options: argparse.Namespace
) -> tuple[Turn, bytes]:
    audio = line.audio if line.audio is not None else await (await session.speak(line.words, FORMAT)).audio()
    heard, stt_ms = await session.transcribe(audio, FORMAT)
    if not heard:
        return Turn(line.words, heard, stt_ms, None), audio
    history.append(ChatMessage(role="user", content=heard))
    answered = await Answer(session, sampling=sampling_of(options)).get(history)
    if answered.text:
        history.append(ChatMessage(role="assistant", content=answered.text))
    return Turn(line.words, heard, stt_ms, answered), audio


def _tell(turn: Turn) -> None:
    say(f"caller: {turn.said}")
    say(f"heard:  {turn.heard or '(nothing)'}")
    if turn.answered:
        say(f"agent:  {turn.answered.text}")
    say()


def _show(turns: Sequence[Turn]) -> None:
    figures = [_figures(turn) for turn in turns]
    names = ("stt_ms", "first_token_ms", "tts_first_audio_ms", "turn_ms")
    rows: list[tuple[str, ...]] = [("turn", "STT", "first token", "TTS first audio", "whole turn (ms)")]
    rows += [(str(n), *(ms(turn[name]) for name in names)) for n, turn in enumerate(figures, 1)]
    say(table(rows))
    medians = {name: percentile([value for turn in figures if (value := turn[name]) is not None], 50) for name in names}
    shown = {f"p50_{name}": None if value is None else round(value, 1) for name, value in medians.items()}
    say(json.dumps({"client": "conversation", "turns": len(turns), "unheard": _unheard(turns), **shown}))


def _figures(turn: Turn) -> dict[str, float | None]:
    answered = turn.answered
    return {
        "stt_ms": turn.stt_ms,
        "first_token_ms": answered.first_token_ms if answered else None,
        "tts_first_audio_ms": answered.tts_first_audio_ms if answered else None,
        "turn_ms": turn.total_ms,
    }


def _unheard(turns: Sequence[Turn]) -> int:
    return sum(not turn.heard for turn in turns)


if __name__ == "__main__":
    sys.exit(main())
