"""Carries an attended transfer out: what `transfer.AttendedTransfer` wants done, and what is reported to it.

One task per transfer, on the control loop. Effects are carried out one after another; events come in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from ai_engine.asterisk.errors import AriError, AriUnreachable
from ai_engine.asterisk.events import (
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelHangupRequest,
    Event,
    StasisEnd,
    StasisStart,
)
from ai_engine.media.lines import MediaError
from ai_engine.media.ports import PortError
from ai_engine.providers.provider import ProviderError
from ai_engine.transfer import AttendedTransfer, Effect, Happened, Limits, Result, State

log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.1
"""Between two looks at the clock and at the connection to Asterisk."""
_FAILURES: Final = (AriError, MediaError, PortError, ProviderError)

_CAUSES: Final = {
    17: Happened.BUSY,
    18: Happened.NO_ANSWER,
    19: Happened.NO_ANSWER,
    21: Happened.BUSY,  # rejected: somebody is there and does not want to
    127: Happened.NO_ANSWER,  # what is left when the ring time is over (seen on 22.10: 0 or 127)
    0: Happened.NO_ANSWER,
    16: Happened.NO_ANSWER,
}
"""Q.850 causes of a leg that ended unanswered; any other: there is no way there."""


class Legs(Protocol):
    """The two parties in Asterisk. Every method may raise `AriError`; those of the briefing its parts' errors, too."""

    @property
    def callee_id(self) -> str:
        """The colleague's channel."""

    @property
    def asterisk_is_there(self) -> bool: ...
    async def hold_caller(self) -> None: ...
    async def ring(self) -> None: ...
    async def brief(self) -> None: ...
    def tell_callee(self) -> None: ...
    async def join(self) -> None: ...
    async def hang_up_callee(self) -> None: ...
    async def return_caller(self) -> None: ...
    async def close(self) -> None:
        """What the briefing opened. Idempotent."""

    def key(self, digit: str) -> None: ...


class ConsultationRun:
    """One attended transfer under way."""

    def __init__(
        self, legs: Legs, limits: Limits, *, call_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.transfer = AttendedTransfer(limits)
        self._legs = legs
        self._clock = clock
        self._woken = asyncio.Event()
        self._briefing: asyncio.Task[bool] | None = None
        self._callee_answered = False
        self._callee_hung_up = False
        self._log = log.bind(call_id=call_id)

    async def run(self) -> Result:
        """From the music to the end. What it opened is given back, also when it is cancelled."""
        transfer = self.transfer
        try:
            transfer.begin(self._clock())
            while not transfer.done or transfer.effects:
                if transfer.effects:
                    await self._carry_out(transfer.effects.pop(0))
                    continue
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _LOOK_S)
                self._look()
        finally:
            await self._end()
        assert transfer.result is not None
        self._log.info("consultation_ended", result=transfer.result.value, caller_lost=transfer.caller_lost)
        return transfer.result

    def happened(self, what: Happened) -> None:
        """Something happened, on the control loop."""
        before = self.transfer.state
        self.transfer.happened(what, self._clock())
        if self.transfer.state is not before:
            self._log.info("consultation", happened=what.value, state=self.transfer.state.value)
        self._woken.set()

    def on_callee_event(self, event: Event) -> None:
        """One event of the colleague's channel."""
        match event:
            case StasisStart():
                self._callee_answered = True
                self.happened(Happened.ANSWERED)
            case ChannelDtmfReceived(digit=digit):
                self._legs.key(digit)
            case ChannelHangupRequest():
                self._callee_hung_up = True
                if self._callee_answered:
                    self.happened(Happened.CALLEE_GONE)
            case StasisEnd():
                if self._callee_hung_up or self.transfer.state is not State.JOINING:
                    self.happened(Happened.CALLEE_GONE)
            case ChannelDestroyed(cause=cause):
                ended = Happened.CALLEE_GONE if self._callee_answered else _CAUSES.get(cause, Happened.UNREACHABLE)
                self.happened(ended)

    def on_caller_left(self, *, hung_up: bool) -> None:
        """The caller's channel is gone, or out of our application."""
        left = self.transfer.caller_may_leave and not hung_up
        self.happened(Happened.CALLER_LEFT if left else Happened.CALLER_GONE)

    def _look(self) -> None:
        if not self._legs.asterisk_is_there:
            self.happened(Happened.ASTERISK_LOST)
        self.transfer.tick(self._clock())

    async def _carry_out(self, effect: Effect) -> None:
        legs = self._legs
        match effect:
            case Effect.HOLD_CALLER:
                await self._try(effect, legs.hold_caller, Happened.HOLD_FAILED)
            case Effect.RING:
                await self._try(effect, legs.ring, Happened.UNREACHABLE)
            case Effect.BRIEF:
                brief = self._try(effect, legs.brief, Happened.BRIEFING_FAILED)
                self._briefing = asyncio.create_task(brief, name="briefing")
            case Effect.TELL_CALLEE:
                legs.tell_callee()
            case Effect.JOIN:
                await self._end_briefing()
                if await self._try(effect, legs.join, Happened.JOIN_FAILED):
                    self.happened(Happened.JOINED)
            case Effect.HANG_UP_CALLEE:
                await self._end_briefing()
                await self._try(effect, legs.hang_up_callee)
            case Effect.RETURN_CALLER:
                await self._return_caller()

    async def _try(self, effect: Effect, act: Callable[[], Awaitable[None]], otherwise: Happened | None = None) -> bool:
        try:
            await act()
        except _FAILURES as error:
            self._log.warning("consultation_step_failed", step=effect.value, error=str(error))
            if otherwise is not None:
                self.happened(otherwise)
            return False
        return True

    async def _return_caller(self) -> None:
        """Again and again while Asterisk is away: he hears nothing as long."""
        while self.transfer.state is State.RETURNING:
            try:
                await self._legs.return_caller()
            except AriUnreachable as error:
                self._log.warning("consultation_step_failed", step="return_caller", error=str(error))
                await asyncio.sleep(_LOOK_S)
                self.transfer.tick(self._clock())
            except AriError as error:
                self._log.warning("consultation_step_failed", step="return_caller", error=str(error))
                self.happened(Happened.RETURN_FAILED)
            else:
                self.happened(Happened.RETURNED)

    async def _end_briefing(self) -> None:
        briefing, self._briefing = self._briefing, None
        if briefing is not None:
            briefing.cancel()
            await asyncio.gather(briefing, return_exceptions=True)
        await self._legs.close()

    async def _end(self) -> None:
        if not self.transfer.done:  # cancelled, or a fault of ours: nobody may be left ringing
            self.transfer.happened(Happened.CALLER_GONE, self._clock())
            with contextlib.suppress(AriError):
                await self._legs.hang_up_callee()
        await self._end_briefing()
