"""ARI's operations for a second party: ring somebody, hold music, and what is known of a telephone. See `channels`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ai_engine.asterisk.ari import AriClient, segment
from ai_engine.asterisk.channels import get_variable
from ai_engine.asterisk.errors import AriError, AriNotFound
from ai_engine.asterisk.events import Channel, EventError, parse_channel

_DIALPLAN_NAME: Final = re.compile(r"[A-Za-z0-9_*#+.-]{1,80}")

STATUSES: Final[Mapping[str, str]] = {
    "NOT_INUSE": "available",
    "INUSE": "busy",
    "BUSY": "busy",
    "ONHOLD": "busy",
    "RINGING": "ringing",
    "RINGINUSE": "busy",
    "UNAVAILABLE": "unreachable",
    "INVALID": "unreachable",
}
"""What Asterisk's device states mean to somebody who asks whether a colleague can be reached."""


async def originate(
    ari: AriClient,
    endpoint: str,
    *,
    channel_id: str,
    app_args: str,
    timeout_s: float,
    caller_id: str = "",
    originator: str = "",
    variables: Mapping[str, str] | None = None,
) -> Channel:
    """Ring `endpoint` (``PJSIP/6001``, ``Local/600@internal/n``); its StasisStart in our application is the answer.

    Its end without one is a `ChannelDestroyed` whose `cause` says why (17 busy, 19 no answer, 20 not registered).
    What cannot be rung at all is a 400 or 500 here. `originator` is the channel on whose behalf it rings.
    """
    path = f"/channels/{segment(channel_id)}"
    params: dict[str, str | int] = {
        "endpoint": endpoint,
        "app": ari.app,
        "appArgs": app_args,
        "timeout": max(1, round(timeout_s)),
    }
    if endpoint.startswith("Local/"):
        # Its other half runs the dialplan, perhaps as long as two people talk: by an id of ours it would be a leftover.
        params["otherChannelId"] = f"other-{channel_id}"
    if caller_id:
        params["callerId"] = caller_id
    if originator:
        params["originator"] = originator
    body = {"variables": dict(variables)} if variables else None
    raw = await ari.request("POST", path, params=params, body=body)
    try:
        return parse_channel(raw)
    except EventError as exc:
        raise AriError(200, "POST", path, f"unreadable answer: {exc}") from exc


async def start_music(ari: AriClient, channel_id: str, music_class: str = "") -> None:
    """Hold music for a channel outside of bridges. Asterisk says yes also where it has no such class: then silence."""
    params: dict[str, str | int] = {"mohClass": music_class} if music_class else {}
    await ari.request("POST", f"/channels/{segment(channel_id)}/moh", params=params)


async def stop_music(ari: AriClient, channel_id: str) -> bool:
    """False when the channel is gone, or not in our application any more."""
    try:
        await ari.request("DELETE", f"/channels/{segment(channel_id)}/moh")
    except AriError as exc:
        if isinstance(exc, AriNotFound) or exc.status in {409, 412, 422}:
            return False
        raise
    return True


async def has_module(ari: AriClient, module: str) -> bool:
    """Whether Asterisk has loaded e.g. ``res_musiconhold.so``."""
    try:
        raw = await ari.request("GET", f"/asterisk/modules/{segment(module)}")
    except AriError as exc:
        if isinstance(exc, AriNotFound) or exc.status == 409:  # 409: it is there and not loaded
            return False
        raise
    return isinstance(raw, dict) and raw.get("status") == "Running"


async def device_status(ari: AriClient, device: str) -> str:
    """`available`, `busy`, `ringing`, `unreachable` or `unknown` for a device such as ``PJSIP/6001``."""
    raw: Any = await ari.request("GET", f"/deviceStates/{segment(device)}")
    state = raw.get("state") if isinstance(raw, dict) else None
    return STATUSES.get(str(state), "unknown")


async def extension_status(ari: AriClient, channel_id: str, extension: str, dialplan_context: str) -> str:
    """The same for an extension with a hint, as the dialplan function EXTENSION_STATE tells a channel.

    Raises ValueError for what is no extension.
    """
    state = await _ask(ari, channel_id, f"EXTENSION_STATE({_named(extension)}@{_named(dialplan_context)})")
    return STATUSES.get(state or "", "unknown")


async def dialplan_has(ari: AriClient, channel_id: str, extension: str, dialplan_context: str) -> bool | None:
    """Whether the dialplan has the extension; None where Asterisk cannot tell (func_dialplan is not loaded).

    Raises ValueError for what is no extension.
    """
    found = await _ask(ari, channel_id, f"DIALPLAN_EXISTS({_named(dialplan_context)},{_named(extension)},1)")
    return None if found is None or not found.isdigit() else found != "0"


async def _ask(ari: AriClient, channel_id: str, function: str) -> str | None:
    """A dialplan function's value; None where Asterisk does not have the function."""
    try:
        return await get_variable(ari, channel_id, function)
    except AriError as exc:
        if exc.status in {400, 500} and "function" in exc.message.lower():
            return None
        raise


def _named(name: str) -> str:
    """Nothing but a name may stand in a dialplan function."""
    if not _DIALPLAN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of the dialplan")
    return name
