"""Whatever a client sends: one typed answer, never an exception, and the session serves on."""

import asyncio
import json

import pytest
from fake_services import FakeServices, ListClient, make_session, settle
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_wire.messages import (
    ERROR_CODES,
    ProtocolError,
    ReloadResponse,
    SwitchResponse,
    pack_frame,
    parse_client_message,
)
from voice_wire.schema import CLIENT, message_name

SILENT = {"tool_context", "stt_drop", "cancel", "adopt", "tts_append", "tts_flush", "audio", "end"}
"""Need not be answered when they are as they should be (`end` is, and closes)."""
PARTS = {"llm_delta", "tts_start", "tts_audio"}
BEGINNINGS = ({"protocol_version": 2}, {"protocol_version": 3})

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({name for model in CLIENT for name in model.model_fields} - {"type"})
WORDS = ["c1", "r", "", 0, 1, 8000, 16000, True, False, None, "full", "stt", "mulaw", "hello", "AAAA", "session", "tts"]
THINGS = [[], {}, [{"role": "user", "content": "x"}], [{"name": "t"}], {"temperature": 1}, {"system_prompt": "x"}]
LIKELY = st.sampled_from([*WORDS, *THINGS])
USUAL = {
    "request_id": "r",
    "call_id": "c1",
    "stream_id": 1,
    "text": "hello",
    "data": "AAAA",
    "messages": [{"role": "user", "content": "x"}],
    "tools": [{"name": "t"}],
    "tool_choice": "auto",
    "backend_type": "tts",
    "backend_name": "piper",
    "llm_config": {"system_prompt": "x"},
    "scope": "session",
    "stream": True,
}


@st.composite
def messages(draw):
    """A type that there is, with most of its fields and values that may do."""
    model = draw(st.sampled_from(CLIENT))
    own = [name for name in model.model_fields if name != "type"]
    names = draw(st.sets(st.sampled_from(own))) if own else set()
    needed = {name for name, field in model.model_fields.items() if field.is_required()}
    names |= draw(st.sampled_from([needed, needed, needed, set()])) | draw(st.sets(st.sampled_from(FIELDS), max_size=1))
    usual = {name: value for name, value in USUAL.items() if name in names}
    odd = names - set(draw(st.sampled_from([(), tuple(usual), tuple(usual)])))
    return json.dumps({"type": message_name(model)} | usual | {name: draw(LIKELY | JSON) for name in sorted(odd)})


class Server:
    def __init__(self, beginning):
        self.services = FakeServices()
        self.services.switchboard.switch = self._switch
        self.services.switchboard.reload = self._reload
        self.client = ListClient()
        self.session = make_session(self.services, self.client)
        self.session.receive(json.dumps({"type": "auth", **beginning}))
        self.client.sent.clear()

    async def _switch(self, message, *, on_progress):
        return SwitchResponse(status="no_change", message="")

    async def _reload(self, kinds, *, llm_model_path, on_progress):
        return ReloadResponse(status="success", message="")

    async def answers_to(self, data):
        """What ends the message: `done` and `error` where there is one, else all that is no part."""
        self.session.receive(data)
        await settle(60)
        told = [m for m in self.client.sent if not isinstance(m, bytes) and m.type not in PARTS]
        return [m for m in told if m.type in ("done", "error")] or told

    async def check_that_it_serves_on(self):
        self.client.sent.clear()
        self.session.receive('{"type": "ping", "request_id": "still there"}')
        assert [(m.type, m.request_id) for m in self.client.sent] == [("pong", "still there")]
        await self.session.close()


def wrong(data):
    """The code that the message must be refused with; None when it is a message."""
    try:
        parse_client_message(data)
    except ProtocolError as error:
        return error.code
    return None


async def send(beginning, data):
    server = Server(beginning)
    answers = await server.answers_to(data)
    assert all(m.code != "internal_error" for m in answers if m.type == "error")
    code = wrong(data) if isinstance(data, str) else None
    if code is not None:
        assert [(m.type, m.code) for m in answers] == [("error", code)]
    elif isinstance(data, bytes):
        assert all(m.type == "error" and m.code in ERROR_CODES for m in answers)
        assert len(answers) <= 1
    else:
        kind = json.loads(data)["type"] if data.startswith("{") else "end"
        assert len(answers) <= 1
        assert answers or kind in SILENT
    if not server.session.ended:
        await server.check_that_it_serves_on()
    else:
        assert kind == "end"


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=["version2", "version3"])
class TestEveryInput:
    @settings(deadline=None, max_examples=60)
    @given(data=st.text(max_size=60) | JSON.map(json.dumps) | st.binary(max_size=64))
    def test_rubbish(self, beginning, data):
        asyncio.run(send(beginning, data))

    @settings(deadline=None, max_examples=250)
    @given(data=messages())
    def test_messages_with_any_fields(self, beginning, data):
        asyncio.run(send(beginning, data))

    @settings(deadline=None, max_examples=40)
    @given(stream_id=st.integers(0, 3), sequence=st.integers(0, 2), audio=st.binary(max_size=20))
    def test_audio_of_streams(self, beginning, stream_id, sequence, audio):
        asyncio.run(send(beginning, pack_frame(stream_id, sequence, audio)))

    @settings(deadline=None, max_examples=30)
    @given(many=st.lists(messages() | st.text(max_size=20) | st.binary(max_size=40), max_size=25))
    def test_one_after_another(self, beginning, many):
        async def send_all():
            server = Server(beginning)
            for data in many:
                server.session.receive(data)
            await settle(60)
            codes = {m.code for m in server.client.of("error")}
            assert codes <= ERROR_CODES
            assert "internal_error" not in codes
            if not server.session.ended:
                await server.check_that_it_serves_on()
            await server.session.close()

        asyncio.run(send_all())


@settings(deadline=None, max_examples=60)
@given(data=messages() | st.text(max_size=40) | st.binary(max_size=40))
def test_without_the_token_nothing_but_the_door(data):
    async def send_it():
        client = ListClient()
        session = make_session(FakeServices(), client, LOCAL_WS_AUTH_TOKEN="s3cret")
        session.receive(data)
        session.receive(data)
        await settle()
        (answer,) = client.sent
        assert (answer.type, answer.status) == ("auth_response", "error")
        assert client.closed == (1008, answer.message)
        await session.close()

    asyncio.run(send_it())
