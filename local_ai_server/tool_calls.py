"""Which tool, if any, the model wants to call: `llm_tool_request`, and the tools of version 3's `llm_request`.

Small models write tool calls badly, so they are not asked to. A decision is two short questions whose answers a grammar
holds to their form: which of these names, or none; then that tool's arguments, held to its JSON Schema. What the
`tool_policy` of a request allows beside that:

    auto        structured; where the engine cannot do that, the model's own markup, mended once; plain words last
    strict      structured, and nothing else: what does not fit ends in an error
    compatible  the model's own markup, a broken call mended by one structured question; plain words last
    off         no tools

Whatever the path, a call names an allowed tool and its arguments fit that tool's schema, or it is not made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from local_ai_server.backends.llm.speakable import speakable
from local_ai_server.errors import ServeError
from local_ai_server.service import Answers, Place
from local_ai_server.tool_intents import plain_intent
from local_ai_server.tool_parsing import parse_calls, read_json
from local_ai_server.tool_prompts import arguments_prompt, choice_prompt, markup_prompt
from local_ai_server.tool_schemas import Tool, read_tools
from voice_wire.messages import LlmToolRequest, LlmToolResponse

NO_TOOL: Final = "none"
_CHOICE_TOKENS: Final = 48
_ARGUMENT_TOKENS: Final = 400
_MARKUP_TOKENS: Final = 400
_UNUSABLE: Final = frozenset({"internal_error", "invalid_message"})
"""What a backend that knows no grammar answers; everything else (capacity, time, death) is no matter of form."""

ToolPath = Literal["structured", "parser", "repair", "heuristic", "none"]


class Llm(Protocol):
    """The parts of `service.Service` that are asked here."""

    @property
    def traits(self) -> Mapping[str, Any]: ...

    def call(
        self, method: str, args: Mapping[str, Any], body: bytes = b"", *, place: Place
    ) -> AbstractAsyncContextManager[Answers]: ...


@dataclass(slots=True)
class _Decision:
    """What came of one request so far."""

    calls: list[tuple[Tool, dict[str, Any]]] = field(default_factory=list)
    path: ToolPath = "none"
    text: str = ""
    parse_failures: int = 0
    repair_attempts: int = 0
    structured_attempts: int = 0


async def decide(
    llm: Llm,
    *,
    messages: Sequence[Mapping[str, str]],
    message: LlmToolRequest,
    session_key: str,
    place: Place,
    sampling: Mapping[str, Any] | None = None,
    deciding: Llm | None = None,
) -> LlmToolResponse:
    """The whole answer to an `llm_tool_request`: tool calls, or the text to be spoken where none is called.

    `deciding` chooses the tools where it is not `llm`, which speaks.

    `messages` is the conversation with the caller's remark last. Raises `ServeError`: invalid_message for tools that
    cannot be used, otherwise what the service raises. Cancelling the task ends the generation.
    """
    decider = _Decider(
        deciding or llm, messages=messages, message=message, session_key=session_key, place=place, sampling=sampling
    )
    await decider.choose()
    if not decider.decision.calls and not decider.decision.text:
        decider.decision.text = await decider.plain_answer(llm)
    return decider.response()


async def choose(
    llm: Llm,
    *,
    messages: Sequence[Mapping[str, str]],
    message: LlmToolRequest,
    session_key: str,
    place: Place,
    sampling: Mapping[str, Any] | None = None,
) -> LlmToolResponse:
    """As `decide`, without the text: for version 3, which streams the answer itself when `tool_calls` is empty.

    (With the policy `compatible` a text may be there already: the model answered instead of calling.)
    """
    decider = _Decider(llm, messages=messages, message=message, session_key=session_key, place=place, sampling=sampling)
    await decider.choose()
    return decider.response()


class _Decider:
    def __init__(
        self,
        llm: Llm,
        *,
        messages: Sequence[Mapping[str, str]],
        message: LlmToolRequest,
        session_key: str,
        place: Place,
        sampling: Mapping[str, Any] | None,
    ) -> None:
        self.decision = _Decision()
        self._llm = llm
        self._messages = [dict(m) for m in messages]
        self._message = message
        self._session_key = session_key
        self._place = place
        self._sampling = dict(sampling or {})
        use_tools = message.tool_choice != "none" and message.tool_policy != "off"
        self._tools = (
            {tool.name: tool for tool in read_tools(message.tools, message.allowed_tools)} if use_tools else {}
        )
        if message.tool_choice == "required" and use_tools and not self._tools:
            raise ServeError("invalid_message", "tool_choice is required and no tool is allowed; send tools, or auto")

    async def choose(self) -> None:
        """Fills in `decision`."""
        if not self._tools:
            return
        policy = self._message.tool_policy
        if policy == "compatible":
            await self._by_markup()
        else:
            try:
                await self._structured()
            except ServeError as error:
                if policy == "strict" or error.code not in _UNUSABLE:
                    raise
                await self._by_markup()
        if not self.decision.calls and policy != "strict":
            self._by_words()
        if not self.decision.calls and self._message.tool_choice == "required" and policy == "compatible":
            await self._structured(path="repair")

    def response(self) -> LlmToolResponse:
        """The decision as a message."""
        decision = self.decision
        return LlmToolResponse(
            call_id=self._message.call_id,
            request_id=self._message.request_id,
            text="" if decision.calls else speakable(decision.text).strip(),
            tool_calls=[{"name": tool.name, "parameters": arguments} for tool, arguments in decision.calls],
            finish_reason="tool_calls" if decision.calls else "stop",
            tool_path=decision.path,
            tool_parse_failures=decision.parse_failures,
            repair_attempts=decision.repair_attempts,
            structured_attempts=decision.structured_attempts,
            protocol_version=self._message.protocol_version or 2,
        )

    async def plain_answer(self, llm: Llm) -> str:
        """What `llm` says when nothing is called."""
        return await self._generate(self._messages, dict(self._sampling), llm=llm)

    # --- the ways to a call

    async def _structured(self, path: ToolPath = "structured") -> None:
        """Asks for a name, then for its arguments. No call when the model wants none."""
        name = await self._ask_name()
        tool = self._tools.get(name)
        if tool is not None:
            await self._ask_arguments(tool, path)

    async def _ask_name(self) -> str:
        names = [*self._tools] if self._message.tool_choice == "required" else [NO_TOOL, *self._tools]
        if len(names) == 1:
            return names[0]
        in_object = bool(self._llm.traits.get("object_schemas_only"))
        schema: dict[str, Any] = {"enum": names}
        if in_object:
            properties = {"tool": schema}
            schema = {"type": "object", "properties": properties, "required": ["tool"], "additionalProperties": False}
        may_decline = NO_TOOL in names
        prompt = choice_prompt(
            self._messages, tuple(self._tools.values()), may_decline=may_decline, in_object=in_object
        )
        answer = await self._ask_structured(prompt, schema, _CHOICE_TOKENS)
        name = answer.get("tool") if isinstance(answer, dict) else answer
        if name not in names:
            self.decision.parse_failures += 1
            return NO_TOOL
        return str(name)

    async def _ask_arguments(self, tool: Tool, path: ToolPath) -> None:
        """One question for the arguments, and one more when the answer does not fit the whole schema."""
        complaint: str | None = None
        for attempt in range(2):
            arguments: Any = {}
            if tool.takes_arguments:
                prompt = arguments_prompt(self._messages, tool, complaint=complaint)
                arguments = await self._ask_structured(prompt, tool.grammar_form(), _ARGUMENT_TOKENS)
            complaint = tool.complaint(arguments)
            if complaint is None:
                self.decision.calls = [(tool, arguments)]
                self.decision.path = "repair" if attempt else path
                return
            self.decision.parse_failures += 1
            if attempt or not tool.takes_arguments:
                break
            self.decision.repair_attempts += 1
        if self._message.tool_policy == "strict":
            raise ServeError("worker_failed", f"llm: no arguments that fit {tool.name}: {complaint}", retryable=True)

    async def _by_markup(self) -> None:
        """Lets the model answer as it likes and reads the calls in it; one broken call is asked for again in form."""
        prompt = markup_prompt(self._messages, tuple(self._tools.values()))
        sampling = {**self._sampling, "max_tokens": _MARKUP_TOKENS, "sanitize_output": False}
        written = await self._generate(prompt, sampling)
        parsed = parse_calls(written, self._tools)
        self.decision.text = parsed.text
        self.decision.parse_failures += parsed.failures
        broken: Tool | None = None
        for call in parsed.calls:
            tool = self._tools.get(call.name)
            if tool is None:
                self.decision.parse_failures += 1  # invented, or not allowed: never called
            elif tool.complaint(call.arguments) is None:
                self.decision.calls.append((tool, call.arguments))
            else:
                self.decision.parse_failures += 1
                broken = broken or tool
        if self.decision.calls:
            self.decision.path = "parser"
        elif parsed.failures or parsed.calls:
            await self._mend(broken)

    async def _mend(self, tool: Tool | None) -> None:
        self.decision.repair_attempts += 1
        try:
            if tool is not None:
                await self._ask_arguments(tool, "repair")
            else:
                await self._structured("repair")
        except ServeError as error:
            if error.code not in _UNUSABLE:
                raise
            self.decision.parse_failures += 1

    def _by_words(self) -> None:
        found = plain_intent(self._last_words(), tuple(self._tools.values()))
        if found is not None:
            self.decision.calls, self.decision.path = [found], "heuristic"

    # --- the model

    async def _ask_structured(self, messages: list[dict[str, str]], schema: dict[str, Any], max_tokens: int) -> Any:
        self.decision.structured_attempts += 1
        # The likeliest form is wanted, whatever the voice of the persona is sampled with.
        sampling = {"temperature": 0.0, "max_tokens": max_tokens}
        written = await self._generate(messages, sampling, {"type": "json_schema", "json_schema": schema})
        return read_json(written)

    async def _generate(
        self,
        messages: list[dict[str, str]],
        sampling: dict[str, Any],
        response_format: dict[str, Any] | None = None,
        *,
        llm: Llm | None = None,
    ) -> str:
        args: dict[str, Any] = {"messages": messages, "session": self._session_key, "sampling": sampling}
        if response_format is not None:
            args["response_format"] = response_format
        async with (llm or self._llm).call("generate", args, place=self._place) as answers:
            return "".join([header["text"] async for header, _ in answers]).strip()

    def _last_words(self) -> str:
        if self._message.latest_user_text:
            return self._message.latest_user_text
        return next((m["content"] for m in reversed(self._messages) if m["role"] == "user"), self._message.text)
