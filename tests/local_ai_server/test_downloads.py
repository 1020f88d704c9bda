"""Downloads through real sockets from a server on loopback that drops, lies, truncates and stalls."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from misbehaving_server import File, MisbehavingServer, Request, drip, of_hub, silence, status
from pydantic import SecretStr

from local_ai_server import download_part, downloads
from local_ai_server.download_http import DownloadFailed, check_url
from local_ai_server.download_part import DownloadCancelled
from local_ai_server.download_progress import Transfer, TransferMeter
from local_ai_server.downloads import Fetched, Limits, Source, download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
OTHER = CONTENT[::-1]
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Limits(attempts=3, backoff_s=0.001, margin_bytes=0, read_s=20)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.bin"


def get(url: str, target: Path, *, sha256: str | None = SHA256, size: int | None = None, **more: Any) -> Fetched:
    return download(Source(url=url, size_bytes=size, sha256=sha256), target, **{"limits": QUICK, **more})


def left_of(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def note_of(target: Path, url: str, content: str | None) -> None:
    notes = {"url": url, "etag": '"one"', "content": content}
    target.with_name("weights.bin.part.json").write_text(json.dumps(notes))


def starts(server: MisbehavingServer) -> list[int | None]:
    return [request.first_byte for request in server.requests]


def test_a_whole_file_arrives_under_its_name_and_nothing_else_is_left(server: MisbehavingServer, target: Path) -> None:
    fetched = get(server.serve("/f", File(CONTENT)), target, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert fetched == Fetched(size_bytes=len(CONTENT), sha256=SHA256, checked="catalogue", revision=None)
    assert left_of(target) == ["weights.bin"]


def test_dropped_connections_are_resumed_where_they_broke(server: MisbehavingServer, target: Path) -> None:
    get(server.serve("/f", File(CONTENT, drop_after=300_000), File(CONTENT, drop_after=200_000), File(CONTENT)), target)
    assert target.read_bytes() == CONTENT
    assert starts(server) == [None, 300_000, 500_000]
    assert server.requests[1].headers["if-range"] == '"one"'


def test_a_later_run_goes_on_with_what_an_earlier_one_left(server: MisbehavingServer, target: Path) -> None:
    url = server.serve("/f", File(CONTENT, drop_after=300_000), status(500))
    with pytest.raises(DownloadFailed, match=r"status 500.*What has come is kept"):
        get(url, target)
    assert not target.exists()
    server.serve("/f", File(CONTENT))
    get(url, target)
    assert target.read_bytes() == CONTENT
    assert starts(server)[-1] == 300_000


def test_endless_drops_end_in_a_clear_error(server: MisbehavingServer, target: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"connection failed|stopped after"):
        get(server.serve("/f", File(CONTENT, drop_after=1000, ranges=False)), target)
    assert len(server.requests) == QUICK.attempts
    assert not target.exists()


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(File(CONTENT, ranges=False), id="ranges ignored"),
        pytest.param(File(CONTENT, etag='"two"'), id="etag changed"),
        pytest.param(File(CONTENT, etag=None), id="etag gone"),
    ],
)
def test_what_cannot_be_continued_is_begun_again(server: MisbehavingServer, target: Path, second: File) -> None:
    get(server.serve("/f", File(OTHER, drop_after=300_000, ranges=False), second), target)
    assert target.read_bytes() == CONTENT


def test_a_changed_file_whose_server_ignores_if_range_is_begun_again(server: MisbehavingServer, target: Path) -> None:
    changed = File(CONTENT, etag='"two"', if_range=False, headers=of_hub(CONTENT))
    get(server.serve("/f", File(OTHER, drop_after=300_000, headers=of_hub(OTHER)), changed), target, sha256=None)
    assert target.read_bytes() == CONTENT
    assert starts(server) == [None, 300_000, None]


def test_two_versions_are_never_joined_where_no_checksum_would_tell(server: MisbehavingServer, target: Path) -> None:
    changed = File(CONTENT, etag='"two"', if_range=False)
    url = server.serve("/f", File(OTHER, drop_after=300_000), changed)
    get(url, target, sha256=None, trust_on_first_use=True)
    assert target.read_bytes() == CONTENT
    assert starts(server) == [None, 300_000, None]


def test_without_a_strong_etag_or_a_checksum_nothing_is_resumed(server: MisbehavingServer, target: Path) -> None:
    url = server.serve("/f", File(OTHER, drop_after=300_000, etag='W/"one"'), File(CONTENT, etag='W/"one"'))
    get(url, target, sha256=None, trust_on_first_use=True)
    assert target.read_bytes() == CONTENT
    assert starts(server) == [None, None]


def test_a_part_that_does_not_belong_to_the_file_is_thrown_away_once(server: MisbehavingServer, target: Path) -> None:
    """The server does not notice that the file changed; the checksum does."""
    url = server.serve("/f", File(OTHER, drop_after=300_000), File(CONTENT))
    get(url, target)
    assert target.read_bytes() == CONTENT
    assert starts(server) == [None, 300_000, None]


def test_416_for_a_complete_part_is_success(server: MisbehavingServer, target: Path) -> None:
    target.parent.mkdir()
    url = server.serve("/f", File(CONTENT, headers=of_hub(CONTENT)))
    target.with_name("weights.bin.part").write_bytes(CONTENT)
    note_of(target, url, SHA256)
    assert get(url, target, sha256=None).checked == "hub"
    assert starts(server) == [len(CONTENT)]
    assert left_of(target) == ["weights.bin"]


def test_416_for_a_part_that_is_too_long_begins_again(server: MisbehavingServer, target: Path) -> None:
    target.parent.mkdir()
    url = server.serve("/f", File(CONTENT))
    target.with_name("weights.bin.part").write_bytes(CONTENT + b"more")
    note_of(target, url, None)
    get(url, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("notes", ["", "[]", "{}", "\udcff"])
def test_damaged_notes_of_a_part_only_cost_the_part(server: MisbehavingServer, target: Path, notes: str) -> None:
    target.parent.mkdir()
    target.with_name("weights.bin.part").write_bytes(b"x" * 1000)
    target.with_name("weights.bin.part.json").write_bytes(notes.encode("utf-8", "surrogateescape"))
    get(server.serve("/f", File(CONTENT)), target)
    assert target.read_bytes() == CONTENT
    assert starts(server) == [None]


def test_wrong_bytes_leave_nothing(server: MisbehavingServer, target: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"checksum of weights\.bin .* as pinned"):
        get(server.serve("/f", File(OTHER)), target)
    assert left_of(target) == []
    assert len(server.requests) == 1


def test_a_size_other_than_the_catalogues_is_refused_before_the_body(server: MisbehavingServer, target: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"1048576 bytes instead of the 5 of the catalogue"):
        get(server.serve("/f", File(CONTENT)), target, size=5)


def test_a_length_that_is_too_long_is_a_truncation(server: MisbehavingServer, target: Path) -> None:
    lying = File(CONTENT[:1000], length=len(CONTENT), ranges=False)
    with pytest.raises(DownloadFailed, match=r"in vain"):
        get(server.serve("/f", lying), target)
    assert not target.exists()


def test_a_length_that_is_too_short_fails_the_checksum(server: MisbehavingServer, target: Path) -> None:
    with pytest.raises(DownloadFailed, match="checksum"):
        get(server.serve("/f", File(CONTENT, length=1000)), target)
    assert left_of(target) == []


def test_more_than_was_told_is_not_written(server: MisbehavingServer, target: Path) -> None:
    def endless(request: Request) -> None:
        request.send(200, {"ETag": '"one"'}, CONTENT + CONTENT)

    with pytest.raises(DownloadFailed, match="sends more than the 1048576 bytes"):
        get(server.serve("/f", endless), target, size=len(CONTENT))
    assert left_of(target) == []


def test_a_silent_server_times_out(server: MisbehavingServer, target: Path) -> None:
    limits = Limits(attempts=2, backoff_s=0.001, read_s=0.2, margin_bytes=0)
    with pytest.raises(DownloadFailed, match="does not answer in time"):
        get(server.serve("/f", silence), target, limits=limits)
    assert len(server.requests) == 2


def test_a_dripping_server_is_given_up(server: MisbehavingServer, target: Path) -> None:
    limits = Limits(attempts=2, backoff_s=0.001, read_s=20, stall_s=0.2, stall_bytes=1000, margin_bytes=0)
    with pytest.raises(DownloadFailed, match="stuck"):
        get(server.serve("/f", drip(CONTENT, 0.01)), target, limits=limits)


def test_a_busy_server_is_asked_again_after_the_time_it_names(server: MisbehavingServer, target: Path) -> None:
    stages: list[str] = []
    url = server.serve("/f", status(503, Retry_After="0"), status(429, Retry_After="0"), File(CONTENT))
    get(url, target, progress=lambda transfer: stages.append(transfer.stage))
    assert [s for i, s in enumerate(stages) if i == 0 or s != stages[i - 1]] == [
        "connecting", "retrying", "connecting", "retrying", "connecting", "downloading", "checking", "done",
    ]  # fmt: skip


@pytest.mark.parametrize(("code", "said"), [(404, "is not there"), (400, "status 400"), (410, "withdrawn")])
def test_refusals_are_final(server: MisbehavingServer, target: Path, code: int, said: str) -> None:
    with pytest.raises(DownloadFailed, match=said):
        get(server.serve("/f", status(code)), target)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("token", [None, SecretStr("hf_secret")])
def test_a_gated_model_names_the_variable(
    server: MisbehavingServer, target: Path, code: int, token: SecretStr | None
) -> None:
    with pytest.raises(DownloadFailed, match="HUGGINGFACE_ACCESS_TOKEN") as failure:
        get(server.serve("/f", status(code)), target, token=token)
    assert "accept the model's terms" in str(failure.value)
    assert "hf_secret" not in str(failure.value)


def test_the_token_is_shown_to_its_own_host_only(
    server: MisbehavingServer, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with MisbehavingServer() as store:
        stored = store.serve("/blob?signature=sig", File(CONTENT))
        url = server.serve("/repo/resolve/main/f", status(302, Location="/elsewhere"))
        server.serve("/elsewhere", status(302, Location=stored, **of_hub(CONTENT)))
        fetched = get(url, target, sha256=None, token=SecretStr("hf_secret"))
        assert [request.headers.get("authorization") for request in server.requests] == ["Bearer hf_secret"] * 2
        assert [request.headers.get("authorization") for request in store.requests] == [None]
    assert (fetched.checked, fetched.revision, fetched.sha256) == ("hub", "c0ffee", SHA256)
    assert "hf_secret" not in caplog.text
    assert "signature" not in caplog.text


def test_a_redirected_download_resumes_at_the_store(server: MisbehavingServer, target: Path) -> None:
    with MisbehavingServer() as store:
        stored = store.serve("/blob", File(CONTENT, drop_after=300_000), File(CONTENT))
        get(server.serve("/f", status(302, Location=stored, **of_hub(CONTENT))), target, sha256=None)
        assert starts(store) == [None, 300_000]
    assert target.read_bytes() == CONTENT


def test_only_the_hub_itself_may_state_the_checksum(server: MisbehavingServer, target: Path) -> None:
    with MisbehavingServer() as store:
        stored = store.serve("/blob", File(OTHER, headers=of_hub(OTHER)))
        with pytest.raises(DownloadFailed, match="neither the catalogue nor the server states a checksum"):
            get(server.serve("/f", status(302, Location=stored)), target, sha256=None)


def test_redirects_in_a_ring_end(server: MisbehavingServer, target: Path) -> None:
    with pytest.raises(DownloadFailed, match="redirects more than 5 times"):
        get(server.serve("/f", status(302, Location="/f")), target)


@pytest.mark.parametrize(
    "location", ["http://192.0.2.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://u:p@127.0.0.1/"]
)
def test_redirects_to_forbidden_places_are_not_followed(server: MisbehavingServer, target: Path, location: str) -> None:
    with pytest.raises(DownloadFailed, match=r"https only|no user and password"):
        get(server.serve("/f", status(302, Location=location)), target)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/x", True), ("http://127.0.0.1:1/x", True), ("http://[::1]/x", True),
        ("http://localhost/x", True), ("http://example.org/x", False), ("http://127.0.0.1.example.org/", False),
    ],
)  # fmt: skip
def test_which_addresses_are_allowed(url: str, allowed: bool) -> None:
    if allowed:
        check_url(httpx.URL(url))
    else:
        with pytest.raises(DownloadFailed):
            check_url(httpx.URL(url))


def test_small_files_of_the_hub_are_checked_by_gits_own_sum(server: MisbehavingServer, target: Path) -> None:
    text = b'{"a": 1}\n'
    git = hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()
    hub = {"X-Repo-Commit": "c0ffee"}
    url = server.serve("/f", File(text, etag=f'"{git}"', headers=hub))
    assert get(url, target, sha256=None).checked == "hub"
    target.unlink()
    server.serve("/f", File(text + b" ", etag=f'"{git}"', headers=hub))
    with pytest.raises(DownloadFailed, match="as the hub states"):
        get(url, target, sha256=None)


def test_another_checksum_at_the_hub_than_in_the_catalogue_costs_no_download(
    server: MisbehavingServer, target: Path
) -> None:
    with pytest.raises(DownloadFailed, match="the hub states another checksum"):
        get(server.serve("/f", File(OTHER, headers=of_hub(OTHER))), target)


def test_an_unknown_file_is_taken_only_when_that_is_allowed(server: MisbehavingServer, target: Path) -> None:
    url = server.serve("/f", File(CONTENT))
    with pytest.raises(DownloadFailed, match="--trust-on-first-use"):
        get(url, target, sha256=None)
    assert get(url, target, sha256=None, trust_on_first_use=True).checked == "first use"


def test_too_little_space_is_said_with_both_figures(
    server: MisbehavingServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(target.parent.parent)
    monkeypatch.setattr(download_part.shutil, "disk_usage", lambda _: usage._replace(free=500_000))
    with pytest.raises(DownloadFailed, match=r"needs 1\.0 MB .* 0\.5 MB free: free some space"):
        get(server.serve("/f", File(CONTENT)), target)
    assert not target.exists()


def test_a_disk_that_fills_up_meanwhile_keeps_the_part(
    server: MisbehavingServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    url = server.serve("/f", File(CONTENT))
    with monkeypatch.context() as patched:
        patched.setattr(downloads.os, "fsync", full)
        with pytest.raises(DownloadFailed, match="is full: free some space"):
            get(url, target)
    assert left_of(target) == ["weights.bin.part", "weights.bin.part.json"]
    get(url, target, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_an_interrupted_rename_is_made_up_for_without_the_network(
    server: MisbehavingServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.serve("/f", File(CONTENT))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get(url, target, size=len(CONTENT))
    assert not target.exists()
    get(url, target, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_cancel_keeps_what_came(server: MisbehavingServer, target: Path) -> None:
    cancelled = threading.Event()

    def at(transfer: Transfer) -> None:
        if transfer.done_bytes > 0:
            cancelled.set()

    url = server.serve("/f", File(CONTENT))
    with pytest.raises(DownloadCancelled):
        get(url, target, progress=at, cancelled=cancelled)
    kept = target.with_name("weights.bin.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    get(url, target)
    assert starts(server) == [None, kept]


def test_a_cancel_ends_the_wait_between_attempts(server: MisbehavingServer, target: Path) -> None:
    cancelled = threading.Event()

    def at(transfer: Transfer) -> None:
        if transfer.stage == "retrying":
            cancelled.set()

    with pytest.raises(DownloadCancelled):
        get(server.serve("/f", status(503, Retry_After="100")), target, progress=at, cancelled=cancelled)


FETCH = """
import sys
from pathlib import Path
from local_ai_server.downloads import Limits, Source, download
download(Source(url=sys.argv[1], sha256=sys.argv[2]), Path(sys.argv[3]), limits=Limits(margin_bytes=0))
"""


def test_two_processes_fetch_a_file_once(server: MisbehavingServer, target: Path) -> None:
    came, other_waits = threading.Event(), threading.Event()

    def held_up(request: Request) -> None:
        came.set()
        other_waits.wait(60)
        File(CONTENT)(request)

    def at(transfer: Transfer) -> None:
        if transfer.stage in ("waiting", "done"):
            other_waits.set()

    url = server.serve("/f", held_up, File(CONTENT))
    process = subprocess.Popen([sys.executable, "-c", FETCH, url, SHA256, str(target)])
    assert came.wait(60)
    get(url, target, progress=at)
    assert process.wait(60) == 0
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert left_of(target) == ["weights.bin"]


def test_a_killed_process_leaves_what_the_next_goes_on_with(server: MisbehavingServer, target: Path) -> None:
    came = threading.Event()

    def half(request: Request) -> None:
        request.send(200, {"Content-Length": str(len(CONTENT)), "ETag": '"one"'}, CONTENT[:500_000])
        came.set()
        request.ended.wait(20)

    url = server.serve("/f", half, File(CONTENT))
    process = subprocess.Popen([sys.executable, "-c", FETCH, url, SHA256, str(target)])
    assert came.wait(60)
    part = target.with_name("weights.bin.part")
    deadline = threading.Event()
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
        deadline.wait(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    get(url, target)
    assert target.read_bytes() == CONTENT
    first = server.requests[-1].first_byte
    assert first is not None
    assert 0 < first <= 500_000


def test_the_environments_proxy_is_used(
    server: MisbehavingServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.serve("http://127.0.0.1:9/f", File(CONTENT))
    get("http://127.0.0.1:9/f", target)
    assert target.read_bytes() == CONTENT


def test_progress_has_rate_and_time_left() -> None:
    seen: list[Transfer] = []
    now = iter([0.0, 1.0, 2.0, 8.0])
    meter = TransferMeter("f", seen.append, lambda: next(now))
    for done in (100, 300, 500, 500):
        meter.at("downloading", done, 1100)
    assert [transfer.rate_bytes_per_s for transfer in seen] == [None, 200.0, 200.0, 0.0]
    assert seen[2].eta_s == 3.0
    assert seen[3].eta_s is None
