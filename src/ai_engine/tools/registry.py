"""The tools by the kind that the configuration names, and those that contexts may use. A new kind is a file and a line.

The configuration's `tools:` section gives each tool a name, a kind and options; a context's `tools:` lists names. A
source of several tools (an MCP server) is listed by its name, for all of them, or one by one as `<source>_<tool>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import structlog

from ai_engine.config_file import ConfigError
from ai_engine.messages.voice_message import TakesMessages
from ai_engine.providers.clients import SharedClients
from ai_engine.providers.components.options import Options, choose
from ai_engine.tools import (
    ask_keys,
    attended_transfer,
    blind_transfer,
    email_summary,
    extension_status,
    hang_up,
    http_request,
    leave_message,
    mcp_server,
    send_dtmf,
)
from ai_engine.tools.arguments import SchemaUnusable, check_schema
from ai_engine.tools.call_hooks import AfterCall, BeforeCall
from ai_engine.tools.tool import Tool, ToolCallScope, ToolResult, ToolSource, ToolSpec

log = structlog.get_logger(__name__)

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class ToolServices:
    """What the engine has once and tools may use."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The process's and `.env`: where tools find their keys, by the names that the configuration gives."""
    clients: SharedClients = field(default_factory=SharedClients)
    """Connections that are made when first needed and closed with the engine."""


ToolFactory = Callable[[str, Options, ToolServices], Tool | ToolSource]
"""(the tool's name in the configuration, its options, services) → the tool. Raises `ConfigError`."""

TOOLS: Final[dict[str, ToolFactory]] = {
    "ask_keys": ask_keys.make,
    "attended_transfer": attended_transfer.make,
    "blind_transfer": blind_transfer.make,
    "email": email_summary.make_email,
    "extension_status": extension_status.make,
    "hang_up": hang_up.make,
    "http": http_request.make_http_request,
    "leave_message": leave_message.make,
    "mcp": mcp_server.make_mcp_server,
    "send_dtmf": send_dtmf.make,
}


READY: Final = ("hang_up", "leave_message")
"""Kinds that need no options: a context may list them without an entry in the configuration."""


class Named(Protocol):
    """One entry of the configuration's `tools:`."""

    @property
    def kind(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def description(self) -> str | None: ...
    @property
    def filler(self) -> str: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def said(self) -> tuple[str, ...]: ...
    @property
    def not_said(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class _Ready:
    """The entry of a kind that needs none."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    description: str | None = None
    filler: str = ""
    timeout_s: float | None = None
    said: tuple[str, ...] = ()
    not_said: tuple[str, ...] = ()


class Toolbox:
    """All tools of the configuration: made at the engine's start, shared by all calls."""

    def __init__(
        self, entries: Mapping[str, Named], services: ToolServices, kinds: Mapping[str, ToolFactory] = TOOLS
    ) -> None:
        """Raises `ConfigError`."""
        self._entries: dict[str, Named] = {**{kind: _Ready(kind) for kind in READY if kind in kinds}, **entries}
        self._made: dict[str, Tool | ToolSource] = {}
        for name, entry in self._entries.items():
            made = choose(kinds, entry.kind, f"tools.{name}")(name, entry.options, services)
            if not isinstance(made, ToolSource):
                _check(made.spec, f"tools.{name}")
            self._made[name] = made
        for name, made in self._made.items():
            if isinstance(made, leave_message.LeaveMessage):
                self._check_takers(name, made.deliver_to)

    def _check_takers(self, name: str, takers: Iterable[str]) -> None:
        for taker in takers:
            if self.message_taker(taker) is None:
                there = [name for name, made in self._made.items() if isinstance(made, TakesMessages)]
                told = f"there are {', '.join(there)}" if there else "there is none"
                raise ConfigError(
                    f"tools.{name}.options: `deliver_to`: {taker!r} is no tool of kind `email` or `http`; {told}"
                )

    def message_taker(self, name: str) -> TakesMessages | None:
        """Who delivers messages by that name."""
        made = self._made.get(name)
        return made if isinstance(made, TakesMessages) else None

    async def start(self) -> None:
        """Connects the sources."""
        for source in self._sources():
            await source.start()

    async def stop(self) -> None:
        """Idempotent."""
        for source in self._sources():
            await source.stop()

    def allowed(self, names: Iterable[str]) -> tuple[Tool, ...]:
        """The tools that a context names, in its order, as there are at present; each once."""
        found: dict[str, Tool] = {}
        for name in names:
            for tool in self._named(name):
                found.setdefault(tool.spec.name, tool)
        return tuple(found.values())

    def knows(self, name: str) -> bool:
        """Whether a context may name it: a tool, a source, or what may be a tool of a source."""
        return name in self._made or self._source_of(name) is not None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._made)

    def lookups(self, name: str) -> frozenset[str] | None:
        """The variables that it gives before a call; None where it is no such tool."""
        made = self._made.get(name)
        return frozenset(made.lookup_variables) if isinstance(made, BeforeCall) else None

    def takes_calls(self, name: str) -> bool:
        """Whether it can be told of a call that has ended."""
        return isinstance(self._made.get(name), AfterCall)

    def before_call(self, names: Iterable[str]) -> list[BeforeCall]:
        """Those that look something up before a call."""
        found: list[object] = [self._made.get(name) for name in names]
        return [made for made in found if isinstance(made, BeforeCall)]

    def after_call(self, names: Iterable[str]) -> list[tuple[str, AfterCall]]:
        """Those that are told of a call after it, each with its name."""
        found: list[tuple[str, object]] = [(name, self._made.get(name)) for name in names]
        return [(name, made) for name, made in found if isinstance(made, AfterCall)]

    def after_call_hook(self, name: str) -> AfterCall | None:
        """Who is told of calls by that name."""
        made: object = self._made.get(name)
        return made if isinstance(made, AfterCall) else None

    @property
    def dialplan_variables(self) -> frozenset[str]:
        """The `ai_…` variables of calls that tools use."""
        requests = [made for made in self._made.values() if isinstance(made, http_request.HttpRequest)]
        return frozenset(name for made in requests for name in made.variables if name.startswith("ai_"))

    def _named(self, name: str) -> tuple[Tool, ...]:
        made = self._made.get(name)
        if made is None:
            source_name = self._source_of(name)
            if source_name is None:
                return ()
            return tuple(tool for tool in self._of_source(source_name) if tool.spec.name == name)
        if isinstance(made, ToolSource):
            return self._of_source(name)
        return (_Configured(made, self._entries[name]),)

    def _of_source(self, name: str) -> tuple[Tool, ...]:
        source = self._made[name]
        assert isinstance(source, ToolSource)
        usable: list[Tool] = []
        for tool in source.tools():
            try:
                _check(tool.spec, f"tools.{name}")
            except ConfigError as error:
                log.warning("tool_left_out", error=str(error))
            else:
                usable.append(_Configured(tool, self._entries[name], of_source=True))
        return tuple(usable)

    def _source_of(self, name: str) -> str | None:
        """The longest name of a source that `name` begins with."""
        fitting = [n for n, made in self._made.items() if isinstance(made, ToolSource) and name.startswith(f"{n}_")]
        return max(fitting, key=len, default=None)

    def _sources(self) -> list[ToolSource]:
        return [made for made in self._made.values() if isinstance(made, ToolSource)]


class _Configured:
    """A tool with what the configuration says of it instead of its kind."""

    def __init__(self, tool: Tool, entry: Named, *, of_source: bool = False) -> None:
        self._tool = tool
        spec = tool.spec
        described = spec.description if of_source or entry.description is None else entry.description
        self._spec = replace(
            spec,
            description=described,
            filler=entry.filler or spec.filler,
            # Several tools of one source cannot be told apart by the same words.
            said=() if of_source else (*entry.said, *spec.said),
            not_said=() if of_source else (*entry.not_said, *spec.not_said),
        )
        self._timeout_s = tool.timeout_s if entry.timeout_s is None else entry.timeout_s

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        return await self._tool.run(call, arguments)


def _check(spec: ToolSpec, what: str) -> None:
    if not _NAME.fullmatch(spec.name):
        raise ConfigError(f"{what}: {spec.name!r} is no name for a tool: use up to 64 letters, digits, `_` and `-`")
    if not spec.description.strip():
        raise ConfigError(f"{what}: {spec.name}: tell the model what it does, in a `description`")
    try:
        check_schema(spec.parameters)
    except SchemaUnusable as error:
        raise ConfigError(f"{what}: the parameters of {spec.name} cannot be used: {error}") from None
