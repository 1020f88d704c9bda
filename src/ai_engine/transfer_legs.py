"""The two parties of an attended transfer in Asterisk; see `consultation.Legs`.

Two people who were joined are the dialplan's: both channels leave our application, into a bridge of `Bridge()`, and go
on talking when the engine stops or dies. In a bridge of ours nobody would hang up the one when the other is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ai_engine.asterisk import channels, legs
from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.events import Channel, Event
from ai_engine.briefing import Briefing, Persona
from ai_engine.call_line import CallLine
from ai_engine.call_services import CallServices
from ai_engine.conversation.conversation import Conversation
from ai_engine.media.line_choice import LineChoice
from ai_engine.tools.call_control import JOIN_CONTEXT, JOIN_EXTENSION, PEER_EXTENSION, Consultation
from ai_engine.transfer import Happened

ToConversation = Callable[[Callable[[Conversation, float], object]], None]

PEER_VARIABLE: Final = "PARLEY_PEER"
"""The channel's name: Bridge() would take an id for the beginning of one, and the other half of a Local channel."""
LEG_ARGUMENT: Final = "parley-leg"
_MUSIC_MODULE: Final = "res_musiconhold.so"
_RINGING_TONE: Final = "tone:ring;tonezone=us"


class TransferLegs:
    """The parties of one transfer in Asterisk; see `consultation.Legs`."""

    def __init__(
        self,
        leg_id: str,
        consultation: Consultation,
        caller: CallLine,
        channel: Channel,
        *,
        services: CallServices,
        lane: Lane,
        to_conversation: ToConversation,
        persona: Persona,
        line: LineChoice,
    ) -> None:
        self.happened: Callable[[Happened], None] = lambda _what: None
        self._ari = services.ari
        self._caller = caller
        self._channel = channel
        """As it came: for what the colleague's telephone shows, and the dialplan context."""
        self._connection = services.ari.connection
        self._lane = lane
        self._to_conversation = to_conversation
        self._consultation = consultation
        self._music: str | None = None
        """What the caller hears: `moh`, or the id of a playback."""
        self._leg_id = leg_id
        self._callee_id = services.ids.leg(leg_id, "leg")
        self._callee_name = ""
        self._briefing = Briefing(
            leg_id,
            self._callee_id,
            services=services,
            lane=lane,
            persona=persona,
            text=consultation.briefing,
            line=line,
            on_happened=self._tell,
        )

    def _tell(self, what: Happened) -> None:
        self.happened(what)

    @property
    def callee_id(self) -> str:
        return self._callee_id

    @property
    def ids(self) -> frozenset[str]:
        return self._briefing.ids | {self._callee_id}

    @property
    def asterisk_is_there(self) -> bool:
        return self._ari.connected and self._ari.connection == self._connection

    def on_briefing_event(self, event: Event) -> None:
        self._briefing.on_event(event)

    async def hold_caller(self) -> None:
        self._to_conversation(Conversation.hold)
        caller_id = self._caller.caller_channel_id
        await channels.remove_from_bridge(self._ari, self._caller.bridge_id, caller_id)
        if await legs.has_module(self._ari, _MUSIC_MODULE):
            self._music = "moh"
            await legs.start_music(self._ari, caller_id, self._consultation.music_class)
        else:
            self._music = f"{self._callee_id}-ringing"
            await channels.play(self._ari, caller_id, _RINGING_TONE, playback_id=self._music)

    async def ring(self) -> None:
        self._lane.adopt(self._callee_id)
        self._briefing.prepare()
        target = self._consultation.target
        ringing = legs.originate(
            self._ari,
            target.dialled(self._channel.context),
            channel_id=self._callee_id,
            app_args=LEG_ARGUMENT,
            timeout_s=self._consultation.ring_s,
            caller_id=_caller_id(self._channel),
            originator=self._caller.caller_channel_id,
        )
        leg = await _to_its_end(ringing)
        self._callee_name = leg.name

    async def brief(self) -> None:
        await self._briefing.begin()

    def tell_callee(self) -> None:
        self._briefing.say_caller_is_gone()

    async def join(self) -> None:
        caller_id = self._caller.caller_channel_id
        await channels.set_variable(self._ari, caller_id, PEER_VARIABLE, self._callee_name)
        # The colleague first: Bridge() takes a channel out of the dialplan, not out of an application's hands.
        await channels.continue_in_dialplan(
            self._ari, self._callee_id, context=JOIN_CONTEXT, extension=PEER_EXTENSION, priority=1
        )
        await self._stop_music()
        await channels.continue_in_dialplan(
            self._ari, caller_id, context=JOIN_CONTEXT, extension=JOIN_EXTENSION, priority=1
        )

    async def hang_up_callee(self) -> None:
        await channels.hangup(self._ari, self._callee_id)

    async def return_caller(self) -> None:
        await self._stop_music()
        await channels.add_to_bridge(self._ari, self._caller.bridge_id, self._caller.caller_channel_id)
        self._to_conversation(Conversation.unhold)

    async def close(self) -> None:
        await self._briefing.close()

    def key(self, digit: str) -> None:
        self._briefing.key(digit)

    async def _stop_music(self) -> None:
        music = self._music
        if music == "moh":
            await legs.stop_music(self._ari, self._caller.caller_channel_id)
        elif music is not None:
            await channels.stop_playback(self._ari, music)
        self._music = None


def _caller_id(channel: Channel) -> str:
    """``"Name" <number>``, without what would end the quotes."""
    name = "".join(c for c in channel.caller_name if c.isprintable() and c not in '"<>\\')
    return f'"{name}" <{channel.caller_number}>' if channel.caller_number else ""


async def _to_its_end(request: Coroutine[Any, Any, Channel]) -> Channel:
    """What is asked of Asterisk is waited for, also by who is cancelled: it is done all the same."""
    task = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()
        raise
