"""Which files a client may name: those in the folders where models are kept. It must not learn of any other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from local_ai_server.catalog import ModelMissing, default_models_dir, find_model, load_catalog

ROOTS_VARIABLE: Final = "LOCAL_MODEL_ROOTS"


class PathRefused(Exception):
    """There is no such model for a client to name. The message is the same whatever the reason is."""


class ModelRoots:
    """The folders, and what lies in them."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """`folders`: the models directory first. Symbolic links in them are followed: only the operator makes them."""
        self.folders = tuple(dict.fromkeys(_absolute(folder) for folder in folders))
        self._roots = {*self.folders, *(folder.resolve() for folder in self.folders)}

    def find(self, name: str, kind: str) -> Path:
        """The absolute path that `name` means: a catalogue model's name, or a path. Raises `PathRefused`.

        Relative paths are looked up in the working directory and in the models directory and the one above it.
        """
        if "/" not in name:
            named = [model for model in load_catalog().models if model.kind == kind and model.name == name]
            if named:
                try:
                    return find_model(name)
                except ModelMissing as missing:
                    raise PathRefused(str(missing)) from None
        given = _of_home(name)
        for base in (Path.cwd(), *((self.folders[0], self.folders[0].parent) if self.folders else ())):
            path = Path(os.path.normpath(base / given))
            if self.hold(path) and _exists(path):
                return path
        folders = ", ".join(map(str, self.folders))
        raise PathRefused(f"no such model in the model folders ({folders}); {ROOTS_VARIABLE} adds folders to them")

    def hold(self, path: Path) -> bool:
        """Whether `path`, absolute and without `..`, lies in one of the folders."""
        return any(path.is_relative_to(root) for root in self._roots)


def model_roots(added: str, configured: Iterable[Path], environment: Mapping[str, str] = os.environ) -> ModelRoots:
    """The models directory, the Hugging Face cache, the folders of the paths that are configured, and those `added`.

    `added`: LOCAL_MODEL_ROOTS, folders separated by colons. The cache is where huggingface_hub looks for it:
    HF_HUB_CACHE, else `hub` in HF_HOME, else ~/.cache/huggingface/hub.
    """
    home = environment.get("HF_HOME") or "~/.cache/huggingface"
    cache = environment.get("HF_HUB_CACHE") or f"{home}/hub"
    beside = [_parent(path) for path in configured]
    return ModelRoots([default_models_dir(), Path(cache), *beside, *map(Path, filter(None, added.split(os.pathsep)))])


def _of_home(name: str) -> Path:
    """With `~` as a home folder; who has one here is not told."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, or a folder that may not be looked into
        return False


def _parent(path: Path) -> Path:
    """The folder whose models may be named because this one is configured: never a top folder such as / or /home."""
    absolute = _absolute(path)
    return absolute.parent if len(absolute.parent.parts) > 2 else absolute


def _absolute(path: Path) -> Path:
    """Without `..`, and with its symbolic links left as they are."""
    return Path(os.path.normpath(path.expanduser().absolute()))
