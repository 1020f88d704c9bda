"""The client of one Asterisk's REST interface: requests, and the event WebSocket that is kept up for ever.

It knows HTTP and nothing of calls. Typed operations are in `channels`, the order of events in `dispatch`, what to do
after a reconnect in `reconcile`.
"""

import asyncio
import base64
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
import structlog
from yarl import URL

from ai_engine.asterisk.backoff import Backoff
from ai_engine.asterisk.errors import AriError, AriNotFound, AriReplaced, AriUnauthorized, AriUnreachable, error_for
from ai_engine.asterisk.events import ApplicationReplaced, Event, EventError, parse_event

_log = structlog.get_logger(__name__)

_KEEPALIVE_S = (
    10.0  # below http.conf's session_keep_alive (15 s), so that we never write to a socket Asterisk just closed
)
_CONNECTIONS = 32  # below http.conf's sessionlimit (100), which all ARI clients share
_CLOSE_S = 1.0  # how long we wait for Asterisk's close frame


class AriClient:
    """One pooled HTTP session to one Asterisk, as one Stasis application.

    Use it as an async context manager (or call `close`), `run` in a task of its own, and `request` from anywhere on the
    same event loop. Credentials travel in a header: no URL, log line or exception text holds them.
    """

    def __init__(
        self,
        base_url: str,
        user: str,
        password: str,
        app: str,
        *,
        request_timeout_s: float = 5.0,
        connect_timeout_s: float = 3.0,
        heartbeat_s: float = 10.0,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
        unauthorized_retry_s: float = 30.0,
        replaced: Backoff = Backoff(base_s=60.0, cap_s=900.0),  # noqa: B008 - frozen
        replaced_poll_s: float = 5.0,
        stable_after_s: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Check the settings; nothing is opened yet.

        `base_url` is ``http://host:8088`` or ``https://host:8089``, with http.conf's ``prefix`` if it has one; ``/ari``
        is added where it lacks. A WebSocket ping goes out after `heartbeat_s` of silence and must be answered within
        half of that. `backoff` is for an Asterisk that is away, `replaced` for another engine under our application
        name. A connection that lasted `stable_after_s` starts both anew. Raises ValueError for a URL that cannot be.
        """
        self.base_url = _checked_base_url(base_url)
        self.app = app
        self.user = user
        self._headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
        self._request_timeout = aiohttp.ClientTimeout(total=request_timeout_s, sock_connect=connect_timeout_s)
        self._handshake_timeout_s = request_timeout_s
        self._heartbeat_s = heartbeat_s
        self._backoff = backoff
        self._unauthorized_retry_s = unauthorized_retry_s
        self._replaced = replaced
        self._replaced_poll_s = replaced_poll_s
        self._stable_after_s = stable_after_s
        self._ssl: ssl.SSLContext | bool = ssl_context if ssl_context is not None else True
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._connected = False
        self._connection = 0
        self._last_error: AriError | None = None

    @property
    def connected(self) -> bool:
        """Whether the event WebSocket is up."""
        return self._connected

    @property
    def connection(self) -> int:
        """The number of the event connection: grows by one with each."""
        return self._connection

    @property
    def last_error(self) -> AriError | None:
        """Why the event WebSocket is down; None while it is up or was not tried."""
        return self._last_error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. Cancel `run` first."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # Requests

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Do one request and return the parsed JSON of its answer, or None where that is empty.

        `path` begins with a slash and is relative to ``/ari``; quote ids in it with `segment`. Raises `AriError` or the
        kind of it that fits; after `AriUnreachable` it is unknown whether Asterisk did what was asked.
        """
        timeout = self._request_timeout
        if timeout_s is not None:
            timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=timeout.sock_connect)
        failure: str
        try:
            async with self._open_session().request(
                method, self._url(path, params), json=body, timeout=timeout, ssl=self._ssl, allow_redirects=False
            ) as answer:
                text = await answer.text(errors="replace")  # always read: an unread body keeps Asterisk's socket
                status, reason = answer.status, answer.reason or ""
        except TimeoutError:
            failure = f"no answer from Asterisk within {timeout.total:g} s"
        except (aiohttp.ClientError, OSError) as exc:
            failure = f"Asterisk cannot be reached: {_reason(exc)}"
        else:
            if status >= 300:
                raise error_for(status, method, path, _message(text, reason), user=self.user)
            return _parsed(method, path, status, text)
        # Raised here and not in the handler: aiohttp's exceptions carry request headers, and so the password.
        raise AriUnreachable(method, path, failure)

    async def ping(self) -> None:
        """Prove that Asterisk answers and takes our credentials: raises `AriUnreachable` or `AriUnauthorized`."""
        await self.request("GET", "/asterisk/ping")

    # Events

    async def resubscribe(self, reason: str) -> None:
        """End the event connection, which `run` then makes anew: it is open, yet nothing comes over it."""
        socket = self._socket
        if socket is not None:
            _log.warning("asterisk.resubscribing", app=self.app, reason=reason)
            await socket.close()

    async def run(
        self,
        on_event: Callable[[Event], None],
        on_connected: Callable[[], Awaitable[None]] | None = None,
        on_disconnected: Callable[[AriError], Awaitable[None]] | None = None,
    ) -> None:
        """Keep the event WebSocket up until cancelled; never returns.

        `on_event` is called in the order of arrival and must not raise. `on_connected` runs beside the events, after
        each connect, and is cancelled when the connection ends; when it raises `AriError` the connection is given up
        and made anew, so that reconciling is never left half done. `on_disconnected` gets the reason.
        """
        attempt = replaced_times = 0
        while True:
            since = self._clock()
            try:
                was_replaced = await self._connect_and_read(on_event, on_connected)
                error: AriError = AriUnreachable("GET", "/events", "the event connection ended")
            except AriError as exc:
                was_replaced, error = False, exc
            lost = self._connected
            self._connected = False
            if lost and self._clock() - since >= self._stable_after_s:
                attempt = replaced_times = 0
            if was_replaced:
                error = AriReplaced(self.app)
            self._announce(error, lost=lost)
            self._last_error = error
            if lost and on_disconnected is not None:
                await on_disconnected(error)
            if was_replaced:
                await self._yield_to_successor(self._replaced.ceiling_s(replaced_times))
                replaced_times += 1
            elif isinstance(error, AriUnauthorized):
                await self._sleep(self._unauthorized_retry_s)
            else:
                await self._sleep(self._uniform(0.0, self._backoff.ceiling_s(attempt)))
                attempt += 1

    async def _connect_and_read(
        self, on_event: Callable[[Event], None], on_connected: Callable[[], Awaitable[None]] | None
    ) -> bool:
        """Serve one connection to its end. True when another client replaced us."""
        socket = await self._connect()
        greeting: asyncio.Task[None] | None = None
        faults: list[AriError] = []
        try:
            self._connected, self._last_error, self._socket = True, None, socket
            self._connection += 1
            _log.info("asterisk.connected", url=self.base_url, app=self.app)
            if on_connected is not None:
                greeting = asyncio.create_task(self._greet(on_connected, socket, faults), name="ari-on-connected")
            was_replaced = await self._read(socket, on_event)
            if faults and not was_replaced:
                raise faults[0]  # what made us give the connection up
            return was_replaced
        finally:
            if greeting is not None:
                greeting.cancel()
                await asyncio.gather(greeting, return_exceptions=True)
            self._socket = None
            await socket.close()

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        path = "/events"
        refused: int | None = None
        failure = ""
        try:
            async with asyncio.timeout(self._handshake_timeout_s):
                return await self._open_session().ws_connect(
                    self._url(path, {"app": self.app}, websocket=True),
                    heartbeat=self._heartbeat_s,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
                    ssl=self._ssl,
                )
        except aiohttp.WSServerHandshakeError as exc:
            refused, failure = exc.status, exc.message
        except TimeoutError:
            failure = f"no answer from Asterisk within {self._handshake_timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as exc:
            failure = f"Asterisk cannot be reached: {_reason(exc)}"
        # Raised here and not in a handler: see request().
        if refused is None or refused == 101:  # 101: it spoke, but not WebSocket
            raise AriUnreachable("GET", path, failure)
        if refused == 404:
            failure = f"no ARI at {self.base_url}: is res_ari loaded, and is this http.conf's address and prefix?"
        raise error_for(refused, "GET", path, failure, user=self.user)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, on_event: Callable[[Event], None]) -> bool:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                event = parse_event(message.data)
            except EventError as exc:
                _log.warning("asterisk.event_unreadable", error=str(exc))
                continue
            on_event(event)
            if isinstance(event, ApplicationReplaced) and event.application == self.app:
                return True  # Asterisk leaves the replaced socket open, but nothing comes on it any more
        return False

    async def _greet(
        self,
        on_connected: Callable[[], Awaitable[None]],
        socket: aiohttp.ClientWebSocketResponse,
        faults: list[AriError],
    ) -> None:
        try:
            await on_connected()
        except AriError as exc:
            faults.append(exc)
            await socket.close()
        except Exception:  # noqa: BLE001 - root of this task: a fault in it must not cost us the events
            _log.exception("asterisk.on_connected_failed")

    def _announce(self, error: AriError, *, lost: bool) -> None:
        """Log a reason when it is new; repetitions of it are for whoever debugs."""
        previous = self._last_error
        repeated = not lost and previous is not None and str(previous) == str(error)
        if isinstance(error, AriUnauthorized) or error.status == 404 or not error.retryable:
            level = _log.debug if repeated else _log.error
        else:
            level = _log.debug if repeated else _log.warning
        level("asterisk.disconnected" if lost else "asterisk.unreachable", reason=str(error), url=self.base_url)

    async def _yield_to_successor(self, longest_s: float) -> None:
        """Wait until whoever took our application name has left it, at most `longest_s`.

        Taking the name back at once would start a tug of war in which both lose calls.
        """
        _log.error(
            "asterisk.application_replaced",
            app=self.app,
            fix="another engine uses this Stasis application: give each engine its own name, or stop one",
            retry_within_s=longest_s,
        )
        until = self._clock() + longest_s
        while (left_s := until - self._clock()) > 0:
            await self._sleep(min(self._replaced_poll_s, left_s))
            try:
                await self.request("GET", f"/applications/{segment(self.app)}")
            except AriNotFound:
                return  # an application without a client and without channels ceases to exist
            except AriUnreachable:
                return  # Asterisk itself went away: its successor knows neither of us
            except AriError as exc:
                _log.debug("asterisk.application_unknown", error=str(exc))

    # Plumbing

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEPALIVE_S),
                headers=self._headers,
                timeout=self._request_timeout,
                trust_env=False,  # a proxy between us and the PBX is never meant
            )
        return self._session

    def _url(self, path: str, params: Mapping[str, str | int] | None, *, websocket: bool = False) -> URL:
        base = self.base_url
        if websocket:
            base = "ws" + base.removeprefix("http")  # http → ws, https → wss
        return URL(base + path, encoded=True).with_query(params or {})


def segment(text: str) -> str:
    """Quote an id for use between two slashes of a path."""
    return quote(text, safe="")


def _checked_base_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("ARI URL: write http://host:8088 or https://host:8089")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "ARI URL: leave user and password out of it and use their own settings, or they end up in logs"
        )
    if parts.query or parts.fragment:
        raise ValueError("ARI URL: nothing may follow the path")
    plain = base_url.rstrip("/")
    return plain if plain.endswith("/ari") else f"{plain}/ari"


def _reason(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _message(text: str, reason: str) -> str:
    """Asterisk's own words about a failure: ``{"message": …}``, or an HTML page when the answer is not ARI's."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return reason
    if isinstance(said, dict):
        for key in ("message", "error"):
            if isinstance(said.get(key), str):
                return str(said[key])
    return reason


def _parsed(method: str, path: str, status: int, text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise AriError(status, method, path, "the answer is not JSON: is this Asterisk's HTTP port?") from exc
