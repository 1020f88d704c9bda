"""The store of rendered speech: what is kept, what counts as lost, and what `prepare` does when things go wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ai_engine.conversation import rendered
from ai_engine.conversation.rendered import Prepared, RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed
from voice_wire.audio import MULAW_8K, PCM_16K


class Voice:
    """A TTS that speaks a text as its own bytes, or fails as told."""

    voice = "joe"

    def __init__(self, failures: list[ComponentFailed] | None = None) -> None:
        self.failures = failures or []
        self.asked: list[tuple[str, bool]] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    @asynccontextmanager
    async def speak(self, text, *, audio_format, speculative) -> AsyncIterator:
        self.asked.append((text, speculative))
        if self.failures:
            raise self.failures.pop(0)
        yield _Output(text)


class _Output:
    def __init__(self, text: str) -> None:
        self._text = text

    def adopt(self) -> None: ...

    async def __aiter__(self):
        for word in self._text.split():
            yield word.encode()


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(rendered, "_RETRY_PAUSE_S", 0)


async def test_what_was_rendered_is_found_again_after_a_restart(tmp_path: Path):
    steps: list[tuple[int, int, str]] = []
    store = RenderedSpeech(tmp_path / "speech")
    voice = Voice()
    done = await store.prepare(["good day", "bye"], voice, MULAW_8K, lambda *step: steps.append(step))
    assert done == Prepared(found=0, rendered=2)
    assert steps == [(0, 2, "good day"), (1, 2, "bye"), (2, 2, "")]
    assert voice.asked == [("good day", True), ("bye", True)], "rendering gives way to calls"
    assert store.get("good day", "joe", MULAW_8K) == b"goodday"

    again, silent = RenderedSpeech(tmp_path / "speech"), Voice()
    assert again.get("good day", "joe", MULAW_8K) is None, "the control loop does not touch the disk"
    assert await again.prepare(["good day", "bye"], silent, MULAW_8K) == Prepared(found=2, rendered=0)
    assert again.get("good day", "joe", MULAW_8K) == b"goodday"
    assert silent.asked == []


async def test_voice_format_and_text_all_count(tmp_path: Path):
    store = RenderedSpeech(tmp_path)
    await store.put("hello", "joe", MULAW_8K, b"x")
    assert store.get("hello", "joe", MULAW_8K) == b"x"
    assert store.get("hello", "ann", MULAW_8K) is None
    assert await store.load("hello", "joe", PCM_16K) is None
    assert store.get("hello!", "joe", MULAW_8K) is None


async def test_a_format_that_was_not_rendered_is_made_of_the_best_that_was(tmp_path: Path):
    store = RenderedSpeech(tmp_path)
    wide, narrow = PCM_16K.silence(100), MULAW_8K.silence(100)
    await store.put("hello", "joe", MULAW_8K, narrow)
    made = store.get("hello", "joe", PCM_16K)
    assert made is not None
    assert len(made) == len(wide)
    await store.put("hello", "joe", PCM_16K, wide)
    assert store.get("hello", "joe", PCM_16K) is wide
    assert store.get("hello", "joe", MULAW_8K) is narrow


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:10], lambda b: b"", lambda b: b[:-1] + b"?"])
async def test_a_damaged_file_counts_as_none_and_is_rendered_again(tmp_path: Path, damage):
    await RenderedSpeech(tmp_path).prepare(["good day"], Voice(), MULAW_8K)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    store = RenderedSpeech(tmp_path)
    assert await store.prepare(["good day"], Voice(), MULAW_8K) == Prepared(found=0, rendered=1)
    assert store.get("good day", "joe", MULAW_8K) == b"goodday"


async def test_preparing_goes_on_where_it_was_broken_off(tmp_path: Path):
    texts = ["one", "two", "three"]
    broken = Voice()
    store = RenderedSpeech(tmp_path)
    await store.prepare(texts[:1], broken, MULAW_8K)
    with pytest.raises(ComponentFailed):
        await store.prepare(texts, Voice([ComponentFailed("tts", "no voice is loaded")]), MULAW_8K)
    voice = Voice()
    assert await RenderedSpeech(tmp_path).prepare(texts, voice, MULAW_8K) == Prepared(found=1, rendered=2)
    assert [text for text, _ in voice.asked] == ["two", "three"]


async def test_what_may_be_gone_is_tried_again(tmp_path: Path, no_pause):
    voice = Voice([ComponentFailed("tts", "restarting", retryable=True)] * 2)
    assert await RenderedSpeech(tmp_path).prepare(["hi"], voice, MULAW_8K) == Prepared(found=0, rendered=1)
    assert len(voice.asked) == 3


async def test_memory_is_bounded_and_the_disk_remembers(tmp_path: Path):
    store = RenderedSpeech(tmp_path, max_memory_bytes=10)
    await store.prepare(["aaaa", "bbbb"], Voice(), MULAW_8K)
    store.get("aaaa", "joe", MULAW_8K)
    await store.put("cccc", "joe", MULAW_8K, b"cccc")
    assert store.memory_bytes == 8
    assert store.get("aaaa", "joe", MULAW_8K) == b"aaaa", "it was used last"
    assert store.get("bbbb", "joe", MULAW_8K) is None
    assert await store.load("bbbb", "joe", MULAW_8K) == b"bbbb"


async def test_a_disk_that_cannot_be_written_costs_no_speech(tmp_path: Path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    store = RenderedSpeech(blocker / "speech")
    assert await store.prepare(["hi"], Voice(), MULAW_8K) == Prepared(found=0, rendered=1)
    assert store.get("hi", "joe", MULAW_8K) == b"hi"


async def test_nothing_half_written_is_left(tmp_path: Path):
    await RenderedSpeech(tmp_path).prepare(["a b c", "d"], Voice(), MULAW_8K)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
