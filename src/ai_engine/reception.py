"""Where callers come in: each is taken, or told that there is no room, or sent on; none is left silent.

Holds the live calls of the engine. Everything here runs on the control loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from ai_engine.admission import Admission, Load, Reason, Treatment
from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.dispatch import CUT_OFF, Handler, Lane
from ai_engine.asterisk.errors import AriError
from ai_engine.asterisk.events import Channel, StasisStart
from ai_engine.asterisk.reconcile import Fallback, LiveCall, continue_caller
from ai_engine.call import Call
from ai_engine.call_services import CallServices, Outcome
from ai_engine.message_call import MessageCall
from ai_engine.metrics import Metrics

log = structlog.get_logger(__name__)


class Reception:
    """One engine's. `on_new_channel` is fit for a `Dispatcher`, the rest for reconciling and for an engine's end."""

    def __init__(
        self,
        ari: AriClient,
        admission: Admission,
        metrics: Metrics,
        *,
        fallback: Fallback,
        ports_left: Callable[[], int | None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        """`ports_left`: media ports that are not in use; None where calls need none. `spawn` owns the calls' tasks."""
        self.calls: dict[str, Call] = {}
        self.services: CallServices | None = None
        """None until the engine has started: no caller is taken before."""
        self.stopping = False
        self._messages: dict[str, MessageCall] = {}
        self._ari = ari
        self._admission = admission
        self._metrics = metrics
        self._fallback = fallback
        self._ports_left = ports_left
        self._spawn = spawn

    @property
    def room(self) -> int:
        """How many more calls would be taken now."""
        return self._admission.room(self._load())

    @property
    def empty(self) -> bool:
        """Whether nobody is on the line."""
        return not self.calls and not self._messages

    def on_new_channel(self, start: StasisStart, lane: Lane) -> Handler | None:
        """A caller has come; see `Dispatcher`."""
        load = self._load()
        reason = self._admission.refusal(load)
        if reason is None and self.services is not None:
            call = Call(start, lane, self.services)
            self.calls[call.call_id] = call
            self._metrics.calls_active.set(len(self.calls))
            self._spawn(self._run_call(call), f"call-{call.call_id}")
            return call.on_event
        return self._refuse(start, lane, reason or Reason.STARTING, load)

    def live_calls(self) -> list[LiveCall]:
        """What reconciling has to know of them."""
        return [call.live_call for call in self._everybody()]

    async def end_call(self, call_id: str) -> None:
        """Reconciling found that the caller has gone."""
        if (call := self.calls.get(call_id) or self._messages.get(call_id)) is not None:
            call.caller_is_gone()

    async def call_broken(self, call_id: str, missing: frozenset[str]) -> None:
        """Reconciling found that something made for the call has gone."""
        log.warning("call_broken", call_id=call_id, missing=sorted(missing))
        if (call := self.calls.get(call_id)) is not None:
            call.finish(Outcome.FELL_BACK)
        elif (message := self._messages.get(call_id)) is not None:
            message.finish()

    def give_all_up(self) -> None:
        """Another engine has our application, and with it our callers: they are not ours to touch any more."""
        for call in self._everybody():
            call.caller_is_gone()

    def _everybody(self) -> list[Call | MessageCall]:
        return [*self.calls.values(), *self._messages.values()]

    # --- taken --------------------------------------------------------------------------------------------------------

    async def _run_call(self, call: Call) -> None:
        try:
            if await call.run() is Outcome.REFUSED:
                self._metrics.calls_refused.labels(Reason.NO_PORT.value, Treatment.DIALPLAN.value).inc()
        finally:
            del self.calls[call.call_id]
            self._metrics.calls_active.set(len(self.calls))

    # --- not taken ----------------------------------------------------------------------------------------------------

    def _load(self) -> Load:
        return Load(
            started=self.services is not None,
            stopping=self.stopping,
            calls=len(self.calls),
            messages=len(self._messages),
            ports_left=self._ports_left(),
        )

    def _refuse(self, start: StasisStart, lane: Lane, reason: Reason, load: Load) -> Handler | None:
        how = self._admission.treatment(
            reason, load, answered=start.channel.state == "Up", cut_off=CUT_OFF in start.args
        )
        log.warning("call_refused", reason=reason.value, how=how.value, channel=start.channel.name, calls=load.calls)
        self._metrics.calls_ended.labels("refused").inc()
        self._metrics.calls_refused.labels(reason.value, how.value).inc()
        if how is Treatment.MESSAGE and self.services is not None:
            message = MessageCall(start, lane, self.services)
            self._messages[message.call_id] = message
            self._spawn(self._run_message(message), f"message-{message.call_id}")
            return message.on_event
        send_away = self._hang_up_busy if how is Treatment.BUSY else self._send_on
        self._spawn(send_away(start.channel), f"refuse-{start.channel.id}")
        return None

    async def _run_message(self, message: MessageCall) -> None:
        try:
            await message.run()
        finally:
            del self._messages[message.call_id]

    async def _send_on(self, channel: Channel) -> None:
        try:
            await continue_caller(self._ari, channel.id, self._fallback)
        except AriError as error:  # he is found again when Asterisk is: by the next reconcile
            log.warning("caller_not_sent_on", channel=channel.name, error=str(error))

    async def _hang_up_busy(self, channel: Channel) -> None:
        try:
            await channels.hangup(self._ari, channel.id, reason="busy")
        except AriError as error:
            log.warning("caller_not_sent_on", channel=channel.name, error=str(error))
