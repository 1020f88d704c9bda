"""Scenario files read and found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ai_engine.config_file import ConfigError, read_document, validate
from tools.scenarios.model import Scenario

FOLDER: Final = Path(__file__).parents[2] / "tests" / "scenarios"


def load(path: Path) -> Scenario:
    """The scenario in `path`. Raises `ConfigError`, which names file, line and key."""
    document = read_document(path)
    scenario = validate(Scenario, document)
    for index, step in enumerate(scenario.caller):
        spoken = step.interrupt.say if step.interrupt is not None else step.say
        if spoken is not None and spoken.wav and not (path.parent / spoken.wav).is_file():
            raise ConfigError(f"{document.where(('caller', index))}: there is no {path.parent / spoken.wav}")
    return scenario


def names(folder: Path = FOLDER) -> list[str]:
    """All scenarios of a folder, by name."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_all(chosen: Iterable[str] = (), folder: Path = FOLDER) -> dict[str, Scenario]:
    """The named scenarios, or all, by name. Raises one `ConfigError` with every complaint."""
    known = names(folder)
    scenarios: dict[str, Scenario] = {}
    complaints: list[str] = []
    for name in list(chosen) or known:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            complaints.append(f"no scenario named {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
            continue
        try:
            scenarios[name] = load(folder / f"{name}.yaml")
        except ConfigError as error:
            complaints.append(str(error))
    if complaints:
        raise ConfigError("\n".join(complaints))
    return scenarios
