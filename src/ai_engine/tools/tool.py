"""What a tool is: something the model may have done in a call, beside speaking.

A tool is made once, by its kind (`registry.py`), and shared by all calls; whatever belongs to one call comes with
`ToolCallScope`. It runs on the control loop and must not block it. The runner (`runner.py`) checks the allow-list and
the arguments before `run`, keeps the time limit, and turns whatever goes wrong into a result that says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ai_engine.conversation.decisions import Ending, KeysTyped
from ai_engine.conversation.key_input import KeyRequest
from ai_engine.messages.wish import MessageOutcome, MessageWish
from ai_engine.tools.call_control import CallControl
from voice_core.history import Message


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What the model is told of a tool."""

    name: str
    """1 to 64 letters, digits, `_` and `-`, as every model's API takes it."""
    description: str
    """What it does and when it is to be used, in a sentence or two."""
    parameters: Mapping[str, Any]
    """JSON Schema (2020-12) of an object; references within it only."""
    filler: str = ""
    """Said while it runs, where the model has said nothing before it; empty: silence, or the context's filler."""
    said: tuple[str, ...] = ()
    """What callers say who want it. With these a small model is not asked (`conversation.tool_wordings`)."""
    not_said: tuple[str, ...] = ()
    """What sounds like it and is not meant."""

    def as_function(self) -> dict[str, Any]:
        """As models' APIs and the local server take it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Later:
    """A follow-up that is no end of the call: `run` is awaited on the control loop when what is said was heard."""

    run: Callable[[], Awaitable[str | None]]
    """May return what the model is told from then on in place of the result's `text`."""
    what: str
    """For logs, and what the model is told if the caller talks over the sentence before it: "the briefing"."""


FollowUp = Ending | Later
"""`HangUp`, `Transfer` or `FallBack` (ai_engine.conversation.decisions), or a `Later`."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call."""

    text: str
    """What the model is told: true, also of a failure, and in words it can pass on."""
    say: str | None = None
    """Said to the caller as it is; the model is then not asked to speak of the result."""
    then: FollowUp | None = None
    """Carried out when what is said after the call was heard to its end; not if the caller talks over it."""
    ok: bool = True
    """False: what was asked for was not done."""


class ToolFailed(Exception):
    """Raised by a tool that cannot do what was asked; the message goes to the model, so no secrets in it."""


class SecretDigits(Protocol):
    """The secret keys of one call. What they are goes into requests, and into no result, log or exception."""

    def keep(self, name: str, digits: str) -> None:
        """Until the call ends; typed anew, they replace those before."""

    async def digits(self, name: str) -> str:
        """Empty: none were typed."""


class LeavesMessages(Protocol):
    """Takes messages in one call."""

    async def take(self, wish: MessageWish) -> MessageOutcome:
        """Ask for a message, record it, and have it delivered. To be called when the agent has nothing to say."""

    def say(self, text: str, *, hang_up: bool = False) -> None:
        """Something to tell the caller of it."""


@dataclass(frozen=True, slots=True)
class ToolCallScope:
    """What a tool may know of the call it is run for."""

    call_id: str
    context: str
    """The name of the call's context."""
    caller_number: str
    """Empty where it is withheld."""
    caller_name: str
    dialed_number: str
    language: str
    line: CallControl
    variables: Mapping[str, str] = field(default_factory=dict)
    """The call's template variables, those of the dialplan among them."""
    transcript: Sequence[Message] = ()
    """What was said so far: of the agent's only what was heard."""
    collect_keys: Callable[[KeyRequest], Awaitable[KeysTyped]] | None = None
    """Waits for the caller's next keys; None where there are none."""
    secrets: SecretDigits | None = None
    """What he typed that nobody may see; None where there are no keys."""
    messages: LeavesMessages | None = None
    """Has the caller leave a message; None where none can be kept."""


class Tool(Protocol):
    """One tool. The same object serves calls that run at the same time."""

    @property
    def spec(self) -> ToolSpec: ...

    @property
    def timeout_s(self) -> float:
        """After so long `run` is cancelled and the model is told that nothing came back."""

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        """Do it. `arguments` are as the schema wants them. May raise `ToolFailed`; cancelling ends the work."""


@runtime_checkable
class ToolSource(Protocol):
    """Several tools that are found at the start, such as those of an MCP server."""

    async def start(self) -> None:
        """Connect. What cannot be reached now is logged and gives no tools, it does not keep the engine from calls."""

    async def stop(self) -> None:
        """Give everything back. Idempotent."""

    def tools(self) -> Sequence[Tool]:
        """Those there are at present; each is called `<name in the configuration>_<its own name>`."""
