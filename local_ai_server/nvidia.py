"""What the NVIDIA driver says of its devices: by NVML (`nvidia-ml-py`), or by the `nvidia-smi` command. Both block.

NVML: https://docs.nvidia.com/deploy/nvml-api; the fields of nvidia-smi: `nvidia-smi --help-query-gpu`.
"""

from __future__ import annotations

import csv
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

_MIB: Final = 1024 * 1024
_SMI_DEADLINE_S: Final = 15.0
_FIELDS: Final = ("index", "name", "uuid", "memory.total", "memory.free", "driver_version")
_NVML_REASONS: Final[Mapping[int, str]] = MappingProxyType(
    {  # nvml.h, nvmlReturn_t
        4: "the NVIDIA driver refuses access: run the server as a user that may open /dev/nvidia*",
        9: "the NVIDIA driver is installed and not loaded: run `nvidia-smi` on the host, or restart it",
        12: "no NVIDIA driver is installed here (libnvidia-ml.so.1); in a container, start it with --gpus all",
        15: "the GPU has fallen off the bus: restart the machine",
        18: "the NVIDIA driver was updated and the old one still runs: restart the machine",
    }
)


class NoAnswer(Exception):
    """The driver cannot be asked this way; the message says why and what mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """One device, its memory in MiB."""

    index: int
    """In PCI order, as nvidia-smi counts."""
    name: str
    uuid: str
    total_mib: int
    free_mib: int
    compute_capability: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverReport:
    """One look at the driver and its devices."""

    driver_version: str
    cuda_version: tuple[int, int] | None
    """The newest CUDA that this driver runs."""
    devices: tuple[GpuDevice, ...]
    processes_mib: Mapping[int, int] = field(default_factory=dict)
    """Device memory of each process that the driver shows, over all devices. In a container pids may be the host's."""


def ask_nvml(nvml: Any) -> DriverReport:
    """`nvml` is the module `pynvml`. Raises `NoAnswer`."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NoAnswer(_NVML_REASONS.get(error.value, f"the NVIDIA driver does not answer: {error}")) from None
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
        return DriverReport(
            driver_version=_text(nvml.nvmlSystemGetDriverVersion()),
            cuda_version=(cuda // 1000, cuda % 1000 // 10),
            devices=tuple(_nvml_device(nvml, index, handle) for index, handle in enumerate(handles)),
            processes_mib=_nvml_processes(nvml, handles),
        )
    except nvml.NVMLError as error:
        raise NoAnswer(_NVML_REASONS.get(error.value, f"the NVIDIA driver does not answer: {error}")) from None
    finally:
        nvml.nvmlShutdown()


def _nvml_device(nvml: Any, index: int, handle: Any) -> GpuDevice:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return GpuDevice(
        index=index,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        total_mib=memory.total // _MIB,
        free_mib=memory.free // _MIB,
        compute_capability=(major, minor),
    )


def _nvml_processes(nvml: Any, handles: Sequence[Any]) -> dict[int, int]:
    found: dict[int, int] = {}
    for handle in handles:
        try:
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except nvml.NVMLError:  # not permitted, or not supported by this device: the rest is worth telling
            continue
        for process in processes:
            found[process.pid] = found.get(process.pid, 0) + (process.usedGpuMemory or 0) // _MIB
    return found


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value  # older bindings give bytes


def run_nvidia_smi(arguments: Sequence[str]) -> str:
    """What `nvidia-smi` prints. Raises `NoAnswer`."""
    try:
        ran = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=_SMI_DEADLINE_S, check=False
        )
    except FileNotFoundError:
        raise NoAnswer("nvidia-smi, which comes with the NVIDIA driver, is not installed here") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"nvidia-smi does not answer: {error}") from None
    if ran.returncode:
        said = " ".join((ran.stdout + " " + ran.stderr).split())
        raise NoAnswer(f"nvidia-smi: {said or f'exit status {ran.returncode}'}")
    return ran.stdout


def ask_nvidia_smi(run: Callable[[Sequence[str]], str] = run_nvidia_smi) -> DriverReport:
    """The same by the command. Raises `NoAnswer`."""
    try:
        rows = _query(run, "gpu", (*_FIELDS, "compute_cap"))
    except NoAnswer as error:
        if "compute_cap" not in str(error):
            raise
        rows = [[*row, ""] for row in _query(run, "gpu", _FIELDS)]  # drivers before 510 do not know the field
    try:
        devices = tuple(_smi_device(row) for row in rows)
        driver_version = rows[0][5]
    except (ValueError, IndexError):
        raise NoAnswer(f"nvidia-smi printed what is no list of devices: {rows!r:.200}") from None
    shown = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", run([]))  # there is no field for it
    return DriverReport(
        driver_version=driver_version,
        cuda_version=(int(shown[1]), int(shown[2])) if shown else None,
        devices=devices,
        processes_mib=_smi_processes(run),
    )


def _query(run: Callable[[Sequence[str]], str], what: str, fields: Sequence[str]) -> list[list[str]]:
    printed = run([f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"])
    return [[cell.strip() for cell in row] for row in csv.reader(printed.splitlines()) if row]


def _smi_device(row: Sequence[str]) -> GpuDevice:
    index, name, uuid, total, free, _, capability = row
    major, _, minor = capability.partition(".")
    return GpuDevice(
        index=int(index),
        name=name,
        uuid=uuid,
        total_mib=int(total),
        free_mib=int(free),
        compute_capability=(int(major), int(minor)) if minor.isdecimal() else None,
    )


def _smi_processes(run: Callable[[Sequence[str]], str]) -> dict[int, int]:
    found: dict[int, int] = {}
    try:
        rows = _query(run, "compute-apps", ("pid", "used_memory"))
    except NoAnswer:
        return found
    for row in rows:
        if len(row) == 2 and row[0].isdecimal() and row[1].isdecimal():  # else [N/A], [Insufficient Permissions]
            found[int(row[0])] = found.get(int(row[0]), 0) + int(row[1])
    return found
