"""A version-2 client that vanishes without a word gives its place back: a real server on a network that is cut."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CUT = textwrap.dedent(
    """
    import asyncio, json, subprocess
    import httpx
    from fake_services import FakeServices
    from websockets.asyncio.client import connect
    from local_ai_server import connection
    from local_ai_server.app import build_app
    from local_ai_server.main import HttpServer, _listen, uvicorn_config
    from local_ai_server.settings import Settings

    connection._PROBE_AFTER_S, connection._PROBE_EVERY_S, connection._DEAD_AFTER_S = 1, 1, 3

    def loopback(state):
        subprocess.run(["ip", "link", "set", "lo", state], check=True)

    async def sessions(where):
        async with httpx.AsyncClient(trust_env=False) as http:
            figures = (await http.get(f"http://{where}/metrics")).text
        return next(line.split()[1] for line in figures.splitlines() if line.startswith("local_ai_sessions "))

    async def main():
        loopback("up")
        settings = Settings.model_validate({"LOCAL_WS_PORT": "0", "LOCAL_WS_MAX_SESSIONS": "1"})
        with _listen(settings) as listener:
            app = build_app(settings, FakeServices().switchboard)
            server = HttpServer(uvicorn_config(app, settings))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            where = f"127.0.0.1:{listener.getsockname()[1]}"
            client = await connect(f"ws://{where}/", ping_interval=None, proxy=None)
            await client.send('{"type": "ping"}')
            await client.recv()
            before = await sessions(where)
            for _ in range(10):
                loopback("down")
                await asyncio.sleep(4)
                loopback("up")
                if (after := await sessions(where)) == "0.0":
                    break
            print(before, after)
            client.transport.abort()
            server.should_exit = True
            await serving

    asyncio.run(main())
    """
)


def can_cut() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    command = ["unshare", "-rn", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_cut(), reason="needs a network namespace of its own (unshare -rn) and ip")
def test_a_client_whose_network_is_cut_gives_its_place_back():
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", CUT],
        cwd=HERE,
        env={
            "PYTHONPATH": ":".join(map(str, (HERE, HERE.parents[1] / "src", HERE.parents[1]))),
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        },
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1.0", "0.0"]
