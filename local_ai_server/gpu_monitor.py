"""The GPU while the server runs: looked at again every few seconds, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

from local_ai_server.gpu import GpuState, detect_gpu
from model_worker.memory import group_pids

_LOOK_EVERY_S: Final = 5.0
NO_GPU: Final = GpuState(available=False, reason="it was not looked for")


class GpuMonitor:
    """Holds the last look. Where the first look found no device none is looked for again: they do not come and go."""

    def __init__(
        self,
        state: GpuState = NO_GPU,
        *,
        detect: Callable[[bool | None], GpuState] = detect_gpu,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self.state = state
        self.facts: dict[str, Any] = state.facts()
        """`gpu` of the status message."""
        self._detect = detect
        self._look_every_s = look_every_s

    @property
    def free_bytes(self) -> int | None:
        """Of the device with most free memory; None where there is none to ask."""
        return self.state.free_bytes if self.state.devices else None

    async def run(self, worker_pids: Callable[[], Collection[int]]) -> None:
        """Looks again and again; returns at once where there is no device."""
        while self.state.devices:
            pids = tuple(worker_pids())
            self.state, self.facts = await asyncio.to_thread(self._look, pids)
            await asyncio.sleep(self._look_every_s)

    def _look(self, pids: Collection[int]) -> tuple[GpuState, dict[str, Any]]:
        state = self._detect(None)
        return state, state.facts({pid: group_pids(pid) for pid in pids})
