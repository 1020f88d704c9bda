"""npm tarballs: by npm where it is (a stand-in that packs as npm does), else from the registry npm is told of."""

import io
import tarfile
from pathlib import Path

import pytest
from misbehaving_server import File, MisbehavingServer

from local_ai_server.install_progress import PlainProgress
from local_ai_server.packages import InstallFailed, fetch, npm_registry

MEMBERS = {"package/voices/a.bin": b"voice", "package/index.js": b"code"}


def tarball(members: dict[str, bytes], *, link: str | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    return packed.getvalue()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with what a test puts there and the shell's own tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def stand_in_npm(folder: Path, content: bytes, *, error: str = "") -> None:
    """As `npm pack NAME@VERSION … --pack-destination DIR` behaves: a tarball in DIR, or errors and status 1."""
    (folder / "content").write_bytes(content)
    script = f"""#!/bin/sh
[ "$1 $2" = "pack kokoro-js@1.2.1" ] || exit 9
[ -z "{error}" ] || {{ echo "{error}" >&2; exit 1; }}
while [ "$1" != --pack-destination ]; do shift; done
/bin/cp "{folder}/content" "$2/kokoro-js-1.2.1.tgz"
"""
    (folder / "npm").write_text(script)
    (folder / "npm").chmod(0o755)


def bring(staging: Path, *wanted: str) -> dict[str, bytes]:
    staging.mkdir(exist_ok=True)
    package = fetch(
        "npm:kokoro-js==1.2.1", staging, 100, PlainProgress(lambda _: None), members=set(wanted) or set(MEMBERS)
    )
    return {name: b"".join(package.chunks(name)) for name in wanted or MEMBERS}


def test_members_come_out_of_what_npm_packs(path: Path, tmp_path: Path) -> None:
    stand_in_npm(path, tarball(MEMBERS))
    assert bring(tmp_path / "s", "package/voices/a.bin") == {"package/voices/a.bin": b"voice"}
    assert not list((tmp_path / "s").rglob("index.js"))


def test_a_member_that_is_missing_or_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    stand_in_npm(path, tarball(MEMBERS, link="package/link"))
    for name in ("package/none", "package/link"):
        with pytest.raises(InstallFailed, match=f"does not hold {name}"):
            bring(tmp_path / "s", name)


def test_npms_own_words_are_quoted(path: Path, tmp_path: Path) -> None:
    stand_in_npm(path, b"", error="npm error code ENOTFOUND")
    with pytest.raises(InstallFailed, match=r"npm config get registry.*\n  npm error code ENOTFOUND"):
        bring(tmp_path / "s")


@pytest.mark.parametrize("content", [b"no tarball", tarball(MEMBERS)[:60]])
def test_a_damaged_tarball_is_said_to_be_one(path: Path, tmp_path: Path, content: bytes) -> None:
    stand_in_npm(path, content)
    with pytest.raises(InstallFailed, match="is damaged"):
        bring(tmp_path / "s")


def test_without_npm_the_error_says_how_to_get_it(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match=r"apt install npm.*NPM_CONFIG_REGISTRY"):
        bring(tmp_path / "s")


def test_without_npm_its_registry_is_asked(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MisbehavingServer() as registry:
        registry.serve("/npm/kokoro-js/-/kokoro-js-1.2.1.tgz", File(tarball(MEMBERS)))
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry.url + "/npm/")
        assert bring(tmp_path / "s") == MEMBERS
        registry.acts.clear()
        with pytest.raises(InstallFailed, match=r"without npm: .* is not there"):
            bring(tmp_path / "s")


def test_where_npm_is_told_its_registry(tmp_path: Path) -> None:
    assert npm_registry({}, tmp_path) is None
    (tmp_path / ".npmrc").write_text('fund=false\nregistry = "https://mirror.example/npm/"\n@x:registry=https://no\n')
    assert npm_registry({}, tmp_path) == "https://mirror.example/npm"
    assert npm_registry({"npm_config_registry": "https://own.example/"}, tmp_path) == "https://own.example"
