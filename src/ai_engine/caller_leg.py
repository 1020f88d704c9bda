"""What Asterisk measures between itself and the caller's telephone: asked for now and then, and once more at the end.

Asterisk itself knows more only every 5 s, when RTCP reports go and come. A channel without RTP (a local or analogue
one) has none of it, and a channel that hung up is gone within milliseconds: then the last figures stand.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.errors import AriError, AriNotFound
from ai_engine.media.line_quality import LineQuality

log = structlog.get_logger(__name__)

EVERY_S: Final = 10.0
_LAST_CHANCE_S: Final = 1.0
"""No call waits longer than this for its last figures."""


class CallerLeg:
    """One call's. Lives on the control loop."""

    def __init__(self, ari: AriClient, channel_id: str, *, every_s: float = EVERY_S) -> None:
        self.quality: LineQuality | None = None
        """The latest figures; None as long as there are none."""
        self._ari = ari
        self._channel_id = channel_id
        self._every_s = every_s
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The caller is connected. Call `end` afterwards."""
        self._watching = asyncio.create_task(self._watch(), name=f"caller-leg-{self._channel_id}")

    async def end(self, *, channel_may_be_there: bool) -> None:
        """Stop asking, with a last question where somebody may answer. Idempotent."""
        watching, self._watching = self._watching, None
        if watching is None:
            return
        unsupported = watching.done()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        if channel_may_be_there and not unsupported:
            with contextlib.suppress(AriError, TimeoutError):
                async with asyncio.timeout(_LAST_CHANCE_S):
                    await self._ask()

    async def _watch(self) -> None:
        """Until cancelled, or until it is known that there is nothing to be had."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                if not await self._ask():
                    return
            except AriNotFound:
                return
            except AriError as error:  # Asterisk is away or busy
                log.debug("caller_leg_unknown", error=str(error))

    async def _ask(self) -> bool:
        """False where this channel has no such figures. Raises `AriError`."""
        found = await channels.rtp_statistics(self._ari, self._channel_id)
        if found is None:
            return False
        reported = found.round_trip_s > 0 or found.remote_jitter_s > 0 or found.lost_by_peer > 0
        self.quality = LineQuality(
            received=found.received_packets,
            sent=found.sent_packets,
            lost=found.lost_by_us,
            jitter_ms=found.local_jitter_s * 1000,
            lost_by_peer=found.lost_by_peer if reported else None,
            peer_jitter_ms=found.remote_jitter_s * 1000 if reported else None,
            round_trip_ms=found.round_trip_s * 1000 if found.round_trip_s > 0 else None,
        )
        return True
