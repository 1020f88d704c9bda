"""The map of `echo_map` for people: tables, and heat maps as SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

LOSSES_DB: Final = (6.0, 10.0, 15.0, 20.0, 25.0, 30.0)
DELAYS_MS: Final = (20.0, 60.0, 120.0, 200.0, 300.0)
MODES: Final = {"off": "Without the canceller", "cancel": "With the canceller"}
MEASURES: Final = {
    "self_interruptions_per_100": "interrupted by itself",
    "missed_per_100": "interruptions missed",
}
_PLACE: Final = "<!-- map -->"


def _find(cells: Sequence[dict[str, Any]], mode: str, loss_db: float, delay_ms: float) -> dict[str, Any] | None:
    for cell in cells:
        if (cell["mode"], cell["loss_db"], cell["delay_ms"], cell["wanders"]) == (mode, loss_db, delay_ms, False):
            return cell
    return None


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Self-interruptions per 100 turns / missed interruptions per 100, in Markdown; and the wandering delays."""
    parts = []
    for mode, title in MODES.items():
        mine = [cell for cell in cells if cell["mode"] == mode]
        if not mine:
            continue
        delays = [delay for delay in DELAYS_MS if any(cell["delay_ms"] == delay for cell in mine)]
        turns = [cell["turns"] for cell in mine]
        spoken = [cell["interrupted"] for cell in mine]
        lines = [
            f"{title}; {sum(turns)} turns of the agent ({min(turns)} to {max(turns)} in a cell), "
            f"{sum(spoken)} of them spoken into:\n",
            "| return loss | " + " | ".join(f"{delay:g} ms" for delay in delays) + " | pauses by echo |",
            "|---|" + "---|" * (len(delays) + 1),
        ]
        for loss in LOSSES_DB:
            row = [_find(cells, mode, loss, delay) for delay in delays]
            if not any(row):
                continue
            pauses = 100 * sum(c["self_pauses"] for c in row if c) / sum(c["turns"] for c in row if c)
            shown = [f"{c['self_interruptions_per_100']:g} / {c['missed_per_100']:g}" if c else "" for c in row]
            lines.append(f"| {loss:g} dB | " + " | ".join(shown) + f" | {pauses:.0f} |")
        wander = [cell for cell in mine if cell["wanders"]]
        if wander:
            n, own = sum(c["turns"] for c in wander), sum(c["self_interruptions"] for c in wander)
            missed, said = sum(c["missed"] for c in wander), sum(c["interrupted"] for c in wander)
            lines.append(
                f"\nAt 20 dB with a delay that moves by a packet every 4 s ({n} turns): {100 * own / n:.1f} / "
                f"{100 * missed / max(said, 1):.1f}."
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def write_docs(cells: Sequence[dict[str, Any]], docs: Path) -> None:
    """Put the tables between the marks of echo.md, and draw the maps."""
    page = docs / "echo.md"
    text = page.read_text()
    mark = re.escape(_PLACE)
    new, found = re.subn(f"{mark}.*?{mark}", lambda _: f"{_PLACE}\n{table(cells)}\n{_PLACE}", text, flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"{page} needs two {_PLACE} marks around the map")
    page.write_text(new)
    draw(cells, docs / "images" / "echo_map.svg")


def draw(cells: Sequence[dict[str, Any]], path: Path) -> None:
    """One heat map for each way and measure."""
    import matplotlib as mpl  # noqa: PLC0415 - only in the extra `bench`
    import numpy as np  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context({"svg.hashsalt": "parley", "svg.fonttype": "none", "font.size": 9.0}):
        figure = Figure(figsize=(7.2, 5.6), layout="constrained", facecolor="white")
        FigureCanvasSVG(figure)
        axes = figure.subplots(2, 2, sharex=True, sharey=True)
        image = None
        for down, (mode, title) in enumerate(MODES.items()):
            for across, (measure, name) in enumerate(MEASURES.items()):
                found = [[_find(cells, mode, loss, delay) for delay in DELAYS_MS] for loss in LOSSES_DB]
                values = np.array([[c[measure] if c else np.nan for c in row] for row in found])
                axis = axes[down][across]
                image = axis.imshow(values, cmap="YlOrRd", vmin=0, vmax=30, aspect="auto")
                for (y, x), value in np.ndenumerate(values):
                    if not np.isnan(value):
                        axis.text(x, y, f"{value:g}", ha="center", va="center", color="#fff" if value > 20 else "#222")
                axis.set_title(f"{title}: {name}", fontsize=9)
                axis.set_xticks(range(len(DELAYS_MS)), [f"{delay:g}" for delay in DELAYS_MS])
                axis.set_yticks(range(len(LOSSES_DB)), [f"{loss:g}" for loss in LOSSES_DB])
        for axis in axes[1]:
            axis.set_xlabel("delay of the echo, ms")
        for axis in axes[:, 0]:
            axis.set_ylabel("echo return loss, dB")
        if image is not None:
            figure.colorbar(image, ax=axes, label="per 100 turns", extend="max")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
