"""A second language model that decides about tools, beside the one that talks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from engine_fixtures import Programs, checkpoint

from local_ai_server.backends.backend import Machine, Plan
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.registry import backend
from local_ai_server.building import StartError
from local_ai_server.errors import ServeError
from local_ai_server.metrics import ServerMetrics
from local_ai_server.request import Request
from local_ai_server.service import Place, Service
from local_ai_server.session_settings import SessionSettings
from local_ai_server.settings import SettingsError, read_settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.tool_calls import choose, decide
from local_ai_server.tool_model import chat_machine, tool_service
from local_ai_server.version3 import Version3
from model_worker.spec import Priority, WorkerStats
from voice_wire.messages import LlmRequest, LlmToolRequest

NO_SPEECH = {kind: ServeError("stt_unavailable", f"no {kind}", retryable=False) for kind in ("stt", "tts")}
TOOLS = [{"name": "hang_up", "description": "Ends the call.", "parameters": {"type": "object", "properties": {}}}]


class Link:
    """Answers with its name, and decides for the first tool there is. As `model_worker.WorkerLink`."""

    def __init__(self, name: str, log: list[str], *, tool: str = "hang_up") -> None:
        self.state, self.reason = "ready", ""
        self._name, self._log, self._tool = name, log, tool

    @asynccontextmanager
    async def call(self, method: str, args: Any = None, body: bytes = b"") -> AsyncIterator[Any]:
        form = (args or {}).get("response_format")
        self._log.append(f"{self._name} {'decides' if form else method}")
        yield _Answers([json.dumps(self._tool) if form else f"I am {self._name}"])

    def stats(self) -> WorkerStats:
        return WorkerStats(
            state=self.state, pid=None, rss_bytes=1, calls_started=0, calls_in_flight=0, queue_depth=0, restarts=0
        )  # type: ignore[arg-type]

    async def start(self) -> None:
        self._log.append(f"{self._name} loads")

    async def stop(self, *, drain_s: float = 5.0) -> int | None:
        self._log.append(f"{self._name} stops")
        return 0


class _Answers:
    def __init__(self, texts: list[str]) -> None:
        self.texts, self.result = texts, {"finish_reason": "stop"}

    async def __aiter__(self) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
        for text in self.texts:
            yield {"text": text}, b""

    async def finish(self) -> Any:
        return self.result, b""


def service(link: Link) -> Service:
    plan = Plan(load={}, model_path=Path("m"), concurrency=2)
    return Service(backend("llm", "llama_cpp"), link, options=BackendOptions(), plan=plan, max_waiting=4)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def two(log: list[str]) -> Switchboard:
    tools = service(Link("tools", log))
    tools.label = "llm_tools"
    return Switchboard({"llm": service(Link("chat", log))}, absent=NO_SPEECH, tools=tools)


def asks(**more: Any) -> LlmToolRequest:
    return LlmToolRequest(request_id="1", text="Goodbye", tools=TOOLS, **more)


async def answer(switchboard: Switchboard, **more: Any) -> Any:
    llm = switchboard.deciding()
    messages = [{"role": "user", "content": "Say something"}]
    place = Place(Priority.FINAL)
    return await decide(
        llm, deciding=llm.deciding, messages=messages, message=asks(**more), session_key="s", place=place
    )


async def test_the_other_model_decides_and_the_one_that_talks_talks(two: Switchboard, log: list[str]) -> None:
    assert [call["name"] for call in (await answer(two)).tool_calls] == ["hang_up"]
    assert log == ["tools decides"]
    assert (await answer(two, tool_policy="off")).text == "I am chat"
    assert log == ["tools decides", "chat generate"]


async def test_the_decision_comes_before_the_first_words(log: list[str]) -> None:
    sent: list[Any] = []

    class Client:
        def send(self, message: Any) -> None:
            log.append(f"sent {message.type}")
            sent.append(message)

        def close(self, code: int, reason: str) -> None: ...

    tools = service(Link("tools", log, tool="none"))
    switchboard = Switchboard({"llm": service(Link("chat", log))}, absent=NO_SPEECH, tools=tools)
    settings = read_settings(Path("/nowhere"), {})
    version = Version3(
        "s",
        settings=settings,
        switchboard=switchboard,
        metrics=ServerMetrics(switchboard),
        client=Client(),
        own=SessionSettings("Be kind."),
    )
    request = Request("1", "llm", client=Client())
    await version._answer(request, LlmRequest(request_id="1", text="Hello", tools=TOOLS, stream=True))
    assert log == ["tools decides", "chat generate", "sent llm_delta", "sent done"]
    await version.close()


async def test_when_the_other_is_not_ready_the_one_that_talks_decides(two: Switchboard, log: list[str]) -> None:
    two.services[1].link.state = "restarting"  # type: ignore[misc]
    assert (await answer(two)).tool_calls
    assert log == ["chat decides"]


async def test_a_switch_keeps_the_other(two: Switchboard, log: list[str]) -> None:
    two.assign("llm", service(Link("next", log)))
    chosen = await choose(
        two.service("llm").deciding, messages=[], message=asks(), session_key="s", place=Place(Priority.FINAL)
    )
    assert chosen.tool_calls
    assert log == ["tools decides"]


async def test_it_starts_last_and_stops_is_shown_and_forgets(two: Switchboard, log: list[str]) -> None:
    await two.start()
    await two.forget("s")
    assert log == ["chat loads", "tools loads", "chat forget", "tools forget"]
    assert two.describe()["llm"]["tools_model"]["backend"] == "llama_cpp"
    page = ServerMetrics(two).render().decode()
    assert 'local_ai_worker_ready{backend="llama_cpp",kind="llm_tools"} 1.0' in page
    two.services[1].link.state = "failed"  # type: ignore[misc]
    assert set(two.not_ready) == {"llm_tools"}
    await two.stop()
    assert sorted(log[4:]) == ["chat stops", "tools stops"]


async def test_alone_it_decides_and_nobody_talks(log: list[str]) -> None:
    absent = ServeError("llm_unavailable", "no model talks here", retryable=False)
    switchboard = Switchboard({}, absent={"llm": absent}, tools=service(Link("tools", log)))
    assert (await answer(switchboard)).tool_calls
    with pytest.raises(ServeError, match="no model talks here"):
        switchboard.service("llm")


# --- from settings


def settings(**variables: str) -> Any:
    return read_settings(Path("/nowhere"), {"LOCAL_AI_MODE": "full", "GPU_AVAILABLE": "false", **variables})


def test_shares_of_memory_are_70_and_20_percent_and_90_for_one(tmp_path: Path, programs: Programs) -> None:
    given = {"LOCAL_LLM_BACKEND": "vllm_serve", "LOCAL_LLM_MODEL_PATH": str(checkpoint(tmp_path / "m"))}
    speechless = {"ENABLE_STT": "false", "ENABLE_TTS": "false"}
    given |= speechless

    def shares(**more: str) -> list[float]:
        board = Switchboard.from_settings(settings(**given, **more))
        return [found.plan.load["settings"]["memory_fraction"] for found in board.services]

    assert shares() == [0.9]
    assert shares(LOCAL_LLM_ROLES="both") == [0.7, 0.2]
    assert shares(LOCAL_LLM_ROLES="tool") == [0.9]
    # What is set for the one that talks is not set for the other.
    assert shares(LOCAL_LLM_ROLES="both", VLLM_GPU_MEMORY_UTILIZATION="0.6") == [0.6, 0.2]
    more = {"LOCAL_TOOL_LLM_OPTIONS": '{"memory_fraction": 0.3, "context_tokens": 512}'}
    assert shares(LOCAL_LLM_ROLES="both", **more) == [0.7, 0.3]
    free = chat_machine(settings(LOCAL_LLM_ROLES="both"), Machine(has_gpu=True, gpu_free_bytes=1000))
    assert free.gpu_free_bytes == 700


def test_two_engines_do_not_share_a_port(tmp_path: Path, programs: Programs) -> None:
    given = {"LOCAL_LLM_BACKEND": "vllm_serve", "LOCAL_LLM_MODEL_PATH": str(checkpoint(tmp_path / "m"))}
    found = tool_service(settings(**given, LOCAL_LLM_ROLES="both", VLLM_SERVE_PORT="8123"), Machine())
    assert found is not None
    assert found.plan.load["port"] == 0


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (
            {"LOCAL_TOOL_LLM_BACKEND": "nothing"},
            "LOCAL_TOOL_LLM_BACKEND: there is no llm backend 'nothing'; choose one",
        ),
        ({"LOCAL_TOOL_LLM_OPTIONS": "{"}, "LOCAL_TOOL_LLM_OPTIONS: write it as JSON"),
        ({"LOCAL_TOOL_LLM_OPTIONS": '{"colour": 1}'}, "there is no option 'colour' here"),
        ({"LOCAL_TOOL_LLM_MODEL_PATH": "/nowhere/m.gguf"}, "there is nothing at /nowhere/m.gguf"),
    ],
)
def test_what_cannot_be_is_told(variables: dict[str, str], says: str) -> None:
    pytest.importorskip("xllamacpp")
    with pytest.raises(StartError, match=says):
        tool_service(settings(LOCAL_LLM_ROLES="both", **variables), Machine())


def test_one_model_is_the_rule_and_other_words_are_refused() -> None:
    assert tool_service(settings(), Machine()) is None
    with pytest.raises(SettingsError, match="LOCAL_LLM_ROLES"):
        settings(LOCAL_LLM_ROLES="three")


def started(board: Switchboard) -> list[int]:
    return [found.link.stats().calls_started for found in board.services]


@pytest.mark.models
async def test_two_real_models_side_by_side() -> None:
    """SmolLM2 twice: in a worker of ours to talk, in llama.cpp's server to decide."""
    pytest.importorskip("xllamacpp")
    variables = {
        "LOCAL_LLM_ROLES": "both",
        "LOCAL_LLM_PARALLEL": "2",
        "LOCAL_TOOL_LLM_BACKEND": "llama_server",
        "LOCAL_TOOL_LLM_OPTIONS": '{"context_tokens": 1024, "threads": 1}',
        "ENABLE_STT": "false",
        "ENABLE_TTS": "false",
    }
    board = Switchboard.from_settings(settings(**variables))
    await board.start()
    try:
        assert [found.backend.name for found in board.services] == ["llama_cpp", "llama_server"]
        chosen = await answer(board, tool_choice="required")
        assert [call["name"] for call in chosen.tool_calls] == ["hang_up"]
        assert started(board) == [0, 0]  # there was nothing to choose
        await answer(board)
        assert started(board) == [1, 1]  # asked, chose none, and the other said something
        await answer(board, tool_policy="off")
        assert started(board) == [2, 1]
    finally:
        await board.stop()
