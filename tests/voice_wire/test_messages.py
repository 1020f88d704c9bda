"""The socket's messages: what is read, what is refused with which code, and that both directions survive the wire."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_wire import messages as wire
from voice_wire.messages import (
    ClientMessage,
    ProtocolError,
    ServerMessage,
    pack_frame,
    parse_client_message,
    parse_frame,
    parse_server_message,
)

VERSION_2_TRAFFIC = [
    ({"type": "auth", "auth_token": "s3cret", "call_id": "c1"}, wire.Auth),
    ({"type": "auth", "token": "s3cret"}, wire.Auth),
    ({"type": "set_mode", "mode": "STT", "call_id": "c1", "segment_silence_ms": 700}, wire.SetMode),
    ({"type": "audio", "data": "AAAA", "rate": 16000, "mode": "stt", "request_id": "r"}, wire.Audio),
    ({"type": "llm_request", "text": "hello", "call_id": "c1", "mode": "llm"}, wire.LlmRequest),
    ({"type": "LLM-Tool-Request", "text": "x", "tools": [{"name": "t"}], "tool_choice": "auto"}, wire.LlmToolRequest),
    ({"type": "tts_request", "text": "hello", "call_id": ""}, wire.TtsRequest),
    ({"type": "tool_context", "tools": []}, wire.ToolContext),
    ({"type": "tool_result", "name": "t", "result": {"ok": True}}, wire.ToolResult),
    ({"type": "barge-in", "call_id": "c1", "request_id": 7}, wire.BargeIn),
    ({"type": "switch_model", "dry_run": True, "kokoro_voice": "af_heart"}, wire.SwitchModel),
    ({"type": "reload_models"}, wire.ReloadModels),
    ({"type": "reload_llm", "llm_model_path": "m.gguf"}, wire.ReloadLlm),
    ({"type": "status"}, wire.Status),
    ({"type": "capabilities"}, wire.Capabilities),
    ({"type": "backends"}, wire.Backends),
    ({"type": "backend_schema", "backend_type": "stt", "backend_name": "vosk"}, wire.BackendSchema),
]

VERSION_3_TRAFFIC = [
    ({"type": "auth", "token": "t", "protocol_version": 3, "future": 1}, wire.Auth),
    ({"type": "stt_start", "stream_id": 1, "encoding": "mulaw", "sample_rate_hz": 8000}, wire.SttStart),
    ({"type": "stt-finalize", "stream_id": 1, "request_id": "r1", "speculative": True}, wire.SttFinalize),
    ({"type": "stt_drop", "stream_id": 1}, wire.SttDrop),
    (
        {
            "type": "llm_request",
            "request_id": "r2",
            "messages": [{"role": "user", "content": "hi"}],
            "sampling": {"temperature": 0, "max_tokens": 40},
            "stream": True,
            "replaces": "r1",
        },
        wire.LlmRequest,
    ),
    ({"type": "tts_request", "request_id": "r3", "text": "hi", "stream": True, "encoding": "MULAW"}, wire.TtsRequest),
    ({"type": "tts_append", "request_id": "r3", "text": "more"}, wire.TtsAppend),
    ({"type": "tts_flush", "request_id": "r3"}, wire.TtsFlush),
    ({"type": "warm", "request_id": "r4", "messages": [{"role": "system", "content": "s"}]}, wire.Warm),
    ({"type": "cancel", "request_id": "r3"}, wire.Cancel),
    ({"type": "adopt", "request_id": "r3"}, wire.Adopt),
    ({"type": "ping"}, wire.Ping),
    ({"type": "end"}, wire.End),
]


@pytest.mark.parametrize(("fields", "model"), VERSION_2_TRAFFIC + VERSION_3_TRAFFIC)
def test_a_client_message_is_read_as_what_it_is(fields, model):
    message = parse_client_message(json.dumps(fields))
    assert type(message) is model
    assert parse_client_message(message.to_json()) == message


def test_every_client_message_occurs_in_the_traffic_above():
    assert {model for _, model in VERSION_2_TRAFFIC + VERSION_3_TRAFFIC} == set(get_args(ClientMessage))


def test_raw_words_mean_cancel_and_end():
    assert parse_client_message("__CANCEL__") == wire.Cancel()
    assert parse_client_message("__END__") == wire.End()


def test_both_names_of_the_token_are_read_and_it_is_never_printed():
    for name in ("auth_token", "token"):
        auth = parse_client_message(json.dumps({"type": "auth", name: "s3cret"}))
        assert isinstance(auth, wire.Auth)
        assert auth.auth_token == "s3cret"
        assert "s3cret" not in repr(auth)


def test_empty_ids_of_old_clients_mean_none_and_numbers_become_text():
    message = parse_client_message('{"type": "tts_request", "text": "x", "call_id": "", "request_id": 12}')
    assert isinstance(message, wire.TtsRequest)
    assert (message.call_id, message.request_id) == (None, "12")


def test_a_switch_keeps_the_settings_it_does_not_know():
    message = parse_client_message('{"type": "switch_model", "kroko_port": 6006, "future": 1}')
    assert isinstance(message, wire.SwitchModel)
    assert message.kroko_port == 6006
    assert message.model_extra == {"future": 1}


def test_a_switch_carries_its_secrets_on_the_wire_and_prints_none():
    fields = {"type": "switch_model", "kokoro_api_key": "s3cret", "llm_config": {"api_key": "s3cret"}}
    message = parse_client_message(json.dumps(fields))
    assert "s3cret" not in repr(message)
    assert json.loads(message.to_json())["kokoro_api_key"] == "s3cret"


def test_empty_fields_of_a_switch_change_nothing_and_words_may_be_in_any_case():
    message = parse_client_message(
        '{"type": "switch-model", "stt_backend": "Vosk", "stt_model_path": "", "scope": "SESSION", "call_id": "c"}'
    )
    assert isinstance(message, wire.SwitchModel)
    assert (message.stt_backend, message.stt_model_path, message.scope) == ("vosk", None, "session")


BAD = [
    ("", "malformed_json", None),
    ("{", "malformed_json", None),
    ("[1]", "malformed_json", None),
    ("[" * 100_000, "malformed_json", None),
    ('"__cancel__"', "malformed_json", None),
    ("{}", "invalid_message", None),
    ('{"type": 3, "request_id": "r"}', "invalid_message", "r"),
    ('{"type": "tool_context", "tools": [%s{}]}' % ("{}," * 64), "invalid_message", None),
    ('{"type": "tts_request", "voice": "%s"}' % ("x" * 201), "invalid_message", None),
    ('{"type": "tool_result", "name": "%s"}' % ("x" * 201), "invalid_message", None),
    ('{"type": "nonsense", "request_id": 7}', "unknown_type", "7"),
    ('{"type": "nonsense", "request_id": true}', "unknown_type", None),
    ('{"type": "lm_request", "request_id": "r"}', "unknown_type", "r"),
    ('{"type": "llm_request", "request_id": "r"}', "invalid_message", "r"),
    ('{"type": "llm_request", "messages": []}', "invalid_message", None),
    ('{"type": "llm_request", "messages": [{"role": "boss", "content": "x"}]}', "invalid_message", None),
    ('{"type": "llm_request", "text": "x", "sampling": {"temprature": 1}}', "invalid_message", None),
    ('{"type": "llm_request", "text": "x", "sampling": {"temperature": -1}}', "invalid_message", None),
    ('{"type": "tts_request", "text": "%s"}' % ("x" * 20_001), "invalid_message", None),
    ('{"type": "tts_request", "text": "x", "sample_rate_hz": 96000}', "invalid_message", None),
    ('{"type": "stt_start", "stream_id": -1}', "invalid_message", None),
    ('{"type": "stt_start", "stream_id": 1, "encoding": "opus"}', "invalid_message", None),
    ('{"type": "stt_finalize", "stream_id": 1}', "invalid_message", None),
    ('{"type": "auth", "protocol_version": 9}', "invalid_message", None),
    ('{"type": "set_mode", "mode": "fast"}', "invalid_message", None),
    ('{"type": "cancel", "request_id": "%s"}' % ("x" * 129), "invalid_message", None),
    ('{"type": "llm_request", "messages": [%s{}]}' % ("{}," * 1000), "invalid_message", None),
    ('{"type": "ping", "extra": [%s1]}' % ("1," * 50_001), "message_too_large", None),
]


@pytest.mark.parametrize(("text", "code", "request_id"), BAD)
def test_a_bad_message_is_refused_with_code_and_request(text, code, request_id):
    with pytest.raises(ProtocolError) as caught:
        parse_client_message(text)
    assert caught.value.code == code
    assert caught.value.request_id == request_id
    assert len(str(caught.value)) < 1000


def test_a_refusal_names_the_field_and_keeps_the_value_to_itself():
    with pytest.raises(ProtocolError, match=r"llm_request: sampling\.temprature") as caught:
        parse_client_message('{"type": "llm_request", "text": "my secret", "sampling": {"temprature": 0.123}}')
    assert "0.123" not in str(caught.value)
    assert "secret" not in str(caught.value)


@given(
    st.text()
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        json.dumps
    )
)
def test_whatever_arrives_is_a_message_or_one_kind_of_error(text):
    try:
        parse_client_message(text)
    except ProtocolError as error:
        assert error.code in wire.ERROR_CODES


@given(st.sampled_from([f for f, _ in VERSION_2_TRAFFIC + VERSION_3_TRAFFIC]), st.data())
def test_no_value_in_any_field_raises_anything_else(fields, data):
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()))
    try:
        parse_client_message(json.dumps({**fields, name: value}))
    except ProtocolError as error:
        assert error.code in wire.ERROR_CODES


SERVER_TRAFFIC = [
    wire.AuthResponse(status="ok", protocol_version=3, stt_backend="faster_whisper", needs_gating=True),
    wire.SttResult(request_id="r", text="hi", is_final=True, stt_backend="faster_whisper", confidence=0.9),
    wire.LlmDelta(request_id="r", text="a"),
    wire.Done(request_id="r", usage=wire.Usage(prompt_tokens=9, cached_tokens=8, completion_tokens=3, ttft_ms=41.5)),
    wire.Error(code="server_at_capacity", message="full", active=4, max=4, available=0, at_capacity=True),
    wire.TtsStart(request_id="r", stream_id=1, encoding="mulaw", sample_rate_hz=8000),
    wire.ConnectionClosed(),
]


@pytest.mark.parametrize("message", SERVER_TRAFFIC, ids=lambda message: message.type)
def test_a_server_message_survives_the_wire_and_leaves_out_what_it_does_not_say(message):
    text = message.to_json()
    assert parse_server_message(text) == message
    assert None not in json.loads(text).values()


def test_every_message_has_a_type_of_its_own():
    for union in (ClientMessage, ServerMessage):
        names = [model.model_fields["type"].default for model in get_args(union)]
        assert len(set(names)) == len(names)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary())
def test_a_binary_frame_survives_the_wire(stream_id, sequence, audio):
    assert parse_frame(pack_frame(stream_id, sequence, audio)) == (stream_id, sequence, audio)


def test_the_header_is_eight_bytes_in_network_order():
    assert pack_frame(1, 258, b"x") == b"\x00\x00\x00\x01\x00\x00\x01\x02x"


@given(st.binary(max_size=7))
def test_a_frame_shorter_than_its_header_is_refused(message):
    with pytest.raises(ProtocolError, match="8 bytes"):
        parse_frame(message)
