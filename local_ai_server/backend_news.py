"""Who hears that another backend serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from local_ai_server.backends.backend import Kind
from local_ai_server.service import Service
from voice_wire.messages import BackendChanged


class BackendNews:
    """Subscribers, each called from the event loop with every change."""

    def __init__(self) -> None:
        self._subscribers: dict[object, Callable[[BackendChanged], None]] = {}

    def subscribe(self, callback: Callable[[BackendChanged], None]) -> Callable[[], None]:
        """Returns what ends it; calling that twice does no harm."""
        key = object()
        self._subscribers[key] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def announce(self, kind: Kind, services: Mapping[Kind, Service]) -> None:
        """`services[kind]` is new."""
        stt, llm, tts = (services.get(each) for each in ("stt", "llm", "tts"))
        news = BackendChanged(
            backend_type=kind,
            backend=services[kind].backend.name,
            stt_backend=stt.backend.name if stt else None,
            needs_gating=stt.needs_gating if stt else None,
            tts_voices=tuple(tts.traits.get("voices", ())) if tts else None,
            llm_context_tokens=llm.traits.get("context_tokens") if llm else None,
        )
        for callback in self._subscribers.values():
            # Not here and now: what one of them raises concerns neither the others nor the switch.
            asyncio.get_running_loop().call_soon(callback, news)
