"""chan_websocket's control messages: both forms, what Asterisk really sends, and anything at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ai_engine.media import websocket_control as control
from ai_engine.media.websocket_control import (
    AsteriskError,
    BufferingCompleted,
    ControlError,
    ControlForm,
    DtmfEnd,
    MarkProcessed,
    MediaStart,
    MediaXoff,
    MediaXon,
    OtherEvent,
    QueueDrained,
    Status,
    parse_event,
)

ID = "cbeeb432-9a6f-42c6-990f-18306a9adcc7"

EVENTS = {
    # as an Asterisk 22.10 sent them
    f"MEDIA_START connection_id:{ID} channel:WebSocket/INCOMING/0x7f1d9c0027e0 channel_id:media-1 format:ulaw "
    "optimal_frame_size:160 ptime:20": MediaStart(160, "ulaw", 20, ID, "media-1"),
    f'{{"event":"MEDIA_START","connection_id":"{ID}","channel":"WebSocket/INCOMING/0x7f","channel_id":"m-slin16",'
    '"format":"slin16","optimal_frame_size":640,"ptime":20,"channel_variables":{"A":"1"}}': MediaStart(
        640, "slin16", 20, ID, "m-slin16", {"A": "1"}
    ),
    '{"event":"MEDIA_MARK_PROCESSED","channel_id":"m-ulaw","correlation_id":"7"}': MarkProcessed("7"),
    '{"event":"STATUS","channel_id":"m","queue_length":10,"xon_level":800,"xoff_level":900,"queue_full":false,'
    '"bulk_media":false,"media_paused":true}': Status(10, False, False, True),
    '{"event":"QUEUE_DRAINED","channel_id":"m-slin"}': QueueDrained(),
    # as its source and documentation have them
    f"MEDIA_START connection_id:{ID} channel:WebSocket/c format:ulaw optimal_frame_size:160": MediaStart(
        160, "ulaw", 20, ID
    ),
    "MEDIA_MARK_PROCESSED 7": MarkProcessed("7"),
    "MEDIA_MARK_PROCESSED": MarkProcessed(""),
    "MEDIA_BUFFERING_COMPLETED file-3": BufferingCompleted("file-3"),
    "MEDIA_XOFF": MediaXoff(),
    "MEDIA_XON": MediaXon(),
    '{"event":"MEDIA_XON","channel_id":"m"}': MediaXon(),
    "QUEUE_DRAINED": QueueDrained(),
    "STATUS channel_id:m queue_length:43 xon_level:800 xoff_level:900 queue_full:false bulk_media:true "
    "media_paused:false": Status(43, False, True, False),
    "DTMF_END digit:# channel_id:m": DtmfEnd("#"),
    '{"event":"DTMF_END","channel_id":"m","digit":"5"}': DtmfEnd("5"),
    "ERROR channel_id:m error_text:FLUSH_MEDIA not supported in passthrough mode": AsteriskError(
        "FLUSH_MEDIA not supported in passthrough mode"
    ),
    '{"event":"ERROR","channel_id":"m","error_text":"Unable to parse JSON command"}': AsteriskError(
        "Unable to parse JSON command"
    ),
    "MEDIA_ROTATED direction:left": OtherEvent("MEDIA_ROTATED"),
}

NO_EVENTS = [
    "",
    "   ",
    "{",
    "{}",
    "{" * 100_000,
    '{"event":7}',
    "[]",
    "ünbekannt",
    '{"event":"MEDIA_START"}',
    '{"event":"MEDIA_START","optimal_frame_size":-1}',
    '{"event":"MEDIA_START","optimal_frame_size":true}',
    '{"event":"MEDIA_START","optimal_frame_size":1e400}',
    "MEDIA_START optimal_frame_size:99999999999999",
    "MEDIA_START optimal_frame_size:²",
    "STATUS",
    "DTMF_END",
    '{"event":"DTMF_END","digit":"55"}',
]


@pytest.mark.parametrize("text", EVENTS)
def test_an_event(text: str) -> None:
    event, form = parse_event(text)
    assert event == EVENTS[text]
    assert form is (ControlForm.JSON if text.startswith("{") else ControlForm.PLAIN)


@pytest.mark.parametrize("text", NO_EVENTS, ids=lambda text: text[:40])
def test_no_event(text: str) -> None:
    with pytest.raises(ControlError):
        parse_event(text)


words = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner) | st.dictionaries(words, inner),
)
names = st.sampled_from(
    ["MEDIA_START", "MEDIA_XOFF", "MEDIA_MARK_PROCESSED", "STATUS", "DTMF_END", "ERROR", "event", "optimal_frame_size"]
)
plain_texts = st.lists(names | words | st.builds("{}:{}".format, names | words, words), max_size=6).map(" ".join)
json_texts = st.dictionaries(names | words, values | names).map(json.dumps)


@given(plain_texts | json_texts | st.text())
@example('{"event":"STATUS","queue_length":NaN}')
def test_anything_is_an_event_or_the_one_error(text: str) -> None:
    try:
        event, _ = parse_event(text)
    except ControlError:
        return
    assert isinstance(event, control.ControlEvent)


@pytest.mark.parametrize("form", ControlForm)
def test_commands_in_the_form_asterisk_speaks(form: ControlForm) -> None:
    commands = {
        control.flush_media(form): "FLUSH_MEDIA",
        control.mark_media(form, "12345"): "MARK_MEDIA 12345",
        control.get_status(form): "GET_STATUS",
        control.report_queue_drained(form): "REPORT_QUEUE_DRAINED",
        control.pause_media(form): "PAUSE_MEDIA",
        control.continue_media(form): "CONTINUE_MEDIA",
    }
    for command, plain in commands.items():
        if form is ControlForm.PLAIN:
            assert command == plain
        else:
            name, _, mark_id = plain.partition(" ")
            assert json.loads(command) == {"command": name} | ({"correlation_id": mark_id} if mark_id else {})


@pytest.mark.parametrize("form", ControlForm)
def test_trap_5_a_command_asterisk_would_ignore_is_an_error_of_ours(form: ControlForm) -> None:
    with pytest.raises(ControlError, match="over 128"):
        control.mark_media(form, "x" * 120)
    for bad in ("two words", "line\n", "é"):
        with pytest.raises(ControlError, match="one word"):
            control.mark_media(form, bad)


@given(st.sampled_from(ControlForm), st.text(max_size=140))
def test_a_mark_is_short_enough_or_an_error(form: ControlForm, mark_id: str) -> None:
    try:
        text = control.mark_media(form, mark_id)
    except ControlError:
        return
    assert len(text.encode()) <= control.MOST_COMMAND_BYTES
