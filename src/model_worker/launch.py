"""The command line and the environment that a worker process is started with."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

from model_worker.spec import WorkerSpec

_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_HERE: Final = Path(__file__).resolve().parent


def command(spec: WorkerSpec, *, connection_fd: int, idle_load_s: float) -> list[str]:
    """The child's argv. Raises `FileNotFoundError` when there is no such interpreter or no such package to lend."""
    return [
        *_entry_point(spec),
        spec.model,
        *("--fd", str(connection_fd), "--parent", str(os.getpid())),
        *("--concurrency", str(spec.concurrency), "--nice", str(spec.nice), "--idle-load-s", str(idle_load_s)),
    ]


def environment(spec: WorkerSpec) -> dict[str, str]:
    """The child's environment: ours, the thread counts, then the spec's own variables."""
    variables = {
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(spec.threads)),
        # Threads that wait for each other sleep instead of spinning: beside busy neighbours, who are the rule here,
        # spinning makes a model several times slower. A spec may say otherwise.
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
        **spec.env,
    }
    if spec.python is None:
        # -P keeps the working directory off the child's path, where a settings.py may lie; this package must be on it.
        path = variables.get("PYTHONPATH", "")
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_HERE.parent), path)))
    else:  # another interpreter: our packages must not come before, or be mixed with, its own
        for name in ("PYTHONPATH", "PYTHONHOME"):
            if name not in spec.env:
                variables.pop(name, None)
    return variables


def _entry_point(spec: WorkerSpec) -> list[str]:
    if spec.python is None:
        return [sys.executable, "-P", "-m", "model_worker.worker"]
    if not Path(spec.python).is_file():
        raise FileNotFoundError(f"there is no Python at {spec.python}: make that virtual environment, or name another")
    lent = [f"{name}={_folder_of(name)}" for name in ("model_worker", *spec.lent_packages)]
    return [spec.python, "-P", str(_HERE / "foreign.py"), *lent, "--"]


def _folder_of(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"lent_packages: there is no package {package} here")
    return Path(next(iter(found.submodule_search_locations)))
