"""How the benchmarks' pictures look, and their files: small SVGs that come out the same from the same figures.

matplotlib is in the extra `bench`; it is imported when the first picture is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE: Final = "#2f6db3"
ORANGE: Final = "#d9822b"
GREEN: Final = "#3a8f5c"
RED: Final = "#b8423c"
GREY: Final = "#8a8f98"

_STYLE: Final[Any] = {
    "figure.facecolor": "white",  # of its own, so that a page's dark theme does not show through
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#c5c9d0",
    "axes.labelcolor": "#33373d",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.6,
    "text.color": "#1f2328",
    "xtick.color": "#33373d",
    "ytick.color": "#33373d",
    "font.size": 9.0,
    "font.family": "sans-serif",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "svg.hashsalt": "parley",
}


@contextmanager
def picture(
    path: Path, *, size: tuple[float, float] = (7.2, 3.4), rows: Sequence[float] = (1.0,)
) -> Iterator[list[Axes]]:
    """Axes under each other, of these relative heights and one x axis, to draw on; `path` is written at the end."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        grid: Any = figure.subplots(len(rows), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": list(rows)})
        yield [row[0] for row in grid]
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def draw_distribution(axes: Axes, values: Sequence[float], *, label: str, color: str) -> None:
    """How many of `values` (milliseconds) are no greater: a step a turn. Nothing for none."""
    ordered = sorted(values)
    if not ordered:
        return
    shares = [100 * (n + 1) / len(ordered) for n in range(len(ordered))]
    axes.step([ordered[0], *ordered], [0.0, *shares], where="post", color=color, linewidth=1.8, label=label)


def draw_target(axes: Axes, ms: float, share: float, text: str, color: str) -> None:
    """A target: at `share` percent, the line has to be left of it."""
    axes.plot([ms, ms], [0, share], color=color, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.plot([ms], [share], marker="v", color=color, markersize=5)
    axes.annotate(text, (ms, share), textcoords="offset points", xytext=(5, 3), color=color, fontsize=8)


def label_distribution(axes: Axes, xlabel: str) -> None:
    """Axes of shares, and the legend."""
    axes.set_ylim(0, 104)
    axes.set_xlim(0, 1.12 * axes.get_xlim()[1])
    axes.set_yticks([0, 25, 50, 75, 95])
    axes.set_yticklabels(["0", "25", "50", "75", "95 %"])
    axes.set_xlabel(xlabel)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center right")
