"""Figures in a document, put there by the benchmark that measured them: between markers, by nobody else.

<!-- figures: NAME -->
…
<!-- end of figures -->
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.stack import PROJECT

PERFORMANCE = PROJECT / "docs" / "performance.md"
IMAGES = PROJECT / "docs" / "images"


class NoPlace(LookupError):
    """The document has no markers of this name."""


def put(name: str, markdown: str, *, document: Path = PERFORMANCE) -> None:
    """Replace what stands between the markers of `name`."""
    pattern = re.compile(rf"(<!-- figures: {re.escape(name)} -->\n).*?(<!-- end of figures -->)", re.DOTALL)
    text, places = pattern.subn(
        lambda found: f"{found[1]}\n{markdown.strip()}\n\n{found[2]}", document.read_text(encoding="utf-8")
    )
    if places != 1:
        raise NoPlace(f"{document} has {places} places for the figures of {name}")
    document.write_text(text, encoding="utf-8")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; None is an empty cell, floats are rounded to whole numbers."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def machine_line(machine: dict[str, float]) -> str:
    """What else the machine did, from a report's `machine`."""
    return (
        f"{machine['cores']} cores: {100 * machine['cpu_share_ours']:.0f} % of them used by the benchmark, "
        f"{100 * machine['cpu_share_others']:.0f} % by others"
    )
