"""Files from addresses that clients name: from the public Internet, and from where the configuration allows it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import BinaryIO, Final

import aiohttp
from yarl import URL

from local_ai_server.errors import ServeError
from outbound_guard.connector import LookUp, guarded_connector
from outbound_guard.destination import USUAL_PORTS, Allowed, Destination, DestinationRefused

MAX_REDIRECTS: Final = 3
DEADLINE_S: Final = 60.0
"""From the first look-up to the last byte."""
_CONNECT_S: Final = 5.0
_CHUNK_BYTES: Final = 64 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ANY_PORT: Final = range(1, 65_536)
_EVERYTHING: Final = Allowed.parse(["0.0.0.0/0", "::/0"])
# One sentence for all of it: what is inside the server's network, and what answers there, is nobody's business.
_OUT_OF_REACH: Final = (
    "nothing could be fetched from there: the address is not a public one (LOCAL_HTTP_FETCH_ALLOW names others that "
    "may be asked), does not resolve, or does not answer"
)


class Fetcher:
    """One server's rules."""

    def __init__(
        self,
        allowed: Allowed,
        *,
        max_bytes: int,
        deadline_s: float = DEADLINE_S,
        look_up: LookUp | None = None,
    ) -> None:
        self._allowed = allowed
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s
        self._look_up = look_up

    @asynccontextmanager
    async def fetched(self, url: str) -> AsyncIterator[BinaryIO]:
        """What lies at `url`, in a temporary file that is given back at the end. Raises `ServeError`."""
        with TemporaryFile() as file:
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._fetch(url, file)
            except TimeoutError:
                message = f"the file was not here within {self._deadline_s:g} s"
                raise ServeError("timeout", message) from None
            yield file

    async def _fetch(self, text: str, file: BinaryIO) -> None:
        try:
            url = URL(text)
        except ValueError:
            raise ServeError("invalid_message", "url: write it as https://host/path") from None
        for _ in range(1 + MAX_REDIRECTS):
            destination = self._destination(url)
            connector = guarded_connector(destination, look_up=self._look_up, limit=1)
            async with aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                headers={"Accept-Encoding": "identity", "User-Agent": "parley"},
            ) as http:
                try:
                    async with http.get(url, allow_redirects=False) as response:
                        if response.status not in _REDIRECTS:
                            await self._store(response, file)
                            return
                        url = self._next(url, response.headers.get("Location", ""))
                except (aiohttp.ClientError, OSError, ValueError):  # DestinationRefused among them
                    raise ServeError("invalid_message", _OUT_OF_REACH) from None
        raise ServeError("invalid_message", f"the address leads on more than {MAX_REDIRECTS} times")

    def _destination(self, url: URL) -> Destination:
        """Hosts that the configuration names may be asked at any port. Raises `ServeError`."""
        try:
            Destination.of_url(str(url), _EVERYTHING, _ANY_PORT)  # how it is written may be told
        except DestinationRefused as error:
            raise ServeError("invalid_message", f"url: {error}") from None
        try:
            found = Destination.of_url(str(url), self._allowed, _ANY_PORT)
        except DestinationRefused:
            raise ServeError("invalid_message", _OUT_OF_REACH) from None
        is_named = found.host in self._allowed.hosts or _is_within(found.host, self._allowed)
        # Two readings of one address must not differ: aiohttp connects to yarl's.
        is_same = ((url.host or "").rstrip(".").lower(), url.port) == (found.host, found.port)
        if not is_same or (found.port not in USUAL_PORTS and not is_named):
            raise ServeError("invalid_message", _OUT_OF_REACH)
        return found

    def _next(self, url: URL, location: str) -> URL:
        """Where a redirect leads. Raises `ServeError`; `ValueError` for what is no address."""
        target = url.join(URL(location))
        if url.scheme == "https" and target.scheme != "https":
            raise ServeError("invalid_message", "the address leads on from https to something else")
        return target

    async def _store(self, response: aiohttp.ClientResponse, file: BinaryIO) -> None:
        if response.status != 200:
            raise ServeError("invalid_message", f"the address answered with status {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ServeError("invalid_message", "the address sends its file compressed, which was not asked for")
        left = self._max_bytes
        if response.content_length is not None and response.content_length > left:
            raise self._too_large()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise self._too_large()
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.flush)

    def _too_large(self) -> ServeError:
        return ServeError(
            "message_too_large", f"the file is larger than {self._max_bytes} bytes (LOCAL_HTTP_MAX_BODY_BYTES)"
        )


def _is_within(host: str, allowed: Allowed) -> bool:
    """`host` is an address of one of the networks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in allowed.networks)
