"""One server of OpenAI's chat completions over HTTP: asks it, reads its stream, tells what its refusals mean.

Servers of other APIs that answer a POST with a stream are asked by `batches`, with their own decoder.

Belongs to one event loop. Cancelling the task that waits closes the stream at once, whatever it waits for.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Protocol, TypeVar

import httpx

from openai_wire.errors import (
    LlmBusy,
    LlmError,
    LlmMisconfigured,
    LlmPromptTooLong,
    LlmRefused,
    LlmTimeout,
    LlmUnavailable,
    without_key,
)
from openai_wire.setting_names import SettingNames
from openai_wire.stream import EventDecoder, Outcome, error_words, read_event

_T = TypeVar("_T")
_CONNECT_S: Final = 5.0
_PROBE_S: Final = 5.0
_FIGURES_S: Final = 1.0
_MAX_BODY_BYTES: Final = 1024 * 1024
_TOO_LONG: Final = re.compile(r"context (length|size|window)|too long|exceed|maximum.*tokens", re.IGNORECASE)


class StreamDecoder(Protocol):
    """Bytes in, events out; what proves nothing (a keep-alive) is none."""

    def feed(self, data: bytes) -> list[str]:
        """The events that `data` completes. Raises `LlmUnavailable`."""

    def end(self) -> list[str]:
        """The stream has ended: what lacked only its end."""


class OpenAiClient:
    """The connections to one server."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        silence_s: float,
        names: SettingNames,
        path: str = "/chat/completions",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`silence_s`: the longest wait for the first token and between two. `headers`: how the key is shown."""
        self._path = path
        self._names = names
        self._url = url
        self._key = key
        self._silence_s = silence_s
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=headers if headers is not None else {"Authorization": f"Bearer {key}"} if key else {},
            # Silence has a limit of its own (`_in_time`): bytes alone prove nothing, some servers send comments while
            # a request waits.
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
            # The address is the user's own word: no proxy of the environment and no redirect sends callers' words,
            # or the key, elsewhere.
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def models(self) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """What /models answers, with its headers. Raises `LlmError`."""
        try:
            async with asyncio.timeout(_PROBE_S):
                response = await self._http.get("/models")
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._unreachable("/models", error) from None
        if response.status_code == 404:
            return {}, response.headers  # some proxies list nothing
        if response.status_code != 200:
            raise await self._refusal(response)
        try:
            listing = response.json()
        except ValueError:
            listing = None
        if not isinstance(listing, dict):
            raise LlmMisconfigured(
                f"{self._url}/models answered with something else than a list of models; {self._names.url} is "
                "the address up to and with its version, as in http://127.0.0.1:8000/v1"
            )
        return listing, response.headers

    async def answer(self, request: Mapping[str, Any], outcome: Outcome) -> AsyncGenerator[str, None]:
        """The pieces of text as they come; figures and tool calls go to `outcome`. Raises `LlmError`."""
        decoder = EventDecoder()
        complete = False
        async with self._posted(request) as response:
            chunks = response.aiter_bytes()
            if response.headers.get("content-type", "").startswith("application/json"):  # it does not stream
                body = await self._in_time(_read_body(chunks))
                yield read_event(without_key(body.decode("utf-8", "replace"), self._key), outcome)[0]
                return
            async with aclosing(self._batches(chunks, decoder)) as batches:
                async for events in batches:
                    for event in events:
                        text, ended = read_event(without_key(event, self._key), outcome)
                        complete = complete or ended
                        yield text
                    if complete:
                        break
            if not complete:
                raise LlmUnavailable(f"{self._url} hung up in the middle of its answer; see its log")
            # The figures come after the reason to finish; a server that keeps them back is not waited for long.
            await self._read_figures(chunks, decoder, outcome)

    async def batches(self, request: Mapping[str, Any], decoder: StreamDecoder) -> AsyncGenerator[list[str], None]:
        """The events of an answer as they come, to the end of the stream. Raises `LlmError`."""
        async with (
            self._posted(request) as response,
            aclosing(self._batches(response.aiter_bytes(), decoder)) as batches,
        ):
            async for events in batches:
                yield [without_key(event, self._key) for event in events]

    async def _batches(self, chunks: AsyncIterator[bytes], decoder: StreamDecoder) -> AsyncGenerator[list[str], None]:
        deadline_s = self._deadline()
        data: bytes | None = b""
        while data is not None:
            data = await self._in_time(anext(chunks, None), deadline_s)
            if events := decoder.end() if data is None else decoder.feed(data):
                yield events
                deadline_s = self._deadline()

    async def _read_figures(self, chunks: AsyncIterator[bytes], decoder: EventDecoder, outcome: Outcome) -> None:
        try:
            async with asyncio.timeout(_FIGURES_S):
                async for data in chunks:
                    for event in decoder.feed(data):
                        read_event(event, outcome)
        except (TimeoutError, httpx.HTTPError, LlmUnavailable):
            return

    @asynccontextmanager
    async def _posted(self, request: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """The response with its stream open. A kept connection that the server has closed meanwhile is tried anew."""
        for attempt in range(2):
            try:
                response = await self._in_time(
                    self._http.send(self._http.build_request("POST", self._path, json=request), stream=True)
                )
                break
            except httpx.ConnectError as error:
                raise self._unreachable(self._path, error) from None
            except httpx.HTTPError as error:
                if attempt or not isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError)):
                    raise self._unreachable(self._path, error) from None
        try:
            if response.status_code != 200:
                raise await self._refusal(response)
            yield response
        except httpx.HTTPError as error:
            raise LlmUnavailable(f"{self._url} broke off: {_words(error)}; see its log") from None
        finally:
            await response.aclose()

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._silence_s

    async def _in_time(self, waiting: Awaitable[_T], deadline_s: float | None = None) -> _T:
        try:
            async with asyncio.timeout_at(deadline_s or self._deadline()):
                return await waiting
        except TimeoutError:
            raise LlmTimeout(
                f"{self._url} was silent for {self._silence_s:g} s; see its load, or raise {self._names.timeout}"
            ) from None

    async def _refusal(self, response: httpx.Response) -> Exception:
        """The error that an answer other than 200 stands for."""
        body = await self._in_time(_read_body(response.aiter_bytes()))
        text = without_key(body.decode("utf-8", "replace"), self._key)
        try:
            words = error_words(json.loads(text))
        except (ValueError, RecursionError):
            words = " ".join(text.split())[:300]
        status = response.status_code
        said = f"{self._url} answered {status}: {words or 'nothing'}"
        if status in (401, 402, 403):
            return LlmMisconfigured(f"{said}; set {self._names.key} to a key that it accepts")
        if status == 404:
            return LlmMisconfigured(f"{said}; see {self._names.url} (…/v1) and {self._names.model}")
        if status == 429:
            after = response.headers.get("retry-after", "")
            return LlmBusy(f"{said}" + (f"; it asks to wait {after} s" if after.isdigit() else ""))
        if status in (400, 413) and _TOO_LONG.search(words):
            return LlmPromptTooLong(f"{said}; set {self._names.context} to the window that it was started with")
        if status in (408, 409, 425) or status >= 500:
            return LlmUnavailable(f"{said}; see its log")
        return LlmRefused(said)

    def _unreachable(self, path: str, error: Exception) -> LlmError:
        return LlmUnavailable(
            f"no answer from {self._url}{path} ({_words(error)}); start the server there or correct {self._names.url}"
        )


async def _read_body(chunks: AsyncIterator[bytes]) -> bytes:
    body = b""
    async for data in chunks:
        body += data
        if len(body) > _MAX_BODY_BYTES:
            break
    return body


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
