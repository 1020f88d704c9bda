"""tools/pbx against a real Asterisk."""

from __future__ import annotations

import base64
import os
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.pbx_instance import SCRIPT, Pbx, PbxUnavailable

pytestmark = pytest.mark.asterisk


@pytest.fixture
def other(pbx: Pbx, tmp_path: Path) -> Iterator[Pbx]:
    """A second instance, beside the session's, not yet started."""
    instance = Pbx(tmp_path / "home", root=pbx.root)
    yield instance
    instance.stop()


def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(env or {})},
    )


def ari(pbx: Pbx, path: str, password: str) -> int:
    token = base64.b64encode(f"{pbx.ari_user}:{password}".encode()).decode()
    request = urllib.request.Request(f"{pbx.ari_url}/ari/{path}", headers={"Authorization": f"Basic {token}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as reply:
            status: int = reply.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def alive(pid: int) -> bool:
    """A zombie, which its parent has not looked at yet, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def listeners(pid: int) -> set[str]:
    """Addresses, as /proc writes them, of the TCP sockets that a process listens on."""
    inodes = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def test_ari_answers_with_the_generated_password_only(pbx: Pbx) -> None:
    assert ari(pbx, "asterisk/info", pbx.ari_password) == 200
    assert ari(pbx, "asterisk/info", "wrong") == 401


def test_passwords_are_random_and_private(pbx: Pbx, other: Pbx) -> None:
    other.start()
    assert other.ari_password != pbx.ari_password
    assert len(other.ari_password) >= 32
    for file in (*other.home.rglob("*.password"), *other.home.rglob("*.conf")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_nothing_listens_beyond_loopback(pbx: Pbx) -> None:
    pid = pbx.pid
    assert pid is not None
    assert listeners(pid) == {f"0100007F:{pbx.http_port:04X}"}
    assert f"127.0.0.1:{pbx.sip_port}" in pbx.cli("pjsip show transports")


def test_a_second_up_changes_nothing(pbx: Pbx) -> None:
    pid = pbx.pid
    pbx.start()
    assert pbx.pid == pid


def test_up_with_other_settings_than_the_running_ones_is_refused(pbx: Pbx) -> None:
    result = run("up", "--home", str(pbx.home), "--root", str(pbx.root), "--ari-app", "other")
    assert result.returncode == 1
    assert "already runs with ARI_APP=ai-agent, not other" in result.stderr


def test_status_tells_what_runs_where(pbx: Pbx) -> None:
    status = pbx.status()
    assert status["running"] is True
    assert status["version"][0].isdigit()
    assert status["suite"]
    assert (status["sip_port"], status["http_port"]) == (pbx.sip_port, pbx.http_port)
    plain = run("status", "--home", str(pbx.home), "--root", str(pbx.root))
    assert plain.returncode == 0
    assert f"Asterisk {status['version']} from Debian" in plain.stderr
    assert pbx.ari_password not in plain.stderr


def test_a_start_logs_no_error(other: Pbx) -> None:
    other.start()
    assert " ERROR[" not in other.log.read_text()


def test_instances_run_side_by_side_and_down_leaves_nothing(pbx: Pbx, other: Pbx) -> None:
    other.start()
    pid = other.pid
    assert pid is not None
    assert pid != pbx.pid
    assert os.getsid(pid) == pid, "Ctrl-C at the terminal must not reach it"
    other.stop()
    assert not alive(pid)
    assert other.status()["running"] is False
    assert not list(other.home.rglob("*.pid"))
    assert not list(other.home.rglob("*.ctl"))
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("127.0.0.1", other.http_port))
        udp.bind(("127.0.0.1", other.sip_port))
    assert pbx.status()["running"] is True


def test_starts_again_after_a_crash_with_the_same_password(other: Pbx) -> None:
    other.start()
    password, pid = other.ari_password, other.pid
    other.restart(kill=True)
    assert other.pid not in (None, pid)
    assert other.ari_password == password
    assert ari(other, "asterisk/ping", password) == 200


def test_down_spares_a_process_that_took_over_the_pid(other: Pbx) -> None:
    other.start()
    other.stop()
    pid_file = other.home / "instances" / "default" / "asterisk.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    other.stop()  # still here
    assert not pid_file.exists()


@pytest.mark.parametrize(("port", "named"), [("sip_port", "UDP port {} (SIP)"), ("http_port", "TCP port {} (ARI)")])
def test_a_port_in_use_is_named(pbx: Pbx, tmp_path: Path, port: str, named: str) -> None:
    taken: int = getattr(pbx, port)
    clash = Pbx(tmp_path / "home", root=pbx.root)
    setattr(clash, port, taken)
    with pytest.raises(PbxUnavailable) as refusal:
        clash.start()
    assert f"{named.format(taken)} is in use on this host." in str(refusal.value)
    assert "Choose another" in str(refusal.value)
    assert clash.status()["running"] is False


BAD_ARGUMENTS = [
    (["up", "--sip-port", "abc"], "--sip-port is 'abc', not a port"),
    (["up", "--sip-port", "70000"], "--sip-port is '70000', not a port"),
    (["up", "--rtp-start", "20000", "--rtp-end", "20001"], "too few"),
    (["up", "--bind", "everywhere"], "not an IPv4 address"),
    (["up", "--instance", "../x"], "--instance is '../x'"),
    (["up", "--home"], "--home needs a value"),
    (["up", "--frob"], "unknown option --frob"),
    (["frob"], "unknown command frob"),
    (["up", "extra"], "up takes no argument extra"),
    (["up", "--home", "/proc/nowhere"], "cannot write to /proc/nowhere"),
    (["up", "--home", "/tmp/" + "x" * 120], "longer than the 107 bytes"),
]


@pytest.mark.parametrize(("words", "message"), BAD_ARGUMENTS, ids=[" ".join(w)[:30] for w, _ in BAD_ARGUMENTS])
def test_bad_arguments_are_named_and_nothing_is_started(tmp_path: Path, words: list[str], message: str) -> None:
    result = run(*words, env={"PBX_HOME": str(tmp_path / "home"), "PBX_ROOT": str(tmp_path / "root")})
    assert result.returncode == 1
    assert message in result.stderr
    assert not (tmp_path / "home" / "instances").exists()


MISSING = [
    ("no apt-get", {"apt-get": None}, "this host has no apt-get and dpkg-deb"),
    (
        "no mirror",
        {"apt-get": "exit 0", "sed": 'case "$*" in *sources*) ;; *) exec /usr/bin/sed "$@" ;; esac'},
        "no Debian mirror is named",
    ),
    (
        "no network",
        {"apt-get": 'case "$*" in *indextargets*) echo http://mirror.invalid/debian ;; *) exit 100 ;; esac'},
        "needs the network once",
    ),
    (
        "a suite without Asterisk",
        {
            "apt-get": 'case "$*" in *indextargets*) echo http://mirror.invalid/debian ;; '
            "*update*) ;; *) exit 100 ;; esac"
        },
        "has no installable asterisk package",
    ),
]


@pytest.mark.parametrize(("programs", "message"), [row[1:] for row in MISSING], ids=[row[0] for row in MISSING])
def test_what_an_installation_lacks_is_said_with_the_fix(
    tmp_path: Path, programs: dict[str, str | None], message: str
) -> None:
    """The host's programs, some of them replaced: stands for hosts that lack apt, a mirror or the network."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for source in Path("/usr/bin").iterdir():
        if source.name not in programs:
            (folder / source.name).symlink_to(source)
    for name, script in programs.items():
        if script is not None:
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
    result = run("up", "--home", str(tmp_path / "home"), env={"PATH": str(folder), "PBX_MIRROR": "", "PBX_ROOT": ""})
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) >= 2, "the fix is said too"
    left = {path.name for path in (tmp_path / "home").iterdir()}
    assert left == {"instances", "root.lock"}, "nothing half-installed"


def test_snippets_hold_the_dialplan_and_no_secret(pbx: Pbx) -> None:
    text = run("snippets").stdout
    for part in (
        "http.conf",
        "ari.conf",
        "extensions.conf",
        "[parley-agent]",
        "[parley-fallback]",
        "CHOOSE-A-PASSWORD",
    ):
        assert part in text
    assert "@" not in text, "each placeholder is filled"
    assert pbx.ari_password not in text


def test_the_phone_needs_its_password_and_bind_says_what_it_opens(other: Pbx) -> None:
    words = ["--home", str(other.home), "--root", str(other.root), "--sip-port", str(other.sip_port)]
    words += ["--http-port", str(other.http_port), "--bind", "127.0.0.2"]  # stands for an address of the LAN
    result = run("up", *words)
    assert result.returncode == 0, result.stderr
    assert "can now be reached from other machines at 127.0.0.2" in result.stderr
    assert other.phone_password not in result.stderr
    assert f"127.0.0.2:{other.sip_port}" in other.cli("pjsip show transports")
    endpoint = other.cli("pjsip show endpoint 6001")
    assert "InAuth:  6001/6001" in endpoint
    assert "transport-lan" in endpoint


def test_sipp_says_its_version(pbx: Pbx) -> None:
    if not pbx.root.with_name(f"{pbx.root.name}-sipp").is_dir():
        pytest.skip("SIPp is not installed: tools/pbx install --sipp")
    said = run("--root", str(pbx.root), "sipp", "-v")
    assert "SIPp v" in said.stdout, said.stderr
