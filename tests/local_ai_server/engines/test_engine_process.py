"""An engine as a process: started, waited for, ended, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from engine_fixtures import BUSY_S, alive, until

from local_ai_server.engines.supervised import EngineFailed, EngineProcess

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
SLEEP = "import time; time.sleep(600)"
DAEMON = f"""
import subprocess, sys
daemon = subprocess.Popen([sys.executable, "-c", {DEAF + SLEEP!r}], start_new_session=True, stdout=2)
print(daemon.pid)
"""
"""Starts one whose parent then goes, in a session of its own."""
FAMILY = f"""
import os, pathlib, subprocess, sys
deaf = [sys.executable, "-c", {DEAF + SLEEP!r}]
pids = [subprocess.Popen(deaf, start_new_session=own_session).pid for own_session in (False, True)]
pids.append(int(subprocess.run([sys.executable, "-c", {DAEMON!r}], stdout=subprocess.PIPE, text=True).stdout))
part = pathlib.Path("PIDS.part")
part.write_text(" ".join(map(str, [os.getpid(), *pids])))
part.rename("PIDS")
"""


def engine(code: str, **options: object) -> EngineProcess:
    return EngineProcess([sys.executable, "-c", code], os.environ, name="toy", **options)  # type: ignore[arg-type]


def family(folder: Path, code: str = "") -> str:
    return FAMILY.replace("PIDS", str(folder / "pids")) + code + SLEEP


def pids_in(folder: Path) -> list[int]:
    file = folder / "pids"
    until(file.exists)
    return [int(word) for word in file.read_text().split()]


def test_what_ignores_sigterm_and_what_it_started_are_gone_after_stop(tmp_path: Path) -> None:
    process = engine(family(tmp_path, DEAF), grace_s=0.3)
    pids = pids_in(tmp_path)
    assert len(pids) == 4
    assert alive(pids) == pids
    process.stop()
    assert alive([process.pid, *pids]) == []
    process.stop()  # again: nothing


def test_it_is_asked_before_it_is_killed(tmp_path: Path) -> None:
    said = tmp_path / "said"
    code = "import signal, sys, pathlib, time\n"
    code += "def end(*_):\n    time.sleep(0.2); pathlib.Path(F).write_text('bye'); sys.exit()\n"
    code += "signal.signal(signal.SIGTERM, end); print('up', flush=True)\n"
    process = engine(f"F = {str(said)!r}\n{code}{SLEEP}", grace_s=BUSY_S)
    until(lambda: "up" in process.output())
    process.stop()
    assert said.read_text() == "bye"


def test_a_worker_killed_with_9_leaves_nothing(tmp_path: Path) -> None:
    worker = (
        f"import os, sys, time\nfrom local_ai_server.engines.supervised import EngineProcess\n"
        f"process = EngineProcess([sys.executable, '-c', {family(tmp_path, DEAF)!r}], os.environ, name='toy')\n"
        "print(process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            pids = [int(running.stdout.readline()), *pids_in(tmp_path)]
            assert alive(pids) == pids
        finally:
            running.kill()
    until(lambda: not alive(pids))


def test_the_engine_ends_when_its_guardian_is_killed(tmp_path: Path) -> None:
    process = engine(
        f"import os, pathlib; pathlib.Path({str(tmp_path / 'pids')!r}).write_text(str(os.getpid()))\n{SLEEP}"
    )
    (pid,) = until(
        lambda: [int(p) for p in (tmp_path / "pids").read_text().split()] if (tmp_path / "pids").exists() else []
    )
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not alive([pid]))
    assert process.wait() is not None
    process.stop()


def test_the_next_one_waits_until_a_killed_workers_engine_has_gone(tmp_path: Path) -> None:
    """Two engines do not fit into one GPU."""
    first = subprocess.Popen(["sleep", "600"])  # stands for a worker that is killed
    gone = Path(f"/proc/{first.pid}")
    guardian = Path(sys.modules[EngineProcess.__module__].__file__ or "").with_name("guardian.py")
    command = [
        sys.executable,
        "-I",
        "-S",
        str(guardian),
        "--worker",
        str(first.pid),
        "--grace",
        "1",
        "--",
        "sleep",
        "600",
    ]
    old = subprocess.Popen(command, stdin=subprocess.PIPE)
    until(lambda: Path(f"/proc/{old.pid}/cmdline").read_bytes().count(b"--worker"))
    first.kill()
    first.wait()
    assert not gone.exists()
    assert old.stdin is not None
    closing = threading.Timer(0.5, old.stdin.close)
    closing.start()
    process = engine(SLEEP)
    assert old.wait(BUSY_S) is not None
    assert process.running
    process.stop()
    closing.join()


def test_one_that_dies_while_it_loads_is_told_with_its_last_lines() -> None:
    process = engine("import sys; print('CUDA out of memory, key hush', file=sys.stderr); sys.exit(3)", secret="hush")
    with pytest.raises(EngineFailed) as failed:
        process.wait_ready(lambda: False, timeout_s=BUSY_S, remedy="")
    first, *lines = str(failed.value).splitlines()
    assert first == "toy ended with exit status 3 before it was ready; its last lines:"
    assert lines == ["CUDA out of memory, key ***"]


def test_one_that_hangs_while_it_loads_is_given_up(tmp_path: Path) -> None:
    process = engine(family(tmp_path), grace_s=0.3)
    pids = pids_in(tmp_path)
    with pytest.raises(EngineFailed, match=r"toy was not ready within 0\.2 s; set SERVICE_TIMEOUT"):
        process.wait_ready(lambda: False, timeout_s=0.2, remedy="set SERVICE_TIMEOUT")
    assert alive([process.pid, *pids]) == []


def test_megabytes_of_output_stop_nobody_and_are_not_kept() -> None:
    code = "import sys\nfor i in range(40):\n    sys.stderr.write('y' * (1 << 20))\n"
    process = engine(code + "sys.stderr.write('\\n' + 'z\\n' * 3_000_000 + 'the end\\n')\nsys.exit(1)")
    ended = process.wait()
    assert ended is not None
    assert ended.endswith("the end")
    assert len(ended) < 100_000
    process.stop()


def test_a_signal_is_told_as_one() -> None:
    process = engine("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (process.wait() or "").startswith("toy was ended by signal 11")
    process.stop()


def test_a_program_that_cannot_be_run_says_so(tmp_path: Path) -> None:
    program = tmp_path / "prog"
    program.write_text("#!/nowhere/python\n")
    program.chmod(0o755)
    process = EngineProcess([str(program)], os.environ, name="toy")
    with pytest.raises(EngineFailed, match="cannot be run: No such file"):
        process.wait_ready(lambda: False, timeout_s=BUSY_S, remedy="")


def test_an_engine_does_not_keep_the_idle_priority_of_a_worker_that_loads() -> None:
    started: list[EngineProcess] = []

    def load() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        finally:
            started.append(engine(f"import os; print(os.sched_getscheduler(0), flush=True)\n{SLEEP}"))

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    until(started[0].output)
    try:
        assert started[0].output() == (str(os.SCHED_OTHER),)
    finally:
        started[0].stop()


def test_ready_is_asked_until_it_is() -> None:
    process, asked = engine(SLEEP), []
    began = time.monotonic()
    process.wait_ready(lambda: len(asked) > 2 or bool(asked.append(1)), timeout_s=BUSY_S, remedy="")
    assert len(asked) == 3
    assert time.monotonic() - began < BUSY_S
    process.stop()
