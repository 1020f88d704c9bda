"""Where recordings lie: their names, what is left of a killed writer, and which of them have to go.

`<folder>/2026-11-21/20261121T190423Z_4f1c09d2a7be.wav`: the day and time (UTC) it began and the call's id, nothing
about the caller. While it is written its name ends in `.part`. Only files with such names are ever touched.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from ai_engine.media.wav_file import WavFile, mend

PART: Final = ".part"
_CALL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_NAME: Final = re.compile(r"\d{8}T\d{6}Z_[A-Za-z0-9_-]{1,64}(_\d+)?\.wav(\.part)?")
_MB: Final = 1_000_000
_DAY_S: Final = 86_400
_LEFT_BEHIND_S: Final = 60.0
"""A `.part` that nobody has written to for so long, and nobody has locked, has lost its writer."""
_MOST_NAMES: Final = 100

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one round of retention did."""

    mended: int = 0
    deleted: int = 0
    freed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    size: int
    changed_at: float


class RecordingFolder:
    """The folder and its rules. Every method blocks on the disk: never on a loop."""

    def __init__(
        self,
        folder: Path,
        *,
        keep_days: float = 0,
        keep_mb: float = 0,
        min_free_mb: float = 0,
        section: str = "recording",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Zero switches a rule off. `section` is that of the settings which has the rules."""
        self._section = section
        self._folder = folder
        self._keep_s = keep_days * _DAY_S
        self._keep_bytes = keep_mb * _MB
        self._min_free_bytes = min_free_mb * _MB
        self._wall_clock = wall_clock

    def begin(self, call_id: str, rate_hz: int, channels: int = 2) -> tuple[Path, WavFile]:
        """A new file for that call, still a `.part`. Raises `OSError`, and `ValueError` for an id that is no name."""
        if not _CALL_ID.fullmatch(call_id):
            raise ValueError(f"call id {call_id!r} cannot be part of a file name")
        began = datetime.fromtimestamp(self._wall_clock(), UTC)
        day = self._folder / f"{began:%Y-%m-%d}"
        for number in range(_MOST_NAMES):
            tail = f"_{number}" if number else ""
            path = day / f"{began:%Y%m%dT%H%M%SZ}_{call_id}{tail}.wav{PART}"
            if path.with_suffix("").exists():
                continue
            # Again each time: a sweep may take an empty day away.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            day.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                return path, WavFile(path, rate_hz, channels)
        raise FileExistsError(f"{day} has {_MOST_NAMES} recordings of this call and second")

    def end(self, path: Path) -> Path:
        """Give a complete recording its name; returns that."""
        return path.replace(path.with_suffix(""))

    def of_call(self, call_id: str) -> list[Path]:
        """Its recordings, complete or not."""
        name = re.compile(rf"\d{{8}}T\d{{6}}Z_{re.escape(call_id)}(_\d+)?\.wav({re.escape(PART)})?")
        return [one.path for one in self._recordings() if name.fullmatch(one.path.name)]

    def delete_call(self, call_id: str) -> int:
        """Delete its recordings; returns how many there were. Raises `OSError` for one that cannot be deleted."""
        deleted = 0
        for _ in range(2):  # one that was just being given its name is found the second time
            for path in self.of_call(call_id):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                    deleted += 1
        return deleted

    def lacks_room(self) -> str:
        """Why no recording may begin; empty when one may. Raises `OSError`."""
        if not self._min_free_bytes:
            return ""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if free >= self._min_free_bytes:
            return ""
        return f"{free / _MB:.0f} MB are free, {self._section}.min_free_mb asks for {self._min_free_bytes / _MB:.0f}"

    def sweep(self) -> Swept:
        """Mend what a killed writer left, then delete what is too old and, oldest first, what is too much."""
        mended = self._mend_leftovers()
        found = sorted(self._recordings(), key=lambda one: (one.changed_at, one.path.name))
        total = sum(one.size for one in found)
        now = self._wall_clock()
        deleted = freed = 0
        for one in found:
            too_old = bool(self._keep_s) and now - one.changed_at > self._keep_s
            too_much = bool(self._keep_bytes) and total > self._keep_bytes
            if one.path.suffix == PART or not (too_old or too_much):
                continue
            try:
                one.path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("recording_not_deleted", file=one.path.name, error=str(error))
                continue
            total -= one.size
            freed += one.size
            deleted += 1
        self._drop_empty_days(now)
        return Swept(mended, deleted, freed)

    def _mend_leftovers(self) -> int:
        mended = 0
        for one in list(self._recordings()):
            if one.path.suffix != PART or self._wall_clock() - one.changed_at < _LEFT_BEHIND_S:
                continue
            try:
                if mend(one.path):
                    self.end(one.path)
                    mended += 1
                    log.info("recording_mended", file=one.path.name)
            except EOFError:
                with contextlib.suppress(OSError):
                    one.path.unlink()
            except (OSError, ValueError) as error:
                log.warning("recording_not_mended", file=one.path.name, error=str(error))
        return mended

    def _recordings(self) -> Iterator[_Found]:
        """Files with our names in folders with our names; no links."""
        for day in self._days():
            try:
                files = list(day.iterdir())
            except OSError:
                continue
            for path in files:
                if not _NAME.fullmatch(path.name) or path.is_symlink():
                    continue
                with contextlib.suppress(OSError):  # gone meanwhile
                    facts = path.stat()
                    yield _Found(path, facts.st_size, facts.st_mtime)

    def _days(self) -> list[Path]:
        try:
            days = list(self._folder.iterdir())
        except OSError:
            return []
        return [day for day in days if _DAY.fullmatch(day.name) and day.is_dir() and not day.is_symlink()]

    def _drop_empty_days(self, now: float) -> None:
        today = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
        for day in self._days():
            if day.name != today:
                with contextlib.suppress(OSError):  # not empty
                    day.rmdir()
