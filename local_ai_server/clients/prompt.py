"""The system prompt of a command: given in words, in a text file, or as a context of the engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import yaml

from local_ai_server.clients.command import at_least, read_text
from local_ai_server.clients.connection import UsageError
from voice_wire.messages import ChatMessage, Sampling

DEFAULT_PROMPT: Final = (
    "You are a friendly assistant on the telephone. Answer in one or two short sentences of plain spoken English."
)


def add_prompt_options(parser: argparse.ArgumentParser, *, max_tokens: int) -> None:
    """`--prompt`, `--prompt-file` and `--max-tokens`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--prompt", metavar="TEXT", help="the system prompt")
    which.add_argument(
        "--prompt-file", type=Path, metavar="FILE", help="one in a text file, or the `prompt` of a context (.yaml)"
    )
    parser.add_argument(
        "--max-tokens", type=at_least(1), default=max_tokens, metavar="N", help=f"of an answer; default {max_tokens}"
    )


def system_message(options: argparse.Namespace) -> ChatMessage:
    """Raises `UsageError`."""
    text = options.prompt or DEFAULT_PROMPT
    if options.prompt_file is not None:
        text = _read(options.prompt_file)
    return ChatMessage(role="system", content=text)


def sampling_of(options: argparse.Namespace) -> Sampling:
    """The server's own, but for the length."""
    return Sampling(max_tokens=options.max_tokens)


def _read(path: Path) -> str:
    text = read_text(path)
    if path.suffix in (".yaml", ".yml"):
        try:
            context: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{path} is not YAML: {error}") from None
        prompt = context.get("prompt") if isinstance(context, dict) else None
        if not isinstance(prompt, str):
            raise UsageError(f"{path} has no `prompt`: name a context such as those in config/contexts, or a text file")
        text = prompt
    return text.strip()
