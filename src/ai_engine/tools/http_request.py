"""`http`: asks a server of the user's: in a call as a tool, before it for its variables, after it as a webhook.

Host and port are the configuration's, `outbound_guard` decides which addresses they may be at. No redirect is
followed, no proxy of the environment used, no cookie kept; answers have a limit of bytes and of time.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import aiohttp
import structlog
from pydantic import BaseModel, ConfigDict, Field
from yarl import URL

from ai_engine.config_file import ConfigError
from ai_engine.messages.voice_message import MESSAGE_VARIABLES, VoiceMessage
from ai_engine.providers.components.options import Options, read_options
from ai_engine.templates import CALL_VARIABLES
from ai_engine.tools.call_hooks import AFTER_CALL_VARIABLES, CallFacts, CallRecord, HookFailed
from ai_engine.tools.call_summary import SummaryOptions, checked_summary
from ai_engine.tools.request_template import (
    RequestTemplateError,
    Text,
    UrlTemplate,
    ValueRefused,
    as_text,
    at_path,
    fill_json,
    json_variables,
    one_line,
)
from ai_engine.tools.tool import ToolCallScope, ToolFailed, ToolResult, ToolSpec
from ai_engine.tools.webhook_signature import signer_from
from outbound_guard.connector import guarded_connector
from outbound_guard.destination import USUAL_PORTS, Allowed, Destination, DestinationRefused

if TYPE_CHECKING:
    from ai_engine.tools.registry import ToolServices

log = structlog.get_logger(__name__)

_OF_THE_CALL: Final = frozenset({*CALL_VARIABLES, "context", "language"})
_FROM_ELSEWHERE: Final = re.compile(r"(ai|lookup)_[a-z0-9_]+\Z")
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,80}$"
_FORBIDDEN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade"})
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_THERE: Final = "(not there)"
TYPED_PREFIX: Final = "secret_"
"""Of the variables of what `ask_keys` keeps: {secret_pin}; {secret_keys} is what was typed secretly last."""
_REPEATED_DIGITS: Final = 3
"""Fewer stand in any text by chance."""
_SOUND: Final = "message_sound"
_MOST_SOUND_BYTES: Final = 20_000_000

HeaderName = Annotated[str, Field(pattern=_HEADER_NAME)]
LookupName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,60}$")]


class HttpOptions(BaseModel):
    """Where the request goes, what it holds and what is made of the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    """With variables in its path and query: https://crm.example/customers?number={caller_number}."""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of what the model gives; each property is a variable."""
    headers: dict[HeaderName, str] = Field(default_factory=dict)
    """May hold variables."""
    keys: dict[HeaderName, str] = Field(default_factory=dict)
    """Headers with secrets: {Authorization: "Bearer {TOOL_CRM_KEY}"} takes the environment variable of that name."""
    body: Any = None
    """Sent as JSON; its texts may hold variables."""
    pick: str = ""
    """What of a JSON answer the model is told: `orders.0`. Empty: all of it."""
    answer: str = ""
    """A sentence with paths into the answer instead: "The order {status}, it comes on {delivery.day}"."""
    on_status: dict[int, str] = Field(default_factory=dict)
    """What the model is told for a status: {404: "There is no such order."}."""
    variables: dict[LookupName, str] = Field(default_factory=dict)
    """For `before_call`: {name: customer.name} makes {lookup_name} of what stands there."""
    defaults: dict[LookupName, str] = Field(default_factory=dict)
    """Their values where the look-up fails or finds nothing; else they are empty."""
    summary: SummaryOptions | None = None
    """For `after_call`: who makes the summary."""
    signature: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """The environment variable with a key that both sides know: requests are signed with it (Standard Webhooks)."""
    allow_private: list[str] = Field(default_factory=list)
    """Names, addresses and networks that may be reached though they are not public."""
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(default_factory=lambda: sorted(USUAL_PORTS))
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    max_bytes: int = Field(default=64 * 1024, ge=1, le=4 * 1024 * 1024)
    """Of the answer; a longer one is refused."""


class RequestFailed(ToolFailed):
    """No answer that can be used; `retryable`: later there may be one."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class HttpRequest:
    """One configured request, shared by all calls."""

    def __init__(self, name: str, options: HttpOptions, services: ToolServices) -> None:
        """Raises `ConfigError`."""
        self._name = name
        self._options = options
        self._services = services
        what = f"tools.{name}.options"
        try:
            self._url = UrlTemplate(options.url)
            self._headers = {header: Text.parse(text) for header, text in options.headers.items()}
            self._answer = Text.parse(options.answer, paths=True) if options.answer else None
            in_body = json_variables(options.body)
            self._destination = Destination.of_url(
                self._url.origin, Allowed.parse(options.allow_private), frozenset(options.ports)
            )
        except (RequestTemplateError, DestinationRefused, ValueError) as error:
            raise ConfigError(f"{what}: {error}") from None
        self._keys = {header: secret_header(what, text, services.environment) for header, text in options.keys.items()}
        headers = frozenset[str]().union(*(text.variables for text in self._headers.values()))
        self.variables = self._url.variables | in_body | headers
        """Those that the request names."""
        self._secrets = frozenset(name for name in in_body | headers if name.startswith(TYPED_PREFIX))
        self._check(what, self.variables)
        self._signer = signer_from(what, options.signature, services.environment)
        self.summary = checked_summary(options.summary, services, what)
        self.spec = ToolSpec(name, f"Sends a request to {self._destination.host}.", options.parameters)
        self.timeout_s = options.timeout_s

    def _check(self, what: str, used: frozenset[str]) -> None:
        properties = self._options.parameters.get("properties", {})
        given = frozenset(properties) if isinstance(properties, Mapping) else frozenset()
        if taken := sorted(given & (_OF_THE_CALL | AFTER_CALL_VARIABLES)):
            raise ConfigError(f"{what}: `parameters`: {taken[0]} is a variable of the call; choose another name")
        if exposed := sorted(name for name in self._url.variables if name.startswith(TYPED_PREFIX)):
            raise ConfigError(
                f"{what}: `url` holds {{{exposed[0]}}}, and addresses are kept in logs on the way: send secret keys in "
                "`body` or `headers`"
            )
        known = given | _OF_THE_CALL | AFTER_CALL_VARIABLES | MESSAGE_VARIABLES
        for name in sorted(used - known - self._secrets):
            if not _FROM_ELSEWHERE.match(name):
                raise ConfigError(f"{what}: unknown variable {{{name}}}; there are {', '.join(sorted(known))}")
        for header in (*self._options.headers, *self._options.keys):
            if header.lower() in _FORBIDDEN_HEADERS:
                raise ConfigError(f"{what}: the header {header} is not yours to set")
        for name in self._options.defaults:
            if name not in self._options.variables:
                raise ConfigError(f"{what}: `defaults`: {name} is not among the `variables`")

    # --- in the call --------------------------------------------------------------------------------------------------

    async def run(self, call: ToolCallScope, arguments: Mapping[str, Any]) -> ToolResult:
        secrets = await self._secrets_of(call)
        values = {**arguments, **_of_scope(call), **secrets}
        status, body = await self._exchange(values, self._options.body)
        if (told := self._options.on_status.get(status)) is not None:
            return ToolResult(told)
        return ToolResult(_without(secrets.values(), self._told(body)))

    async def _secrets_of(self, call: ToolCallScope) -> dict[str, str]:
        """What the caller has typed secretly, by its variable. Raises `ToolFailed` where he has not."""
        found: dict[str, str] = {}
        for variable in sorted(self._secrets):
            name = variable.removeprefix(TYPED_PREFIX)
            digits = await call.secrets.digits(name) if call.secrets is not None else ""
            if not digits:
                raise ToolFailed(f"nothing was done: the caller has not typed the {name.replace('_', ' ')} yet")
            found[variable] = digits
        return found

    def _told(self, body: bytes) -> str:
        options = self._options
        if self._answer is None and not options.pick:
            return body.decode(errors="replace").strip() or "It was done; the server said nothing more."
        answer = _as_json(body)
        if self._answer is not None:
            return self._answer.fill(lambda path: _piece(at_path(answer, path)))
        picked = at_path(answer, options.pick)
        return _NOT_THERE if picked is None else _piece(picked)

    # --- before the call ----------------------------------------------------------------------------------------------

    @property
    def lookup_variables(self) -> Mapping[str, str]:
        """What `look_up` gives, with the values for when it does not."""
        return {name: self._options.defaults.get(name, "") for name in self._options.variables}

    async def look_up(self, call: CallFacts) -> Mapping[str, str]:
        """Raises `HookFailed`."""
        try:
            async with asyncio.timeout(self._options.timeout_s):
                status, body = await self._exchange(call.values(), self._options.body)
            if status in self._options.on_status:
                return {}
            answer = _as_json(body)
        except (RequestFailed, TimeoutError) as error:
            raise HookFailed(str(error) or "no answer in time") from None
        found = {name: at_path(answer, path) for name, path in self._options.variables.items()}
        return {name: as_text(value) for name, value in found.items() if _is_plain(value) and as_text(value)}

    # --- after the call -----------------------------------------------------------------------------------------------

    async def after_call(self, record: CallRecord, summary: str) -> None:
        """Raises `HookFailed`."""
        await self._tell(record.values(summary), f"{record.call.call_id}.{self._name}")

    async def deliver_message(self, message: VoiceMessage, sound: Path) -> None:
        """Raises `HookFailed`."""
        values = message.values()
        if _SOUND in self.variables:
            try:
                values[_SOUND] = await asyncio.to_thread(_base64, sound)
            except OSError as error:  # the words are worth more than nothing
                log.warning("message_without_sound", tool=self._name, file=message.file, error=error.strerror)
                values[_SOUND] = None
        await self._tell(values, f"{message.id}.{self._name}")

    async def _tell(self, values: Mapping[str, Any], id: str) -> None:
        """A webhook; without a body of its own it tells all `values`. Raises `HookFailed`."""
        if self._secrets:
            raise HookFailed("it needs secret keys, which are kept nowhere but in the call itself")
        body = self._options.body
        if body is None and self._options.method != "GET":
            body = {name: f"{{{name}}}" for name in sorted(values)}
        try:
            async with asyncio.timeout(self._options.timeout_s):
                await self._exchange(values, body, id=id)
        except TimeoutError:
            raise HookFailed("no answer in time", retryable=True) from None
        except RequestFailed as error:
            raise HookFailed(str(error), retryable=error.retryable) from None

    # --- the exchange -------------------------------------------------------------------------------------------------

    async def _exchange(self, values: Mapping[str, Any], body: Any, *, id: str = "") -> tuple[int, bytes]:
        """Status and body of an answer that can be used. Raises `RequestFailed`, whose message holds no secrets.

        `id` tells the receiver that it has had this before; empty: it has not.
        """
        try:
            url = self._url.fill(values)
        except ValueRefused as error:
            raise RequestFailed(str(error), retryable=False) from None

        def value_of(name: str) -> str:
            return as_text(values.get(name))

        headers = {header: one_line(text.fill(value_of)) for header, text in self._headers.items()}
        data = None
        if body is not None:
            data = json.dumps(fill_json(body, values), default=str).encode()
            headers["Content-Type"] = "application/json"
        if self._signer is not None:
            headers |= self._signer.headers(id or uuid.uuid4().hex, data or b"")
        try:
            async with self._session().request(
                self._options.method,
                URL(url, encoded=True),
                headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers, **self._keys},
                data=data,
                allow_redirects=False,
            ) as response:
                return response.status, await self._read(response)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            log.warning("http_request_failed", tool=self._name, host=self._destination.host, error=_reason(error))
            raise RequestFailed("the server could not be reached", retryable=True) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        status, limit = response.status, self._options.max_bytes
        if status not in self._options.on_status and not 200 <= status < 300:
            log.warning("http_request_failed", tool=self._name, host=self._destination.host, status=status)
            if 300 <= status < 400:
                raise RequestFailed("the server named another address, which is not followed", retryable=False)
            raise RequestFailed(f"the server answered with status {status}", retryable=status in _RETRIED)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RequestFailed("the server's answer is compressed, which was not asked for", retryable=False)
        body = bytearray()
        async for chunk in response.content.iter_chunked(16 * 1024):
            body += chunk
            if len(body) > limit:
                raise RequestFailed(f"the server's answer is longer than {limit} bytes", retryable=False)
        return bytes(body)

    def _session(self) -> aiohttp.ClientSession:
        return self._services.clients.get(("http", self._name), self._new_session)

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=guarded_connector(self._destination),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=120),
            auto_decompress=False,
            trust_env=False,
        )


def make_http_request(name: str, options: Options, services: ToolServices) -> HttpRequest:
    """Raises `ConfigError`."""
    return HttpRequest(name, read_options(HttpOptions, options, f"tools.{name}.options"), services)


def _of_scope(call: ToolCallScope) -> dict[str, Any]:
    return CallFacts(
        call_id=call.call_id,
        context=call.context,
        caller_number=call.caller_number,
        caller_name=call.caller_name,
        dialed_number=call.dialed_number,
        language=call.language,
        variables=call.variables,
    ).values()


def secret_header(what: str, source: str, environment: Mapping[str, str]) -> str:
    """A header's value with the environment's variables in it. Raises `ConfigError`."""
    try:
        text = Text.parse(source)
    except RequestTemplateError as error:
        raise ConfigError(f"{what}: `keys`: {error}") from None
    for name in text.variables:
        if not _ENVIRONMENT_NAME.match(name):
            raise ConfigError(f"{what}: `keys`: {{{name}}} is no environment variable; write it as {{TOOL_CRM_KEY}}")
        if not environment.get(name, "").strip():
            raise ConfigError(f"{what}: `keys` names {name}, which is not set: set it in .env")
    if not text.variables:
        raise ConfigError(f"{what}: `keys` hold names of environment variables in braces, never the secret itself")
    return one_line(text.fill(lambda name: environment[name].strip()))


def _as_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RequestFailed("the server's answer is no JSON", retryable=False) from None


def _without(secrets: Iterable[str], text: str) -> str:
    """`text` without digits that a server repeats."""
    for digits in secrets:
        text = text.replace(digits, "****") if len(digits) >= _REPEATED_DIGITS else text
    return text


def _base64(file: Path) -> str:
    """Blocks. Raises `OSError`, also for a file that is too large to be sent so."""
    if file.stat().st_size > _MOST_SOUND_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return base64.b64encode(file.read_bytes()).decode()


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _piece(value: Any) -> str:
    if value is None:
        return _NOT_THERE
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else as_text(value)


def _reason(error: BaseException) -> str:
    """Without the address, whose query may hold what the caller said."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return str(cause) if isinstance(cause, OSError) else type(cause).__name__
