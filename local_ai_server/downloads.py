"""Fetch a file over HTTP so that it is there whole and verified, or not at all, whatever the server and the line do.

The bytes collect in `NAME.part` beside the target, with what the server said of them in `NAME.part.json`; the next try
goes on where the last one stopped, if the file is still the same. Two processes that want the same file take turns. The
name appears by an atomic rename after size and checksum are right and the bytes are on the disk.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import httpx
from pydantic import SecretStr

from local_ai_server.download_http import DownloadFailed, Stated, content_range, open_stream, refuse_errors, shown
from local_ai_server.download_part import (
    DownloadCancelled,
    Part,
    git_sha1_of,
    naming_full_disk,
    need_space,
    one_at_a_time,
)
from local_ai_server.download_progress import OnTransfer, TransferMeter
from local_ai_server.installed import sha256_of

_SPACE_CHECK_EVERY_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    connect_s: float = 15.0
    read_s: float = 30.0
    """Longest silence."""
    stall_s: float = 60.0
    stall_bytes: int = 64 << 10
    """A connection that brings less than this in `stall_s` is dropped and made anew."""
    attempts: int = 6
    """In a row that bring less than `stall_bytes`."""
    total_attempts: int = 60
    backoff_s: float = 1.0
    """Doubles with each fruitless attempt, up to a minute."""
    margin_bytes: int = 64 << 20
    """Stays free on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file to fetch; size and sha256 where they are known beforehand."""

    url: str
    size_bytes: int | None = None
    sha256: str | None = None


Checked = Literal["catalogue", "hub", "first use"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """`checked` says what the sha256 was held against: known before, stated by the hub, or nothing yet."""

    size_bytes: int
    sha256: str
    checked: Checked
    revision: str | None


def download(
    source: Source,
    target: Path,
    *,
    progress: OnTransfer = lambda _: None,
    token: SecretStr | None = None,
    cancelled: threading.Event | None = None,
    trust_on_first_use: bool = False,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Fetched:
    """Bring `source` to `target`; blocks. Raises DownloadFailed, DownloadCancelled and OSError (not for a full disk).

    Without a sha256 the checksum that the hub states is used; a server that states none is refused unless
    `trust_on_first_use`, and then the caller keeps the sha256 of the result for the next time. Proxies are those of the
    environment. A cancel takes effect with the next bytes, at the latest after `limits.read_s`.
    """
    limits = limits or Limits()
    target.parent.mkdir(parents=True, exist_ok=True)
    cancel = cancelled or threading.Event()
    meter = TransferMeter(target.name, progress, clock)
    with one_at_a_time(target, lambda: meter.at("waiting", 0, source.size_bytes), cancel), naming_full_disk(target):
        timeout = httpx.Timeout(limits.read_s, connect=limits.connect_s)
        with httpx.Client(timeout=timeout, follow_redirects=False) as client:
            job = _Job(source, target, token, trust_on_first_use, limits, cancel, meter, client, clock)
            return job.run()


@dataclass(slots=True)
class _Job:
    source: Source
    target: Path
    token: SecretStr | None
    trust: bool
    limits: Limits
    cancelled: threading.Event
    meter: TransferMeter
    client: httpx.Client
    clock: Callable[[], float]
    part: Part = field(init=False)
    stated: Stated = field(init=False, default=Stated(None, None, None, None, None))
    resumed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.part = Part(self.target.with_name(self.target.name + ".part"))
        self.part.load(self.source.url)

    def run(self) -> Fetched:
        if self.source.sha256 and self.target.exists() and sha256_of(self.target) == self.source.sha256:
            return self._done(self.target.stat().st_size, self.source.sha256, "catalogue")  # another process's work
        fruitless = 0
        for _ in range(self.limits.total_attempts):
            before = self.part.size_bytes()
            try:
                if self.source.sha256 and before == self.source.size_bytes:
                    self.resumed = True
                else:
                    self.meter.at("connecting", before, self._total())
                    self._attempt(before)
                return self._verified()
            except httpx.HTTPError as error:
                failure = DownloadFailed(f"{shown(self.source.url)}: {_plain(error)}", retryable=True)
            except DownloadFailed as error:
                if not error.retryable:
                    raise
                failure = error
            fruitless = 0 if self.part.size_bytes() >= before + self.limits.stall_bytes else fruitless + 1
            if fruitless >= self.limits.attempts:
                break
            self._pause(failure, fruitless)
        raise DownloadFailed(
            f"{failure}; tried again and again in vain. What has come is kept: run the same command again "
            "when the network is better"
        ) from failure

    def _pause(self, failure: DownloadFailed, fruitless: int) -> None:
        self.meter.at("retrying", self.part.size_bytes(), self._total())
        pause_s = min(self.limits.backoff_s * 2.0**fruitless, 60.0) * random.uniform(0.5, 1.0)
        if self.cancelled.wait(failure.after_s if failure.after_s is not None else pause_s):
            raise DownloadCancelled

    def _total(self) -> int | None:
        return self.source.size_bytes if self.source.size_bytes is not None else self.stated.size_bytes

    def _attempt(self, have: int) -> None:
        """One request. Leaves more bytes in the part, or raises."""
        self._need_space(have)
        headers = {}
        # Without a strong ETag only a checksum known beforehand tells bytes of two versions apart.
        if have and (self.part.etag or self.source.sha256):
            headers["Range"] = f"bytes={have}-"
            if self.part.etag:
                headers["If-Range"] = self.part.etag
        with open_stream(self.client, self.source.url, headers, self.token) as (response, stated):
            refuse_errors(response, self.source.url, with_token=self.token is not None)
            self._require_a_known_file(stated)
            first, whole = content_range(response)
            length = response.headers.get("Content-Length", "")
            if response.status_code == 416:
                if whole is not None and whole == have and self._same(stated):
                    self.stated, self.resumed = stated, True
                    return
                self.part.drop()
                raise DownloadFailed(
                    f"{shown(self.source.url)}: what came earlier does not fit; it is fetched anew", retryable=True
                )
            if response.status_code == 206 and (first != have or not self._same(stated)):
                self.part.drop()
                raise DownloadFailed(
                    f"{shown(self.source.url)} has changed meanwhile; it is fetched anew", retryable=True
                )
            if response.status_code == 200:
                have, whole = 0, int(length) if length.isdecimal() else None
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise DownloadFailed(f"{shown(self.source.url)}: the server packs the content although it must not")
            self.stated = Stated(
                stated.etag,
                stated.sha256,
                stated.git_sha1,
                whole if whole is not None else stated.size_bytes,
                stated.revision,
            )
            self._expect_size(whole)
            if whole is None and not (self.source.sha256 or stated.sha256 or stated.git_sha1):
                raise DownloadFailed(f"{shown(self.source.url)}: the server tells neither size nor checksum")
            self._need_space(have)
            self.resumed = have > 0
            self._receive(response, have)

    def _same(self, stated: Stated) -> bool:
        """Whether the server still has the file that the part is of."""
        content = stated.sha256 or stated.git_sha1
        if self.part.content and content:
            return self.part.content == content
        return bool(self.source.sha256) or (self.part.etag is not None and self.part.etag == stated.etag)

    def _require_a_known_file(self, stated: Stated) -> None:
        if not (self.source.sha256 or stated.sha256 or stated.git_sha1 or self.trust):
            raise DownloadFailed(
                f"{shown(self.source.url)}: neither the catalogue nor the server states a checksum, so nothing would "
                "tell whether the file is the right one. If you trust the server, allow it with --trust-on-first-use: "
                "the file's checksum is then recorded and required ever after"
            )
        if self.source.sha256 and stated.sha256 and self.source.sha256 != stated.sha256:
            raise DownloadFailed(
                f"{shown(self.source.url)}: the hub states another checksum ({stated.sha256[:12]}…) than the catalogue "
                f"({self.source.sha256[:12]}…): another file lies there now. Nothing was installed; please report it"
            )

    def _expect_size(self, whole: int | None) -> None:
        expected = self.source.size_bytes
        if expected is not None and whole is not None and whole != expected:
            raise DownloadFailed(
                f"{shown(self.source.url)} has {whole} bytes instead of the {expected} of the catalogue: "
                "another file lies there now. Nothing was installed; please report it"
            )

    def _receive(self, response: httpx.Response, have: int) -> None:
        total = self._total()
        with self.part.path.open("r+b" if have else "wb") as out:
            out.truncate(have)
            out.seek(have)
            self.part.note(self.source.url, self.stated)
            window_start_s, window_bytes, unchecked = self.clock(), 0, 0
            for chunk in response.iter_raw():
                if self.cancelled.is_set():
                    raise DownloadCancelled
                out.write(chunk)
                have += len(chunk)
                window_bytes += len(chunk)
                unchecked += len(chunk)
                if total is not None and have > total:
                    break
                self.meter.at("downloading", have, total)
                if unchecked >= _SPACE_CHECK_EVERY_BYTES:
                    unchecked = 0
                    self._need_space(have)
                if self.clock() - window_start_s >= self.limits.stall_s:
                    if window_bytes < self.limits.stall_bytes:
                        raise DownloadFailed(f"{shown(self.source.url)}: the connection is stuck", retryable=True)
                    window_start_s, window_bytes = self.clock(), 0
            out.flush()
            os.fsync(out.fileno())
        if total is not None and have > total:
            self.part.drop()
            raise DownloadFailed(f"{shown(self.source.url)}: the server sends more than the {total} bytes it told")
        if total is not None and have < total:
            raise DownloadFailed(
                f"{shown(self.source.url)}: the server stopped after {have} of {total} bytes", retryable=True
            )

    def _verified(self) -> Fetched:
        """Hold the part against its checksum and give it its name."""
        size_bytes = self.part.size_bytes()
        self.meter.at("checking", size_bytes, size_bytes)
        found = sha256_of(self.part.path)
        expected: str | None = self.source.sha256 or self.stated.sha256
        checked: Checked = "catalogue" if self.source.sha256 else "hub"
        wrong = found != expected if expected else False
        if not expected:
            if self.stated.git_sha1:
                wrong = git_sha1_of(self.part.path) != self.stated.git_sha1
            else:
                checked = "first use"
        if wrong:
            self.part.drop()
            by = "pinned" if checked == "catalogue" else "the hub states"
            raise DownloadFailed(
                f"the checksum of {self.target.name} from {shown(self.source.url)} is {found[:12]}…, not "
                f"{(expected or self.stated.git_sha1 or '')[:12]}… as {by}: it was "
                "changed or damaged on its way. Nothing was installed. Run the same command again; if it stays "
                "so, report it",
                retryable=self.resumed,  # a part of an earlier try may have been the damaged one
            )
        self.part.finish(self.target)
        return self._done(size_bytes, found, checked)

    def _done(self, size_bytes: int, sha256: str, checked: Checked) -> Fetched:
        self.meter.at("done", size_bytes, size_bytes)
        return Fetched(size_bytes=size_bytes, sha256=sha256, checked=checked, revision=self.stated.revision)

    def _need_space(self, have: int) -> None:
        need_space(
            self.target.parent, (self._total() or have) - have, self.target.name, margin_bytes=self.limits.margin_bytes
        )


def _plain(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "the server does not answer in time"
    return f"the connection failed ({type(error).__name__}: {error})"
