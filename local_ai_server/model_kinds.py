"""Which engine a model's files are for, where a client names a path and no backend. Looks at names, reads nothing."""

from __future__ import annotations

from pathlib import Path

from local_ai_server.backends.backend import Kind


def infer_backend(kind: Kind, path: Path) -> str | None:
    """The backend's name; None where the files do not tell."""
    if kind == "stt":
        return _stt(path)
    if kind == "llm":
        return "llama_cpp" if path.suffix.lower() == ".gguf" else None
    return _tts(path)


def is_embedded_kroko(path: Path) -> bool:
    """Kroko's own model files, which its engine runs on this machine: never a reason to ask its cloud."""
    return "kroko" in path.parts[:-1] or path.suffix.lower() in (".onnx", ".data")


def _stt(path: Path) -> str | None:
    folder = path if path.is_dir() else path.parent
    if "kroko" in path.parts[:-1] or path.suffix.lower() == ".data":
        return "kroko"
    if path.name.lower().startswith("ggml-") and path.suffix.lower() == ".bin":
        return "whisper_cpp"
    if (folder / "tokens.txt").is_file() and any(folder.glob("*.onnx")):
        return "sherpa"
    if (folder / "model.bin").is_file() and (folder / "config.json").is_file():
        return "faster_whisper"
    if (folder / "am" / "final.mdl").is_file() or (folder / "final.mdl").is_file():
        return "vosk"
    return None


def _tts(path: Path) -> str | None:
    folder = path if path.is_dir() else path.parent
    if path.suffix.lower() == ".onnx" and Path(f"{path}.json").is_file():
        return "piper"
    if (folder / "voices").is_dir() or any(folder.glob("voices*.bin")) or "kokoro" in path.name.lower():
        return "kokoro"
    if (folder / "checkpoint.pth").is_file() and (folder / "config.json").is_file():
        return "melotts"
    return None
