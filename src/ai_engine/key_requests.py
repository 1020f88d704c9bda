"""Who waits for what the caller types: a tool asks, the conversation collects, the answer comes back as a decision.

What was typed secretly is kept here for as long as the call lasts, for tools that send it on.

Lives on the control loop; one per call.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.decisions import KeysTyped
from ai_engine.conversation.key_input import KeyRequest

LAST_TYPED: Final = "keys"
_TAKEN_WITHIN_S: Final = 1.0

ToConversation = Callable[[Callable[[Conversation, float], object]], None]


def _nowhere(_: Callable[[Conversation, float], object]) -> None:
    """For a call that is over."""


class KeyRequests:
    """One call's. A later request takes the place of an earlier one, which ends as `replaced`."""

    def __init__(self, to_conversation: ToConversation) -> None:
        """`to_conversation` has something done to the conversation, on its own thread and in order."""
        self._to_conversation = to_conversation
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[KeysTyped]] = {}
        self._secret: dict[str, str] = {}

    async def collect(self, request: KeyRequest) -> KeysTyped:
        """The caller's next input, whose digits are in `keys.digits`. Its `id` is given here, whatever it was.

        Cancelling it calls the request off.
        """
        request = replace(request, id=f"keys-{next(self._numbers)}")
        future: asyncio.Future[KeysTyped] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = future
        self._to_conversation(lambda conversation, now: conversation.request_keys(request, now))
        try:
            return await future
        finally:
            if self._waiting.pop(request.id, None) is not None:
                self._to_conversation(lambda conversation, _now: conversation.call_off_keys(request.id))

    def ended(self, typed: KeysTyped) -> None:
        """The conversation's decision."""
        if (future := self._waiting.pop(typed.request_id, None)) is not None and not future.done():
            future.set_result(typed)

    def keep(self, name: str, digits: str) -> None:
        """Secret digits by the name that tools ask for them by; typed anew, they replace those before."""
        self._secret[name] = digits

    async def digits(self, name: str) -> str:
        """The secret digits of that name; of `LAST_TYPED` those of the last secret input. Empty: there are none."""
        if name == LAST_TYPED:
            typed = await self._last_secret()
            if typed:
                self.keep(name, typed)
        return self._secret.get(name, "")

    async def _last_secret(self) -> str:
        loop = asyncio.get_running_loop()
        taken: asyncio.Future[str] = loop.create_future()

        def settle(digits: str) -> None:
            if not taken.done():
                taken.set_result(digits)

        def take(conversation: Conversation, _now: float) -> None:
            loop.call_soon_threadsafe(settle, conversation.take_secret_keys())

        self._to_conversation(take)
        try:
            async with asyncio.timeout(_TAKEN_WITHIN_S):
                return await taken
        except TimeoutError:  # the call has ended meanwhile
            return ""

    def call_over(self) -> None:
        """Nobody types any more. Lets go of the call, which holds this."""
        self._to_conversation = _nowhere
        self._secret.clear()
        for request_id in tuple(self._waiting):
            self.ended(KeysTyped(request_id, "call_over"))
