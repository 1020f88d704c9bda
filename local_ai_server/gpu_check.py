"""What the GPU of this machine is good for, in plain words: `python -m local_ai_server.gpu_check [--json]`.

Exit status 0: there is a GPU, and every installed engine built for CUDA can use it; 1: not so, and the lines say why.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from local_ai_server.cuda_matrix import ENGINES, EngineBuild, check_at_start, installed_build
from local_ai_server.gpu import GpuState, detect_gpu

_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def describe(state: GpuState, builds: Sequence[EngineBuild], complaints: Sequence[str]) -> list[str]:
    """The lines for people."""
    lines = []
    if not state.available:
        lines.append(f"no GPU: {state.reason}")
    elif state.reason:
        lines.append(f"GPU doubtful: {state.reason}")
    if state.driver_version:
        cuda = ".".join(map(str, state.cuda_version)) if state.cuda_version else "an unknown CUDA"
        lines.append(f"NVIDIA driver {state.driver_version}, runs programs up to CUDA {cuda}")
    for device in state.devices:
        capability = ".".join(map(str, device.compute_capability or ())) or "unknown"
        lines.append(
            f"GPU {device.index}: {device.name}, {device.free_mib} of {device.total_mib} MiB free, "
            f"compute capability {capability}"
        )
    lines += [
        f"{build}: {f'CUDA {build.cuda_major}' if build.cuda_major else 'built without CUDA'}" for build in builds
    ]
    return [*lines, *(f"! {complaint}" for complaint in complaints)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="local_ai_server.gpu_check", description="What the GPU of this machine is good for."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    arguments = parser.parse_args()
    state = detect_gpu(_setting(os.environ.get("GPU_AVAILABLE", "")))
    builds = [build for build in map(installed_build, ENGINES) if build is not None]
    complaints = check_at_start(state, [build.backend for build in builds if build.cuda_major is not None])
    if arguments.json:
        engines = {
            build.backend: {"module": build.module, "version": build.version, "cuda": build.cuda_major}
            for build in builds
        }
        print(json.dumps({**state.facts(), "engines": engines, "complaints": complaints}))  # noqa: T201
    else:
        print("\n".join(describe(state, builds, complaints)))  # noqa: T201
    sys.exit(0 if state.devices and not complaints else 1)


def _setting(value: str) -> bool | None:
    word = value.strip().lower()
    return True if word in _YES else False if word in _NO else None


if __name__ == "__main__":
    main()
