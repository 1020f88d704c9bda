"""`python -m ai_engine`: arguments → settings → `Engine.run`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from ai_engine.config_file import ConfigError
from ai_engine.conversation.embedding import EmbedderUnavailable
from ai_engine.conversation.semantic_end_of_turn import SemanticModelUnavailable
from ai_engine.engine import Engine
from ai_engine.logs import configure_logs
from ai_engine.media.echo import EchoUnavailable
from ai_engine.media.lines import MediaError
from ai_engine.media.ports import PortError
from ai_engine.settings import Settings, load_settings
from speech_detection.detector import SpeechDetectorError

COMPLAINTS = (ConfigError, SpeechDetectorError, EchoUnavailable, MediaError, PortError)
"""What keeps an engine from starting and says itself what mends it."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ai-engine", description="Answers calls that Asterisk's dialplan hands to Stasis()."
    )
    parser.add_argument("--config", type=Path, default=Path("config/ai-agent.yaml"), help="[%(default)s]")
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="[%(default)s]")
    parser.add_argument("--check", action="store_true", help="read the configuration, say what is wrong, and end")
    return parser.parse_args(argv)


def _complain(message: str) -> None:
    sys.stderr.write(f"ai-engine: {message}\n")


async def serve(engine: Engine) -> None:
    """Until SIGTERM or SIGINT; a second one says the farewells at once."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    await engine.run(stop, hurry)


def run(settings: Settings) -> int:
    """Exit code: 0 after a graceful stop, 1 when the engine could not start; the reason is on stderr."""
    try:
        uvloop.run(serve(Engine(settings)))
    except (*COMPLAINTS, EmbedderUnavailable, SemanticModelUnavailable) as error:
        _complain(str(error))
        return 1
    except OSError as error:
        where = f"{settings.http.bind}:{settings.http.port}"
        remedy = "another engine may run there: stop it or set ENGINE_HTTP_PORT"
        _complain(f"{where} cannot be listened on: {error.strerror or error}; {remedy}")
        return 1
    return 0


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    try:
        settings = load_settings(args.config, args.env_file)
        if args.check:
            Engine(settings)
    except COMPLAINTS as error:
        sys.exit(f"ai-engine: {error}")
    if args.check:
        print(f"ai-engine: {args.config} is in order")  # noqa: T201
        return
    configure_logs(settings.logging.level, settings.logging.format, transcripts=settings.logging.transcripts)
    sys.exit(run(settings))


if __name__ == "__main__":
    main()
