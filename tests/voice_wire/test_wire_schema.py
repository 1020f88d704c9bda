"""The JSON Schema says what the models say: it takes every message of the traffic and refuses what they refuse."""

import json

import pytest
from jsonschema import Draft202012Validator
from test_messages import BAD, SERVER_TRAFFIC, VERSION_2_TRAFFIC, VERSION_3_TRAFFIC

from voice_wire import messages as wire
from voice_wire.messages import parse_client_message
from voice_wire.schema import CLIENT, SERVER, json_schema, message_name

SCHEMA = json_schema()


def validator(side):
    return Draft202012Validator({"$ref": f"#/$defs/{side}", "$defs": SCHEMA["$defs"]})


MORE_SERVER_TRAFFIC = [
    wire.SwitchResponse(status="error", message="no", code="switch_failed", stages=[{"stage": "loading", "ms": 4}]),
    wire.SwitchProgress(backend_type="llm", stage="rolled_back", elapsed_ms=12.5, request_id="r"),
    wire.BackendChanged(backend_type="tts", backend="kokoro", tts_voices=("af_heart",)),
    wire.LlmToolResponse(text="", tool_calls=[{"name": "hangup", "parameters": {}}], finish_reason="tool_calls"),
    wire.Error(code="rate_limited", message="too many", retryable=True, retry_after=1.5),
    wire.BackendsResponse(backends={"stt": {"vosk": wire.BackendState(available=False, reason="install it")}}),
    wire.BackendSchemaResponse(backend_type="stt", backend_name="vosk", json_schema={"type": "object"}),
]


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("fields", [fields for fields, _ in VERSION_2_TRAFFIC + VERSION_3_TRAFFIC])
def test_every_client_message_is_of_the_schema(fields):
    validator("ClientMessage").validate(json.loads(parse_client_message(json.dumps(fields)).to_json()))


@pytest.mark.parametrize("message", SERVER_TRAFFIC + MORE_SERVER_TRAFFIC, ids=lambda message: message.type)
def test_every_server_message_is_of_the_schema(message):
    validator("ServerMessage").validate(json.loads(message.to_json()))


REFUSED = [text for text, code, _ in BAD if code in ("invalid_message", "unknown_type")]


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_models_refuse_is_not_of_the_schema(text):
    assert not validator("ClientMessage").is_valid(json.loads(text))


def test_each_message_is_there_under_its_type():
    for side, models in (("ClientMessage", CLIENT), ("ServerMessage", SERVER)):
        named = [each["$ref"].rpartition("/")[2] for each in SCHEMA["$defs"][side]["oneOf"]]
        kinds = {SCHEMA["$defs"][name]["properties"]["type"]["const"] for name in named}
        assert kinds == {message_name(model) for model in models}


def test_a_message_of_a_newer_peer_is_of_the_schema():
    validator("ClientMessage").validate({"type": "ping", "future": 1})
