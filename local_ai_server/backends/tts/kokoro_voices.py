"""Which Kokoro voices lie beside a model. Imports no engine: the server lists them before it starts one."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Final

LANGUAGE_NAMES: Final = {
    "a": "American English",
    "b": "British English",
    "e": "Spanish",
    "f": "French",
    "h": "Hindi",
    "i": "Italian",
    "j": "Japanese",
    "p": "Brazilian Portuguese",
    "z": "Mandarin Chinese",
}
"""First letter of a voice's name."""
_ALIASES: Final = {
    "en-us": "a",
    "en": "a",
    "en-gb": "b",
    "es": "e",
    "fr": "f",
    "fr-fr": "f",
    "hi": "h",
    "it": "i",
    "ja": "j",
    "pt": "p",
    "pt-br": "p",
    "zh": "z",
}
SPOKEN_LANGUAGES: Final = {"a": "en-US", "b": "en-GB", "e": "es", "f": "fr", "i": "it", "p": "pt-BR"}
"""Their tags, where text is made speakable before the phonemes."""
DEFAULT_VOICE: Final = "af_heart"
_SPOKEN_BY_ESPEAK: Final = frozenset("abefhip")

VoiceFile = tuple[Path, str | None]
"""A file of its own and None, or an archive and the voice's member in it."""


def language_letter(name: str) -> str:
    """`a`, `en-US`, `en_us` → `a`. `ValueError` lists what there is."""
    wanted = name.strip().lower().replace("_", "-")
    letter = _ALIASES.get(wanted, wanted)
    if letter not in LANGUAGE_NAMES:
        known = ", ".join(f"{letter} ({language})" for letter, language in LANGUAGE_NAMES.items())
        raise ValueError(f"there is no language {name!r}; choose one of: {known}")
    return letter


def language_tag(voice: str, forced: str | None = None) -> str:
    """The language of a voice named as Kokoro's are, or that of the letter `forced` on all; empty: not known."""
    if forced is None and not re.match(r"[a-z][fm]_", voice):
        return ""
    return SPOKEN_LANGUAGES.get(forced or voice[0], "")


def find_voices(model: Path, language: str | None = None, suffix: str = ".bin") -> dict[str, VoiceFile]:
    """The voices for `model`: in `voices/` beside it, or in a `voices*.bin` archive there. Sorted by name.

    For the ONNX mode (`suffix` .bin) only those whose language it can read; all of them where `language` is forced.
    """
    folder = model if model.is_dir() else model.parent
    found: dict[str, VoiceFile] = {path.stem: (path, None) for path in folder.glob(f"voices/*{suffix}")}
    if not found and suffix == ".bin":
        for archive in (*folder.glob("voices*.bin"), *folder.glob("voices*.npz")):
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as members:
                    found |= {
                        name.removesuffix(".npy"): (archive, name.removesuffix(".npy")) for name in members.namelist()
                    }
    if suffix == ".bin" and language is None:
        found = {name: file for name, file in found.items() if name[:1] in _SPOKEN_BY_ESPEAK}
    return dict(sorted(found.items()))


def find_onnx(path: Path) -> Path | None:
    """The network that `path`, a file or a folder, means: of several the smallest, which is the quantised one."""
    if path.suffix == ".onnx":
        return path if path.is_file() else None
    files = [*path.glob("*.onnx"), *path.glob("onnx/*.onnx")] if path.is_dir() else []
    return min(files, key=lambda file: file.stat().st_size, default=None)
