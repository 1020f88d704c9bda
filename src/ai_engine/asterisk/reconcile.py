"""After a reconnect: make Asterisk's channels and our calls agree again.

While the event WebSocket was down calls may have begun, ended or lost their media unseen. `plan` decides what to do, as
a pure function; `reconcile` gathers what it needs and carries it out. Two rules stand above all: a caller is never hung
up on, and nothing is destroyed that this engine did not make.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from ai_engine.asterisk import channels as operations
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.errors import AriConflict, AriError, AriNotFound, AriUnreachable
from ai_engine.asterisk.events import Application, Bridge, Channel
from ai_engine.asterisk.ids import FAMILY

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LiveCall:
    """What reconciling needs to know of a call whose caller is in our application.

    A call we originate counts once its StasisStart has come.
    """

    call_id: str
    channel_id: str
    """The caller's channel."""
    reserved_ids: frozenset[str] = frozenset()
    """Ids given to the call's media channel, bridge and legs, whether made yet or not: never destroyed here."""
    made_ids: frozenset[str] = frozenset()
    """Those of them that Asterisk confirmed: when one is missing, the call must mend or end itself."""


@dataclass(frozen=True, slots=True)
class DestroyChannel:
    """A channel of our making that belongs to no call, and does not talk with anybody in a bridge of the dialplan's."""

    channel_id: str


@dataclass(frozen=True, slots=True)
class DestroyBridge:
    """A bridge of our making that belongs to no call. A caller in it stays alive."""

    bridge_id: str


@dataclass(frozen=True, slots=True)
class NewCall:
    """A caller sits in our application without a call."""

    channel: Channel
    cut_off: bool = False
    """He is in a bridge of an engine's making: he had been talking."""


@dataclass(frozen=True, slots=True)
class Continue:
    """A caller sits in our application without a call, and we take none: on to the dialplan's fallback."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class EndCall:
    """A call whose caller is gone, or was taken out of our application."""

    call_id: str


@dataclass(frozen=True, slots=True)
class CallBroken:
    """A call whose caller is there, but things made for it are not."""

    call_id: str
    missing_ids: frozenset[str]


Action = EndCall | CallBroken | DestroyChannel | DestroyBridge | NewCall | Continue


@dataclass(frozen=True, slots=True)
class Fallback:
    """Where a caller goes whom we do not serve; all None is the line after ``Stasis()``."""

    context: str | None = None
    extension: str | None = None
    priority: int | None = None


def plan(
    channels: Iterable[Channel],
    bridges: Iterable[Bridge],
    live_calls: Iterable[LiveCall],
    ours_prefix: str,
    app: Application,
    *,
    accept_new: bool = True,
    settled: Collection[str] | None = None,
) -> list[Action]:
    """What to do, in the order to do it: calls end, leftovers go (channels, then bridges), callers are cared for.

    `settled` are the ids of the calls that were live all through the gathering of `channels`, and so the only ones
    whose absence from it means anything; None stands for all. With `accept_new` False callers without a call are sent
    on, as an engine that is stopping must.
    """
    calls = tuple(live_calls)
    present = {channel.id: channel for channel in channels}
    bridges = tuple(bridges)
    bridge_ids = [bridge.id for bridge in bridges]
    connected = {member for bridge in bridges if bridge.id.startswith(FAMILY) for member in bridge.channel_ids}
    existing = present.keys() | set(bridge_ids)
    talking = members_of_others(bridges)
    held = {channel_id for channel_id in app.channel_ids if channel_id in present and present[channel_id].in_stasis}

    actions: list[Action] = []
    for call in calls:
        if settled is not None and call.call_id not in settled:
            continue
        if call.channel_id not in held:
            actions.append(EndCall(call.call_id))
        elif missing := call.made_ids - existing:
            actions.append(CallBroken(call.call_id, missing))

    reserved = frozenset[str]().union(*(call.reserved_ids | call.made_ids for call in calls))
    callers = {call.channel_id for call in calls}

    def is_leftover(resource_id: str) -> bool:
        ours = resource_id.startswith(ours_prefix) and resource_id not in talking
        return ours and resource_id not in reserved and resource_id not in callers

    actions.extend(DestroyChannel(channel_id) for channel_id in present if is_leftover(channel_id))
    actions.extend(DestroyBridge(bridge_id) for bridge_id in bridge_ids if is_leftover(bridge_id))
    actions.extend(
        NewCall(channel, channel.id in connected) if accept_new else Continue(channel)
        for channel in present.values()
        if channel.id in held
        and channel.id not in callers
        and channel.id not in reserved
        and not channel.id.startswith((FAMILY, ours_prefix))
    )
    return actions


def members_of_others(bridges: Iterable[Bridge]) -> frozenset[str]:
    """The channels in bridges that no engine made: the dialplan's.

    A leg that we rang is there when its transfer is over, and two people talk.
    """
    return frozenset(member for bridge in bridges if not bridge.id.startswith(FAMILY) for member in bridge.channel_ids)


class NewCallTaker(Protocol):
    """Takes a caller without a call; fit for `Dispatcher.announce`."""

    def __call__(self, channel: Channel, *, cut_off: bool) -> None: ...


async def reconcile(
    ari: AriClient,
    *,
    live_calls: Callable[[], Iterable[LiveCall]],
    ours_prefix: str,
    new_call: NewCallTaker,
    end_call: Callable[[str], Awaitable[None]],
    call_broken: Callable[[str, frozenset[str]], Awaitable[None]],
    accept_new: bool = True,
    fallback: Fallback = Fallback(),
) -> Sequence[Action]:
    """Gather, plan and carry out; returns the plan.

    Fit for `AriClient.run`'s `on_connected`; events go on meanwhile, so `new_call` should be `Dispatcher.announce`,
    which passes over channels whose StasisStart came first. Raises `AriUnreachable` when Asterisk goes away again; any
    other failed action is logged and the rest is done.
    """
    before = {call.call_id: call for call in live_calls()}
    app = await _application(ari)
    bridges = await operations.list_bridges(ari)
    channels = await operations.list_channels(ari)
    after = {call.call_id: call for call in live_calls()}
    actions = plan(
        channels,
        bridges,
        (before | after).values(),  # a call that has just ended still accounts for its channels
        ours_prefix,
        app,
        accept_new=accept_new,
        settled=before.keys() & after.keys(),
    )
    _log.info("asterisk.reconciling", app=app.name, calls=len(after), actions=len(actions))
    for action in actions:
        await _carry_out(ari, action, new_call=new_call, end_call=end_call, call_broken=call_broken, fallback=fallback)
    return actions


async def _application(ari: AriClient) -> Application:
    try:
        return await operations.get_application(ari, ari.app)
    except AriNotFound as exc:
        # Only a connected application exists: the event WebSocket has just ended. To read this as "no channels" would
        # end every call; the next connection reconciles anew.
        raise AriUnreachable(exc.method, exc.path, "the event connection ended while reconciling") from exc


async def _carry_out(
    ari: AriClient,
    action: Action,
    *,
    new_call: NewCallTaker,
    end_call: Callable[[str], Awaitable[None]],
    call_broken: Callable[[str, frozenset[str]], Awaitable[None]],
    fallback: Fallback,
) -> None:
    try:
        match action:
            case EndCall(call_id):
                await end_call(call_id)
            case CallBroken(call_id, missing_ids):
                await call_broken(call_id, missing_ids)
            case DestroyChannel(channel_id):
                await operations.hangup(ari, channel_id)
            case DestroyBridge(bridge_id):
                await operations.destroy_bridge(ari, bridge_id)
            case NewCall(channel, cut_off):
                new_call(channel, cut_off=cut_off)
            case Continue(channel):
                await continue_caller(ari, channel.id, fallback)
    except AriUnreachable:
        raise
    except AriError as exc:
        _log.warning("asterisk.reconcile_action_failed", action=type(action).__name__, error=str(exc))


async def continue_caller(ari: AriClient, channel_id: str, fallback: Fallback) -> bool:
    """Send a caller on to the fallback. False when the channel is gone or no longer in our application."""
    try:
        await operations.continue_in_dialplan(
            ari, channel_id, context=fallback.context, extension=fallback.extension, priority=fallback.priority
        )
    except (AriNotFound, AriConflict):
        return False
    return True
