"""Which Piper voices are installed: every .onnx with its .onnx.json beside it. Imports no engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def installed(model: Path) -> dict[str, Path]:
    """The voices beside `model`, and in the folders beside its own, by name."""
    folder = model.parent
    found = [*folder.glob("*.onnx"), *folder.parent.glob("*/*.onnx")]
    return {path.stem: path for path in sorted(found) if Path(f"{path}.json").is_file()}


def read_config(model: Path) -> dict[str, Any]:
    """The voice's .onnx.json. Raises `ValueError` where it is missing or none."""
    path = Path(f"{model}.json")
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.name} is missing in {path.parent}: a Piper voice is a pair of files") from None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"{path.name} in {path.parent} is no Piper voice's configuration; download it again")  # noqa: TRY004 - a file's content
    return config


def speakers(model: Path, config: dict[str, Any]) -> dict[str, int | None]:
    """The names a request may use: the voice's own and, where it has several speakers, `<voice>#<speaker>`."""
    names: dict[str, int | None] = {model.stem: None}
    if config.get("num_speakers", 1) > 1:
        names |= {f"{model.stem}#{name}": number for name, number in (config.get("speaker_id_map") or {}).items()}
    return names
