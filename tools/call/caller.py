"""A scripted telephone: real SIP and RTP by baresip, many calls at once, driven from asyncio.

    async with SipCaller() as caller, caller.dial("sip:700@127.0.0.1:5060") as call:
        await call.wait_for_silence(700)            # the greeting is over
        question = call.play("question.wav")
        begun_s = await call.wait_for_agent(since_s=await question.sent())
        print((begun_s - question.end_s) * 1000, "ms")
        call.save("call.wav")

baresip's state is global to the process: one `SipCaller` at a time, as many calls in it as wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from urllib.parse import urlsplit

from baresip import Account, BaresipError, Config, Event, Runtime, StackEvent, UserAgent

from tools.call.call import CallError, SipCall
from tools.call.phone import SipPhone

POLL_S = 0.005

EARLY = (Event.CALL_RINGING, Event.CALL_PROGRESS, Event.CALL_ESTABLISHED, Event.CALL_CLOSED)


def local_address_toward(uri: str) -> str:
    """This host's address on the way to a SIP URI's host; sends nothing."""
    parts = urlsplit("//" + uri.removeprefix("sip:").split(";")[0])
    if not parts.hostname:
        raise ValueError(f"{uri!r} is not a SIP URI; it looks like sip:700@127.0.0.1:5060")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((parts.hostname, parts.port or 5060))
        except OSError as error:
            raise ValueError(f"the host of {uri} cannot be reached: {error.strerror or error}") from None
        address: str = probe.getsockname()[0]
        return address


class SipCaller:
    """Makes calls; enter it to start the SIP stack (on a free port), leave it to hang up all and stop it.

    `password` is for a PBX that asks for one (users 6001 to 6003 of tools/pbx). `codecs` are baresip's names, of 8 kHz.
    """

    def __init__(
        self,
        *,
        user: str = "caller",
        password: str = "",
        local_address: str = "127.0.0.1",
        codecs: tuple[str, ...] = ("pcmu",),
    ) -> None:
        self._user = user
        self._password = password
        self._local_address = local_address
        self._codecs = codecs
        self._runtime = Runtime()
        self._agents: dict[str, UserAgent] = {}
        self._calls: dict[int, SipCall] = {}
        self._early: defaultdict[int, list[StackEvent]] = defaultdict(list)
        self._dialling = 0
        self._poller: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SipCaller:
        # Without a jitter buffer packets are decoded as they come; Track places them by arrival.
        config = Config(
            net_interface=self._local_address,
            max_concurrent_calls=None,
            native_log_level="error",
            extra_config_text="jitter_buffer_type off\naudio_jitter_buffer_type off\n",
        )
        try:
            await self._runtime.start(config)
        except BaresipError as error:
            raise CallError(f"the SIP stack does not start: {error}") from error
        self._runtime.subscribe(self._on_event)
        self._poller = asyncio.create_task(self._poll(), name="sip-caller-audio")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await asyncio.gather(*(call.hangup() for call in self._calls.values()))
        finally:
            if self._poller is not None:
                self._poller.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._poller
            await self._runtime.close()

    @contextlib.asynccontextmanager
    async def dial(
        self,
        uri: str,
        *,
        headers: Mapping[str, str] | None = None,
        user: str | None = None,
        wait: bool = True,
        timeout_s: float = 30.0,
    ) -> AsyncIterator[SipCall]:
        """Call `uri`; the block gets the call once it is answered (`wait=False`: at once, while it rings).

        Leaving the block hangs up. `headers` go into the INVITE; `user` is the caller's number if not the default.
        Raises `CallRefused` and `WaitTimedOut` as `SipCall.wait_established` does.
        """
        agent = await self._agent(user or self._user)
        self._dialling += 1
        dialled_s = time.monotonic()
        try:
            native = await agent.dial(uri, dict(headers or {}))
            call = SipCall(native, dialled_s)
            self._calls[native.handle] = call
            # A PBX on this machine answers before dial() has come back; baresip's own Call misses that for good.
            for event in self._early.pop(native.handle, ()):
                call.on_event(event)
        except BaresipError as error:
            raise CallError(f"{uri} cannot be dialled: {error}") from error
        finally:
            self._dialling -= 1
            if not self._dialling:
                self._early.clear()
        try:
            if wait:
                await call.wait_established(timeout_s)
            yield call
        finally:
            await call.hangup()
            self._calls.pop(native.handle, None)

    @contextlib.asynccontextmanager
    async def register(self, user: str, domain: str) -> AsyncIterator[SipPhone]:
        """A telephone that can be called: `user` at the registrar `domain` (host and port), with our password.

        Leaving the block hangs up its calls and signs it off. Raises `CallError` where it is not let in.
        """
        account = Account(user=user, domain=domain, password=self._password, audio_codecs=self._codecs)
        phone = SipPhone(user, await UserAgent.create(self._runtime, account), self._calls.__setitem__)
        await phone.begin()
        try:
            yield phone
        finally:
            await phone.end()

    async def _agent(self, user: str) -> UserAgent:
        if user not in self._agents:
            account = Account(
                user=user,
                domain=self._local_address,
                password=self._password,
                reg_interval=0,
                audio_codecs=self._codecs,
            )
            self._agents[user] = await UserAgent.create(self._runtime, account)
        return self._agents[user]

    def _on_event(self, event: StackEvent) -> None:
        if not event.call:
            return
        call = self._calls.get(event.call)
        if call is not None:
            call.on_event(event)
        elif self._dialling and event.event in EARLY:
            self._early[event.call].append(event)

    async def _poll(self) -> None:
        while True:
            for call in tuple(self._calls.values()):
                if not call.ended.is_set():
                    call.poll()
            await asyncio.sleep(POLL_S)
