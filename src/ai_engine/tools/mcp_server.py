"""`mcp`: the tools of a server of the Model Context Protocol, by the official SDK, over stdio or streamable HTTP.

The server is one of the configuration's: a command that is started here, or an address. It is connected once for all
calls, asked for its tools now and then, and connected again, with a growing pause, when it has gone; meanwhile its
tools tell the model that they cannot be had. What it says of its tools is shown to the model, so use servers you trust.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ai_engine.config_file import ConfigError
from ai_engine.providers.components.options import Options, read_options
from ai_engine.tools.http_request import HeaderName, secret_header
from ai_engine.tools.tool import Tool, ToolCallScope, ToolFailed, ToolResult, ToolSpec

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as ListedTool

    from ai_engine.tools.registry import ToolServices

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
LISTED_EVERY_S: Final = 30.0
"""Asking for the tools also shows that the server is there."""
_MAX_TOOLS: Final = 100
_MAX_PAGES: Final = 20
_MAX_DESCRIPTION_CHARS: Final = 1000
_MAX_TEXT_CHARS: Final = 20_000
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]")
_EnvironmentName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


def _http_url(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ValueError("write it as https://host/mcp; secrets go under `keys`")
    return url.strip()


class McpOptions(BaseModel):
    """Where the server is and which of its tools there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = ()
    """A program that speaks the protocol over stdin and stdout, and its arguments."""
    environment: dict[str, _EnvironmentName] = Field(default_factory=dict)
    """What the program finds in its environment, besides PATH, HOME and the like: {CRM_KEY: TOOL_CRM_KEY} takes our
    variable TOOL_CRM_KEY."""
    folder: str | None = None
    """Where the program is started."""
    show_errors: bool = False
    """What the program writes to stderr goes to the engine's, to see why it does not start; else it is dropped."""
    url: Annotated[str, AfterValidator(_http_url)] | None = None
    """The address of a server over streamable HTTP, instead of `command`."""
    keys: dict[HeaderName, str] = Field(default_factory=dict)
    """Headers with secrets for `url`: {Authorization: "Bearer {TOOL_CRM_KEY}"}."""
    only: tuple[str, ...] = ()
    """The server's names of the tools that are offered; empty: all."""
    timeout_s: float = Field(default=8.0, gt=0, le=60)
    """Of one use of a tool."""
    start_timeout_s: float = Field(default=10.0, gt=0, le=120)
    """To connect and list the tools; the engine waits so long at its start."""

    @model_validator(mode="after")
    def _one_way(self) -> McpOptions:
        if bool(self.command) == (self.url is not None):
            raise ValueError("give it either a `command` or a `url`")
        if self.url is None and self.keys:
            raise ValueError("`keys` are for a `url`; a `command` has `environment`")
        if self.url is not None and (self.environment or self.folder or self.show_errors):
            raise ValueError("`environment`, `folder` and `show_errors` are for a `command`")
        return self


class McpServer:
    """One server and its tools, shared by all calls. `start` and `stop` on the control loop."""

    def __init__(
        self,
        name: str,
        options: McpOptions,
        services: ToolServices,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        listed_every_s: float = LISTED_EVERY_S,
    ) -> None:
        """Raises `ConfigError`."""
        try:
            import mcp  # noqa: F401, PLC0415 - an extra
        except ImportError:
            raise ConfigError(f"tools.{name}: kind `mcp` needs the extra `mcp`: pip install 'parley[mcp]'") from None
        what = f"tools.{name}.options"
        self.name = name
        self.options = options
        self._keys = {header: secret_header(what, text, services.environment) for header, text in options.keys.items()}
        for variable in options.environment.values():
            if not services.environment.get(variable, "").strip():
                raise ConfigError(f"{what}: `environment` names {variable}, which is not set: set it in .env")
        self._environment = {key: services.environment[variable] for key, variable in options.environment.items()}
        self._first_pause_s = first_pause_s
        self._listed_every_s = listed_every_s
        self._client: Client | None = None
        self._tools: dict[str, _McpTool] = {}
        """Those last listed; they stay while the server is away."""
        self._task: asyncio.Task[None] | None = None
        self._listed = asyncio.Event()
        self._lost = asyncio.Event()
        self._stopping = asyncio.Event()
        self._limit: asyncio.Timeout | None = None

    @property
    def connected(self) -> bool:
        return self._client is not None

    async def start(self) -> None:
        """Connect and list the tools, for `start_timeout_s`; after that it is tried on."""
        if self._task is not None:
            return
        self._task = asyncio.create_task(self._keep_connected(), name=f"mcp-{self.name}")
        try:
            async with asyncio.timeout(self.options.start_timeout_s):
                await self._listed.wait()
        except TimeoutError:
            log.warning("mcp_server_not_there", server=self.name)

    async def stop(self) -> None:
        """Idempotent. Takes as long as the program needs to end, some seconds at the most."""
        task, self._task = self._task, None
        if task is None:
            return
        # No cancelling: it would break off the SDK's own ending of the program, and leave that running.
        self._stopping.set()
        self._lost.set()
        if self._limit is not None:
            with contextlib.suppress(RuntimeError):  # its time is over already
                self._limit.reschedule(0.0)
        await task

    def tools(self) -> Sequence[Tool]:
        return tuple(self._tools.values())

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Raises `ToolFailed`."""
        from mcp import MCPError  # noqa: PLC0415 - an extra
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT  # noqa: PLC0415

        client = self._client
        if client is None:
            raise ToolFailed("the server of this tool cannot be reached at present")
        try:
            return _result(await client.call_tool(tool, dict(arguments)))
        except MCPError as error:
            log.warning("mcp_call_failed", server=self.name, tool=tool, code=error.code)
            if error.code in (CONNECTION_CLOSED, REQUEST_TIMEOUT):
                if self._client is client:  # no later one
                    self._client = None
                    self._lost.set()
                raise ToolFailed("its server has gone; it is not known whether it was done") from None
            raise ToolFailed(f"its server refused it: {_plain(error.message)[:300]}") from None

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        pause_s = self._first_pause_s
        while not self._stopping.is_set():
            self._lost.clear()
            self._listed.clear()
            try:
                await self._while_connected()
                reason = "it has gone"
            except Exception as error:  # noqa: BLE001 - root of the task: whatever the server did, it is tried again
                reason = _why(error)
            finally:
                self._client = None
            if self._stopping.is_set():
                return
            if self._listed.is_set():
                pause_s = self._first_pause_s
            log.warning("mcp_server_away", server=self.name, error=reason, again_in_s=pause_s)
            await _set_within(self._stopping, pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _while_connected(self) -> None:
        """Returns or raises when the connection is lost."""
        from mcp import Client  # noqa: PLC0415 - an extra

        async with contextlib.AsyncExitStack() as owned:
            async with self._in_time():
                client = await owned.enter_async_context(Client(self._transport(), cache=None))
                await self._list(client)
            self._client = client
            self._listed.set()
            log.info("mcp_server_connected", server=self.name, tools=len(self._tools))
            while not await _set_within(self._lost, self._listed_every_s):
                async with self._in_time():
                    await self._list(client)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """`start_timeout_s`, and no longer than until `stop`."""
        try:
            async with asyncio.timeout(self.options.start_timeout_s) as self._limit:
                yield
        finally:
            self._limit = None

    async def _list(self, client: Client) -> None:
        found: dict[str, _McpTool] = {}
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            for listed in page.tools:
                if len(found) < _MAX_TOOLS and (not self.options.only or listed.name in self.options.only):
                    tool = _McpTool(self, listed)
                    found.setdefault(tool.spec.name, tool)
            cursor = page.next_cursor
            if cursor is None:
                break
        missing = set(self.options.only) - {tool.own_name for tool in found.values()}
        if missing and not self._listed.is_set():
            log.warning("mcp_tools_not_there", server=self.name, missing=sorted(missing))
        self._tools = found

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        options = self.options
        if options.url is None:
            from mcp import StdioServerParameters, stdio_client  # noqa: PLC0415 - an extra

            program = StdioServerParameters(
                command=options.command[0], args=list(options.command[1:]), env=self._environment, cwd=options.folder
            )
            with open(os.dup(2) if options.show_errors else os.devnull, "w") as errors:  # noqa: PTH123, ASYNC230 - not a file
                async with stdio_client(program, errlog=errors) as streams:
                    yield streams
            return
        import httpx2  # noqa: PLC0415 - of the extra
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

        # The address is the user's own word: no proxy of the environment sends callers' words, or the key, elsewhere.
        timeout = httpx2.Timeout(options.timeout_s, read=300.0)
        async with (
            httpx2.AsyncClient(headers=self._keys, timeout=timeout, trust_env=False, follow_redirects=False) as http,
            streamable_http_client(options.url, http_client=http) as streams,
        ):
            yield streams


class _McpTool:
    """One tool of a server."""

    def __init__(self, server: McpServer, listed: ListedTool) -> None:
        self._server = server
        self.own_name = listed.name
        told = _plain(listed.description or listed.title or "")[:_MAX_DESCRIPTION_CHARS]
        self.spec = ToolSpec(
            f"{server.name}_{_NOT_IN_NAMES.sub('_', listed.name)}",
            told or f"{listed.name} of {server.name}.",
            listed.input_schema,
        )
        self.timeout_s = server.options.timeout_s

    async def run(self, _call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        return await self._server.call(self.own_name, arguments)


def make_mcp_server(name: str, options: Options, services: ToolServices) -> McpServer:
    """Raises `ConfigError`."""
    return McpServer(name, read_options(McpOptions, options, f"tools.{name}.options"), services)


def _result(result: CallToolResult) -> ToolResult:
    pieces: list[str] = []
    for part in result.content:
        kind = getattr(part, "type", "something")
        pieces.append(part.text if kind == "text" and hasattr(part, "text") else f"({kind}, which cannot be spoken)")
    text = "\n".join(pieces).strip()
    if not text and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    text = text[:_MAX_TEXT_CHARS]
    if result.is_error:
        return ToolResult(f"It failed: {text or 'its server gives no reason'}", ok=False)
    return ToolResult(text or "It was done; its server said nothing more.")


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether `event` was set before `seconds` were over."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _plain(text: str) -> str:
    """One line without control and invisible characters."""
    return " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in text).split())


def _why(error: BaseException) -> str:
    """The first reason of a group of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (str(error) or type(error).__name__)[:300]
