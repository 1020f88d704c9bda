"""The command line of the models: list, found, verify, remove, path, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from local_ai_server import embedded
from local_ai_server.catalog import load_catalog
from local_ai_server.embedded import main


@pytest.fixture
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "models"


@pytest.fixture
def voice(models_dir: Path) -> Path:
    """Kokoro's files with their sizes and no content."""
    model = load_catalog().model("kokoro-82m-int8")
    for file in model.files:
        path = models_dir / model.path / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            out.truncate(file.size_bytes)
    return models_dir / model.path


def test_the_list_is_there_as_values(models_dir: Path, voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json", "--models", str(models_dir)]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(listed) == {model.name for model in load_catalog().models}
    kokoro = listed["kokoro-82m-int8"]
    assert kokoro["installed"] is True
    assert kokoro["path"] == str(voice)
    assert kokoro["memory_measured"] is True
    assert listed["Qwen2.5-1.5B-Instruct-Q4_K_M"]["from"] == "hub"
    assert listed["Qwen2.5-1.5B-Instruct-Q4_K_M"]["installed"] is False


def test_the_list_of_a_set(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--set", "switch", "--models", str(models_dir)]) == 0
    names = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert names == [model.name for model in load_catalog().in_set("switch")]


def test_sets_together_hold_each_model_once() -> None:
    catalog = load_catalog()
    chosen = embedded._choose(catalog, [], ["embedded", "switch"], None)
    assert [m.name for m in chosen].count("silero_vad") == 1
    assert {m.name for m in chosen} == {m.name for m in (*catalog.in_set("embedded"), *catalog.in_set("switch"))}


def test_verify_tells_damage_and_passes_over_what_is_not_here(
    models_dir: Path, voice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--models", str(models_dir)]) == 1
    output = capsys.readouterr()
    assert output.out == f"kokoro-82m-int8: {voice / 'model.onnx'} does not have the checksum it must have\n"
    assert "install NAME --verify" in output.err
    assert main(["verify", "whisper-base", "--models", str(models_dir)]) == 1
    assert main(["verify", "--models", str(models_dir / "empty")]) == 0


def test_path_and_remove(models_dir: Path, voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--models", str(models_dir)]
    assert main(["path", "kokoro-82m-int8", *where]) == 0
    assert capsys.readouterr().out == f"{voice}\n"
    assert main(["remove", "kokoro-82m-int8", *where]) == 0
    assert not voice.exists()
    assert main(["remove", "kokoro-82m-int8", *where]) == 0
    assert capsys.readouterr().out == "kokoro-82m-int8: removed\nkokoro-82m-int8: was not here\n"
    assert main(["path", "kokoro-82m-int8", *where]) == 1
    assert "install kokoro-82m-int8" in capsys.readouterr().err


def test_removing_a_model_leaves_its_neighbours(models_dir: Path) -> None:
    for name in ("SmolLM2-135M-Instruct-Q4_1.gguf", "mine.gguf"):
        (models_dir / "llm").mkdir(parents=True, exist_ok=True)
        (models_dir / "llm" / name).write_bytes(b"x")
    assert main(["remove", "SmolLM2-135M-Instruct-Q4_1", "--models", str(models_dir)]) == 0
    assert [path.name for path in (models_dir / "llm").iterdir()] == ["mine.gguf"]


def test_models_of_ones_own_are_shown(models_dir: Path, voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models_dir / "own.gguf").write_bytes(b"GGUF")
    assert main(["found", "--json", "--models", str(models_dir)]) == 0
    (own,) = json.loads(capsys.readouterr().out)
    assert (own["backend"], own["path"]) == ("llama_cpp", str(models_dir / "own.gguf"))
    assert "cut short" in own["problem"]
    assert main(["found", "--models", str(models_dir)]) == 0
    assert "own.gguf" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["verify", "remove", "path", "install"])
def test_a_wrong_name_lists_the_right_ones(models_dir: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "whisper-giant", "--models", str(models_dir)]) == 2
    assert "whisper-tiny.en" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error_to_speak_of() -> None:
    command = f"{sys.executable} -m local_ai_server.embedded list --json | head -c 1"
    ended = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)
    assert ended.stdout == "["
    assert ended.stderr == ""


def test_help_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert all(f"embedded {name}" in output for name in ("install", "list", "found", "verify", "remove", "path"))
