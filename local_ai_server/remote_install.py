"""Fetch the files of a model that no package registry has into a folder, ready to be moved into place."""

from __future__ import annotations

import shutil
import threading
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from local_ai_server.catalog import CatalogModel, RemoteFile
from local_ai_server.download_http import DownloadFailed
from local_ai_server.download_part import need_space
from local_ai_server.download_progress import OnTransfer, Stage, Transfer
from local_ai_server.downloads import Limits, Source, download
from local_ai_server.hub import ModelHub
from local_ai_server.install_progress import Advance, Progress
from local_ai_server.installed import InstalledFile, Record, read_record, sha256_of

_CHUNK_BYTES: Final = 1 << 20
_SAID: Final[dict[Stage, str]] = {
    "waiting": "another process fetches it; waiting for that",
    "retrying": "the connection broke or the server is busy; trying again",
    "checking": "checking",
}
_MOST_MEMBERS: Final = 10_000
_MOST_UNPACKED: Final = 20
"""Times the archive's size; speech models pack to a third."""


def fetch_remote(
    model: CatalogModel,
    models_dir: Path,
    kept: Path,
    assembled: Path,
    *,
    hub: ModelHub,
    progress: Progress,
    cancelled: threading.Event | None = None,
    trust_on_first_use: bool = False,
    limits: Limits | None = None,
) -> Record:
    """Download into `kept`, which stays when this fails so that the next try goes on there, then fill `assembled`.

    Raises DownloadFailed, DownloadCancelled and OSError.
    """
    before = read_record(models_dir, model.name)
    fetched: dict[str, InstalledFile] = {}
    revision: str | None = None
    for file in model.remote_files:
        known = before.fetched.get(file.name) if before else None
        url, token = hub.locate(model, file)
        source = Source(
            url=url,
            size_bytes=file.size_bytes,
            sha256=file.sha256 or (known.sha256 if known and known.checked == "first use" else None),
        )
        expected_bytes = file.size_bytes or file.about_bytes or 0
        with progress.download(PurePosixPath(file.name).name, expected_bytes) as advance:
            result = download(
                source,
                kept / file.name,
                progress=_telling(progress, advance),
                token=token,
                cancelled=cancelled,
                trust_on_first_use=trust_on_first_use,
                limits=limits,
            )
        checked = "first use" if source.sha256 and not file.sha256 else result.checked
        fetched[file.name] = InstalledFile(size_bytes=result.size_bytes, sha256=result.sha256, checked=checked)
        revision = revision or result.revision
    files: dict[str, InstalledFile] = {}
    for file in model.remote_files:
        if file.unpack:
            progress.note(f"  unpacking {file.name}", minor=True)
            files |= _unpack(file, kept / file.name, assembled, fetched[file.name])
        else:
            target = assembled / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            (kept / file.name).replace(target)
            files[file.name] = fetched[file.name]
    shutil.rmtree(kept)
    if model.hub:
        where, revision = model.hub.repo, revision or model.hub.revision
    else:
        where = model.remote_files[0].url or ""
    return Record(source=where, revision=revision, fetched=fetched, files=files)


def _telling(progress: Progress, advance: Advance) -> OnTransfer:
    """Moves the bar; a stage in which nothing moves is said."""
    stage: Stage = "connecting"

    def tell(transfer: Transfer) -> None:
        nonlocal stage
        if transfer.stage != stage and transfer.stage in _SAID:
            progress.note(f"  {transfer.name}: {_SAID[transfer.stage]}", minor=transfer.stage == "checking")
        stage = transfer.stage
        advance(transfer.done_bytes)

    return tell


def _unpack(file: RemoteFile, archive_path: Path, into: Path, fetched: InstalledFile) -> dict[str, InstalledFile]:
    """The archive's files without their common top folder. Refuses names that lead out of it, links and bombs."""
    files: dict[str, InstalledFile] = {}
    try:
        with zipfile.ZipFile(archive_path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            unpacked_bytes = sum(info.file_size for info in members)
            if len(members) > _MOST_MEMBERS or unpacked_bytes > _MOST_UNPACKED * fetched.size_bytes:
                raise DownloadFailed(f"{file.name} unpacks to {unpacked_bytes} bytes: that is no model")
            need_space(into, unpacked_bytes, file.name)
            for info in members:
                parts = PurePosixPath(info.filename).parts[1:]
                if not parts or ".." in parts or info.filename.startswith("/") or info.external_attr >> 28 == 0o12:
                    raise DownloadFailed(f"{file.name} holds {info.filename!r}, which no model's archive does")
                target = into.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out, _CHUNK_BYTES)
                files["/".join(parts)] = InstalledFile(
                    size_bytes=target.stat().st_size, sha256=sha256_of(target), checked=fetched.checked
                )
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise DownloadFailed(f"{file.name} is no archive that can be unpacked ({error})") from error
    return files
