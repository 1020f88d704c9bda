"""One client of `/v1/realtime`: what it asks for, event by event, and what it is told."""

from __future__ import annotations

import asyncio
import binascii
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from pydantic_core import from_json

from local_ai_server.metrics import ServerMetrics
from local_ai_server.rate_limits import RateLimited, RateLimits
from local_ai_server.realtime.answering import Answering
from local_ai_server.realtime.dialect import Dialect, in_dialect, session_fields
from local_ai_server.realtime.errors import EventRefused
from local_ai_server.realtime.items import Conversation, Item, Spoken, new_id, read_item
from local_ai_server.realtime.listening import Listening, language_of
from local_ai_server.realtime.response import Response
from local_ai_server.realtime.session_config import SessionConfig
from local_ai_server.request import Requests
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.turns.speech_judge import SpeechJudges
from voice_core.spoken_text import TYPICAL_MS_PER_CHARACTER, SpeakingRate
from voice_wire.messages import MAX_COMMAS, WireModel

_keys = itertools.count(1)
_CANCELS: Final = frozenset({"response.cancel"})
_UPDATES: Final = frozenset({"session.update"})
_NOT_COUNTED: Final = frozenset({"input_audio_buffer.append"})
"""A call sends fifty a second, and who sends more is read more slowly."""
_MAX_ID_CHARS: Final = 512


class RealtimeClient(Protocol):
    """The other end of the connection. Both return at once; what is sent keeps its order."""

    def send(self, message: WireModel | bytes | str) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


class RealtimeSession:
    """What the connection feeds with frames, one after the other."""

    authenticated = True
    closes_when_idle = True

    def __init__(
        self,
        *,
        settings: Settings,
        switchboard: Switchboard,
        metrics: ServerMetrics,
        client: RealtimeClient,
        judges: SpeechJudges,
        instructions: str = "",
        model: str = "",
        dialect: Dialect = "released",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`instructions`: until the client sends its own. `model`: what the client calls it; the one at work answers.

        Tells the client that the session has begun.
        """
        self.call_id = new_id("sess")
        self.ended = False
        self._settings = settings
        self._switchboard = switchboard
        self._metrics = metrics
        self._client = client
        self._judges = judges
        self._model = model
        self._dialect = dialect
        self._clock = clock
        self._key = f"realtime-{next(_keys)}"
        """Names the session to the LLM's prefix cache."""
        self._limits = RateLimits(
            messages=settings.max_messages,
            cancels=settings.max_cancels,
            prompt_updates=settings.max_prompt_updates,
            window_s=settings.rate_window_s,
        )
        self._config = SessionConfig(instructions=instructions)
        self._conversation = Conversation()
        self._conversation_id = new_id("conv")
        self._requests = Requests(metrics)
        self._rate = self._new_rate()
        self._answering = Answering(
            self._key,
            switchboard=switchboard,
            metrics=metrics,
            requests=self._requests,
            client=client,
            on_end=self._respond_if_due,
            clock=clock,
            sleep=sleep,
        )
        self._listening = Listening(
            self._config,
            switchboard=switchboard,
            judges=judges,
            max_utterance_s=settings.max_utterance_s,
            requests=self._requests,
            client=client,
            conversation=self._conversation,
            emit=self._emit,
            refuse=lambda refused: self._refuse(refused, None),
            agent_audible=lambda: self._answering.audible,
            on_speech=self._spoken_over,
            on_understood=self._respond_if_due,
        )
        self._emit("session.created", session=self._session())
        self._emit(
            "conversation.created", conversation={"id": self._conversation_id, "object": "realtime.conversation"}
        )

    async def take(self, data: str | bytes) -> None:
        """One frame. The next one is to wait until it returns: sound is taken in no faster than it can be judged."""
        event: dict[str, Any] = {}
        try:
            event = _read(data)
            self._count(event["type"])
            await self._serve(event)
        except EventRefused as refused:
            self._refuse(refused, event.get("event_id"))
        # Frames that came together are handed over without a wait: a flood of them is not to stop all others.
        await asyncio.sleep(0)

    def turn_away(self, reason: str) -> None:
        """Nobody is, once the handshake is through."""

    async def close(self) -> None:
        """The connection has ended: all work ends, the prefix cache is given back."""
        self.ended = True
        await self._requests.close()
        await self._listening.close()
        await self._switchboard.forget(self._key)

    # --- what the client asks for

    async def _serve(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "session.update":
                self._update(_object(event, "session"))
            case "input_audio_buffer.append":
                await self._append(event)
            case "input_audio_buffer.commit":
                self._listening.commit()
            case "input_audio_buffer.clear":
                self._listening.clear()
                self._emit("input_audio_buffer.cleared")
            case "conversation.item.create":
                self._create(event)
            case "conversation.item.delete":
                self._conversation.remove(event.get("item_id"))
                self._emit("conversation.item.deleted", item_id=event["item_id"])
            case "conversation.item.retrieve":
                item = self._conversation.get(event.get("item_id"))
                self._emit("conversation.item.retrieved", item=item.fields())
            case "conversation.item.truncate":
                self._truncate(event)
            case "response.create":
                self._create_response(_object(event, "response", required=False))
            case "response.cancel":
                self._cancel(event)
            case _:
                known = "session.update, input_audio_buffer.*, conversation.item.*, response.create, response.cancel"
                raise EventRefused(f"type: it is none of {known}", code="invalid_event_type", param="type")

    def _update(self, asked: Mapping[str, Any]) -> None:
        config = self._config.updated(asked)
        self._answering.check_voice(config)
        if config.output_format != self._config.output_format:
            self._config = config
            self._rate = self._new_rate()
        self._config = config
        self._listening.use(config)
        self._emit("session.updated", session=self._session())

    async def _append(self, event: Mapping[str, Any]) -> None:
        encoded = event.get("audio")
        if not isinstance(encoded, str):
            raise EventRefused("audio: it is no base64 text", param="audio")
        try:
            audio = binascii.a2b_base64(encoded, strict_mode=True) if encoded else b""
        except ValueError:
            raise EventRefused("audio: it is not base64", param="audio") from None
        if len(audio) % self._config.input_format.bytes_per_sample:
            raise EventRefused("audio: it ends in half a sample; send whole 16-bit samples", param="audio")
        await self._listening.take(audio)

    def _create(self, event: Mapping[str, Any]) -> None:
        item = read_item(event.get("item"))
        previous = self._conversation.add(item, after=event.get("previous_item_id"))
        self._emit("conversation.item.added", previous_item_id=previous, item=item.fields())
        self._emit("conversation.item.done", previous_item_id=previous, item=item.fields())

    def _truncate(self, event: Mapping[str, Any]) -> None:
        item = self._conversation.get(event.get("item_id"))
        end_ms = event.get("audio_end_ms")
        if not isinstance(item, Spoken):
            raise EventRefused("item_id: only what the assistant says aloud can be truncated", param="item_id")
        if event.get("content_index", 0) != 0:
            raise EventRefused("content_index: there is part 0 only", param="content_index")
        if type(end_ms) is not int or not 0 <= end_ms <= item.sent_ms + 1:
            where = "audio_end_ms"
            raise EventRefused(f"{where}: it is no whole number from 0 to {item.sent_ms:.0f}", param=where)
        item.heard_until(end_ms)
        self._emit("conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=end_ms)

    def _create_response(self, asked: Mapping[str, Any]) -> None:
        config = self._config.updated(asked, where="response") if asked else self._config
        self._answering.check_voice(config)
        items = None
        if asked.get("input") is not None:
            items = self._input(asked["input"])
        self._respond(config, items, apart=asked.get("conversation") == "none", metadata=asked.get("metadata"))

    def _input(self, asked: object) -> list[Item]:
        if not isinstance(asked, list):
            raise EventRefused("response.input: it is no list of items", param="response.input")
        items = []
        for at, one in enumerate(asked):
            if isinstance(one, Mapping) and one.get("type") == "item_reference":
                items.append(self._conversation.get(one.get("id")))
            else:
                items.append(read_item(one, where=f"response.input[{at}]"))
        return items

    def _cancel(self, event: Mapping[str, Any]) -> None:
        active = self._answering.active
        asked = event.get("response_id")
        if active is None or (asked is not None and asked != active.id):
            raise EventRefused("no such response is being made", code="response_cancel_not_active")
        self._answering.interrupt("client_cancelled")

    # --- answers

    def _spoken_over(self) -> None:
        detection = self._config.turn_detection
        if detection is not None and detection.interrupt_response:
            unheard = self._answering.silent
            if self._answering.interrupt("turn_detected") and unheard:
                self._listening.unanswered = True  # with what is being said, or without it, should that be a cough

    def _respond_if_due(self) -> None:
        """Answers what was said, when it has all been understood and nobody speaks."""
        listening, detection = self._listening, self._config.turn_detection
        if self.ended or not listening.unanswered or not listening.all_understood or self._answering.active:
            return
        if detection is not None and detection.create_response and not listening.in_turn:
            self._respond(self._config, None)

    def _respond(
        self, config: SessionConfig, items: list[Item] | None, *, apart: bool = False, metadata: object = None
    ) -> None:
        if self._answering.active is not None:
            raise EventRefused(
                "a response is being made; wait for response.done or send response.cancel",
                code="conversation_already_has_active_response",
            )
        self._listening.unanswered = False
        response = Response(
            config,
            emit=self._emit,
            conversation=None if apart else self._conversation,
            conversation_id=self._conversation_id,
            rate=self._rate,
            metadata=metadata if isinstance(metadata, Mapping) else None,
        )
        self._answering.start(
            response,
            lambda: self._conversation.lines(config.instructions, items),
            ready=self._listening.until_understood,
            language=language_of(config),
        )

    # --- the session

    def _new_rate(self) -> SpeakingRate:
        return SpeakingRate(float(self._config.output_format.bytes_for_ms(TYPICAL_MS_PER_CHARACTER)))

    def _session(self) -> dict[str, Any]:
        return session_fields(self._config, self._dialect, session_id=self.call_id, model=self._model)

    def _count(self, kind: str) -> None:
        if kind in _NOT_COUNTED:
            return
        try:
            self._limits.admit(self._clock(), cancels=kind in _CANCELS, updates_prompt=kind in _UPDATES)
        except RateLimited as error:
            raise EventRefused(str(error), code="rate_limit_exceeded") from None

    def _refuse(self, refused: EventRefused, event_id: object) -> None:
        self._metrics.refused(refused.code)
        named = event_id if isinstance(event_id, str) and len(event_id) <= _MAX_ID_CHARS else None
        self._emit(
            "error",
            error={
                "type": "invalid_request_error",
                "code": refused.code,
                "message": str(refused),
                "param": refused.param,
                "event_id": named,
            },
        )

    def _emit(self, kind: str, **fields: Any) -> None:
        event = in_dialect({"type": kind, "event_id": new_id("event"), **fields}, self._dialect)
        if event is not None:
            self._client.send(json.dumps(event, ensure_ascii=False, separators=(",", ":")))


def _read(data: str | bytes) -> dict[str, Any]:
    if isinstance(data, bytes):
        raise EventRefused(
            "events are JSON in text frames; sound goes in input_audio_buffer.append", code="invalid_event"
        )
    if data.count(",") > MAX_COMMAS:
        raise EventRefused(f"the frame has more than {MAX_COMMAS} commas", code="invalid_event")
    try:
        # Not json.loads: that lets pass what no event could repeat (NaN, half characters, nesting without end).
        event = from_json(data, allow_inf_nan=False)
    except (ValueError, TypeError) as error:
        raise EventRefused(f"the frame is no JSON that can be read: {error}", code="invalid_json") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise EventRefused("an event is a JSON object with a type", code="invalid_event", param="type")
    return event


def _object(event: Mapping[str, Any], name: str, *, required: bool = True) -> Mapping[str, Any]:
    value = event.get(name)
    if value is None and not required:
        return {}
    if not isinstance(value, Mapping):
        raise EventRefused(f"{name}: it is no object", param=name)
    return value
