"""The history over HTTP, from settings to answers: who may see it, what it says, and that deleted is deleted."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from sample_calls import NOON, sample_call

from ai_engine.call_history.history import FILE, CallHistory
from ai_engine.config_file import ConfigError
from ai_engine.history_setup import make_history
from ai_engine.http_api import HttpApi, Readiness
from ai_engine.live_events import LiveEvents
from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.metrics import Metrics
from ai_engine.settings import HistorySettings, Settings

TOKEN = {"Authorization": "Bearer secret"}
DAY_S = 86_400


class NoEngine:
    def ready(self) -> Readiness:
        return Readiness()

    def health(self) -> dict[str, Any]:
        return {}

    def sessions(self) -> list[dict[str, Any]]:
        return []

    async def record(self, call_id: str, action: str) -> str | None:
        return None


@dataclass
class Served:
    history: CallHistory
    metrics: Metrics
    url: str
    client: aiohttp.ClientSession
    recordings: Path

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.client.get(self.url + path, headers=TOKEN) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def delete(self, path: str, status: int = 200) -> Any:
        async with self.client.delete(self.url + path, headers=TOKEN) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    def record(self, call_id: str) -> Path:
        file = self.recordings / "2026-11-20" / f"20261120T120000Z_{call_id}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"RIFF")
        return file


@asynccontextmanager
async def serving(folder: Path, *, now: float = NOON + 100, url: str = "") -> AsyncIterator[Served]:
    metrics = Metrics()
    history = CallHistory(
        HistorySettings(enabled=True, url=SecretStr(url)),
        state_folder=folder,
        engine_app="ai-agent",
        recordings=RecordingFolder(folder / "recordings"),
        metrics=metrics,
        wall_clock=lambda: now,
    )
    add = history.pages.add_to
    api = HttpApi(NoEngine(), metrics, LiveEvents(), bind="127.0.0.1", port=0, token="secret", more=add)
    port = await api.start()
    await history.start()
    async with aiohttp.ClientSession() as client:
        try:
            yield Served(history, metrics, f"http://127.0.0.1:{port}", client, folder / "recordings")
        finally:
            await api.stop()
            await history.stop()


async def test_a_call_is_listed_shown_and_exported(tmp_path: Path, url: str) -> None:
    async with serving(tmp_path, url=url) as served:
        await sample_call("c1", said="=cmd()").into(served.history.store)
        await sample_call("c2", at=NOON + 1).into(served.history.store)
        listed = await served.get("/calls?limit=1")
        assert [call["call_id"] for call in listed["calls"]] == ["c2"]
        assert "lines" not in listed["calls"][0]
        listed = await served.get(f"/calls?limit=1&after={listed['next']}")
        assert ([call["call_id"] for call in listed["calls"]], listed["next"]) == (["c1"], None)
        shown = await served.get("/calls/c1")
        assert (shown["lines"][1]["text"], shown["recording_there"]) == ("=cmd()", False)
        served.record("c1")
        assert (await served.get("/calls/c1"))["recording_there"]
        async with served.client.get(f"{served.url}/calls/export?format=csv&rows=lines&q=cmd", headers=TOKEN) as answer:
            assert answer.headers["Content-Disposition"] == 'attachment; filename="calls.csv"'
            assert answer.headers["Cache-Control"] == "no-store"
            rows = list(csv.DictReader(io.StringIO(await answer.text())))
        assert [row["text"] for row in rows] == ["Good day.", "'=cmd()", "For how many?"]
        async with served.client.get(f"{served.url}/calls/export", headers=TOKEN) as answer:
            assert len(json.loads(await answer.text())) == 2


@pytest.mark.parametrize("path", ["/calls", "/calls/c1", "/calls/export"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_nothing_is_shown_or_deleted_without_the_token(tmp_path: Path, method: str, path: str) -> None:
    async with serving(tmp_path) as served:
        await sample_call("c1").into(served.history.store)
        async with served.client.request(method, served.url + path) as answer:
            assert answer.status == 401
        assert (await served.get("/calls/c1"))["call_id"] == "c1"


@pytest.mark.parametrize(
    "path",
    ["/calls?nonsense=1", "/calls?limit=x", "/calls?q=%00", "/calls/export?format=xml", "/calls/export?limit=3"],
)
async def test_what_cannot_be_asked_gets_an_answer_that_says_so(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as served:
        assert (await served.get(path, 400))["error"]


async def test_a_deleted_call_is_gone_with_its_recording(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await sample_call("c1").into(served.history.store)
        await sample_call("c11").into(served.history.store)
        gone, kept = served.record("c1"), served.record("c11")
        assert await served.delete("/calls/c1") == {"deleted": 1, "recordings": 1}
        assert (gone.exists(), kept.exists()) == (False, True)
        assert (await served.get("/calls/c1", 404))["error"]
        assert (await served.delete("/calls/c1", 404))["error"]
        assert (await served.get("/calls/c11"))["call_id"] == "c11"


async def test_a_call_that_lasts_is_not_deleted(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await sample_call("c1", at=NOON + 200, ended=False).into(served.history.store)
        assert "ended" in (await served.delete("/calls/c1", 409))["error"]
        assert await served.delete("/calls?caller_number=%2B4930123") == {"deleted": 0, "recordings": 0}
        assert (await served.get("/calls/c1"))["call_id"] == "c1"


async def test_one_callers_calls_are_all_deleted_and_nobody_elses(tmp_path: Path, url: str) -> None:
    async with serving(tmp_path, url=url) as served:
        for n in range(3):
            await sample_call(f"c{n}", caller="+44200").into(served.history.store)
        await sample_call("other", caller="+442001").into(served.history.store)
        served.record("c1")
        assert await served.delete("/calls?caller_number=%2B44200") == {"deleted": 3, "recordings": 1}
        assert [call["call_id"] for call in (await served.get("/calls"))["calls"]] == ["other"]
        for wrong in ("/calls", "/calls?caller_number=", "/calls?caller_number=1&context=x"):
            await served.delete(wrong, 400)


async def test_what_an_engine_keeps_too_long_or_left_behind_is_put_in_order_when_it_starts(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await sample_call("old", at=NOON - 31 * DAY_S).into(served.history.store)
        await sample_call("left", at=NOON, ended=False).into(served.history.store)
    async with serving(tmp_path) as served:
        sweeping = served.history._retention
        await sweeping.sweep()  # whether or not the first round is over
        calls = (await served.get("/calls"))["calls"]
        assert [(call["call_id"], call["outcome"]) for call in calls] == [("left", "engine_died")]


async def test_a_database_that_cannot_be_read_is_a_503(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with sqlite3.connect(tmp_path / FILE) as connection:
            connection.execute("ALTER TABLE calls RENAME TO elsewhere")
        connection.close()
        assert (await served.get("/calls", 503))["error"]


async def test_calls_are_written_as_they_go_and_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        notes = served.history.notes("c1")
        notes.know(context="clinic")
        notes.caller_said(1, "hello")
        await served.history.written()
        shown = await served.get("/calls/c1")
        assert (shown["context"], shown["outcome"], len(shown["lines"])) == ("clinic", None, 1)
        assert b"parley_history_written_total 2.0" in served.metrics.exposition()
        notes.ended("caller_hung_up")
    async with serving(tmp_path) as served:  # the last word was written when the engine stopped
        assert (await served.get("/calls/c1"))["outcome"] == "caller_hung_up"


async def test_an_engine_does_not_start_on_what_a_later_version_made(tmp_path: Path) -> None:
    async with serving(tmp_path):
        pass
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    history = make_history(Settings.model_validate({"history": {"enabled": True}, "state_folder": tmp_path}), Metrics())
    assert history is not None
    with pytest.raises(ConfigError, match="9999"):
        await history.start()
    await history.stop()


async def test_an_engine_starts_although_the_database_is_away(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    settings = Settings.model_validate({"history": {"enabled": True}, "state_folder": tmp_path / "state"})
    history = make_history(settings, Metrics())
    assert history is not None
    await history.start()
    await history.stop()


def test_a_history_is_kept_only_where_it_is_asked_for() -> None:
    assert make_history(Settings(), Metrics()) is None


def test_an_address_of_no_database_is_a_mistake_in_the_settings() -> None:
    settings = Settings.model_validate({"history": {"enabled": True, "url": "mysql://secret@host/x"}})
    with pytest.raises(ConfigError, match="ENGINE_HISTORY_URL") as caught:
        make_history(settings, Metrics())
    assert "secret" not in str(caught.value)
