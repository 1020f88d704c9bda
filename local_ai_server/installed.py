"""What was fetched for a model whose files the catalogue cannot name beforehand: `.installed/NAME.json` in the models
directory.

The record outlives the model's removal: a file nobody states a checksum for must be the same ever after.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

_FOLDER: Final = ".installed"
Checked = Literal["catalogue", "hub", "first use"]


class InstalledFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    size_bytes: int
    sha256: str
    checked: Checked
    """What the sha256 was held against: the catalogue's, the hub's, or nothing the first time."""


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    """The hub's repository, or the address."""
    revision: str | None
    fetched: dict[str, InstalledFile]
    """As they came over the network, archives included."""
    files: dict[str, InstalledFile]
    """As they lie in the model's directory."""


def read_record(models_dir: Path, name: str) -> Record | None:
    """None where there is none, or one that cannot be read."""
    try:
        return Record.model_validate_json((models_dir / _FOLDER / f"{name}.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_record(models_dir: Path, name: str, record: Record) -> None:
    path = models_dir / _FOLDER / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
