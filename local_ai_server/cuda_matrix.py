"""Whether the driver, the engines as they are installed and the CUDA libraries fit together, in one plain sentence.

What an engine is built for is read from its files, not from a list of versions: the names of the libraries it asks for
stand in its binaries, and PyTorch and ONNX Runtime write it down. Nothing is imported. All of this blocks.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from local_ai_server.gpu import GpuState

LEAST_DRIVER: Final[Mapping[int, int]] = MappingProxyType({11: 450, 12: 525, 13: 580})
"""CUDA major version → the driver branch it needs, whatever its minor version.

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1
"""
ENGINES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "faster_whisper": ("ctranslate2",),
        "llama_cpp": ("xllamacpp", "llama_cpp"),
        "kokoro": ("torch",),
        "melotts": ("torch",),
        "whisper_cpp": ("pywhispercpp",),
        "sherpa": ("sherpa_onnx",),
        "onnxruntime": ("onnxruntime",),
    }
)
"""Backend → the modules with its native code; of several the first that is installed."""
_PIP_PACKAGES: Final = {"cublas": "cublas", "cublasLt": "cublas", "cudart": "cuda-runtime", "cudnn": "cudnn",
                        "cufft": "cufft", "curand": "curand"}  # fmt: skip
_ASKED_FOR: Final = re.compile(rb"lib(cublas|cublasLt|cudart|cudnn|cufft|curand)\.so\.(\d+)")
_ONNXRUNTIME_CUDA: Final = re.compile(r"^cuda_version\s*=\s*['\"](\d+)", re.MULTILINE)
_TORCH_CUDA: Final = re.compile(r"^cuda\b[^=\n]*=\s*['\"](\d+)", re.MULTILINE)
_LOAD_EACH: Final = """
import ctypes, sys
for name in sys.argv[1:]:
    try:
        ctypes.CDLL(name)
    except OSError as error:
        print(name)
"""
_LOAD_DEADLINE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBuild:
    """The native code of one backend as it is installed."""

    backend: str
    module: str
    version: str
    cuda_major: int | None
    """None: built without CUDA."""
    libraries: tuple[str, ...] = ()
    """CUDA libraries that it asks for by name and does not bring along."""

    def __str__(self) -> str:
        return f"{self.backend} ({self.module} {self.version})"


def installed_build(backend: str, find: Callable[[str], Path | None] | None = None) -> EngineBuild | None:
    """Read from the files of the engine's package; None where it is not installed. `find`: a module's folder."""
    for module in ENGINES.get(backend, ()):
        folder = (find or _folder)(module)
        if folder is not None:
            major, libraries = _cuda_of(folder)
            return EngineBuild(
                backend=backend, module=module, version=_version(module), cuda_major=major, libraries=libraries
            )
    return None


def missing_libraries(build: EngineBuild, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Those of the engine's libraries that the loader does not find, tried in a process of their own."""
    if not build.libraries:
        return ()
    variables = {**os.environ, **library_environment(), **(environment or {})}
    ran = subprocess.run(
        [sys.executable, "-I", "-c", _LOAD_EACH, *build.libraries],
        capture_output=True,
        text=True,
        env=variables,
        timeout=_LOAD_DEADLINE_S,
        check=False,
    )
    return tuple(ran.stdout.split())


def library_environment(paths: Sequence[str] | None = None) -> dict[str, str]:
    """LD_LIBRARY_PATH for a worker, with the CUDA libraries that pip has installed; {} where there are none.

    The loader does not look into site-packages by itself. `paths`: where to look, `sys.path` by default.
    """
    folders = sorted(
        {str(folder) for path in (sys.path if paths is None else paths) for folder in Path(path).glob("nvidia/*/lib")}
    )
    if not folders:
        return {}
    return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, (*folders, os.environ.get("LD_LIBRARY_PATH", ""))))}


def cuda_complaint(state: GpuState, build: EngineBuild, missing: Collection[str] = ()) -> str | None:
    """What keeps this engine from the GPU that is there, and what mends it; None where nothing does, or no GPU is."""
    if not state.devices:
        return None
    if build.cuda_major is None:
        return f"{build} is built without CUDA and runs on the CPU: install its CUDA build to use the GPU"
    runs, branch = _newest_cuda(state), LEAST_DRIVER.get(build.cuda_major)
    if runs is not None and runs < build.cuda_major:
        update = f"update the NVIDIA driver to {branch} or newer" if branch else "update the NVIDIA driver"
        driver = f"the NVIDIA driver {state.driver_version} runs CUDA {runs} at most"
        return f"{build} is built for CUDA {build.cuda_major}, {driver}: {update}, or install a build for CUDA {runs}"
    if missing:
        packages = sorted({_pip_package(library, build.cuda_major) for library in missing})
        return f"{build} needs {', '.join(sorted(missing))}, which is not found: run pip install {' '.join(packages)}"
    return None


def check_at_start(state: GpuState, backends: Collection[str]) -> tuple[str, ...]:
    """The complaints about the engines of these backends: one sentence each, none where all is well or no GPU is."""
    if not state.devices:
        return ()
    found = []
    for backend in backends:
        build = installed_build(backend)
        if build is not None:
            complaint = cuda_complaint(state, build, missing_libraries(build))
            if complaint:
                found.append(complaint)
    return tuple(found)


def _newest_cuda(state: GpuState) -> int | None:
    """The newest CUDA major that the driver runs, from itself or from its branch."""
    if state.cuda_version is not None:
        return state.cuda_version[0]
    branch = (state.driver_version or "").partition(".")[0]
    known = [major for major, least in LEAST_DRIVER.items() if branch.isdecimal() and int(branch) >= least]
    return max(known, default=None)


def _folder(module: str) -> Path | None:
    found = importlib.util.find_spec(module)
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) if places else None


def _version(module: str) -> str:
    for name in importlib.metadata.packages_distributions().get(module, ()):
        return importlib.metadata.version(name)
    return "of unknown version"


def _cuda_of(folder: Path) -> tuple[int | None, tuple[str, ...]]:
    """The CUDA major that a package is built for, and the libraries that it asks for and lacks."""
    if folder.name == "torch":  # it finds the libraries that come with it by itself
        return _written_down(folder / "version.py", _TORCH_CUDA), ()
    if folder.name == "onnxruntime" and not _written_down(folder / "capi/build_and_package_info.py", _ONNXRUNTIME_CUDA):
        return None, ()
    asked: dict[str, int] = {}
    bundled = set()
    for binary in _binaries(folder):
        bundled.add(re.sub(r"-[0-9a-f]{8}(?=\.so)", "", binary.name))
        for name, major in _names_in(binary):
            asked[f"lib{name}.so.{major}"] = major
    # cuDNN counts its own versions.
    majors = [major for library, major in asked.items() if "cudnn" not in library and major in LEAST_DRIVER]
    libraries = tuple(sorted(library for library in asked if not any(b.startswith(library) for b in bundled)))
    return (max(majors), libraries) if majors else (None, ())


def _written_down(file: Path, pattern: re.Pattern[str]) -> int | None:
    said = pattern.search(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
    return int(said[1]) if said else None


def _binaries(folder: Path) -> Iterator[Path]:
    for root in (folder, folder.parent / f"{folder.name}.libs"):
        yield from (path for path in sorted(root.rglob("*.so*")) if path.is_file())


def _names_in(binary: Path) -> set[tuple[str, int]]:
    with binary.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return set()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return {(match[1].decode(), int(match[2])) for match in _ASKED_FOR.finditer(view)}


def _pip_package(library: str, cuda_major: int) -> str:
    name = library.removeprefix("lib").partition(".so.")[0]
    # From CUDA 13 on the packages carry no suffix; cuDNN, whose versions are its own, does.
    suffix = f"-cu{cuda_major}" if cuda_major < 13 or name == "cudnn" else ""
    return f"nvidia-{_PIP_PACKAGES[name]}{suffix}"
