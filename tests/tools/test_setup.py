"""tools/setup: the virtual environment on machines that lack this or that, and what it says where it cannot be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def setup(venv: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PARLEY_", "PIP_", "VIRTUAL_ENV", "PYTHON"))}
    return subprocess.run(
        [str(PROJECT / "tools" / "setup"), *words],
        env={**clean, "PARLEY_VENV": str(venv), **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_help_says_what_it_does(tmp_path: Path) -> None:
    result = setup(tmp_path / "venv", "--help")
    assert result.returncode == 0
    assert "PARLEY_VENV" in result.stdout


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    assert setup(tmp_path / "venv", "--nonsense").returncode == 2


def test_without_a_fitting_python_it_says_which_to_install(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "readlink", "cat", "sha256sum", "cut", "date", "rm"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    result = setup(tmp_path / "venv", PATH=str(tools))
    assert result.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_without_python3_venv_and_without_an_index_it_has_pip_and_says_what_is_missing(tmp_path: Path) -> None:
    """`ensurepip` is what Debian splits off into python3-venv: here it fails. Then no package index answers."""
    (tmp_path / "ensurepip.py").write_text("raise SystemExit('ensurepip is not available')\n")
    result = setup(
        tmp_path / "venv",
        PYTHONPATH=str(tmp_path),
        PARLEY_PYTHON=sys.executable,
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS="",
        PIP_CONFIG_FILE=os.devnull,
    )
    assert result.returncode == 1
    assert "the dependencies could not be installed" in result.stderr
    assert "run this again" in result.stderr
    assert not (tmp_path / "venv" / ".parley-stamp").exists()
    pip = subprocess.run(
        [tmp_path / "venv" / "bin" / "python", "-m", "pip", "--version"], capture_output=True, check=False
    )
    assert pip.returncode == 0


def test_an_environment_that_fits_is_left_alone_at_once() -> None:
    if not (Path(sys.prefix) / ".parley-stamp").exists():
        pytest.skip("this Python was not set up by tools/setup")
    result = setup(Path(sys.prefix), "--dev", "--quiet")
    assert result.returncode == 0
    assert result.stderr == ""
