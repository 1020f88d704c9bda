"""A key on its way through a call: from Asterisk's event to the conversation, and to who waits for it."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import MagicMock

from structlog.testing import capture_logs

from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.events import Channel, ChannelDtmfReceived, StasisStart
from ai_engine.asterisk.ids import OwnIds
from ai_engine.call import Call
from ai_engine.call_dialogue import CallDialogue
from ai_engine.conversation.decisions import KeysTyped
from ai_engine.conversation.key_input import KeyRequest
from ai_engine.media.pacer import MediaLoop
from tests.ai_engine.conversation.virtual_call import VirtualCall
from voice_wire.audio import MULAW_8K

PIN = "4711"


class Media:
    """Does to a virtual conversation at once what a call has done to its own."""

    def __init__(self) -> None:
        self.call = VirtualCall("pause 0.3").run()

    def run(self, action: Any) -> None:
        action(self.call.conversation, self.call.now)


async def test_keys_that_a_tool_asks_for_come_from_asterisk_to_it_and_to_no_log():
    lane = MagicMock(spec=Lane)
    services = MagicMock(ids=OwnIds("parley"), media=MediaLoop())
    channel = Channel("caller", "PJSIP/100-1", "Up")
    call = Call(StasisStart(channel), cast(Lane, lane), services)
    media = call._media = Media()  # type: ignore[assignment]
    provider = MagicMock()
    dialogue = CallDialogue(
        call.call_id,
        provider,
        tools=MagicMock(),
        keys=call.keys,
        messages=None,
        report=MagicMock(),
        rendered=MagicMock(),
        audio_format=MULAW_8K,
        on_state=MagicMock(),
        finish=call.finish,
        ended=lambda: False,
    )
    with capture_logs() as logs:
        waiting = asyncio.create_task(call.keys.collect(KeyRequest("", secret=True)))
        await asyncio.sleep(0)
        for digit in f"{PIN}#":
            await call.on_event(ChannelDtmfReceived(channel, digit, 100))
        media.call.advance(0.1)
        dialogue.carry_out(list(media.call.of(KeysTyped)))
        typed = await waiting
    assert typed.keys is not None
    assert typed.keys.digits == PIN
    assert PIN not in repr(logs) + repr(typed)
    assert PIN not in repr(provider.mock_calls)
    call.keys.call_over()
