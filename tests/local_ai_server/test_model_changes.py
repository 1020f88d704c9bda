"""Switches and reloads as a session passes them on, and what `scope: session` changes: that session only."""

import asyncio
import base64
import json

import pytest
from fake_services import FakeServices, ListClient, settle

from local_ai_server.metrics import ServerMetrics
from local_ai_server.model_changes import ModelChanges
from local_ai_server.session import Session
from local_ai_server.settings import Settings
from voice_wire.messages import BackendChanged, ReloadResponse, SwitchModel, SwitchProgress, SwitchResponse


class Server:
    """Sessions of one server whose switchboard's `switch` and `reload` are held until `release`."""

    def __init__(self):
        self.services = FakeServices()
        self.asked = []
        self.release = asyncio.Event()
        self.release.set()
        self.answer = SwitchResponse(status="success", message="stt: now vosk", changed=["stt_backend"])
        self.settings = Settings.model_validate({})
        self.services.switchboard.switch = self._switch
        self.services.switchboard.reload = self._reload
        self.changes = ModelChanges(self.services.switchboard, system_prompt="You are the default.")
        self.sessions = []

    async def _switch(self, message, *, on_progress):
        self.asked.append(message)
        on_progress(SwitchProgress(backend_type="stt", stage="loading", elapsed_ms=1))
        await self.release.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def _reload(self, kinds, *, llm_model_path, on_progress):
        self.asked.append((kinds, llm_model_path))
        on_progress(SwitchProgress(backend_type="llm", stage="loading", elapsed_ms=1))
        await self.release.wait()
        return ReloadResponse(status="success", message="loaded")

    def talk(self, version=2, call_id="c1"):
        talk = Talk(self)
        self.sessions.append(talk.session)
        talk.send(type="auth", protocol_version=version, call_id=call_id)
        return talk


class Talk:
    def __init__(self, server):
        self.client = ListClient()
        self.session = Session(
            settings=server.settings,
            switchboard=server.services.switchboard,
            metrics=ServerMetrics(server.services.switchboard),
            client=self.client,
            changes=server.changes,
        )

    def send(self, **fields):
        self.session.receive(json.dumps(fields))

    async def next(self, kind, n=1):
        return (await self.client.until(lambda: self.client.of(kind)[n - 1 :]))[0]


@pytest.fixture
async def server():
    server = Server()
    yield server
    server.release.set()
    for session in server.sessions:
        await session.close()
    await server.changes.close()


# --- the server's models


async def test_a_switch_is_answered_with_the_names_of_its_request(server):
    talk = server.talk()
    talk.send(type="switch_model", stt_backend="vosk", call_id="c1", request_id="s")
    answer = await talk.next("switch_response")
    assert (answer.status, answer.changed, answer.call_id, answer.request_id) == (
        "success",
        ["stt_backend"],
        "c1",
        "s",
    )
    assert server.asked[0].stt_backend == "vosk"
    assert not talk.client.of("switch_progress"), "version 2 knows no progress"


async def test_version_3_is_told_how_it_goes_on(server):
    talk = server.talk(version=3)
    talk.send(type="switch_model", stt_backend="vosk", request_id="s")
    progress = await talk.next("switch_progress")
    assert (progress.stage, progress.request_id) == ("loading", "s")
    assert (await talk.next("switch_response")).status == "success"


async def test_the_session_serves_on_while_a_switch_is_at_work(server):
    server.release.clear()
    talk = server.talk(version=3)
    talk.send(type="switch_model", stt_backend="vosk", request_id="s")
    talk.send(type="llm_request", request_id="a", messages=[{"role": "user", "content": "x"}])
    await talk.client.end_of("a")
    assert not talk.client.of("switch_response")
    server.release.set()
    await talk.next("switch_response")


async def test_a_client_that_leaves_does_not_end_its_switch(server):
    server.release.clear()
    talk = server.talk()
    talk.send(type="switch_model", stt_backend="vosk", llm_config={"system_prompt": "You are new."})
    await settle()
    await talk.session.close()
    n = len(talk.client.sent)
    server.release.set()
    await server.changes.close()
    assert server.changes.system_prompt == "You are new.", "it went on to its end"
    assert len(talk.client.sent) == n, "nothing is sent to whoever has gone"


async def test_reloads_name_what_is_loaded_anew(server):
    talk = server.talk()
    talk.send(type="reload_models", request_id="r")
    assert (await talk.next("reload_response")).request_id == "r"
    talk.send(type="reload_llm", llm_model_path="m.gguf")
    await talk.next("reload_response", 2)
    assert [set(kinds) for kinds, _ in server.asked] == [{"stt", "llm", "tts"}, {"llm"}]
    assert server.asked[1][1] == "m.gguf"


async def test_a_bug_in_a_switch_is_an_answer(server):
    server.answer = RuntimeError("a bug")
    talk = server.talk()
    talk.send(type="switch_model", stt_backend="vosk", request_id="s")
    answer = await talk.next("switch_response")
    assert (answer.status, answer.code, answer.request_id) == ("error", "internal_error", "s")
    talk.send(type="ping")
    assert talk.client.sent[-1].type == "pong"


async def test_every_version_3_session_hears_of_a_change_until_it_closes(server):
    new, other, old = server.talk(version=3), server.talk(version=3), server.talk()
    await other.session.close()
    service = server.services.switchboard.find("stt")
    server.services.switchboard.assign("stt", service)
    changed = await new.next("backend_changed")
    assert isinstance(changed, BackendChanged)
    assert (changed.backend_type, changed.backend, changed.needs_gating) == ("stt", "faster_whisper", True)
    assert not old.client.of("backend_changed")
    assert not other.client.of("backend_changed")


# --- the system prompt of sessions to come


async def system_prompt_of(server, talk):
    n = len(server.services.llm.calls)
    talk.send(type="llm_request", text="hello")
    await talk.client.until(lambda: len(server.services.llm.calls) > n)
    return server.services.llm.calls[-1].args["messages"][0]["content"]


async def test_a_prompt_for_all_is_for_sessions_that_begin_later(server):
    before = server.talk()
    before.send(type="switch_model", llm_config={"system_prompt": "You are new."})
    answer = await before.next("switch_response")
    assert (answer.status, answer.changed) == ("success", ["llm_config.system_prompt"])
    assert server.asked == [], "no model is touched"
    assert await system_prompt_of(server, before) == "You are the default."
    assert await system_prompt_of(server, server.talk()) == "You are new."


async def test_a_dry_run_of_a_prompt_changes_nothing(server):
    talk = server.talk()
    talk.send(type="switch_model", llm_config={"system_prompt": "You are new."}, dry_run=True)
    assert (await talk.next("switch_response")).status == "success"
    assert await system_prompt_of(server, server.talk()) == "You are the default."


async def test_a_prompt_beside_a_model_goes_with_it_or_not_at_all(server):
    talk = server.talk()
    config = {"system_prompt": "You are new.", "parallel": 2}
    server.answer = SwitchResponse(status="error", message="no", code="not_enough_memory")
    talk.send(type="switch_model", llm_config=config)
    assert (await talk.next("switch_response")).status == "error"
    assert server.changes.system_prompt == "You are the default."
    server.answer = SwitchResponse(status="no_change", message="")
    talk.send(type="switch_model", llm_config=config)
    answer = await talk.next("switch_response", 2)
    assert (answer.status, answer.changed) == ("success", ["llm_config.system_prompt"])
    assert [message.llm_config for message in server.asked] == [{"parallel": 2}] * 2


@pytest.mark.parametrize("prompt", [7, ["x"], {"a": 1}, "x" * 20_001])
async def test_what_cannot_be_a_prompt_is_refused(server, prompt):
    talk = server.talk()
    talk.send(type="switch_model", llm_config={"system_prompt": prompt}, request_id="s")
    answer = await talk.next("switch_response")
    assert (answer.status, answer.code, answer.request_id) == ("error", "invalid_message", "s")


# --- scope session


async def test_what_a_message_says_by_default_is_nothing_of_the_servers(server):
    mine = server.talk()
    message = json.loads(SwitchModel(scope="session", llm_config={"system_prompt": "You are Ann."}).to_json())
    assert message["stop_then_start"] is False
    mine.send(**message)
    (answer,) = mine.client.of("switch_response")
    assert answer.status == "success"


async def test_a_session_s_own_prompt_and_sampling_are_its_own(server):
    mine, other = server.talk(call_id="c1"), server.talk(call_id="c2")
    config = {"system_prompt": "You are mine.", "temperature": 0.1, "max_tokens": 9}
    mine.send(type="switch_model", scope="session", call_id="c1", request_id="s", llm_config=config)
    (answer,) = mine.client.of("switch_response")
    assert (answer.status, answer.call_id, answer.request_id) == ("success", "c1", "s")
    assert set(answer.changed) == {f"llm_config.{name}" for name in config}
    assert await system_prompt_of(server, mine) == "You are mine."
    sampling = server.services.llm.calls[-1].args["sampling"]
    assert (sampling["temperature"], sampling["max_tokens"]) == (0.1, 9)
    assert await system_prompt_of(server, other) == "You are the default."
    assert "temperature" not in server.services.llm.calls[-1].args["sampling"]
    assert await system_prompt_of(server, server.talk()) == "You are the default."
    assert server.asked == []


async def test_a_session_s_own_speech_reaches_the_synthesis(server):
    mine = server.talk()
    mine.send(type="switch_model", scope="session", call_id="c1", tts_config={"voice": "joe", "speed": 1.5})
    mine.send(type="tts_request", text="Hi.")
    answer = await mine.next("tts_response")
    assert base64.b64decode(answer.audio_data) == b"Hi"
    args = server.services.tts.calls[-1].args
    assert (args["voice"], args["speed"]) == ("joe", 1.5)


async def test_in_version_3_what_a_request_says_goes_before_what_the_session_has(server):
    mine = server.talk(version=3)
    config = {"temperature": 0.1, "top_p": 0.5}
    mine.send(type="switch_model", scope="session", call_id="c1", llm_config=config)
    hello = [{"role": "user", "content": "x"}]
    mine.send(type="llm_request", request_id="a", messages=hello, sampling={"temperature": 0.9})
    await mine.client.end_of("a")
    assert server.services.llm.calls[-1].args["sampling"] == {"temperature": 0.9, "top_p": 0.5}


async def test_what_is_so_already_is_no_change_and_a_dry_run_changes_nothing(server):
    mine = server.talk()
    scoped = {"type": "switch_model", "scope": "session", "call_id": "c1"}
    mine.send(**scoped, tts_config={"speed": 1.5}, dry_run=True)
    mine.send(**scoped, tts_config={"speed": 1.5})
    mine.send(**scoped, tts_config={"speed": 1.5})
    assert [m.status for m in mine.client.of("switch_response")] == ["success", "success", "no_change"]


REFUSED = [
    ({"call_id": "c2", "llm_config": {"temperature": 0.5}}, "unknown_call", "call_id"),
    ({"llm_config": {"temprature": 0.5}}, "invalid_message", "temprature"),
    ({"llm_config": {"temperature": 50}}, "invalid_message", "llm_config.temperature"),
    ({"llm_config": {"model_path": "/etc/passwd"}}, "invalid_message", "model_path"),
    ({"tts_config": {"voice": "nobody"}}, "invalid_message", "joe"),
    ({"tts_config": {"speed": 9}}, "invalid_message", "tts_config.speed"),
    ({"stt_backend": "vosk"}, "invalid_message", "stt_backend"),
    ({"stt_config": {"language": "de"}}, "invalid_message", "stt_config"),
    ({"future": 1}, "invalid_message", "future"),
]


@pytest.mark.parametrize(("fields", "code", "names"), REFUSED)
async def test_what_is_not_a_session_s_to_set_is_refused_and_changes_nothing(server, fields, code, names):
    mine = server.talk()
    fields = {"llm_config": {"system_prompt": "You are mine."}} | fields
    mine.send(type="switch_model", scope="session", request_id="s", **fields)
    (answer,) = mine.client.of("switch_response")
    assert (answer.status, answer.code, answer.request_id) == ("error", code, "s")
    assert names in answer.message
    assert await system_prompt_of(server, mine) == "You are the default."
    assert server.asked == []
