"""One response as it is told to the client: its events, in the order that the protocol wants. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Literal

from local_ai_server.realtime.items import Call, Conversation, Item, Remark, Spoken, new_id
from local_ai_server.realtime.session_config import SessionConfig, format_fields
from voice_core.spoken_text import SpeakingRate, SpokenText

Status = Literal["completed", "cancelled", "failed", "incomplete"]
Emit = Callable[..., None]
"""(type of the event, its fields)."""


class Response:
    """Emits nothing after `end`, which is to be called exactly when no more comes."""

    def __init__(
        self,
        config: SessionConfig,
        *,
        emit: Emit,
        conversation: Conversation | None,
        conversation_id: str,
        rate: SpeakingRate,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """`conversation`: what its items join; None: nothing. `rate`: the session's, learned from what was spoken."""
        self.id = new_id("resp")
        self.config = config
        self.ended = False
        self.item: Item | None = None
        """The one that is being told."""
        self._emit_event = emit
        self._conversation = conversation
        self._conversation_id = conversation_id if conversation is not None else None
        self._rate = rate
        self._metadata = metadata
        self._previous: str | None = None
        """The item before the one that is being told."""
        self._items: list[Item] = []
        self._emit("response.created", response=self._fields("in_progress"))

    # --- what it consists of

    def text(self, delta: str) -> None:
        """More of an answer in writing."""
        if self.ended:
            return
        if not isinstance(self.item, Remark):
            self._begin(Remark(role="assistant", status="in_progress"), part={"type": "text", "text": ""})
        assert isinstance(self.item, Remark)
        self.item.text += delta
        self._of_part("response.output_text.delta", delta=delta)

    def phrase(self, text: str) -> None:
        """The sound of `text` follows."""
        if self.ended:
            return
        if not isinstance(self.item, Spoken):
            sound = self.config.output_format
            spoken = Spoken(status="in_progress", format=sound, spoken=SpokenText(self._rate))
            self._begin(spoken, part={"type": "audio", "transcript": ""})
        assert isinstance(self.item, Spoken)
        delta = f" {text}" if self.item.spoken.text else text
        self.item.phrase(text)
        self._of_part("response.output_audio_transcript.delta", delta=delta)

    def sound(self, audio: bytes) -> None:
        """More of the phrase's sound."""
        if self.ended:
            return
        assert isinstance(self.item, Spoken)
        self.item.sound(len(audio))
        self._of_part("response.output_audio.delta", delta=base64.b64encode(audio).decode())

    def call(self, name: str, arguments: str) -> None:
        """A function that is to be called. `arguments`: JSON."""
        if self.ended:
            return
        call = Call(name=name, arguments="", status="in_progress")
        self._add(call)
        call.arguments = arguments
        place = self._place() | {"call_id": call.call_id}
        self._emit("response.function_call_arguments.delta", **place, delta=arguments)
        self._emit("response.function_call_arguments.done", **place, name=name, arguments=arguments)
        self._finish_item("completed")

    def end(
        self,
        status: Status,
        *,
        reason: str | None = None,
        error: Mapping[str, Any] | None = None,
        usage: Mapping[str, Any] | None = None,
    ) -> None:
        """Finishes what is open. Idempotent."""
        if self.ended:
            return
        if self.item is not None:
            self._finish_item("completed" if status == "completed" else "incomplete")
        details: dict[str, Any] | None = None
        if status != "completed":
            details = {"type": status}
            if reason:
                details["reason"] = reason
            if error:
                details["error"] = dict(error)
        self._emit("response.done", response=self._fields(status, details, _usage(usage) if usage else None))
        self.ended = True

    # --- its items

    def _begin(self, item: Item, *, part: dict[str, Any]) -> None:
        if self.item is not None:
            self._finish_item("completed")
        self._add(item)
        self._of_part("response.content_part.added", part=part)

    def _add(self, item: Item) -> None:
        if self.item is not None:
            self._finish_item("completed")
        self.item = item
        self._items.append(item)
        shown = item.fields() | ({"content": []} if not isinstance(item, Call) else {})
        self._emit("response.output_item.added", response_id=self.id, output_index=len(self._items) - 1, item=shown)
        if self._conversation is not None:
            self._previous = self._conversation.add(item)
            self._emit("conversation.item.added", previous_item_id=self._previous, item=shown)

    def _finish_item(self, status: Literal["completed", "incomplete"]) -> None:
        item = self.item
        assert item is not None
        if isinstance(item, Spoken):
            if status == "completed":
                item.spoken.complete()
            else:
                item.spoken.cut_short()
            said = item.spoken.text
            self._of_part("response.output_audio.done")
            self._of_part("response.output_audio_transcript.done", transcript=said)
            self._of_part("response.content_part.done", part={"type": "audio", "transcript": said})
        elif isinstance(item, Remark):
            self._of_part("response.output_text.done", text=item.text)
            self._of_part("response.content_part.done", part={"type": "text", "text": item.text})
        item.status = status
        fields = item.fields()
        self._emit("response.output_item.done", response_id=self.id, output_index=len(self._items) - 1, item=fields)
        if self._conversation is not None:
            self._emit("conversation.item.done", previous_item_id=self._previous, item=fields)
        self.item = None

    def _place(self) -> dict[str, Any]:
        assert self.item is not None
        return {"response_id": self.id, "item_id": self.item.id, "output_index": len(self._items) - 1}

    def _of_part(self, kind: str, **fields: Any) -> None:
        self._emit(kind, **self._place(), content_index=0, **fields)

    def _emit(self, kind: str, **fields: Any) -> None:
        self._emit_event(kind, **fields)

    def _fields(
        self, status: str, details: dict[str, Any] | None = None, usage: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        config = self.config
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "output": [item.fields() for item in self._items],
            "conversation_id": self._conversation_id,
            "output_modalities": list(config.output_modalities),
            "max_output_tokens": config.max_output_tokens,
            "audio": {"output": {"format": format_fields(config.output_format), "voice": config.voice}},
            "usage": usage,
            "metadata": self._metadata,
        }


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    cached = usage.get("cached_tokens", 0)
    return {
        "total_tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
        "input_token_details": {"text_tokens": read, "audio_tokens": 0, "cached_tokens": cached},
        "output_token_details": {"text_tokens": written, "audio_tokens": 0},
    }
