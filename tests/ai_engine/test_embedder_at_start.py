"""Sentence embeddings at the engine's start: needed for known answers, welcome for tools."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ai_engine import engine as engine_module
from ai_engine.conversation.embedding import EmbedderUnavailable
from ai_engine.engine import Engine
from ai_engine.settings import Settings

KNOWN = "known_answers:\n  pairs:\n    - {id: hours, questions: ['When are you open?'], answer: From nine.}\n"


class Away:
    """Where the package is not installed."""

    async def start(self) -> None:
        raise EmbedderUnavailable("run pip install")

    async def stop(self) -> None: ...


class There(Away):
    async def start(self) -> None: ...


async def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, worker: type[Away]) -> Any:
    (tmp_path / "default.yaml").write_text(f"greeting: Hello.\nprompt: You are Joe.\n{more}")
    monkeypatch.setattr(engine_module, "EmbeddingWorker", worker)
    engine = Engine(Settings(contexts_folder=tmp_path))
    async with AsyncExitStack() as owned:
        return await engine._start_embedder(owned)


@pytest.mark.parametrize(("more", "wanted"), [("", False), ("tools: [hang_up]\n", True), (KNOWN, True)])
async def test_the_worker_is_started_where_something_is_compared(tmp_path, monkeypatch, more, wanted):
    assert isinstance(await started(tmp_path, monkeypatch, more, There), There) is wanted


async def test_without_the_package_the_model_chooses_its_tools(tmp_path, monkeypatch):
    assert await started(tmp_path, monkeypatch, "tools: [hang_up]\n", Away) is None


async def test_without_the_package_nothing_is_known_by_heart_and_the_start_says_so(tmp_path, monkeypatch):
    with pytest.raises(EmbedderUnavailable, match="pip install"):
        await started(tmp_path, monkeypatch, KNOWN, Away)
