"""Installs that run beside the server: started, watched and cancelled by whoever asks over HTTP."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, SecretStr

from local_ai_server.catalog import Catalog, load_catalog
from local_ai_server.download_part import DownloadCancelled
from local_ai_server.download_progress import Transfer, TransferMeter
from local_ai_server.hub import ModelHub
from local_ai_server.install import install
from local_ai_server.install_progress import Advance
from local_ai_server.packages import InstallFailed

log = structlog.get_logger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]
_ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
_AT_ONCE = 1
"""Installs take turns on the models directory anyway."""


class NoSuchJob(LookupError):
    """There is no job of this number, or for `forget`: it still runs."""


class DownloadJob(BaseModel):
    """A job at one moment."""

    model_config = ConfigDict(frozen=True)

    id: int
    model: str
    state: State
    transfer: Transfer | None = None
    """The file that is on its way."""
    notes: tuple[str, ...] = ()
    error: str | None = None


class DownloadJobs:
    """All methods may be called from any thread and none blocks, but for `close`.

    `changed` is called, from a job's thread, after each change of a job; progress comes with every chunk.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        catalog: Catalog | None = None,
        hub: ModelHub | None = None,
        changed: Callable[[DownloadJob], None] = lambda _: None,
    ) -> None:
        self._models_dir = models_dir
        self._catalog = catalog or load_catalog()
        self._hub = hub or ModelHub.from_environment()
        self._changed = changed
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._jobs: dict[int, DownloadJob] = {}
        self._cancels: dict[int, threading.Event] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download")

    def start(self, name: str, *, token: SecretStr | None = None) -> DownloadJob:
        """Install a model of the catalogue; the job under way for it, if there is one. Raises UnknownModel."""
        model = self._catalog.model(name)
        with self._lock:
            for job in self._jobs.values():
                if job.model == model.name and job.state not in _ENDED:
                    return job
            job = DownloadJob(id=next(self._numbers), model=model.name, state="queued")
            self._jobs[job.id] = job
            self._cancels[job.id] = threading.Event()
        self._pool.submit(self._run, job.id, token)
        return job

    def list(self) -> tuple[DownloadJob, ...]:
        with self._lock:
            return tuple(self._jobs.values())

    def get(self, number: int) -> DownloadJob:
        """Raises NoSuchJob."""
        with self._lock:
            if number not in self._jobs:
                raise NoSuchJob(f"there is no download {number}")
            return self._jobs[number]

    def cancel(self, number: int) -> DownloadJob:
        """Ask a job to end; what it fetched so far is kept where it can be continued. Raises NoSuchJob."""
        job = self.get(number)
        self._cancels[number].set()
        return job

    def forget(self, number: int) -> None:
        """Take an ended job off the list. Raises NoSuchJob."""
        if self.get(number).state not in _ENDED:
            raise NoSuchJob(f"download {number} still runs: cancel it first")
        with self._lock:
            self._jobs.pop(number, None)
            self._cancels.pop(number, None)

    def close(self) -> None:
        """Cancel all and wait for their ends."""
        with self._lock:
            for event in self._cancels.values():
                event.set()
        self._pool.shutdown()

    def _run(self, number: int, token: SecretStr | None) -> None:
        cancelled = self._cancels[number]
        model = self._catalog.model(self._jobs[number].model)
        hub = ModelHub(self._hub.endpoint, token) if token else self._hub
        if cancelled.is_set():
            self._update(number, state="cancelled")
            return
        try:
            self._update(number, state="running")
            progress = _JobProgress(lambda **change: self._update(number, **change), cancelled)
            install([model], self._models_dir, catalog=self._catalog, progress=progress, hub=hub, cancelled=cancelled)
            self._update(number, state="done", transfer=None)
        except DownloadCancelled:
            self._update(number, state="cancelled", transfer=None)
        except InstallFailed as error:
            self._update(number, state="failed", transfer=None, error=str(error))
        except Exception:  # the root of the job's thread
            log.exception("a download job broke", model=model.name)
            self._update(number, state="failed", transfer=None, error="an internal error; the server's log has it")

    def _update(self, number: int, **change: object) -> None:
        with self._lock:
            if "note" in change:
                change["notes"] = (*self._jobs[number].notes, change.pop("note"))
            job = self._jobs[number] = self._jobs[number].model_copy(update=change)
        self._changed(job)


class _JobProgress:
    """See `install_progress.Progress`. A cancel ends the job with the next bytes."""

    def __init__(self, update: Callable[..., None], cancelled: threading.Event) -> None:
        self._update = update
        self._cancelled = cancelled

    def note(self, text: str, *, minor: bool = False) -> None:
        if not minor:
            self._update(note=text)

    @contextmanager
    def download(self, name: str, size_bytes: int) -> Iterator[Advance]:
        meter = TransferMeter(name, lambda transfer: self._update(transfer=transfer))

        def advance(done_bytes: int) -> None:
            if self._cancelled.is_set():
                raise DownloadCancelled
            meter.at("downloading", done_bytes, size_bytes or None)

        meter.at("connecting", 0, size_bytes or None)
        yield advance
