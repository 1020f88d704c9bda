"""`python -m tools.load_test.scripted_engine`: the engine as it is, with the provider `scripted` and a way to look in.

SIGUSR1 makes it write what it holds into the file that PARLEY_INVENTORY names: asyncio tasks by name, threads, how many
objects the garbage collector knows, and the longest pause that its collections made since the last time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import uvloop

from ai_engine.__main__ import parse, serve
from ai_engine.engine import Engine
from ai_engine.logs import configure_logs
from ai_engine.providers.registry import PROVIDERS
from ai_engine.settings import load_settings
from tools.load_test.inventory import INVENTORY_VARIABLE, CollectorPauses, inventory
from tools.load_test.scripted_provider import make_scripted


async def _serve(engine: Engine) -> None:
    pauses = CollectorPauses()
    pauses.watch()
    file = os.environ.get(INVENTORY_VARIABLE)

    def write() -> None:
        assert file is not None
        unfinished = Path(f"{file}.new")
        unfinished.write_text(json.dumps(inventory(pauses)))
        unfinished.replace(file)

    if file is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, write)
    await serve(engine)


def main() -> None:
    arguments = parse()
    PROVIDERS["scripted"] = make_scripted
    settings = load_settings(arguments.config, arguments.env_file)
    configure_logs(settings.logging.level, settings.logging.format, transcripts=settings.logging.transcripts)
    uvloop.run(_serve(Engine(settings)))


if __name__ == "__main__":
    main()
