"""Nothing that the project loads tells anybody that it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
WEIGHTS = PROJECT / "models" / "vad" / "silero_vad.onnx"


@pytest.mark.parametrize("package", ["ai_engine", "local_ai_server"])
def test_onnx_runtime_keeps_nothing_to_send(package: str, tmp_path: Path) -> None:
    if not WEIGHTS.is_file():
        pytest.skip("needs the voice activity network")
    program = f"import {package}, onnxruntime; onnxruntime.InferenceSession({str(WEIGHTS)!r})"
    dropped = {"ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME"}  # in continuous integration it would keep still anyhow
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment |= {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=PROJECT, timeout=120)
    assert list(tmp_path.rglob("*onnxruntime*")) == []
