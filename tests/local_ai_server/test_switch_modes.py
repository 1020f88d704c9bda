"""What is loaded at the start: modes, ready sets, and a start with something missing."""

import asyncio
from pathlib import Path

import pytest
from fake_services import FakeLink, speaks, transcribes

from local_ai_server.backends.backend import Plan
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.registry import backend
from local_ai_server.building import StartError
from local_ai_server.errors import ServeError
from local_ai_server.service import Service
from local_ai_server.settings import SettingsError, read_settings
from local_ai_server.switchboard import Switchboard
from model_worker.errors import WorkerUnavailable
from voice_wire.messages import SwitchModel

NO_FILE = Path("no.env")


def settings(**variables):
    return read_settings(NO_FILE, variables)


@pytest.fixture
def no_models(tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_MODELS_DIR", str(tmp_path))
    return tmp_path


MODES = [
    ("llamacpp-q8", {}, "llama_cpp", "SmolLM2-135M-Instruct-Q8_0.gguf"),
    ("LlamaCpp-Q4", {}, "llama_cpp", "SmolLM2-135M-Instruct-Q4_1.gguf"),
    ("llamacpp-q4", {"LLAMA_MODEL": "/mine/a.gguf"}, "llama_cpp", "a.gguf"),
    ("llamacpp-q4", {"LOCAL_LLM_MODEL_PATH": "/mine/a.gguf"}, "llama_cpp", "a.gguf"),
]


@pytest.mark.parametrize(("mode", "variables", "engine", "model"), MODES)
def test_a_ready_set_chooses_what_is_not_chosen_beside_it(mode, variables, engine, model):

    chosen = settings(LLM_MODE=mode, **variables)
    assert chosen.backend("llm") == engine
    assert chosen.options_of(backend("llm", engine)).model_path.name == model


def test_vllm_is_a_server_with_its_own_patience():

    chosen = settings(LLM_MODE="vllm", VLLM_MODEL="some/model")
    options = chosen.options_of(backend("llm", chosen.backend("llm")))
    assert (options.base_url, options.model) == ("http://127.0.0.1:8000/v1", "some/model")
    assert chosen.service_timeout_s == 900
    assert settings(LLM_MODE="vllm", SERVICE_TIMEOUT="30").service_timeout_s == 30
    assert settings(LLM_MODE="vllm", LOCAL_LLM_BACKEND="llama_cpp").backend("llm") == "llama_cpp"
    with pytest.raises(SettingsError, match="LLM_MODE"):
        settings(LLM_MODE="gguf")


def test_a_missing_model_of_a_ready_set_is_named_with_the_command_that_gets_it(no_models):
    chosen = settings(LLM_MODE="llamacpp-q4", LOCAL_AI_MODE="full", ENABLE_STT="no", ENABLE_TTS="no")
    with pytest.raises(StartError, match="embedded install SmolLM2-135M-Instruct-Q4_1"):
        Switchboard.from_settings(chosen)


def test_minimal_mode_leaves_the_language_model_out_and_says_what_loads_it():
    board = Switchboard.from_settings(settings(LOCAL_AI_MODE="minimal", ENABLE_STT="no", ENABLE_TTS="no"))
    with pytest.raises(ServeError, match="reload_llm") as caught:
        board.service("llm")
    assert caught.value.code == "llm_not_loaded"
    assert not board.startup_errors
    assert not board.not_ready


def test_without_the_option_a_missing_model_stops_the_start(no_models):
    with pytest.raises(StartError, match="embedded install whisper-tiny"):
        Switchboard.from_settings(settings(LOCAL_AI_MODE="full"))


def test_with_the_option_it_is_told_and_the_others_serve(no_models):
    board = Switchboard.from_settings(settings(LOCAL_AI_MODE="full", LOCAL_DEGRADED_START="true", ENABLE_TTS="false"))
    assert set(board.startup_errors) == {"stt", "llm"} == set(board.not_ready)
    with pytest.raises(ServeError, match="embedded install whisper-tiny") as caught:
        board.service("stt")
    assert caught.value.code == "stt_unavailable"
    answer = asyncio.run(board.reload(("stt",)))
    assert (answer.status, answer.code) == ("error", "backend_unavailable")
    assert "embedded install whisper-tiny.en" in answer.message
    assert set(board.startup_errors) == {"stt", "llm"}


class Broken(FakeLink):
    async def start(self):
        self.state = "failed"
        raise WorkerUnavailable("worker X could not start: no such weights\n  Traceback: said by the worker")


class Starting(FakeLink):
    def __init__(self, answer, order, name):
        super().__init__(answer)
        self.state, self._order, self._name = "stopped", order, name

    async def start(self):
        self._order.append(f"{self._name} begins")
        await asyncio.sleep(0.01)
        self._order.append(f"{self._name} ready")
        self.state = "ready"


def board_of(links, **variables):

    names = {"stt": "faster_whisper", "llm": "llama_cpp", "tts": "piper"}
    services = {
        kind: Service(backend(kind, names[kind]), link, options=BackendOptions(), plan=Plan(load={}), max_waiting=1)
        for kind, link in links.items()
    }
    return Switchboard(services, absent={}, settings=settings(**variables))


async def test_speech_is_loaded_before_the_language_model():
    order = []
    links = {kind: Starting(speaks, order, kind) for kind in ("llm", "tts", "stt")}
    await board_of(links).start()
    assert set(order[:4]) == {"stt begins", "tts begins", "stt ready", "tts ready"}
    assert order[4:] == ["llm begins", "llm ready"]


async def test_what_is_being_loaded_at_the_start_is_not_switched_meanwhile():
    links = {"tts": Starting(speaks, [], "tts")}
    board = board_of(links)
    starting = asyncio.create_task(board.start())
    await asyncio.sleep(0)
    for answer in (await board.switch(SwitchModel(tts_config={"speed": 1.1})), await board.reload(("tts",))):
        assert (answer.status, answer.code) == ("error", "switch_in_progress")
    await starting
    assert (await board.switch(SwitchModel(tts_config={"speed": "x"}))).code == "invalid_message"


async def test_a_worker_that_does_not_start_leaves_the_others_serving_where_that_is_allowed():
    links = {"stt": Broken(transcribes), "tts": FakeLink(speaks)}
    with pytest.raises(WorkerUnavailable):
        await board_of(links).start()
    links = {"stt": Broken(transcribes), "tts": FakeLink(speaks)}
    board, loaded = board_of(links, LOCAL_DEGRADED_START="true"), []
    await board.start(on_loaded=lambda service: loaded.append(service.backend.kind))
    assert loaded == ["tts"]
    with pytest.raises(ServeError) as caught:
        board.service("stt")
    assert "no such weights" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert list(board.not_ready) == ["stt"] == list(board.startup_errors)
    assert board.find("tts").ready
