"""Whether there is a GPU to use, which, and how much of it each worker holds.

`detect_gpu` asks the driver; `GpuMonitor` (gpu_monitor.py) asks it again while the server runs.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from local_ai_server.nvidia import DriverReport, GpuDevice, NoAnswer, ask_nvidia_smi, ask_nvml

_DEVICES: Final = Path("/dev")
_NO_FILES: Final = "there is no /dev/nvidia0 and no WSL /dev/dxg"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """One look."""

    available: bool
    reason: str | None = None
    """Why there is none; or, with `GPU_AVAILABLE=true`, what speaks against it."""
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
    """The newest CUDA that the driver runs."""
    devices: tuple[GpuDevice, ...] = ()
    """Those that CUDA_VISIBLE_DEVICES leaves."""
    processes_mib: Mapping[int, int] = field(default_factory=dict)

    @property
    def free_bytes(self) -> int:
        """Of the device with most free memory: a model here goes to one device."""
        return max((device.free_mib for device in self.devices), default=0) * 1024 * 1024

    def workers_mib(self, groups: Mapping[int, Collection[int]]) -> dict[int, int]:
        """Device memory of each worker, by the pid of the worker; the engines in its group count with it.

        A worker of which the driver shows nothing is left out: it holds nothing, or, in a container without the host's
        pids (`pid: host`), it is shown under a pid that is not ours.
        """
        held = {
            worker: sum(self.processes_mib.get(pid, 0) for pid in {worker, *group}) for worker, group in groups.items()
        }
        return {worker: mib for worker, mib in held.items() if mib}

    def facts(self, groups: Mapping[int, Collection[int]] | None = None) -> dict[str, Any]:
        """As JSON: `gpu` of the status message."""
        return {
            "available": self.available,
            "reason": self.reason,
            "driver_version": self.driver_version,
            "cuda_version": _dotted(self.cuda_version),
            "devices": [
                {
                    "index": device.index,
                    "name": device.name,
                    "total_mib": device.total_mib,
                    "free_mib": device.free_mib,
                    "compute_capability": _dotted(device.compute_capability),
                }
                for device in self.devices
            ],
            "workers": self.workers_mib(groups or {}),
        }


def ask_driver() -> DriverReport:
    """By NVML where its binding is installed, else by nvidia-smi. Raises `NoAnswer` with the better reason."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return ask_nvidia_smi()
    try:
        return ask_nvml(nvml)
    except NoAnswer as by_nvml:
        try:
            return ask_nvidia_smi()  # WSL keeps its library where only the command looks
        except NoAnswer:
            raise by_nvml from None


def detect_gpu(
    setting: bool | None = None,
    *,
    ask: Callable[[], DriverReport] = ask_driver,
    environment: Mapping[str, str] = os.environ,
    dev: Path = _DEVICES,
) -> GpuState:
    """Asks the driver; blocks for up to seconds. `setting` is GPU_AVAILABLE: false asks nobody, true wins over all."""
    if setting is False:
        return GpuState(available=False, reason="GPU_AVAILABLE=false")
    try:
        report = ask()
    except NoAnswer as error:
        there = (dev / "nvidia0").exists() or (dev / "dxg").exists()
        reason = str(error) if there else f"{error} ({_NO_FILES})"
        return GpuState(available=setting is True, reason=_despite(reason) if setting else reason)
    devices, hidden = _visible(report.devices, environment.get("CUDA_VISIBLE_DEVICES"))
    return GpuState(
        available=bool(devices) or setting is True,
        reason=None if devices else _despite(hidden) if setting else hidden,
        driver_version=report.driver_version,
        cuda_version=report.cuda_version,
        devices=devices,
        processes_mib=report.processes_mib,
    )


def _despite(reason: str) -> str:
    return f"GPU_AVAILABLE=true, but {reason}"


def _visible(devices: tuple[GpuDevice, ...], choice: str | None) -> tuple[tuple[GpuDevice, ...], str]:
    """What CUDA will show of the devices, by its rules: up to the first entry that is none; MIG slices as they are."""
    if not devices:
        return (), "the NVIDIA driver runs and has no device"
    if choice is None:
        return devices, ""
    chosen: list[GpuDevice] = []
    for entry in filter(None, (part.strip() for part in choice.split(","))):
        if entry.startswith("MIG-"):
            return devices, ""
        found = [d for d in devices if str(d.index) == entry or (entry.startswith("GPU-") and d.uuid.startswith(entry))]
        if not found:
            break
        chosen += found
    return tuple(chosen), f"CUDA_VISIBLE_DEVICES={choice!r} hides every device: unset it, or name one"


def _dotted(version: tuple[int, int] | None) -> str | None:
    return ".".join(map(str, version)) if version else None
