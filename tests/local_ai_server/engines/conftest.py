from pathlib import Path

import pytest
from engine_fixtures import Programs, gguf_bytes, in_path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """`vllm` and `trtllm-serve` on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", in_path(folder))
    return Programs(folder)


@pytest.fixture
def small_gguf(tmp_path: Path) -> Path:
    """A GGUF's header that says Q8_0, and one tensor that is not there."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_bytes(7))
    return path
