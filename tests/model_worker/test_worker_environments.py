"""Each worker with its own interpreter, packages, variables and native libraries, side by side."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from model_worker.errors import WorkerUnavailable
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec

HERE = Path(__file__).parent


def visitor(**options) -> WorkerLink:
    return WorkerLink(WorkerSpec(**{"model": "worker_models:Visitor", "load_deadline_s": 60.0} | options))


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A virtual environment with a model of its own and another version of a library that lies here too."""
    home = tmp_path_factory.mktemp("other")
    venv.create(home / "venv", with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = home / "venv" / "lib" / version / "site-packages"
    (packages / "structlog.py").write_text("WHO = 'theirs'\n")
    shutil.copy(HERE / "worker_models.py", packages / "worker_models.py")
    return home / "venv"


async def test_a_worker_lives_in_another_virtual_environment(environment, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    here = visitor(env={"PYTHONPATH": str(HERE)})
    there = visitor(python=str(environment / "bin" / "python"), lent_packages=("voice_core",))
    await asyncio.gather(here.start(), there.start())
    asked = {"modules": ["structlog", "pydantic", "test_worker_environments", "voice_core", "model_worker.memory"]}
    mine, theirs = (await here.request("look", asked))[0], (await there.request("look", asked))[0]
    await asyncio.gather(here.stop(), there.stop())
    assert (mine["prefix"], theirs["prefix"]) == (sys.prefix, str(environment))
    assert mine["modules"]["structlog"] == "there"
    assert theirs["modules"] == {
        "structlog": "theirs",
        "pydantic": None,
        "test_worker_environments": None,
        "voice_core": "there",
        "model_worker.memory": "there",
    }


async def test_a_worker_elsewhere_is_supervised_like_any(environment):
    link = visitor(python=str(environment / "bin" / "python"), model="worker_models:Echo", ready_wait_s=30)
    await link.start()
    process = link._process
    with pytest.raises(Exception, match="about to go wrong"):
        await link.request("abort")
    assert await link.request("echo", {"n": 1}, b"x") == ({"n": 1}, b"x")
    assert link._process is not process
    assert await link.stop() is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"python": "/nowhere/bin/python"}, "no Python at /nowhere/bin/python"),
        ({"python": sys.executable, "lent_packages": ("no_such_package",)}, "no package no_such_package here"),
        ({"python": sys.executable, "model": "only_elsewhere:Model"}, "No module named 'only_elsewhere'"),
    ],
)
async def test_an_environment_that_is_not_there_is_named(options, words):
    with pytest.raises(WorkerUnavailable, match=words):
        await visitor(**options).start()


def test_lending_needs_a_borrower():
    with pytest.raises(ValueError, match="none is named"):
        WorkerSpec(model="m:C", lent_packages=("voice_core",))


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory) -> dict[str, Path]:
    """Two builds of one library: the same file name and SONAME, other symbols, as two engines bring their own CUDA."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("no C compiler here to build the two libraries with")
    folders = {}
    for major in ("11", "12"):
        folder = folders[major] = tmp_path_factory.mktemp(f"runtime{major}")
        source = folder / "runtime.c"
        source.write_text(f"int version(void) {{ return {major}; }}\nint only_in_{major}(void) {{ return {major}; }}\n")
        shared = ["-shared", "-fPIC", "-Wl,-soname,libruntime.so"]
        subprocess.run([compiler, *shared, "-o", str(folder / "libruntime.so"), str(source)], check=True)
    return folders


async def test_engines_with_colliding_native_libraries_run_side_by_side(runtimes):
    def engine(major: str, symbol: str) -> WorkerLink:
        env = {"PYTHONPATH": str(HERE), "LD_LIBRARY_PATH": str(runtimes[major])}
        settings = {"library": "libruntime.so", "symbol": symbol}
        return WorkerLink(WorkerSpec(model="worker_models:NativeEngine", env=env, settings=settings))

    links = [engine("11", "version"), engine("12", "version"), engine("11", "only_in_11"), engine("12", "only_in_12")]
    await asyncio.gather(*(link.start() for link in links))
    answers = await asyncio.gather(*(link.request("version") for link in links))
    await asyncio.gather(*(link.stop() for link in links))
    assert [answer["version"] for answer, _ in answers] == [11, 12, 11, 12]


def test_in_one_process_they_collide(runtimes):
    """Why workers are processes: the second engine is given the first's library, and its own symbol is not there."""
    models = (HERE / "worker_models.py").resolve()
    program = (
        f"import sys; sys.path.insert(0, {str(models.parent)!r})\n"
        "from worker_models import NativeEngine\n"
        "one, two = NativeEngine(), NativeEngine()\n"
        f"one.load(library={str(runtimes['11'] / 'libruntime.so')!r}, symbol='version')\n"
        "two.load(library='libruntime.so', symbol='only_in_12')\n"
        "print(two.version(b'', None))\n"
    )
    env = {"LD_LIBRARY_PATH": str(runtimes["12"])}
    ran = subprocess.run(
        [sys.executable, "-c", program], check=False, env=env, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode != 0
    assert "undefined symbol: only_in_12" in ran.stderr


async def test_each_worker_sees_its_own_devices():
    def seeing(devices: str) -> WorkerLink:
        env = {"PYTHONPATH": str(HERE), "EXTRA": devices, "CUDA_VISIBLE_DEVICES": devices}
        return WorkerLink(WorkerSpec(model="worker_models:Echo", env=env, threads=int(devices) + 1))

    links = [seeing("0"), seeing("1")]
    await asyncio.gather(*(link.start() for link in links))
    seen = [(await link.request("environment"))[0]["env"] for link in links]
    await asyncio.gather(*(link.stop() for link in links))
    assert [(env["EXTRA"], env["OMP_NUM_THREADS"]) for env in seen] == [("0", "1"), ("1", "2")]


def test_the_child_imports_the_standard_library_only():
    """So that it starts under any interpreter, and before any native library of ours."""
    program = (
        "import sys; before = set(sys.modules); import model_worker.worker\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    src = str(Path(importlib.import_module("model_worker").__file__).parent.parent)
    ran = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {src!r}); {program}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.split()) - set(sys.stdlib_module_names) == {"model_worker"}
