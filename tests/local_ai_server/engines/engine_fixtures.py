"""Parts that the tests of managed engines share."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_ai_server.backends.backend import Backend, Machine
from model_worker.backoff import Backoff
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec

BUSY_S = 60.0
"""Until a thing that must come counts as not coming; nothing here takes a second on an idle machine."""
STAND_IN = Path(__file__).with_name("engine_stand_in.py")


class Programs:
    """A folder of stand-ins, what they do and what they saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("vllm", "trtllm-serve"):
            program = folder / name
            program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
            program.chmod(0o755)

    def behave(self, **behaviour: Any) -> None:
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))

    @property
    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "seen.json").read_text())
        return found

    @property
    def pids(self) -> list[int]:
        found: list[int] = self.seen["pids"]
        return found

    @property
    def starts(self) -> int:
        return len((self.folder / "starts").read_text())


def alive(pids: list[int]) -> list[int]:
    """Of `pids` those that run; zombies do not."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def until(met: Callable[[], Any], within_s: float = BUSY_S) -> Any:
    """What `met` gives once that is something."""
    latest = time.monotonic() + within_s
    while not (found := met()):
        assert time.monotonic() < latest, "it did not come"
        time.sleep(0.02)
    return found


def link_of(backend: Backend, machine: Machine | None = None, **options: Any) -> WorkerLink:
    """A worker as `building` makes it for these options. Raises `BackendUnusable`."""
    chosen = backend.options(**options)
    if reason := backend.missing(chosen):
        raise AssertionError(reason)
    plan = backend.plan(chosen, machine or Machine())
    spec = WorkerSpec(
        model=backend.model,
        settings=plan.load,
        concurrency=plan.concurrency,
        canary=backend.canary,
        load_deadline_s=max(plan.load_deadline_s or 0.0, BUSY_S),
        canary_deadline_s=BUSY_S,
        ready_wait_s=BUSY_S,
    )
    return WorkerLink(spec, backoff=Backoff())


async def say(link: WorkerLink, words: str) -> str:
    """What the model answers."""
    messages = [{"role": "user", "content": words}]
    args = {"messages": messages, "session": "s", "sampling": {"max_tokens": 12}}
    async with link.call("generate", args) as stream:
        return "".join([header["text"] async for header, _ in stream])


def checkpoint(folder: Path, **config: Any) -> Path:
    """A model's folder as its files show it; the weights are none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "torch_dtype": "bfloat16", **config}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def engine_folder(folder: Path, *, world_size: int = 1, **build: int) -> Path:
    """A TensorRT-LLM engine's folder as `trtllm-build` leaves it; the engine is none."""
    folder.mkdir(parents=True)
    pretrained = {"mapping": {"world_size": world_size}, "quantization": {"quant_algo": "FP8"}}
    (folder / "config.json").write_text(json.dumps({"pretrained_config": pretrained, "build_config": build}))
    (folder / "tokenizer.json").write_text("{}")
    for rank in range(world_size):
        (folder / f"rank{rank}.engine").write_bytes(b"")
    return folder


def in_path(folder: Path) -> str:
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def gguf_bytes(file_type: int) -> bytes:
    """The header of a GGUF (ggml's docs/gguf.md) of that `general.file_type`."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    architecture = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    kind = text("general.file_type") + struct.pack("<II", 4, file_type)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + architecture + kind
