"""Who may speak to the server, and what it says to what it cannot serve."""

import json

import pytest
from fake_services import FakeServices, ListClient, make_session, settle
from jsonschema import Draft202012Validator

from local_ai_server.backends.registry import BACKENDS, backend
from local_ai_server.settings import Settings
from voice_wire.messages import pack_frame


@pytest.fixture
def services():
    return FakeServices()


@pytest.fixture
def client():
    return ListClient()


def send(session, **fields):
    session.receive(json.dumps(fields))


async def test_a_right_token_is_welcomed(services, client):
    session = make_session(services, client, LOCAL_WS_AUTH_TOKEN="s3cret")
    send(session, type="auth", auth_token="s3cret", call_id="c1")
    assert client.sent[0].to_json() == '{"call_id":"c1","type":"auth_response","status":"ok"}' or (
        client.sent[0].status == "ok" and client.sent[0].call_id == "c1"
    )
    assert client.closed is None


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ({"type": "auth", "auth_token": "wrong"}, "invalid_auth_token"),
        ({"type": "auth"}, "invalid_auth_token"),
        ({"type": "auth", "auth_token": "s3cretx"}, "invalid_auth_token"),
        ({"type": "auth", "auth_token": "ünïcödé"}, "invalid_auth_token"),
        ({"type": "status"}, "authentication_required"),
        ({"type": "nonsense"}, "authentication_required"),
        ({"type": "auth", "auth_token": "x" * 9000}, "authentication_required"),
        ({"type": "tts_request", "text": "hi", "request_id": "r"}, "authentication_required"),
    ],
)
async def test_without_the_token_there_is_one_answer_and_the_door(services, client, first, reason):
    session = make_session(services, client, LOCAL_WS_AUTH_TOKEN="s3cret")
    send(session, **first)
    send(session, type="auth", auth_token="s3cret")
    assert [(m.type, m.status, m.message) for m in client.sent] == [("auth_response", "error", reason)]
    assert client.closed is not None
    assert client.closed[0] == 1008
    assert not session.authenticated


@pytest.mark.parametrize(
    "data", [b"\x00\x00", "{", '{"type": "auth", "auth_token": "\\ud800"}', "__END__", "__CANCEL__", ""]
)
async def test_neither_audio_nor_rubbish_passes_unauthenticated(services, client, data):
    session = make_session(services, client, LOCAL_WS_AUTH_TOKEN="s3cret")
    session.receive(data)
    assert client.sent[0].message == "authentication_required"
    assert client.closed is not None


async def test_version_3_is_told_what_it_needs_to_know(services, client):
    session = make_session(services, client)
    send(session, type="auth", protocol_version=3)
    welcome = client.sent[0]
    assert (welcome.protocol_version, welcome.stt_backend, welcome.needs_gating) == (3, "faster_whisper", True)
    assert (welcome.llm_context_tokens, welcome.tts_voices) == (768, ("joe",))


BAD = [
    ("{", "malformed_json"),
    ("[]", "malformed_json"),
    ('{"type": "ping", "request_id": "\\ud800"}', "malformed_json"),
    ('{"type": "make_coffee", "request_id": "\\ud800"}', "malformed_json"),
    ('{"type": "auth", "auth_token": "\\ud800"}', "malformed_json"),
    ('{"type": "stt_start", "stream_id": NaN}', "malformed_json"),
    ('{"type": "make_coffee"}', "unknown_type"),
    ('{"type": "llm_request", "request_id": "r"}', "invalid_message"),
    ('{"type": "llm_request", "messages": [{"role": "user", "content": "x"}]}', "invalid_message"),
    ('{"type": "backend_schema", "backend_type": "tts", "backend_name": "gramophone"}', "unknown_backend"),
    ('{"type": "backend_schema", "backend_type": "nose", "backend_name": "piper"}', "invalid_message"),
    ('{"type": "backend_schema"}', "invalid_message"),
    ('{"type": "backends", "backend_type": "nose"}', "invalid_message"),
    ('{"type": "audio", "data": "AAAA"}', "not_supported"),
    ('{"type": "stt_finalize", "stream_id": 4, "request_id": "r"}', "unknown_stream"),
    ('{"type": "tts_append", "request_id": "r", "text": "x"}', "unknown_request"),
    ('{"type": "tts_flush", "request_id": "r"}', "unknown_request"),
    ('{"type": "auth", "protocol_version": 2}', "invalid_message"),
    (b"\x00\x01", "invalid_message"),
    (b"\x00\x00\x00\x09\x00\x00\x00\x00audio", "unknown_stream"),
]


@pytest.mark.parametrize(("data", "code"), BAD)
async def test_what_cannot_be_served_is_answered_once_and_the_session_goes_on(services, client, data, code):
    session = make_session(services, client)
    send(session, type="auth", protocol_version=3)
    session.receive(data)
    await settle()
    assert [m.code for m in client.of("error")] == [code]
    send(session, type="ping", request_id="p")
    assert client.sent[-1].request_id == "p"
    await session.close()


@pytest.mark.parametrize("kind", ["stt_start", "stt_finalize", "stt_drop", "tts_append", "tts_flush", "warm", "adopt"])
async def test_version_2_is_told_to_ask_for_version_3(services, client, kind):
    session = make_session(services, client)
    send(session, type=kind, request_id="r", stream_id=1, text="x", messages=[{"role": "user", "content": "x"}])
    assert client.sent[0].code == "version_required"


async def test_what_is_beyond_a_rate_is_told_when_to_come_again(services, client):
    session = make_session(services, client, LOCAL_WS_MAX_MESSAGES="3", LOCAL_WS_RATE_WINDOW="60")
    send(session, type="auth", protocol_version=3)
    for _ in range(3):
        send(session, type="ping")
    send(session, type="llm_request", request_id="a", messages=[{"role": "user", "content": "x"}])
    session.receive("{")
    refusals = client.of("error")
    assert [(m.code, m.request_id, m.retryable) for m in refusals] == [
        ("rate_limited", None, True),
        ("rate_limited", "a", True),
        ("rate_limited", None, True),
    ]
    assert all(59 < m.retry_after <= 60 for m in refusals)
    session.receive(pack_frame(1, 0, b"audio"))
    assert client.sent[-1].code == "unknown_stream", "audio is not counted"
    session.receive("__END__")
    assert client.closed == (1000, "end"), "whoever is told to wait may leave"
    await session.close()


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("LOCAL_WS_MAX_CANCELS", {"type": "cancel"}),
        ("LOCAL_WS_MAX_CANCELS", {"type": "barge_in"}),
        ("LOCAL_WS_MAX_PROMPT_UPDATES", {"type": "warm", "messages": [{"role": "user", "content": "x"}]}),
        ("LOCAL_WS_MAX_PROMPT_UPDATES", {"type": "switch_model", "scope": "session", "llm_config": {"seed": 1}}),
    ],
)
async def test_each_sort_of_message_has_its_own_limit_and_zero_is_none(services, message, variable):
    refused = []
    for limit in ("2", "0"):
        client = ListClient()
        session = make_session(services, client, **{variable: limit})
        send(session, type="auth", protocol_version=3)
        for n in range(30):
            send(session, **message, request_id=str(n))
        send(session, type="ping")
        assert client.sent[-1].type == "pong"
        refused.append([m.request_id for m in client.of("error") if m.code == "rate_limited"])
        await session.close()
    assert refused == [[str(n) for n in range(2, 30)], []]


async def test_an_engine_s_call_never_meets_the_limits(services, client):
    """Fifty frames a second, and each second more requests than a call has."""
    now = 0.0
    session = make_session(services, client)
    session._clock = lambda: now
    send(session, type="auth", protocol_version=3)
    send(session, type="stt_start", stream_id=1)
    for n in range(60):
        now += 1.0
        for frame in range(50):
            session.receive(pack_frame(1, 50 * n + frame, bytes(640)))
        for kind in ("ping", "cancel", "cancel", "adopt", "adopt"):
            send(session, type=kind, request_id=f"{n}")
        send(session, type="warm", request_id=f"w{n}", messages=[{"role": "system", "content": "x"}])
        await settle()
    assert not [m for m in client.of("error") if m.code == "rate_limited"]
    await session.close()


async def test_no_error_bears_the_name_of_a_request_at_work(services, client):
    services.llm.held = True
    session = make_session(services, client)
    send(session, type="auth", protocol_version=3)
    send(session, type="llm_request", request_id="a", messages=[{"role": "user", "content": "x"}])
    await settle()
    send(session, type="tts_append", request_id="a", text=7.5, stream_id="x" * 3)
    send(session, type="llm_request", request_id="a", messages=[])
    send(session, type="make_coffee", request_id="a")
    assert [m.request_id for m in client.of("error")] == [None] * len(client.of("error"))
    assert len(client.of("error")) >= 2
    await session.close()


async def test_end_says_goodbye_and_closes(services, client):
    session = make_session(services, client)
    session.receive("__END__")
    assert client.sent[0].type == "connection_closed"
    assert client.closed == (1000, "end")


async def test_status_and_capabilities_are_true(services, client):
    services.llm.state, services.llm.reason = "restarting", "it was killed"
    session = make_session(services, client)
    send(session, type="status", call_id="c")
    send(session, type="capabilities")
    send(session, type="backends", backend_type="tts")
    status, capabilities, backends = client.sent
    assert status.status == "degraded"
    assert status.models.llm.loaded is False
    assert status.models.stt.backend == "faster_whisper"
    assert status.config.startup_errors == {"llm": "it was killed"}
    assert {"faster_whisper", "vosk", "sherpa", "kroko", "llama_cpp", "piper"} <= set(capabilities.capabilities)
    assert list(backends.backends) == ["tts"]
    assert backends.backends["tts"]["piper"].active
    assert status.models.llm.prompt_fit["context_tokens"] == 768
    assert {"auto_context", "tool_capability"} <= status.models.llm.model_fields_set
    assert not status.kroko["active"]
    assert not status.kokoro["active"]


async def test_a_backend_tells_its_settings_as_a_json_schema(services, client):
    session = make_session(services, client)
    send(session, type="backend-schema", backend_type="STT", backend_name="faster_whisper", request_id="b")
    (answer,) = client.sent
    assert (answer.type, answer.request_id, answer.backend_name) == ("backend_schema_response", "b", "faster_whisper")
    assert set(answer.json_schema["properties"]) == set(backend("stt", "faster_whisper").options.model_fields)
    json.loads(answer.to_json())


async def test_every_backend_has_a_schema_that_is_one(services, client):
    session = make_session(services, client)
    for known in BACKENDS:
        send(session, type="backend_schema", backend_type=known.kind, backend_name=known.name)
        Draft202012Validator.check_schema(json.loads(client.sent[-1].to_json())["json_schema"])


async def test_a_backend_that_there_is_not_is_refused_with_those_there_are(services, client):
    session = make_session(services, client)
    send(session, type="backend_schema", backend_type="tts", backend_name="gramophone", request_id="b")
    (error,) = client.sent
    assert (error.code, error.request_id) == ("unknown_backend", "b")
    assert "piper" in error.message


async def test_each_session_has_a_prefix_cache_of_its_own_whatever_its_client_calls_it(services):
    keys = {make_session(services, ListClient()).key for _ in range(3)}
    assert len(keys) == 3


async def test_closing_gives_the_prefix_cache_back(services, client):
    session = make_session(services, client)
    send(session, type="auth", protocol_version=3)
    await session.close()
    assert [(c.method, c.args) for c in services.llm.calls] == [("forget", {"session": session.key})]


def test_the_settings_never_print_their_token():
    assert "s3cret" not in repr(Settings.model_validate({"LOCAL_WS_AUTH_TOKEN": "s3cret"}))
