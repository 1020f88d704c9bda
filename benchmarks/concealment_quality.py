"""How well lost packets are concealed: a listening score of the sound with holes against the sound without.

    python -m benchmarks.concealment_quality [--seconds 20] [--seeds 2] [--voices joe] [--short] [--write-docs]

Speech of several voices in frames of 20 ms, G.711 at 8 kHz and linear at 16 kHz, of which 0 to 20 % are lost, one
by one and in bursts of three. What stands in the holes: silence, the last frame again and again, and what
the engine makes up. The score is the extended short-time objective intelligibility (ESTOI, by pystoi: 0 … 1, the
lossless signal has 1). All see the same losses. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
import structlog

from ai_engine.media.concealment import Concealment
from benchmarks import doc_figures
from benchmarks.concealment_speech import VOICES, material
from tools.call.impairment import Impairer, Impairment
from voice_wire.audio import Pcm, decode_mulaw, encode_mulaw

FRAME_S: Final = 0.020
LOSSES: Final = ((0.0, 1), (0.01, 1), (0.02, 1), (0.05, 1), (0.10, 1), (0.20, 1), (0.05, 3), (0.10, 3), (0.20, 3))
"""Share of packets lost, and how many in a row on the average."""
METHODS: Final = ("silence", "last frame", "ours")


class Method(Protocol):
    """What stands in the holes of one stream."""

    def heard(self, pcm: Pcm) -> Pcm: ...

    def conceal(self) -> Pcm | None: ...


class Silence:
    """Nothing does."""

    def heard(self, pcm: Pcm) -> Pcm:
        return pcm

    def conceal(self) -> Pcm | None:
        return None


class LastFrame:
    """The last frame that came, as often as it takes."""

    def __init__(self) -> None:
        self._last: Pcm | None = None

    def heard(self, pcm: Pcm) -> Pcm:
        self._last = pcm
        return pcm

    def conceal(self) -> Pcm | None:
        return self._last


def made(name: str, rate_hz: int) -> Method:
    """A method for one stream, by its name."""
    makers: dict[str, Callable[[], Method]] = {
        "silence": Silence,
        "last frame": LastFrame,
        "ours": lambda: Concealment(rate_hz=rate_hz),
    }
    return makers[name]()


def with_holes(pcm: Pcm, lost: list[bool], method: Method) -> Pcm:
    """`pcm` as it is heard when those of its frames are lost."""
    n = len(pcm) // len(lost)
    out = []
    for i, is_lost in enumerate(lost):
        frame = method.conceal() if is_lost else method.heard(pcm[i * n : (i + 1) * n])
        out.append(np.zeros(n, np.int16) if frame is None else frame)
    return np.concatenate(out)


def losses(n_frames: int, loss: float, burst: float, seed: int) -> list[bool]:
    impairer = Impairer(Impairment(loss=loss, loss_burst=burst), seed=seed)
    return [not impairer.take(b"", i * FRAME_S) for i in range(n_frames)]


def score(reference: Pcm, heard: Pcm, rate_hz: int) -> float:
    """ESTOI."""
    from pystoi import stoi  # noqa: PLC0415 - brings SciPy

    return float(stoi(reference.astype(float), heard.astype(float), rate_hz, extended=True))


async def run(rates: list[int], seconds: float, seeds: int, among: list[str], *, short: bool) -> dict[str, Any]:
    """Mean scores by rate, method and loss."""
    figures: dict[str, Any] = {}
    for rate_hz in rates:
        voices = await material(rate_hz, short=short, among=among)
        n_samples = int(rate_hz * FRAME_S)
        scores: dict[str, list[float]] = {name: [] for name in METHODS}
        for loss, burst in LOSSES[::4] if short else LOSSES:
            found: dict[str, list[float]] = {name: [] for name in METHODS}
            for voice in voices.values():
                n_frames = min(len(voice) // n_samples, int(seconds / FRAME_S))
                pcm = voice[: n_frames * n_samples]
                pcm = decode_mulaw(encode_mulaw(pcm)) if rate_hz == 8000 else pcm
                for seed in range(seeds if loss else 1):
                    lost = losses(n_frames, loss, burst, seed)
                    for name in METHODS:
                        found[name].append(score(pcm, with_holes(pcm, lost, made(name, rate_hz)), rate_hz))
            for name in METHODS:
                scores[name].append(round(statistics.mean(found[name]), 3))
        figures[str(rate_hz)] = {"voices": sorted(voices), "scores": scores}
    return figures


def table(figures: dict[str, Any], losses_shown: list[tuple[float, int]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, for the terminal and the document."""
    head = [
        "kHz",
        "in the holes",
        *(f"{loss:.0%}" + (f" in {burst}s" if burst > 1 else "") for loss, burst in losses_shown),
    ]
    rows = [
        [f"{int(rate) // 1000}", name, *(f"{value:.3f}" for value in found["scores"][name])]
        for rate, found in figures.items()
        for name in METHODS
    ]
    return head, rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each voice")
    parser.add_argument("--seeds", type=int, default=2, help="patterns of loss")
    parser.add_argument("--voices", nargs="+", choices=VOICES, default=list(VOICES))
    parser.add_argument("--short", action="store_true", help="one sentence at 8 kHz: shows that it works")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/performance.md")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rates, seeds = ([8000], 1) if arguments.short else ([8000, 16000], arguments.seeds)
    figures = asyncio.run(run(rates, arguments.seconds, seeds, arguments.voices, short=arguments.short))
    head, rows = table(figures, list(LOSSES[::4] if arguments.short else LOSSES))
    for row in (head, *rows):
        print("  ".join(f"{cell:>12}" for cell in row))
    if arguments.write_docs and not arguments.short:
        told = "\n\n".join(f"{int(rate) // 1000} kHz: {', '.join(found['voices'])}." for rate, found in figures.items())
        doc_figures.put("concealment_quality", f"{doc_figures.markdown_table(head, rows)}\n\n{told}")
    print(json.dumps({"benchmark": "concealment_quality", "figures": figures}))


if __name__ == "__main__":
    main()
