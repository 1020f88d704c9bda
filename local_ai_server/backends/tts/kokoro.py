"""Kokoro-82M in one of three ways: its ONNX export, its PyTorch package, or another server.

A way is chosen by KOKORO_MODE, else by what is set; nothing that a caller is told leaves this machine unless an address
is set for it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.options import ApiKey, BackendOptions, Threads, Word, cores, variable
from local_ai_server.backends.tts.kokoro_voices import (
    DEFAULT_VOICE,
    LANGUAGE_NAMES,
    find_onnx,
    find_voices,
    language_letter,
)
from local_ai_server.catalog import find_model

Mode = Literal["onnx", "local", "hf", "api"]
MODES: Final[tuple[Mode, ...]] = ("onnx", "local", "hf", "api")
CATALOGUE_NAME: Final = "kokoro-82m-int8"
_API_PARALLEL: Final = 4
_API_BYTES: Final = 100 * 1024 * 1024
_TORCH_BYTES: Final = 2 * 1024 * 1024 * 1024
_PACKAGES: Final[dict[Mode, tuple[tuple[str, str], ...]]] = {
    "onnx": (("onnxruntime", "kokoro"), ("piper", "kokoro")),
    "local": (("kokoro", "kokoro-torch"), ("torch", "kokoro-torch")),
    "hf": (("kokoro", "kokoro-torch"), ("torch", "kokoro-torch")),
    "api": (("httpx", "server"),),
}
"""The importable modules that each way needs, and the extra that brings them."""


def _http_url(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as http://host:port/v1")
    if parts.username or parts.password:
        raise ValueError("leave the key out of the address and set KOKORO_API_KEY")
    return url.strip().rstrip("/")


class Options(BackendOptions):
    """Which way, which voice, and where things are."""

    model_path: Path | None = variable("KOKORO_MODEL_PATH")
    """The .onnx or .pth, or the folder that holds one and `voices/`."""
    mode: Annotated[Mode, Word] | None = variable("KOKORO_MODE")
    """`hf`: as local, and what is missing may be downloaded from the hub."""
    voice: str = variable("KOKORO_VOICE", default=DEFAULT_VOICE, min_length=1)
    lang: Annotated[str, AfterValidator(language_letter)] | None = variable("KOKORO_LANG")
    """One letter, or as in en-US, for all voices; where it is not set each voice speaks its own."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Word] = variable("KOKORO_DEVICE", default="auto")
    """For local and hf."""
    api_base_url: Annotated[str, AfterValidator(_http_url)] | None = variable("KOKORO_API_BASE_URL")
    """With its version, as in http://127.0.0.1:8880/v1."""
    api_key: ApiKey | None = variable("KOKORO_API_KEY")
    api_model: str = variable("KOKORO_API_MODEL", default="kokoro", min_length=1)
    api_timeout_s: float = variable("KOKORO_API_TIMEOUT", default=10.0, gt=0)
    """Longest silence of the other server."""
    threads: Threads = variable("LOCAL_TTS_THREADS", default=max(1, cores() // 2))
    speed: float = variable("LOCAL_TTS_SPEED", default=1.0, ge=0.5, le=2.0)


def mode_of(options: Options) -> Mode:
    """The way that is set, or that the settings mean. Raises `BackendUnusable` where they mean two."""
    if options.mode is not None:
        return options.mode
    if options.model_path is not None and options.api_base_url is not None:
        raise BackendUnusable(
            "KOKORO_MODEL_PATH and KOKORO_API_BASE_URL are both set: say which is meant, by KOKORO_MODE=onnx, local or "
            "api"
        )
    if options.model_path is not None:
        path = options.model_path.expanduser()
        return "local" if path.suffix == ".pth" or (find_onnx(path) is None and any(path.glob("*.pth"))) else "onnx"
    if options.api_base_url is not None:
        return "api"
    return "local" if _installed_onnx() is None and _missing("local") is None else "onnx"


def availability(options: Options) -> dict[Mode, str | None]:
    """Each way, and why it cannot be taken with these options and what mends it; None where it can."""
    reasons: dict[Mode, str | None] = {}
    for mode in MODES:
        try:
            _PLANS[mode](options)
            reasons[mode] = None
        except BackendUnusable as error:
            reasons[mode] = str(error)
    return reasons


def plan(options: Options, machine: Machine) -> Plan:
    """As `mode_of` the options."""
    return _PLANS[mode_of(options)](options)


def _missing(mode: Mode) -> str | None:
    for module, extra in _PACKAGES[mode]:
        if importlib.util.find_spec(module) is None:
            return f"the Python package {module} is not installed; run: pip install 'parley[{extra}]'"
    return None


def _require(mode: Mode) -> None:
    if reason := _missing(mode):
        raise BackendUnusable(f"kokoro, mode {mode}: {reason}")


def _installed_onnx() -> Path | None:
    try:
        return find_model(CATALOGUE_NAME)
    except (FileNotFoundError, LookupError):
        return None


def _onnx(options: Options) -> Plan:
    _require("onnx")
    if options.device == "cuda":
        raise BackendUnusable(
            "kokoro, mode onnx: it runs on the CPU; leave KOKORO_DEVICE out, or set KOKORO_MODE=local"
        )
    given = BACKEND.model_file(options)
    model = find_onnx(given)
    if model is None:
        raise BackendUnusable(f"KOKORO_MODEL_PATH: there is no .onnx file at {given}; name the file or its folder")
    voices = find_voices(model, options.lang)
    _check_voice(options, tuple(voices), model.parent, "onnx")
    load = {
        "mode": "onnx",
        "model_path": str(model),
        "voice": options.voice,
        "language": options.lang,
        "threads": options.threads,
        "speed": options.speed,
    }
    traits = _traits(options, "onnx") | {"voices": list(voices)}
    return Plan(load=load, model_path=model, threads=options.threads, traits=traits)


def _local(options: Options, mode: Mode = "local") -> Plan:
    _require(mode)
    letter = _letter(options)
    if letter in ("a", "b") and importlib.util.find_spec("en_core_web_sm") is None:
        # Kokoro's own front end would download it when it is first needed, in the middle of a start.
        raise BackendUnusable(
            f"kokoro, mode {mode}: English needs spaCy's model; run: python -m spacy download en_core_web_sm"
        )
    path = options.model_path.expanduser().resolve() if options.model_path else None
    voices: tuple[str, ...] = ()
    if path is not None:
        if not path.exists():
            raise BackendUnusable(f"KOKORO_MODEL_PATH: there is nothing at {path}; correct the path")
        folder = path if path.is_dir() else path.parent
        if not (folder / "config.json").is_file() or not any(folder.glob("*.pth")):
            raise BackendUnusable(f"KOKORO_MODEL_PATH: config.json and kokoro-v1_0.pth are needed in {folder}")
        voices = tuple(find_voices(path, suffix=".pt"))
        _check_voice(options, voices, folder, mode)
    elif "/" in options.voice or options.voice.endswith(".pt"):
        raise BackendUnusable("KOKORO_VOICE: without KOKORO_MODEL_PATH it is a voice's name, as in af_heart, no file's")
    load = {
        "mode": "local",
        "model_path": str(path) if path else None,
        "voice": options.voice,
        "language": options.lang,
        "device": options.device,
        "threads": options.threads,
        "speed": options.speed,
    }
    offline = "0" if mode == "hf" else "1"
    return Plan(
        load=load,
        model_path=path,
        threads=options.threads,
        traits=_traits(options, mode) | {"voices": list(voices) or [options.voice]},
        env={"HF_HUB_OFFLINE": offline, "TRANSFORMERS_OFFLINE": offline},
        memory_bytes=_TORCH_BYTES,
    )


def _hf(options: Options) -> Plan:
    return _local(options, "hf")


def _api(options: Options) -> Plan:
    _require("api")
    if options.api_base_url is None:
        raise BackendUnusable("kokoro, mode api: set KOKORO_API_BASE_URL, as in http://127.0.0.1:8880/v1")
    load = {
        "mode": "api",
        "base_url": options.api_base_url,
        "api_key": options.api_key.get_secret_value() if options.api_key else None,
        "model": options.api_model,
        "voice": options.voice,
        "speed": options.speed,
        "silence_s": options.api_timeout_s,
    }
    # Its voices are asked for by the worker: `describe`.
    traits = _traits(options, "api") | {"base_url": options.api_base_url}
    return Plan(load=load, concurrency=_API_PARALLEL, traits=traits, memory_bytes=_API_BYTES)


def _letter(options: Options) -> str:
    letter = options.lang or options.voice[:1]
    if letter not in LANGUAGE_NAMES:
        raise BackendUnusable(
            f"KOKORO_VOICE: {options.voice!r} names no language by its first letter; set KOKORO_LANG, as in en-US"
        )
    return letter


def _check_voice(options: Options, voices: tuple[str, ...], folder: Path, mode: Mode) -> None:
    if not voices:
        kind = "*.bin" if mode == "onnx" else "*.pt"
        raise BackendUnusable(f"kokoro, mode {mode}: there are no voices; put them into {folder / 'voices'} as {kind}")
    if options.voice not in voices:
        why = " (mode onnx cannot read Japanese and Chinese)" if options.voice[:1] in "jz" and mode == "onnx" else ""
        raise BackendUnusable(
            f"KOKORO_VOICE: there is no voice {options.voice!r}{why}; choose one of: {', '.join(voices)}"
        )


def _traits(options: Options, mode: Mode) -> dict[str, Any]:
    return {"mode": mode, "voice": options.voice, "language": options.lang or options.voice[:1], "speed": options.speed}


_PLANS: Final = {"onnx": _onnx, "local": _local, "hf": _hf, "api": _api}


def _nothing_installed() -> str | None:
    """Any one way is enough."""
    reasons = {mode: _missing(mode) for mode in MODES}
    return None if None in reasons.values() else f"mode onnx: {reasons['onnx']}"


BACKEND: Final = Backend(
    kind="tts",
    name="kokoro",
    model="local_ai_server.backends.tts.kokoro_model:KokoroModel",
    options=Options,
    plan=plan,
    extra="kokoro",
    default_model=CATALOGUE_NAME,
    canary=("speak", {"text": "Ready to talk."}),
    check=_nothing_installed,
)
