"""A telephone that is registered and rings; what it does then is the script's.

async with SipCaller(password=pbx.phone_password) as caller, caller.register("6002", pbx.sip_domain) as phone:
    call = await phone.rings()
    await call.answer()                         # or call.reject(): busy here; or call.hangup(); or nothing
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from baresip import BaresipError, Call, StaleHandleError, UserAgent

from tools.call.call import CallError, CallRefused, SipCall, WaitTimedOut


class IncomingCall(SipCall):
    """Rings until it is answered, rejected, or the far end gives up. `dialled_s` is when it began to."""

    def __init__(self, call: Call) -> None:
        super().__init__(call, time.monotonic())
        self.ringing_s = self.dialled_s

    @property
    def peer(self) -> str:
        """The URI of whoever calls, with the number that the telephone shows."""
        return str(self._call.peer or "")

    async def answer(self, timeout_s: float = 30.0) -> None:
        """Take the call; audio flows both ways afterwards. Raises `CallRefused` where nobody is there any more."""
        try:
            await self._call.answer()
        except StaleHandleError:
            raise CallRefused(self.end_reason or "the far end has given up") from None
        except BaresipError as error:
            raise CallError(f"the call cannot be answered: {error}") from error
        await self.wait_established(timeout_s)

    async def reject(self) -> None:
        """486 Busy Here."""
        try:
            await self._call.reject()
        except StaleHandleError:
            return
        await self.wait_ended(timeout_s=30.0)


class SipPhone:
    """One registered telephone; made by `SipCaller.register`."""

    def __init__(self, user: str, agent: UserAgent, on_call: Callable[[int, IncomingCall], None]) -> None:
        """`on_call` gets each new call with its native handle before its first event."""
        self.user = user
        self.calls: list[IncomingCall] = []
        """All that have come, oldest first."""
        self._agent = agent
        self._on_call = on_call
        self._waiting: asyncio.Queue[IncomingCall] = asyncio.Queue()
        agent.on_incoming(self._incoming)

    async def rings(self, timeout_s: float = 30.0) -> IncomingCall:
        """The next call that comes, or has come and was not asked for yet."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._waiting.get()
        except TimeoutError:
            raise WaitTimedOut(f"telephone {self.user} has not rung within {timeout_s:g} s") from None

    async def begin(self) -> None:
        """Register. Raises `CallError`."""
        try:
            await self._agent.register()
        except BaresipError as error:
            raise CallError(f"telephone {self.user} cannot register: {error}") from error

    async def end(self) -> None:
        """Hang up all, and sign off where the registrar still answers."""
        await asyncio.gather(*(call.hangup() for call in self.calls))
        try:
            await self._agent.unregister(timeout=2.0)
        except BaresipError:
            pass  # it has been stopped, or restarted and has forgotten

    def _incoming(self, native: Call) -> None:
        call = IncomingCall(native)
        self._on_call(native.handle, call)
        self.calls.append(call)
        self._waiting.put_nowait(call)
