"""What all these commands share: their options, how they end, and tables.

Exit status 0: it did what it says; 1: it failed, or what it measured is not good enough; 2: it was asked for what
cannot be; 130: Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from dotenv import dotenv_values

from local_ai_server.clients.connection import ClientError, Server, UsageError

DEFAULT_URL: Final = "ws://127.0.0.1:8765"
_INTERRUPTED: Final = 130

Work = Callable[[Server, argparse.Namespace], Coroutine[Any, Any, int]]
Number = TypeVar("Number", int, float)


def new_parser(prog: str, description: str, *, epilog: str = "") -> argparse.ArgumentParser:
    """A parser with the options that all commands have."""
    parser = argparse.ArgumentParser(
        prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help=f"address of the server; default: LOCAL_WS_URL, else {DEFAULT_URL}")
    parser.add_argument(
        "--auth-token",
        metavar="TOKEN",
        help="default: LOCAL_WS_AUTH_TOKEN, from the environment or .env; other users of this machine can see a token "
        "that stands on the command line (ps)",
    )
    parser.add_argument(
        "--timeout", type=at_least(0.1), default=60.0, metavar="S", help="longest silence of the server on a request"
    )
    parser.add_argument("--verbose", action="store_true", help="each message to standard error")
    return parser


def run(parser: argparse.ArgumentParser, work: Work, arguments: Sequence[str] | None) -> int:
    """The command's exit status."""
    options = parser.parse_args(arguments)
    try:
        return asyncio.run(work(server_of(options), options))
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except ClientError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    except BrokenPipeError:  # `| head`: nobody reads on, and flushing at exit must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def server_of(options: argparse.Namespace) -> Server:
    """The server that options, environment and `.env` name, in this order. Raises `UsageError`."""
    given = {name: value for name, value in {**dotenv_values(".env"), **os.environ}.items() if value}
    # The engine may know several; this command talks to the first.
    url = options.url or next(iter(re.findall(r"[^\s,]+", given.get("LOCAL_WS_URL", ""))), DEFAULT_URL)
    server = Server(
        url,
        token=given.get("LOCAL_WS_AUTH_TOKEN", "") if options.auth_token is None else options.auth_token,
        patience_s=options.timeout,
        trace=(lambda line: print(line, file=sys.stderr)) if options.verbose else None,  # noqa: T201
    )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"--url (or LOCAL_WS_URL): not a WebSocket address; it looks like {DEFAULT_URL}")
    return server


def at_least(least: Number) -> Callable[[str], Number]:
    """An option's type: a number that is not smaller, of the same kind."""

    def number(text: str) -> Number:
        value = type(least)(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    return number


def read_text(path: Path) -> str:
    """Raises `UsageError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def say(line: str = "", *, end: str = "\n") -> None:
    """To standard output, at once."""
    sys.stdout.write(f"{line}{end}")
    sys.stdout.flush()


def ms(value: float | None) -> str:
    """Milliseconds as tables show them."""
    return "-" if value is None else f"{value:.0f}"


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Linear between the two nearest values (Hyndman and Fan's type 7); None of none."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(rows: Iterable[Sequence[str]]) -> str:
    """Columns side by side: the first to the left, figures to the right."""
    cells = [list(row) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in cells
    )
