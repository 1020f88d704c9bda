"""The catalogue says of every model where it comes from, under which terms, how large it is and what holds it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from local_ai_server.backends.registry import backend
from local_ai_server.catalog import Catalog, CatalogModel, Hub, RemoteFile, load_catalog
from tools import models_doc

PROJECT = Path(__file__).resolve().parents[2]
MODELS = load_catalog().models


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_can_be_run_by_a_backend_of_its_kind(model: CatalogModel) -> None:
    if model.kind in ("stt", "llm", "tts"):
        assert backend(model.kind, model.backend).kind == model.kind
    assert model.path.partition("/")[0] in (model.kind, model.backend, "kroko")
    assert model.memory_mib * 1024 * 1024 > model.size_bytes / 1.5


@pytest.mark.parametrize("model", [m for m in MODELS if m.remote_files], ids=lambda model: model.name)
def test_a_model_of_the_hub_is_pinned_to_a_revision(model: CatalogModel) -> None:
    for file in model.remote_files:
        assert file.url is None or file.url.startswith("https://")
        assert file.url is None or file.sha256
    assert model.hub is None or model.hub.revision


def test_no_model_overwrites_another() -> None:
    places = [str(Path(model.path)) for model in MODELS]
    assert len(set(places)) == len(places)
    folders = [place for model, place in zip(MODELS, places, strict=True) if Path(place).name not in model.file_names]
    assert not [(a, b) for a in folders for b in places if a != b and b.startswith(a + "/")]


def test_the_published_page_is_what_the_catalogue_says() -> None:
    assert (PROJECT / "docs" / "models.md").read_text() == models_doc.document(), (
        "run: python -m tools.models_doc > docs/models.md"
    )


def test_the_budget_of_a_set_is_the_sum_of_its_models() -> None:
    catalog = load_catalog()
    for name in catalog.sets:
        assert catalog.memory_mib(name) == sum(model.memory_mib for model in MODELS if name in model.sets)
    assert catalog.memory_mib("embedded") <= 1536, "the embedded set is for small machines"


def model_with(**change: object) -> CatalogModel:
    values = {
        "name": "acme", "kind": "stt", "backend": "vosk", "description": "a test model", "languages": ("en",),
        "licence": "MIT", "path": "stt/acme", "memory_mib": 1, "hub": Hub(repo="a/b"),
        "remote_files": (RemoteFile(name="f", about_bytes=1),),
    }  # fmt: skip
    return CatalogModel.model_validate(values | change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"remote_files": ()}, "either files or remote_files"),
        ({"hub": None}, "need hub"),
        ({"remote_files": [{"name": "f"}]}, "one of size_bytes and about_bytes"),
        ({"remote_files": [{"name": "../f", "about_bytes": 1}]}, "pattern"),
        ({"remote_files": [{"name": "a/.f", "about_bytes": 1}]}, "pattern"),
        ({"remote_files": [{"name": "/f", "about_bytes": 1}]}, "pattern"),
        ({"remote_files": [{"name": "f", "about_bytes": 1, "sha256": "no"}]}, "pattern"),
    ],
)
def test_entries_that_cannot_be_installed_safely_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        model_with(**change)


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="same name"):
        Catalog(models=(model_with(), model_with()), packages={})
