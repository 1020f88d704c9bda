"""What the server must know of an engine before it runs one: its name, its needs, its options, how to load it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from local_ai_server.backends.options import BackendOptions
from local_ai_server.catalog import find_model

Kind = Literal["stt", "llm", "tts"]


class BackendUnusable(Exception):
    """The engine cannot run as it is asked to; the message says why and what mends it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a plan may count on."""

    has_gpu: bool = False
    gpu_free_bytes: int | None = None
    """Of the device with most free memory; None where nobody could say."""
    memory_share: float = 0.9
    """Of a GPU's memory, for engines that claim such a share, where their own setting does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one model is loaded into a worker."""

    load: Mapping[str, Any]
    """Keywords of the model's `load`; they travel as JSON."""
    model_path: Path | None = None
    """What it is loaded from; None where nothing lies on this machine."""
    concurrency: int = 1
    """Requests that it runs at once."""
    threads: int = 1
    """For the process's native pools (OpenMP and its like)."""
    env: Mapping[str, str] = field(default_factory=dict)
    traits: Mapping[str, Any] = field(default_factory=dict)
    """What is stated of it to clients: `voices`, `context_tokens`, …"""
    memory_bytes: int | None = None
    """What the worker will hold; None: estimated from the files."""
    load_deadline_s: float | None = None
    """For the model to load; SERVICE_TIMEOUT's where it is None."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backend:
    """An engine. Its native libraries are imported by `model` in a worker process, never by the server."""

    kind: Kind
    name: str
    """As it stands in LOCAL_STT_BACKEND, `stt_backend` and the status."""
    model: str
    """`module:Class` for `model_worker.WorkerSpec`."""
    options: type[BackendOptions]
    plan: Callable[[Any, Machine], Plan]
    """(an instance of `options`, the machine) → how to load it. Raises `BackendUnusable`."""
    modules: tuple[str, ...] = ()
    """The importable modules that it needs."""
    extra: str = ""
    """The optional dependencies that bring them: `pip install 'parley[<extra>]'`."""
    default_model: str | None = None
    """The catalogue's model that it runs where no path is given."""
    canary: tuple[str, Mapping[str, Any]]
    needs_gating: bool = False
    """Caller audio must be withheld while the agent is heard."""
    streams: bool = False
    """Of STT: it takes audio as it comes (`feed`, `finish`, `drop`) and sends partial results."""
    translates: bool = False
    """Of STT: its multilingual models take `task="translate"`."""
    check: Callable[[], str | None] | None = None
    """A further look: why it cannot run here and what mends it; None when it can."""
    check_options: Callable[[BackendOptions | None], str | None] | None = None
    """A look that depends on options, such as the place of a program; None: they are not known."""

    def missing(self, options: BackendOptions | None = None) -> str | None:
        """Why this engine cannot run here and what mends it; None when it can. Imports nothing."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"the Python package {module} is not installed; run: pip install 'parley[{self.extra}]'"
        if self.check_options is not None:
            return self.check_options(options)
        return self.check() if self.check is not None else None

    def model_file(self, options: BackendOptions) -> Path:
        """The path in `options`, absolute, or the default model's. Raises `BackendUnusable` where there is nothing."""
        install = f"python -m local_ai_server.embedded install {self.default_model}" if self.default_model else ""
        if options.model_path is None:
            name = type(options).variables().get("model_path", ("the model's path",))[0]
            if self.default_model is None:
                raise BackendUnusable(f"{self.name} needs a model: set {name}")
            try:
                return find_model(self.default_model)
            except FileNotFoundError as error:
                raise BackendUnusable(str(error)) from None
        path = options.model_path.expanduser().resolve()
        if not path.exists():
            name = type(options).variables().get("model_path", ("model_path",))[0]
            remedy = f", or leave it out and run: {install}" if install else ""
            raise BackendUnusable(f"{name}: there is nothing at {path}; correct the path{remedy}")
        return path
