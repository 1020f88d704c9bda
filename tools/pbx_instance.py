"""`Pbx`: an Asterisk of one's own for tests and benchmarks, brought up and down by tools/pbx."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tools.free_ports import free_rtp_ports, free_sip_port, free_tcp_port

SCRIPT = Path(__file__).with_name("pbx")
SHARED_ROOT = SCRIPT.parent.parent / "var" / "pbx" / "root"
"""The installed tree that every instance of this checkout shares."""

START_TIMEOUT_S = 300.0
"""The first start of all downloads Asterisk; each other takes under a second."""

COMMAND_TIMEOUT_S = 30.0
_RTP_PORTS = 200


class PbxUnavailable(Exception):
    """No Asterisk can be had here; the message is what tools/pbx says about it."""


class Pbx:
    """One instance in a folder of its own.

    Ports are free ones unless named; they stay the same over `restart`. Everything is on loopback.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        home: Path,
        *,
        root: Path = SHARED_ROOT,
        sip_port: int | None = None,
        http_port: int | None = None,
        rtp_ports: tuple[int, int] | None = None,
        app: str = "ai-agent",
        ari_user: str = "parley",
    ) -> None:
        self.home = home
        self.root = root
        self.sip_port = sip_port or free_sip_port()
        self.http_port = http_port or free_tcp_port()
        self.rtp_ports = rtp_ports or _free_rtp_range()
        self.app = app
        self.ari_user = ari_user
        self._instance = home / "instances" / "default"

    @property
    def ari_url(self) -> str:
        """Without the trailing /ari."""
        return f"http://{self.host}:{self.http_port}"

    @property
    def ari_password(self) -> str:
        return (self._instance / "ari.password").read_text().strip()

    @property
    def phone_password(self) -> str:
        """Of the users 6001, 6002 and 6003."""
        return (self._instance / "phone.password").read_text().strip()

    @property
    def log(self) -> Path:
        """Asterisk's full log."""
        return self._instance / "var" / "log" / "full"

    @property
    def pid(self) -> int | None:
        """None while it is not running."""
        pid: int | None = self.status()["pid"]
        return pid

    @property
    def sip_domain(self) -> str:
        """Where telephones register, e.g. `127.0.0.1:5060`."""
        return f"{self.host}:{self.sip_port}"

    def sip_uri(self, extension: int | str) -> str:
        """The URI that dials an extension, e.g. `sip:700@127.0.0.1:5060`."""
        return f"sip:{extension}@{self.sip_domain}"

    def start(self) -> None:
        """Bring it up; nothing happens when it runs. Raises `PbxUnavailable` with the reason."""
        result = self._run("up", timeout_s=START_TIMEOUT_S)
        if result.returncode:
            raise PbxUnavailable(result.stderr.strip() or result.stdout.strip())

    def stop(self, *, kill: bool = False) -> None:
        """Stop it: properly (its channels are hung up), or as a crash would."""
        result = self._run("down", *(["--kill"] if kill else []))
        if result.returncode:
            raise RuntimeError(result.stderr.strip())

    def restart(self, *, kill: bool = False) -> None:
        """Stop and start on the same ports."""
        self.stop(kill=kill)
        self.start()

    def cli(self, command: str) -> str:
        """What Asterisk's console answers to `command`."""
        result = self._run("cli", command)
        if result.returncode:
            raise RuntimeError(f"pbx cli {command!r}: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout

    def status(self) -> dict[str, Any]:
        """The fields of `tools/pbx status --json`."""
        fields: dict[str, Any] = json.loads(self._run("status", "--json").stdout)
        return fields

    def _run(self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPT), "--home", str(self.home), "--root", str(self.root)]
        command += ["--sip-port", str(self.sip_port), "--http-port", str(self.http_port)]
        command += ["--rtp-start", str(self.rtp_ports[0]), "--rtp-end", str(self.rtp_ports[1])]
        command += ["--ari-user", self.ari_user, "--ari-app", self.app, *words]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, check=False, env=_environment()
            )
        except subprocess.TimeoutExpired:
            raise PbxUnavailable(f"tools/pbx {words[0]} took longer than {timeout_s:g} s") from None


def _environment() -> dict[str, str]:
    """Ours without the settings of the user's own PBX; where Asterisk comes from stays."""
    kept = {"PBX_SUITE", "PBX_MIRROR"}
    return {k: v for k, v in os.environ.items() if k in kept or not k.startswith(("PBX_", "ASTERISK_"))}


def _free_rtp_range() -> tuple[int, int]:
    first = free_rtp_ports(_RTP_PORTS)
    return first, first + _RTP_PORTS - 1
