"""Whole models from a hub on loopback: all or nothing, resumed, and remembered."""

import fcntl
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving_server import File, MisbehavingServer, Request, of_hub, status
from pydantic import SecretStr

from local_ai_server.catalog import Catalog, CatalogModel, Hub, RemoteFile
from local_ai_server.download_jobs import DownloadJob, DownloadJobs, NoSuchJob
from local_ai_server.download_part import DownloadCancelled
from local_ai_server.downloads import Limits
from local_ai_server.hub import ModelHub
from local_ai_server.install import install, remove
from local_ai_server.install_progress import PlainProgress
from local_ai_server.packages import InstallFailed

WEIGHTS, CONFIG = b"weights" * 50_000, b"{}\n"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
QUICK = Limits(attempts=2, backoff_s=0.001, margin_bytes=0)
REVISION = "0123456789abcdef0123456789abcdef01234567"
GIT = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


def model_of(*files: RemoteFile, name: str = "acme", path: str = "stt/acme") -> CatalogModel:
    return CatalogModel(
        name=name, kind="stt", backend="test", description="a test model", languages=("en",), licence="MIT",
        path=path, memory_mib=1, hub=Hub(repo="acme/model", revision=REVISION), remote_files=files,
    )  # fmt: skip


TWO_FILES = model_of(
    RemoteFile(name="model.bin", size_bytes=len(WEIGHTS), sha256=SHA256),
    RemoteFile(name="config.json", source="sub dir/config.json", about_bytes=3),
)
WEIGHTS_AT = f"/acme/model/resolve/{REVISION}/model.bin"
CONFIG_AT = f"/acme/model/resolve/{REVISION}/sub%20dir/config.json"


def serve_both(server: MisbehavingServer) -> None:
    server.serve(WEIGHTS_AT, File(WEIGHTS, headers=of_hub(WEIGHTS)))
    server.serve(CONFIG_AT, File(CONFIG, etag=f'"{GIT}"', headers={"X-Repo-Commit": REVISION}))


def bring(server: MisbehavingServer, model: CatalogModel, models_dir: Path, *, trust: bool = False) -> str:
    lines: list[str] = []
    install(
        [model],
        models_dir,
        catalog=Catalog(models=(model,), packages={}),
        progress=PlainProgress(lines.append),
        hub=ModelHub(server.url, SecretStr("hf_secret")),
        trust_on_first_use=trust,
        limits=QUICK,
    )
    return "".join(lines)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_of_the_hub_is_installed_whole_and_remembered(server: MisbehavingServer, models_dir: Path) -> None:
    serve_both(server)
    bring(server, TWO_FILES, models_dir)
    assert files_in(models_dir / "stt/acme") == {"model.bin": WEIGHTS, "config.json": CONFIG}
    record = json.loads((models_dir / ".installed/acme.json").read_text())
    assert (record["source"], record["revision"]) == ("acme/model", "c0ffee")
    assert {name: file["checked"] for name, file in record["files"].items()} == {
        "model.bin": "catalogue",
        "config.json": "hub",
    }
    assert TWO_FILES.problem(models_dir, verify=True) is None
    before = len(server.requests)
    assert bring(server, TWO_FILES, models_dir) == "acme: already here\n"
    assert len(server.requests) == before
    assert {path.name for path in models_dir.iterdir()} == {"stt", ".lock", ".installed"}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer hf_secret"}


def test_half_a_model_never_appears_and_the_next_run_fetches_the_rest(
    server: MisbehavingServer, models_dir: Path
) -> None:
    serve_both(server)
    server.serve(CONFIG_AT, status(404))
    with pytest.raises(InstallFailed, match=r"acme: .*config\.json is not there"):
        bring(server, TWO_FILES, models_dir)
    assert not (models_dir / "stt").exists()
    serve_both(server)
    bring(server, TWO_FILES, models_dir)
    assert [request.path for request in server.requests].count(WEIGHTS_AT) == 1
    assert TWO_FILES.problem(models_dir) is None


def test_a_retry_is_said(server: MisbehavingServer, models_dir: Path) -> None:
    serve_both(server)
    server.serve(WEIGHTS_AT, File(WEIGHTS, drop_after=100_000), File(WEIGHTS))
    assert "model.bin: the connection broke or the server is busy; trying again" in bring(server, TWO_FILES, models_dir)


def test_a_cancel_ends_the_wait_for_another_install(server: MisbehavingServer, models_dir: Path) -> None:
    models_dir.mkdir()
    cancelled = threading.Event()
    cancelled.set()
    with (models_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DownloadCancelled):
            install(
                [TWO_FILES],
                models_dir,
                catalog=Catalog(models=(TWO_FILES,), packages={}),
                progress=PlainProgress(lambda _: None),
                hub=ModelHub(server.url),
                cancelled=cancelled,
            )
    assert server.requests == []


def test_a_changed_byte_is_found_and_mended(server: MisbehavingServer, models_dir: Path) -> None:
    serve_both(server)
    bring(server, TWO_FILES, models_dir)
    (models_dir / "stt/acme/config.json").write_bytes(b"[]\n")
    assert TWO_FILES.problem(models_dir) is None
    assert "checksum" in (TWO_FILES.problem(models_dir, verify=True) or "")


def test_a_file_trusted_once_must_stay_the_same(server: MisbehavingServer, models_dir: Path) -> None:
    model = model_of(RemoteFile(name="model.bin", about_bytes=1))
    server.serve(WEIGHTS_AT, File(WEIGHTS))
    with pytest.raises(InstallFailed, match="--trust-on-first-use"):
        bring(server, model, models_dir)
    bring(server, model, models_dir, trust=True)
    assert remove(model, models_dir)
    bring(server, model, models_dir)  # its checksum is known now
    remove(model, models_dir)
    server.serve(WEIGHTS_AT, File(WEIGHTS[::-1]))
    with pytest.raises(InstallFailed, match="checksum"):
        bring(server, model, models_dir, trust=True)


def test_removal_takes_all_of_it(server: MisbehavingServer, models_dir: Path) -> None:
    serve_both(server)
    bring(server, TWO_FILES, models_dir)
    assert remove(TWO_FILES, models_dir)
    assert not (models_dir / "stt/acme").exists()
    assert TWO_FILES.problem(models_dir) is not None
    assert not remove(TWO_FILES, models_dir)
    assert not remove(TWO_FILES, models_dir / "nowhere")


def archive(members: dict[str, bytes], *, link: str | None = None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            out.writestr(info, "/etc/passwd")
    return packed.getvalue()


def zipped(server: MisbehavingServer, content: bytes) -> CatalogModel:
    url = server.serve("/vosk.zip", File(content))
    digest = hashlib.sha256(content).hexdigest()
    return model_of(RemoteFile(name="vosk.zip", url=url, size_bytes=len(content), sha256=digest, unpack="zip"))


def test_an_archive_is_unpacked_without_its_top_folder(server: MisbehavingServer, models_dir: Path) -> None:
    model = zipped(server, archive({"vosk-1/am/final.mdl": b"m", "vosk-1/conf/model.conf": b"c"}))
    bring(server, model, models_dir)
    assert files_in(models_dir / "stt/acme") == {"am/final.mdl": b"m", "conf/model.conf": b"c"}
    assert "authorization" not in server.requests[0].headers  # it is not the hub's
    assert model.problem(models_dir, verify=True) is None
    (models_dir / "stt/acme/am/final.mdl").unlink()
    assert model.problem(models_dir) is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (archive({"v/../../evil": b"x"}), "which no model's archive does"),
        (archive({"/etc/evil": b"x"}), "which no model's archive does"),
        (archive({"top": b"x"}), "which no model's archive does"),
        (archive({"v/a": b"x"}, link="v/link"), "which no model's archive does"),
        (archive({"v/bomb": bytes(1_000_000)}), "that is no model"),
        (b"PK no zip at all", "no archive"),
    ],
)
def test_archives_that_are_no_models_are_refused(
    server: MisbehavingServer, models_dir: Path, content: bytes, said: str
) -> None:
    with pytest.raises(InstallFailed, match=said):
        bring(server, zipped(server, content), models_dir)
    assert not (models_dir / "stt").exists()
    assert not list(models_dir.parent.rglob("evil"))


def test_the_hub_and_the_token_come_from_the_environment(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("HUGGINGFACE_ACCESS_TOKEN=hf_file\nHF_ENDPOINT=https://mirror.example/\n")
    hub = ModelHub.from_environment({}, env)
    assert (hub.endpoint, hub.token) == ("https://mirror.example", SecretStr("hf_file"))
    assert "hf_file" not in repr(hub)
    assert ModelHub.from_environment({"HUGGINGFACE_ACCESS_TOKEN": "hf_own"}, env).token == SecretStr("hf_own")
    assert ModelHub.from_environment({"HUGGINGFACE_ACCESS_TOKEN": " "}, tmp_path / "none").token is None


class Watched:
    """Jobs with every change kept, and a wait for a state."""

    def __init__(self, server: MisbehavingServer, models_dir: Path) -> None:
        self.seen: list[DownloadJob] = []
        self._changed = threading.Condition()
        catalog = Catalog(models=(TWO_FILES,), packages={})
        self.jobs = DownloadJobs(models_dir, catalog=catalog, hub=ModelHub(server.url), changed=self._note)

    def _note(self, job: DownloadJob) -> None:
        with self._changed:
            self.seen.append(job)
            self._changed.notify_all()

    def wait_for(self, *states: str) -> DownloadJob:
        with self._changed:
            assert self._changed.wait_for(lambda: self.seen and self.seen[-1].state in states, 60)
            return self.seen[-1]


@pytest.fixture
def watched(server: MisbehavingServer, models_dir: Path) -> Iterator[Watched]:
    watched = Watched(server, models_dir)
    yield watched
    watched.jobs.close()


def test_a_job_reports_its_progress_and_ends(server: MisbehavingServer, watched: Watched, models_dir: Path) -> None:
    serve_both(server)
    started = watched.jobs.start("ACME")
    done = watched.wait_for("done", "failed")
    assert (done.id, done.model, done.state, done.error) == (started.id, "acme", "done", None)
    assert TWO_FILES.problem(models_dir) is None
    transfers = [job.transfer for job in watched.seen if job.transfer]
    assert {transfer.name for transfer in transfers} == {"model.bin", "config.json"}
    assert max(transfer.done_bytes for transfer in transfers) == len(WEIGHTS)
    assert watched.jobs.list() == (watched.jobs.get(started.id),)
    watched.jobs.forget(started.id)
    with pytest.raises(NoSuchJob):
        watched.jobs.get(started.id)


def test_a_failed_job_says_why(server: MisbehavingServer, watched: Watched) -> None:
    watched.jobs.start("acme")
    assert "is not there" in (watched.wait_for("failed").error or "")


def test_a_job_is_cancelled_and_asked_for_twice_is_one(server: MisbehavingServer, watched: Watched) -> None:
    came = threading.Event()

    def slow(request: Request) -> None:
        request.send(200, {"Content-Length": str(len(WEIGHTS)), "ETag": '"one"'}, WEIGHTS[:1000])
        came.set()
        while not request.ended.wait(0.05):
            request.connection.sendall(b"w")

    server.serve(WEIGHTS_AT, slow)
    job = watched.jobs.start("acme")
    assert came.wait(60)
    assert watched.jobs.start("acme").id == job.id
    with pytest.raises(NoSuchJob, match="cancel it first"):
        watched.jobs.forget(job.id)
    watched.jobs.cancel(job.id)
    assert watched.wait_for("cancelled").error is None
