"""Driver, engines and CUDA libraries: one sentence for what does not fit, and silence for what does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local_ai_server import gpu_check
from local_ai_server.cuda_matrix import (
    ENGINES,
    EngineBuild,
    check_at_start,
    cuda_complaint,
    installed_build,
    library_environment,
    missing_libraries,
)
from local_ai_server.gpu import GpuState
from local_ai_server.nvidia import GpuDevice

CARD = GpuDevice(index=0, name="NVIDIA X", uuid="GPU-1", total_mib=8192, free_mib=8000, compute_capability=(8, 9))


def driver(version: str, cuda: tuple[int, int] | None = None) -> GpuState:
    return GpuState(available=True, driver_version=version, cuda_version=cuda, devices=(CARD,))


def build(cuda_major: int | None, *libraries: str) -> EngineBuild:
    return EngineBuild(
        backend="faster_whisper", module="ctranslate2", version="4.8.5", cuda_major=cuda_major, libraries=libraries
    )


@pytest.mark.parametrize(
    ("state", "engine", "missing", "sentence"),
    [
        (driver("570.86.15", (12, 8)), build(12), (), None),
        (driver("580.65.06", (13, 0)), build(12), (), None),  # older programs run on newer drivers
        (driver("525.60.13", (12, 0)), build(12), (), None),  # whatever the minor version
        (
            driver("570.86.15", (12, 8)),
            build(13),
            (),
            "faster_whisper (ctranslate2 4.8.5) is built for CUDA 13, the NVIDIA driver 570.86.15 runs CUDA 12 at "
            "most: update the NVIDIA driver to 580 or newer, or install a build for CUDA 12",
        ),
        (driver("470.182.03"), build(12), (), "runs CUDA 11 at most: update the NVIDIA driver to 525 or newer"),
        (driver("580.1"), build(13), (), None),
        (driver("of an unknown kind"), build(13), (), None),
        (
            driver("570.86.15", (12, 8)),
            build(12, "libcublas.so.12", "libcudnn.so.9"),
            ("libcudnn.so.9", "libcublas.so.12"),
            "libcublas.so.12, libcudnn.so.9, which is not found: run pip install nvidia-cublas-cu12 nvidia-cudnn-cu12",
        ),
        (
            driver("580.65.06", (13, 0)),
            build(13, "libcudart.so.13", "libcudnn.so.9"),
            ("libcudart.so.13", "libcudnn.so.9"),
            "run pip install nvidia-cuda-runtime nvidia-cudnn-cu13",
        ),
        (
            driver("570.86.15", (12, 8)),
            build(None),
            (),
            "is built without CUDA and runs on the CPU: install its CUDA build to use the GPU",
        ),
        (GpuState(available=False, reason="none"), build(13), ("libcublas.so.13",), None),
    ],
)
def test_one_plain_sentence(state, engine, missing, sentence):
    complaint = cuda_complaint(state, engine, missing)
    if sentence is None:
        assert complaint is None
    else:
        assert sentence in complaint
        assert "\n" not in complaint


def package(root: Path, name: str, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root / name


@pytest.mark.parametrize(
    ("backend", "files", "cuda", "libraries"),
    [
        ("kokoro", {"torch/version.py": b"__version__ = '2.9'\ncuda: Optional[str] = '12.8'\nhip = None\n"}, 12, ()),
        ("kokoro", {"torch/version.py": b"__version__ = '2.9+cpu'\ncuda: Optional[str] = None\n"}, None, ()),
        (
            "onnxruntime",
            {
                "onnxruntime/capi/build_and_package_info.py": b"package_name = 'ort-gpu'\ncuda_version = '13.0'\n",
                "onnxruntime/capi/libonnxruntime_providers_cuda.so": b"\x7fELF libcublas.so.13\0libcudnn.so.9\0",
            },
            13,
            ("libcublas.so.13", "libcudnn.so.9"),
        ),
        ("onnxruntime", {"onnxruntime/capi/build_and_package_info.py": b"package_name = 'onnxruntime'\n"}, None, ()),
        (
            "faster_whisper",
            {
                "ctranslate2/version.py": b"__version__ = '4'\n",
                "ctranslate2.libs/libctranslate2-a7a60d30.so.4": b"\x7fELF libcublas.so.12\0libcudnn.so.9\0",
                "ctranslate2.libs/libcudnn-74a4c495.so.9.1.0": b"\x7fELF",
            },
            12,
            ("libcublas.so.12",),  # cuDNN comes with it
        ),
        ("llama_cpp", {"xllamacpp/libggml-cuda.so": b"", "xllamacpp/xllamacpp.so": b"\x7fELF"}, None, ()),
    ],
)
def test_what_an_engine_is_built_for_stands_in_its_files(tmp_path, backend, files, cuda, libraries):
    name = next(iter(files)).partition("/")[0]
    folder = package(tmp_path, name, files)
    found = installed_build(backend, lambda module: folder if module == name else None)
    assert (found.module, found.cuda_major, found.libraries) == (name, cuda, libraries)
    assert installed_build(backend, lambda module: None) is None


def test_the_installed_whisper_engine_is_built_for_cuda():
    pytest.importorskip("ctranslate2", reason="faster-whisper is not installed")
    found = installed_build("faster_whisper")
    assert found.version[0].isdigit()
    assert found.cuda_major in (None, 12, 13)
    assert all(library.startswith("lib") for library in found.libraries)


def test_libraries_are_looked_for_as_the_loader_does(tmp_path):
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("no C compiler here to build a library with")
    (tmp_path / "empty.c").write_text("int nothing;\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "libcublas.so.99", tmp_path / "empty.c"], check=True)
    engine = build(12, "libcublas.so.99", "libcudnn.so.99")
    assert missing_libraries(engine) == ("libcublas.so.99", "libcudnn.so.99")
    assert missing_libraries(engine, {"LD_LIBRARY_PATH": str(tmp_path)}) == ("libcudnn.so.99",)
    assert missing_libraries(build(12)) == ()


def test_libraries_that_pip_installed_are_given_to_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/theirs")
    for name in ("cublas", "cudnn"):
        (tmp_path / "nvidia" / name / "lib").mkdir(parents=True)
    expected = [str(tmp_path / "nvidia" / name / "lib") for name in ("cublas", "cudnn")]
    assert library_environment([str(tmp_path)])["LD_LIBRARY_PATH"].split(os.pathsep) == [*expected, "/opt/theirs"]
    assert library_environment([str(tmp_path / "cublas")]) == {}


def test_no_gpu_no_complaint_and_nothing_is_read(monkeypatch):
    monkeypatch.setattr("local_ai_server.cuda_matrix.installed_build", None)
    assert check_at_start(GpuState(available=True, reason="GPU_AVAILABLE=true, but ..."), ("llama_cpp",)) == ()


def test_each_configured_engine_is_checked(monkeypatch):
    old = build(13)
    monkeypatch.setattr("local_ai_server.cuda_matrix.installed_build", lambda name: old if name == "x" else None)
    (complaint,) = check_at_start(driver("570.86.15", (12, 8)), ("x", "not installed"))
    assert "built for CUDA 13" in complaint


class TestCommand:
    def run(self, monkeypatch, capsys, state, *arguments) -> tuple[int, str]:
        monkeypatch.setattr(gpu_check, "detect_gpu", lambda setting: state)
        monkeypatch.setattr(gpu_check, "ENGINES", {})
        monkeypatch.setattr("sys.argv", ["gpu_check", *arguments])
        with pytest.raises(SystemExit) as ended:
            gpu_check.main()
        return ended.value.code, capsys.readouterr().out

    def test_a_gpu_that_fits(self, monkeypatch, capsys):
        status, said = self.run(monkeypatch, capsys, driver("570.86.15", (12, 8)))
        assert status == 0
        assert "NVIDIA driver 570.86.15, runs programs up to CUDA 12.8" in said
        assert "GPU 0: NVIDIA X, 8000 of 8192 MiB free, compute capability 8.9" in said

    def test_none(self, monkeypatch, capsys):
        status, said = self.run(monkeypatch, capsys, GpuState(available=False, reason="GPU_AVAILABLE=false"))
        assert (status, said) == (1, "no GPU: GPU_AVAILABLE=false\n")

    def test_as_json(self, monkeypatch, capsys):
        status, said = self.run(monkeypatch, capsys, driver("570.86.15", (12, 8)), "--json")
        assert (status, said.count("\n")) == (0, 1)
        assert '"driver_version": "570.86.15"' in said
        assert '"complaints": []' in said

    def test_a_complaint_is_an_error(self, monkeypatch, capsys):
        monkeypatch.setattr(gpu_check, "check_at_start", lambda state, backends: ("it does not fit",))
        status, said = self.run(monkeypatch, capsys, driver("570.86.15", (12, 8)))
        assert (status, said.splitlines()[-1]) == (1, "! it does not fit")


def test_every_backend_named_here_is_one():
    """Else a renamed backend would go unchecked."""
    from local_ai_server.backends.registry import BACKENDS

    assert set(ENGINES) - {"onnxruntime"} <= {known.name for known in BACKENDS}
