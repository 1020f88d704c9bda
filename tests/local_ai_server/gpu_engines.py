"""Engines by their native libraries alone, run by the side-by-side tests in workers of their own."""

from __future__ import annotations

import importlib
from pathlib import Path


class NativeStack:
    """Imports modules, and tells which shared libraries the process then has in its memory."""

    def load(self, *, modules: list[str]) -> None:
        for module in modules:
            importlib.import_module(module)

    def libraries(self, body, cancelled):
        mapped = {Path(line.split(maxsplit=5)[-1]).name for line in Path("/proc/self/maps").read_text().splitlines()}
        return {"names": sorted(name for name in mapped if ".so" in name)}, b""


class KokoroOnGpu(NativeStack):
    """PyTorch and Kokoro's package, computing on the device."""

    def load(self) -> None:
        import kokoro  # noqa: F401 - that it can be imported beside the other is the point
        import torch

        self.torch = torch
        self.matrix = torch.rand(2048, 2048, device="cuda")

    def compute(self, body, cancelled, *, rounds):
        product = self.matrix
        for _ in range(rounds):
            product = self.torch.nn.functional.normalize(product @ self.matrix)
        return {"finite": bool(self.torch.isfinite(product).all().item())}, b""
