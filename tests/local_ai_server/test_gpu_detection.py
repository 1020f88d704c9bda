"""What the driver says, by both ways, and what is made of it.

There was no GPU to record from. The stand-ins follow nvidia-ml-py's functions (their names, arguments and errors are
checked against the real module where it is installed) and the output formats that nvidia-smi documents.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from types import SimpleNamespace

import pytest

from local_ai_server.gpu import GpuState, ask_driver, detect_gpu
from local_ai_server.gpu_monitor import GpuMonitor
from local_ai_server.nvidia import DriverReport, GpuDevice, NoAnswer, ask_nvidia_smi, ask_nvml, run_nvidia_smi

MIB = 1024 * 1024
CARD = GpuDevice(
    index=0, name="NVIDIA X", uuid="GPU-1b5169ce", total_mib=24564, free_mib=20000, compute_capability=(8, 9)
)
OTHER = GpuDevice(
    index=1, name="NVIDIA Y", uuid="GPU-2718f6b0", total_mib=8192, free_mib=8000, compute_capability=(7, 5)
)
REPORT = DriverReport(
    driver_version="570.86.15", cuda_version=(12, 8), devices=(CARD, OTHER), processes_mib={100: 3000, 101: 500, 9: 50}
)


class Nvml:
    """The functions of nvidia-ml-py that are used, for two cards."""

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(f"error {value}")
            self.value = value

    cards = (CARD, OTHER)

    def __init__(self, fails: str = "", error: int = 999) -> None:
        self._fails, self._error = fails, error
        self.open = 0

    def __getattribute__(self, name: str):
        if name == object.__getattribute__(self, "_fails"):
            raise Nvml.NVMLError(object.__getattribute__(self, "_error"))
        return object.__getattribute__(self, name)

    def nvmlInit(self):
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.cards[index]

    def nvmlSystemGetCudaDriverVersion_v2(self):
        return 12080

    def nvmlSystemGetDriverVersion(self):
        return b"570.86.15"

    def nvmlDeviceGetMemoryInfo(self, handle, version=None):
        return SimpleNamespace(total=handle.total_mib * MIB, free=handle.free_mib * MIB, used=0)

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return handle.compute_capability

    def nvmlDeviceGetName(self, handle):
        return handle.name

    def nvmlDeviceGetUUID(self, handle):
        return handle.uuid

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        of = {0: [(100, 3000), (9, 50)], 1: [(101, 500)]}[handle.index]
        unknown = SimpleNamespace(pid=77, usedGpuMemory=None)
        return [SimpleNamespace(pid=pid, usedGpuMemory=mib * MIB) for pid, mib in of] + [unknown]


GPU_ROWS = (
    "0, NVIDIA X, GPU-1b5169ce, 24564, 20000, 570.86.15, 8.9\n1, NVIDIA Y, GPU-2718f6b0, 8192, 8000, 570.86.15, 7.5\n"
)
BANNER = "| NVIDIA-SMI 570.86.15       Driver Version: 570.86.15      CUDA Version: 12.8     |\n"


def smi(arguments) -> str:
    if not arguments:
        return BANNER
    if arguments[0].startswith("--query-gpu"):
        return GPU_ROWS
    return "100, 3000\n101, 500\n9, 50\n55, [N/A]\n[Insufficient Permissions], 7\n"


def test_nvml_tells_all():
    nvml = Nvml()
    report = ask_nvml(nvml)
    assert report.devices == REPORT.devices
    assert (report.driver_version, report.cuda_version) == ("570.86.15", (12, 8))
    assert report.processes_mib == {**REPORT.processes_mib, 77: 0}
    assert nvml.open == 0


def test_nvidia_smi_tells_the_same():
    assert ask_nvidia_smi(smi) == REPORT


def test_the_stand_in_has_what_the_real_binding_has():
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install 'parley[gpu]'")
    used = [name for name in vars(Nvml) if name.startswith("nvml")]
    assert len(used) == 11
    for name in used:
        ours = list(inspect.signature(getattr(Nvml(), name)).parameters)
        assert list(inspect.signature(inspect.unwrap(getattr(real, name))).parameters)[: len(ours)] == ours
    assert real.NVMLError(real.NVML_ERROR_LIBRARY_NOT_FOUND).value == 12
    assert real.NVMLError(real.NVML_ERROR_DRIVER_NOT_LOADED).value == 9
    assert real.NVMLError(real.NVML_ERROR_LIB_RM_VERSION_MISMATCH).value == 18


def test_the_real_ways_answer_here_or_say_why_not():
    try:
        report = ask_driver()
    except NoAnswer as error:
        assert "NVIDIA" in str(error) or "nvidia-smi" in str(error)
    else:
        assert report.driver_version


@pytest.mark.parametrize(
    ("fails", "error", "words"),
    [
        ("nvmlInit", 12, "no NVIDIA driver is installed here"),
        ("nvmlInit", 18, "restart the machine"),
        ("nvmlInit", 999, "does not answer: error 999"),
        ("nvmlDeviceGetHandleByIndex", 15, "fallen off the bus"),
    ],
)
def test_what_nvml_refuses_is_said_in_words(fails, error, words):
    with pytest.raises(NoAnswer, match=words):
        ask_nvml(Nvml(fails, error))


def test_without_leave_to_see_processes_the_rest_is_told():
    report = ask_nvml(Nvml("nvmlDeviceGetComputeRunningProcesses", 4))
    assert (report.devices, report.processes_mib) == (REPORT.devices, {})


def test_an_old_nvidia_smi_without_the_capability():
    def old(arguments) -> str:
        if arguments and "compute_cap" in arguments[0]:
            raise NoAnswer('nvidia-smi: Field "compute_cap" is not a valid field to query.')
        if arguments and arguments[0].startswith("--query-gpu"):
            return "0, NVIDIA GeForce RTX 2080, GPU-22b2c6ac, 7979, 7600, 440.64\n"
        return "" if arguments else "Driver Version: 440.64"

    report = ask_nvidia_smi(old)
    assert (report.devices[0].compute_capability, report.devices[0].free_mib) == (None, 7600)
    assert (report.cuda_version, report.driver_version) == (None, "440.64")


@pytest.mark.parametrize("printed", ["", "No devices were found\n", "0, X, GPU-1, [N/A], 5, 570, 8.9\n"])
def test_what_is_no_list_of_devices_is_refused(printed):
    with pytest.raises(NoAnswer, match="no list of devices"):
        ask_nvidia_smi(lambda arguments: printed)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9', "failed"),
        ("exit 3", "exit status 3"),
        (None, "is not installed here"),
    ],
)
def test_a_command_that_fails_is_quoted(tmp_path, monkeypatch, script, words):
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoAnswer, match=words):
        run_nvidia_smi([])


def refuse() -> DriverReport:
    raise NoAnswer("no NVIDIA driver is installed here")


def never() -> DriverReport:
    raise AssertionError("nobody was to be asked")


class TestMonitor:
    async def test_a_device_is_looked_at_again_off_the_loop_with_the_workers_of_then(self):
        looks, pids = [], [[1], [2, 3]]

        def detect(setting) -> GpuState:
            looks.append(threading.current_thread())
            if len(looks) == 3:
                return GpuState(available=False, reason="it fell off the bus")
            return GpuState(available=True, devices=(CARD,), driver_version=str(len(looks)))

        monitor = GpuMonitor(GpuState(available=True, devices=(CARD,)), detect=detect, look_every_s=0)
        assert monitor.free_bytes == CARD.free_mib * 1024 * 1024
        await asyncio.wait_for(monitor.run(lambda: pids.pop(0) if pids else []), 10)
        assert len(looks) == 3
        assert threading.main_thread() not in looks
        assert not pids
        assert monitor.free_bytes is None
        assert monitor.facts["reason"] == "it fell off the bus"

    async def test_where_there_is_none_nobody_is_asked_again(self):
        def detect(setting) -> GpuState:
            raise AssertionError("asked")

        monitor = GpuMonitor(GpuState(available=False, reason="none"), detect=detect)
        await asyncio.wait_for(monitor.run(lambda: []), 10)
        assert monitor.facts["available"] is False


class TestDetection:
    def test_the_setting_says_no_and_nobody_is_asked(self):
        assert detect_gpu(False, ask=never) == GpuState(available=False, reason="GPU_AVAILABLE=false")

    @pytest.mark.parametrize(("setting", "available"), [(None, False), (True, True)])
    def test_without_a_driver_the_reason_is_told_and_the_setting_wins(self, setting, available, tmp_path):
        state = detect_gpu(setting, ask=refuse, environment={}, dev=tmp_path)
        assert state.available is available
        assert "no NVIDIA driver is installed here (there is no /dev/nvidia0" in state.reason
        assert state.reason.startswith("GPU_AVAILABLE=true, but") is available

    def test_a_device_file_without_a_driver_to_ask(self, tmp_path):
        (tmp_path / "nvidia0").touch()
        assert detect_gpu(ask=refuse, environment={}, dev=tmp_path).reason == "no NVIDIA driver is installed here"

    @pytest.mark.parametrize(
        ("visible", "seen"),
        [
            (None, (0, 1)),
            ("0", (0,)),
            ("1,0", (1, 0)),
            ("GPU-2718", (1,)),
            ("0,7,1", (0,)),
            ("MIG-8a1b", (0, 1)),
            ("", ()),
            ("-1", ()),
        ],
    )
    def test_what_cuda_is_not_shown_does_not_count(self, visible, seen):
        environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        state = detect_gpu(ask=lambda: REPORT, environment=environment)
        assert tuple(device.index for device in state.devices) == seen
        assert state.available is bool(seen)
        assert (state.reason is None) is bool(seen)
        if not seen:
            assert "CUDA_VISIBLE_DEVICES" in state.reason

    def test_a_driver_without_a_device(self):
        bare = DriverReport(driver_version="570.86.15", cuda_version=(12, 8), devices=())
        state = detect_gpu(ask=lambda: bare, environment={})
        assert (state.available, state.reason) == (False, "the NVIDIA driver runs and has no device")

    def test_each_worker_is_told_what_it_and_its_engines_hold(self):
        state = detect_gpu(ask=lambda: REPORT, environment={})
        assert state.workers_mib({100: (100, 101), 200: (200,)}) == {100: 3500}
        assert state.workers_mib({100: ()}) == {100: 3000}
        assert state.free_bytes == 20000 * MIB
        assert state.facts({100: (100,)}) == {
            "available": True,
            "reason": None,
            "driver_version": "570.86.15",
            "cuda_version": "12.8",
            "devices": [
                {"index": 0, "name": "NVIDIA X", "total_mib": 24564, "free_mib": 20000, "compute_capability": "8.9"},
                {"index": 1, "name": "NVIDIA Y", "total_mib": 8192, "free_mib": 8000, "compute_capability": "7.5"},
            ],
            "workers": {100: 3000},
        }
