"""MeloTTS (MyShell, MIT): VITS voices with BERT features, on PyTorch, in six languages.

Its release on the package index cannot be installed (it lacks its own list of requirements): it comes from its
repository, or with the image's build argument.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.options import BackendOptions, Threads, Word, cores, variable

SPEAKERS: Final[dict[str, tuple[str, ...]]] = {
    "EN": ("EN-US", "EN-BR", "EN_INDIA", "EN-AU", "EN-Default"),
    "ES": ("ES",),
    "FR": ("FR",),
    "ZH": ("ZH",),
    "JP": ("JP",),
    "KR": ("KR",),
}
"""`data.spk2id` in the config.json of MyShell's own weights, by language; BR is British."""
_INSTALL: Final = (
    "pip install git+https://github.com/myshell-ai/MeloTTS.git, or build the image with INCLUDE_MELOTTS=true"
)
_BYTES: Final = 2 * 1024 * 1024 * 1024


class Options(BackendOptions):
    """Which speaker, and where the weights are."""

    model_path: Path | None = variable("MELOTTS_MODEL_PATH")
    """The folder with config.json and checkpoint.pth."""
    voice: str = variable("MELOTTS_VOICE", "MELOTTS_SPEAKER", default="EN-US", min_length=1)
    language: Literal["EN", "ES", "FR", "ZH", "JP", "KR"] | None = variable("MELOTTS_LANGUAGE")
    """The speaker's, by its name, where it is not set."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Word] = variable("MELOTTS_DEVICE", default="auto")
    download: bool = variable("MELOTTS_DOWNLOAD", default=False)
    threads: Threads = variable("LOCAL_TTS_THREADS", default=max(1, cores() // 2))
    speed: float = variable("LOCAL_TTS_SPEED", default=1.0, ge=0.5, le=2.0)


def plan(options: Options, machine: Machine) -> Plan:
    """One sentence at a time. Raises `BackendUnusable`."""
    language = options.language or _language_of(options.voice)
    voices = SPEAKERS[language]
    path = options.model_path.expanduser().resolve() if options.model_path else None
    if path is not None:
        voices = _speakers_in(path)
    if options.voice not in voices:
        raise BackendUnusable(
            f"MELOTTS_VOICE: there is no speaker {options.voice!r}; choose one of: {', '.join(voices)}"
        )
    load = {
        "language": language,
        "voice": options.voice,
        "model_path": str(path) if path else None,
        "device": options.device,
        "threads": options.threads,
        "speed": options.speed,
    }
    offline = "0" if options.download else "1"
    traits: dict[str, Any] = {"voices": list(voices), "voice": options.voice, "language": language}
    return Plan(
        load=load,
        model_path=path,
        threads=options.threads,
        traits=traits | {"speed": options.speed},
        env={"HF_HUB_OFFLINE": offline, "TRANSFORMERS_OFFLINE": offline},
        memory_bytes=_BYTES,
    )


def _language_of(voice: str) -> str:
    language = voice[:2].upper()
    if language not in SPEAKERS:
        raise BackendUnusable(f"MELOTTS_VOICE: {voice!r} names no language; set MELOTTS_LANGUAGE, as in EN")
    return language


def _speakers_in(folder: Path) -> tuple[str, ...]:
    """`data.spk2id` of the weights' config.json. Raises `BackendUnusable`."""
    for name in ("config.json", "checkpoint.pth"):
        if not (folder / name).is_file():
            raise BackendUnusable(f"MELOTTS_MODEL_PATH: {name} is needed in {folder}; correct the path")
    try:
        speakers = json.loads((folder / "config.json").read_text("utf-8"))["data"]["spk2id"]
        return tuple(map(str, speakers))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BackendUnusable(f"MELOTTS_MODEL_PATH: config.json in {folder} is none of MeloTTS's") from None


def _check() -> str | None:
    if importlib.util.find_spec("melo") is None or importlib.util.find_spec("melo.api") is None:
        return f"MeloTTS is not installed; run: {_INSTALL}"
    return None


BACKEND: Final = Backend(
    kind="tts",
    name="melotts",
    model="local_ai_server.backends.tts.melotts_model:MeloModel",
    options=Options,
    plan=plan,
    canary=("speak", {"text": "Ready to talk."}),
    check=_check,
)
