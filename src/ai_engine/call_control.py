"""What tools may do with a call: its caller's keys, what the telephone system knows, and attended transfers.

Implements `tools.call_control.CallControl`. One per call, on the control loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import structlog

from ai_engine.asterisk import channels, legs
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.errors import AriError, AriNotFound
from ai_engine.asterisk.events import Channel, ChannelHangupRequest, Event, StasisEnd
from ai_engine.briefing import Persona
from ai_engine.call_line import CallLine
from ai_engine.call_services import CallServices
from ai_engine.consultation import ConsultationRun
from ai_engine.destinations import Target
from ai_engine.media.line_choice import LineChoice
from ai_engine.tools.call_control import Consultation
from ai_engine.tools.telephony_sentences import sentence
from ai_engine.tools.tool import ToolFailed
from ai_engine.transfer import Happened, Limits, Result
from ai_engine.transfer_legs import ToConversation, TransferLegs

log = structlog.get_logger(__name__)

_PAUSE: Final = "w"
_PAUSE_S: Final = 0.5
_RING_MARGIN_S: Final = 2.0
_TOLD: Final = {
    Result.BUSY: "busy",
    Result.NO_ANSWER: "no_answer",
    Result.DECLINED: "declined",
    Result.CALLEE_LEFT: "declined",
    Result.UNREACHABLE: "failed",
    Result.FAILED: "failed",
}


class TelephoneControl:
    """One call's. `close` it before the call's line is given back."""

    def __init__(
        self,
        call_id: str,
        caller: CallLine,
        channel: Channel,
        *,
        services: CallServices,
        lane: Lane,
        to_conversation: ToConversation,
        on_consulted: Callable[[Target, Result, bool], None],
    ) -> None:
        """`channel` is the caller's. `on_consulted` hears how a transfer to whom ended, and if its caller is lost."""
        self._call_id = call_id
        self._caller = caller
        self._channel = channel
        self._callers_context = channel.context
        self._services = services
        self._lane = lane
        self.to_conversation = to_conversation
        self._on_consulted = on_consulted
        self._about: tuple[Persona, LineChoice] | None = None
        self._run: ConsultationRun | None = None
        self._legs: TransferLegs | None = None
        self._task: asyncio.Task[Result] | None = None
        self._numbers = itertools.count(1)
        self._caller_hung_up = False
        self._log = log.bind(call_id=call_id)

    def connected(self, persona: Persona, line: LineChoice) -> None:
        """The call has its persona and its line."""
        self._about = (persona, line)

    @property
    def reserved_ids(self) -> frozenset[str]:
        """What a transfer has made, or is about to make, in Asterisk: reconciling leaves it alone."""
        return self._legs.ids if self._legs is not None else frozenset()

    @property
    def consulting(self) -> bool:
        """A transfer is under way: the caller may be out of the call's bridge."""
        return self._task is not None and not self._task.done()

    # --- what tools ask -----------------------------------------------------------------------------------------------

    async def send_dtmf(self, digits: str) -> None:
        for number, keys in enumerate(digits.split(_PAUSE)):
            if number:
                await asyncio.sleep(_PAUSE_S)
            if keys:
                with _words_for_models():
                    await channels.send_dtmf(self._ari, self._caller.caller_channel_id, keys)

    async def dialplan_has(self, extension: str, dialplan_context: str = "") -> bool:
        context = dialplan_context or self._callers_context
        with _words_for_models():
            found = await legs.dialplan_has(self._ari, self._caller.caller_channel_id, extension, context)
        return found is not False

    async def extension_status(self, target: Target) -> str:
        with _words_for_models():
            if target.endpoint and not target.endpoint.startswith("Local/"):
                return await legs.device_status(self._ari, target.endpoint)
            context = target.dialplan_context or self._callers_context
            return await legs.extension_status(self._ari, self._caller.caller_channel_id, target.extension, context)

    async def consult(self, consultation: Consultation) -> None:
        if self.consulting or self._about is None or not self._caller.caller_in_stasis:
            self._log.warning("consultation_not_possible", target=consultation.target.name)
            return
        self._task = asyncio.create_task(self._consult(consultation), name=f"consult-{self._call_id}")
        await asyncio.shield(self._task)

    # --- what the call tells ------------------------------------------------------------------------------------------

    def takes(self, event: Event) -> bool:
        """Whether the event belongs to a transfer, which has it then, and not to the call."""
        run, of_legs = self._run, self._legs
        if event.channel_id is not None and self._services.ids.is_ours(event.channel_id):
            if run is not None and of_legs is not None:
                if event.channel_id == of_legs.callee_id:
                    run.on_callee_event(event)
                elif event.channel_id in of_legs.ids:
                    of_legs.on_briefing_event(event)
            return True  # of a leg that is gone: it comes late
        return run is not None and self._callers(run, event)

    def _callers(self, run: ConsultationRun, event: Event) -> bool:
        if isinstance(event, ChannelHangupRequest):
            self._caller_hung_up = True
        elif isinstance(event, StasisEnd) and not self._caller_hung_up and run.transfer.caller_may_leave:
            self._caller.caller_in_stasis = False
            run.on_caller_left(hung_up=False)
            return True
        return False

    def stop(self) -> None:
        """The caller is the agent's again at once, unless he is being joined already."""
        if self._run is not None:
            self._run.happened(Happened.STOPPING)

    async def close(self, *, caller_is_there: bool) -> None:
        """The call ends: a transfer under way comes to its end first. Lets go of the call. Idempotent."""
        if self._run is not None:
            self._run.happened(Happened.STOPPING if caller_is_there else Happened.CALLER_GONE)
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self.to_conversation = self._on_consulted = _nothing

    # --- an attended transfer -----------------------------------------------------------------------------------------

    @property
    def _ari(self) -> AriClient:
        return self._services.ari

    async def _consult(self, consultation: Consultation) -> Result:
        assert self._about is not None
        persona, line = self._about
        leg_id = f"{self._call_id}-callee{next(self._numbers)}"
        of_legs = TransferLegs(
            leg_id,
            consultation,
            self._caller,
            self._channel,
            services=self._services,
            lane=self._lane,
            to_conversation=self.to_conversation,
            persona=persona,
            line=line,
        )
        limits = Limits(ring_s=consultation.ring_s + _RING_MARGIN_S, briefing_s=consultation.decide_s)
        self._legs = of_legs
        self._run = run = ConsultationRun(of_legs, limits, call_id=self._call_id)
        of_legs.happened = run.happened
        try:
            result, lost = await run.run(), run.transfer.caller_lost
        except Exception:  # noqa: BLE001 - root of the transfer's task: the caller goes to the fallback
            self._log.exception("consultation_broke")
            result, lost = Result.FAILED, True
        finally:
            self._run = self._legs = None
        if result is Result.TRANSFERRED:
            self._caller.caller_in_stasis = False
        elif self._caller.caller_in_stasis and not lost and result in _TOLD:
            told = sentence(_TOLD[result], persona.context.language, consultation.target.spoken)
            self.to_conversation(lambda conversation, now: conversation.say(told, now))
        self._on_consulted(consultation.target, result, lost)
        return result


def _nothing(*_: Any) -> None:
    """For a call that is over."""


@contextlib.contextmanager
def _words_for_models() -> Iterator[None]:
    try:
        yield
    except AriNotFound:
        raise ToolFailed("the caller is not on the line any more") from None
    except (AriError, ValueError) as error:
        log.warning("telephony_tool_failed", error=str(error))
        raise ToolFailed("the telephone system refused it") from None
