"""Models that lie here without the catalogue's doing: in the models directory and in the model hub's cache.

They are offered as they are. What a folder is, is told by its files' names; only a GGUF is opened, for its header.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from local_ai_server.backends.backend import Kind
from local_ai_server.catalog import Catalog, load_catalog
from local_ai_server.gguf_header import NotGguf, read_gguf_header

_DEEPEST: Final = 4
_MOST_FOLDERS: Final = 5000


class FoundModel(BaseModel):
    model_config = ConfigDict(frozen=True)

    kind: Kind
    backend: str
    path: Path
    """The file or folder to give as the backend's model path."""
    size_bytes: int
    name: str
    """REPO for one of the hub's cache, else the path below the models directory."""
    detail: str = ""
    problem: str | None = None
    """Why it cannot be used."""


def hub_cache_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the hub's own tools keep what they download: HF_HUB_CACHE, else hub/ in HF_HOME, else ~/.cache."""
    home = environment.get("HF_HOME") or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(environment.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def find_models(
    models_dir: Path, *, cache: Path | None = None, catalog: Catalog | None = None
) -> tuple[FoundModel, ...]:
    """What is usable, and GGUF files that are not with the reason, sorted by name. Blocks."""
    cache = cache or hub_cache_dir()
    known = {models_dir / model.path for model in (catalog or load_catalog()).models}
    found = [
        model
        for folder in _folders(models_dir)
        for model in _in_folder(folder, root=models_dir)
        if model.path not in known
    ]
    for snapshot in _snapshots(cache):
        repo = snapshot.parent.parent.name.removeprefix("models--").replace("--", "/")
        for folder in _folders(snapshot):
            found += [
                model.model_copy(update={"name": _named(repo, model, snapshot)})
                for model in _in_folder(folder, root=snapshot)
            ]
    return tuple(sorted(found, key=lambda model: (model.kind, model.name, str(model.path))))


def _named(repo: str, model: FoundModel, snapshot: Path) -> str:
    inside = model.path.relative_to(snapshot).as_posix()
    return repo if inside == "." else f"{repo}/{inside}"


def _snapshots(cache: Path) -> Iterator[Path]:
    """The newest revision of each model; `refs/main` names it, else the folder's time."""
    for repo in _listed(cache, "models--*"):
        snapshots = [path for path in _listed(repo / "snapshots", "*") if path.is_dir()]
        try:
            main = repo / "snapshots" / (repo / "refs" / "main").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            main = None
        if main in snapshots:
            yield main
        elif snapshots:
            yield max(snapshots, key=lambda path: path.stat().st_mtime)


def _listed(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _folders(root: Path) -> Iterator[Path]:
    """`root` and what is below it, not too deep; hidden folders and links to folders are left out."""
    for seen, (directory, names, _) in enumerate(os.walk(root)):
        depth = len(Path(directory).relative_to(root).parts)
        names[:] = [] if depth >= _DEEPEST else sorted(name for name in names if not name.startswith("."))
        if seen >= _MOST_FOLDERS:
            return
        yield Path(directory)


def _in_folder(folder: Path, *, root: Path) -> Iterator[FoundModel]:
    try:
        names = {entry.name for entry in os.scandir(folder) if entry.is_file()}  # a link that leads nowhere is no file
        folders = {entry.name for entry in os.scandir(folder) if entry.is_dir()}
    except OSError:
        return

    def found(kind: Kind, backend: str, path: Path, files: Iterable[Path], detail: str = "") -> FoundModel:
        size_bytes = sum(file.stat().st_size for file in files)
        name = path.relative_to(root).as_posix()
        return FoundModel(kind=kind, backend=backend, path=path, size_bytes=size_bytes, name=name, detail=detail)

    files = [folder / name for name in sorted(names)]
    if {"model.bin", "config.json"} <= names and names & {"vocabulary.txt", "vocabulary.json", "tokenizer.json"}:
        yield found("stt", "faster_whisper", folder, files)
    if ("final.mdl" in names and "conf" not in folders and folder.name != "am") or (
        "conf" in folders and (folder / "am" / "final.mdl").is_file()
    ):
        yield found("stt", "vosk", folder, (file for file in folder.rglob("*") if file.is_file()))
    yield from _of_onnx(folder, names, folders, files, found)
    if {"checkpoint.pth", "config.json"} <= names:
        yield found("tts", "melotts", folder, files)
    for name in sorted(names):
        path = folder / name
        if name.startswith("ggml-") and name.endswith(".bin"):
            yield found("stt", "whisper_cpp", path, [path])
        elif name.endswith(".data") and "kroko" in name.lower():
            yield found("stt", "kroko", path, [path])
        elif name.endswith(".gguf"):
            yield _gguf(found("llm", "llama_cpp", path, [path]))


def _of_onnx(
    folder: Path, names: set[str], folders: set[str], files: list[Path], found: Callable[..., FoundModel]
) -> Iterator[FoundModel]:
    networks = {name for name in names if name.endswith(".onnx")}
    piper = {name for name in networks if f"{name}.json" in names}
    for name in sorted(piper):
        yield found("tts", "piper", folder / name, [folder / name, folder / f"{name}.json"])
    if "tokens.txt" in names and networks:
        yield found("stt", "sherpa", folder, files)
    voices = "voices" in folders or any(name.startswith("voices") and name.endswith((".bin", ".npz")) for name in names)
    if voices and networks - piper and "tokens.txt" not in names:
        yield found("tts", "kokoro", folder, [*files, *folder.glob("voices/*")])


def _gguf(model: FoundModel) -> FoundModel:
    try:
        header = read_gguf_header(model.path)
    except (NotGguf, OSError) as error:
        return model.model_copy(update={"problem": str(error)})
    parts = [header.architecture, header.quantisation, header.name]
    return model.model_copy(update={"detail": ", ".join(part for part in parts if part)})
