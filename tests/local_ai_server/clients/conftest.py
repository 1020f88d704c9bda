"""Commands as a user runs them, without what this machine's environment says."""

import asyncio
import os
import sys

import pytest


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty folder, and no address or token from outside."""
    monkeypatch.chdir(tmp_path)
    for name in ("LOCAL_WS_URL", "LOCAL_WS_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run_client(capsys):
    """`await run_client(main, *arguments)`: status, standard output, standard error."""

    async def run(main, *arguments):
        try:
            status = await asyncio.to_thread(main, [str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            status = end.code
        out, errors = capsys.readouterr()
        assert "Traceback" not in errors
        return status, out, errors

    return run


@pytest.fixture
async def start_client():
    """`await start_client(module, *arguments)`: a process with pipes. It is ended with the test."""
    started = []

    async def start(module, *arguments, stdin=asyncio.subprocess.PIPE):
        process = await asyncio.create_subprocess_exec(
            # Tests that run in the background ignore Ctrl-C, and what they start would do so, too.
            *("env", "--default-signal=INT"),
            *(sys.executable, "-m", module, *arguments),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()
