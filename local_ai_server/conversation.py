"""A version-2 session's conversation, which the server keeps: what was said, and what the model makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from local_ai_server.request import Request
from local_ai_server.session_settings import SessionSettings
from local_ai_server.switchboard import Switchboard
from local_ai_server.tool_calls import decide
from voice_wire.messages import LlmToolRequest, LlmToolResponse, ProtocolError, ToolContext, ToolResult
from voice_wire.wire_model import MAX_TEXT_CHARS

_MAX_TURNS: Final = 200


class Conversation:
    """One session's turns. One answer is made at a time; what was said joins the turns once it is complete."""

    def __init__(self, session_key: str, *, switchboard: Switchboard, own: SessionSettings) -> None:
        self.tools = ToolContext()
        """For decisions whose request names none."""
        self._key = session_key
        self._switchboard = switchboard
        self._own = own
        self._turns: list[dict[str, str]] = []
        self._one_answer = asyncio.Lock()

    async def reply(
        self,
        request: Request,
        text: str | None = None,
        *,
        sampling: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
    ) -> str:
        """The model's answer to `text`, or to what came last. `form`: more keywords of `generate`. Raises
        `ServeError`."""
        async with self._one_answer:
            question = [] if text is None else [{"role": "user", "content": text}]
            args = {
                "messages": self._messages(*question),
                "session": self._key,
                "sampling": self._sampling(sampling),
                **(form or {}),
            }
            llm = self._switchboard.service("llm")
            async with llm.call("generate", args, place=request.place) as answers:
                answer = "".join([header["text"] async for header, _ in answers]).strip()
            self._remember(*question, {"role": "assistant", "content": answer})
            return answer

    async def decide(self, request: Request, message: LlmToolRequest) -> LlmToolResponse:
        """Which tool answers; the tools are the message's, or the session's where it names none."""
        message = message.model_copy(update=self._left_open(message))
        async with self._one_answer:
            llm = self._switchboard.deciding()
            answer = await decide(
                llm,
                deciding=llm.deciding,
                messages=self._messages({"role": "user", "content": message.text}),
                message=message,
                session_key=self._key,
                place=request.place,
                sampling=self._sampling(),
            )
            said = message.latest_user_text or message.text
            self._remember({"role": "user", "content": said}, {"role": "assistant", "content": _in_words(answer)})
            return answer.model_copy(update={"protocol_version": 2})

    def take_result(self, message: ToolResult) -> None:
        """A tool's outcome joins the turns. Raises `ProtocolError` when no prompt could hold it."""
        outcome = json.dumps(message.result, ensure_ascii=False)
        if len(outcome) > MAX_TEXT_CHARS:
            raise ProtocolError(
                "message_too_large",
                f"tool_result: its result has {len(outcome)} characters as JSON; {MAX_TEXT_CHARS} is the limit",
                request_id=message.request_id,
            )
        name = message.name or message.tool_call_id or "the tool"
        self._remember({"role": "system", "content": f"Result of {name}: {outcome}"})

    def _left_open(self, message: LlmToolRequest) -> dict[str, Any]:
        """What the session's `tool_context` says and the message does not."""
        names = {"tools", "allowed_tools", "tool_choice", "tool_policy"}
        said = self.tools.model_dump(exclude_none=True, include=names - message.model_fields_set)
        if "tools" in message.model_fields_set:
            said.pop("allowed_tools", None)  # it is about the session's tools
        return said

    def _messages(self, *latest: dict[str, str]) -> list[dict[str, str]]:
        return [{"role": "system", "content": self._own.system_prompt}, *self._turns, *latest]

    def _remember(self, *turns: dict[str, str]) -> None:
        self._turns += turns
        del self._turns[:-_MAX_TURNS]

    def _sampling(self, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {"sanitize_output": True} | self._own.sampling(asked)


def _in_words(answer: LlmToolResponse) -> str:
    """A decision as the turns keep it."""
    calls = [f"{call['name']}({json.dumps(call['parameters'], ensure_ascii=False)})" for call in answer.tool_calls]
    return f"[called {', '.join(calls)}]" if calls else answer.text
