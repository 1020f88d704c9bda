"""One server of OpenAI's `/audio/speech` (Kokoro-FastAPI and its like): what is sent, what comes back, what goes wrong.

Where it is written: platform.openai.com/docs/api-reference/audio/createSpeech; the list of voices, `/audio/voices`, is
Kokoro-FastAPI's own.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

import httpx

from openai_wire.errors import SpeechRefused, TtsBusy, TtsMisconfigured, TtsTimeout, TtsUnavailable, without_key
from openai_wire.setting_names import SettingNames
from voice_wire.resample import SAMPLE_RATES_HZ

_T = TypeVar("_T")
RATE_HZ: Final = 24_000
"""Of bare PCM, where the content type names no other."""
_PROBE_S: Final = 5.0
_CONNECT_S: Final = 3.0
_MOST_AUDIO_BYTES: Final = 64 * 1024 * 1024
_MOST_WORDS_BYTES: Final = 64 * 1024
_AUDIO_TYPES: Final = frozenset({"audio/pcm", "audio/l16", "audio/raw", "application/octet-stream", ""}) | {
    f"audio/{name}" for name in ("wav", "x-wav", "wave", "vnd.wave")
}


class SpeechClient:
    """Keeps its connections. All methods raise `TtsError`; the key stands in none of their messages."""

    def __init__(self, base_url: str, api_key: str, *, model: str, silence_s: float, names: SettingNames) -> None:
        """`silence_s`: the longest wait for the first sound and between two pieces."""
        self._names = names
        self._url = base_url.rstrip("/")
        self._key = api_key
        self._model = model
        self._silence_s = silence_s
        self._how_to_write_it = f"{names.url} is the address up to and with its version, as in http://127.0.0.1:8880/v1"
        self._http = httpx.AsyncClient(
            base_url=self._url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def voices(self) -> list[str]:
        """What the server lists; empty where it keeps no list. Shows also that it is there and takes the key."""
        answer = await self._get("/audio/voices")
        if answer is None:
            await self._get("/models")  # OpenAI's own has no list of voices
            return []
        try:
            listed = answer.json()["voices"]
            return [str(voice["id"] if isinstance(voice, dict) else voice) for voice in listed]
        except (ValueError, RecursionError, KeyError, TypeError):
            raise TtsMisconfigured(
                f"{self._url}/audio/voices answered with something else than a list of voices; {self._how_to_write_it}"
            ) from None

    async def _get(self, path: str) -> httpx.Response | None:
        try:
            response = await self._http.get(path, timeout=_PROBE_S)
        except httpx.HTTPError as error:
            raise self._unreachable(path, error) from None
        if response.status_code in (404, 405):
            return None
        if response.status_code != 200:
            raise self._refusal(response.status_code, response.content[:_MOST_WORDS_BYTES])
        return response

    @asynccontextmanager
    async def speech(self, text: str, voice: str, speed: float) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """(the rate of bare PCM in Hz, the bytes as they come). Leaving closes the stream at once."""
        request = {
            "model": self._model,
            "input": text,
            "voice": voice,
            "speed": speed,
            "response_format": "pcm",
            "stream": True,
        }
        response = await self._post(request)
        try:
            if response.status_code != 200:
                raise self._refusal(response.status_code, await self._words(response))
            rate_hz = self._rate_of(response.headers.get("content-type", ""))
            async with aclosing(self._bytes(response)) as pieces:
                yield rate_hz, pieces
        except httpx.HTTPError as error:
            raise TtsUnavailable(f"{self._url} broke off while it spoke: {_words_of(error)}; see its log") from None
        finally:
            await response.aclose()

    async def _post(self, request: dict[str, Any]) -> httpx.Response:
        """A kept connection that the server has closed meanwhile is tried anew, once."""
        attempt = 0
        while True:
            try:
                built = self._http.build_request("POST", "/audio/speech", json=request)
                return await self._in_time(self._http.send(built, stream=True))
            except httpx.HTTPError as error:
                attempt += 1
                if attempt > 1 or not isinstance(error, httpx.ReadError | httpx.RemoteProtocolError):
                    raise self._unreachable("/audio/speech", error) from None

    async def _bytes(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        chunks = response.aiter_bytes()
        n_bytes = 0
        while (data := await self._in_time(anext(chunks, None))) is not None:
            n_bytes += len(data)
            if n_bytes > _MOST_AUDIO_BYTES:
                raise TtsUnavailable(f"{self._url} sent more than {_MOST_AUDIO_BYTES} bytes for one text")
            yield data

    async def _words(self, response: httpx.Response) -> bytes:
        words = b""
        async with aclosing(self._bytes(response)) as pieces:
            async for data in pieces:
                words += data
                if len(words) > _MOST_WORDS_BYTES:
                    break
        return words

    def _rate_of(self, content_type: str) -> int:
        kind, _, parameters = content_type.partition(";")
        if kind.strip().lower() not in _AUDIO_TYPES:
            raise TtsMisconfigured(
                f"{self._url}/audio/speech answered with {kind.strip()[:60]!r} where audio/pcm was asked for; "
                f"{self._how_to_write_it}"
            )
        named = re.search(r"rate\s*=\s*(\d{1,9})", parameters)
        rate_hz = int(named[1]) if named else RATE_HZ
        if rate_hz not in SAMPLE_RATES_HZ:
            raise TtsMisconfigured(
                f"{self._url} sends {rate_hz} Hz; one of {', '.join(map(str, SAMPLE_RATES_HZ))} is needed"
            )
        return rate_hz

    async def _in_time(self, waiting: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._silence_s):
                return await waiting
        except TimeoutError:
            raise TtsTimeout(
                f"{self._url} was silent for {self._silence_s:g} s; see its load, or raise {self._names.timeout}"
            ) from None

    def _unreachable(self, path: str, error: httpx.HTTPError) -> TtsUnavailable:
        return TtsUnavailable(
            f"no answer from {self._url}{path}: {_words_of(error)}; start the server there, or correct "
            f"{self._names.url}"
        )

    def _refusal(self, status: int, body: bytes) -> Exception:
        text = without_key(body.decode("utf-8", "replace"), self._key)
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = text
        # {"detail": {"error", "message"}} of Kokoro-FastAPI, {"error": {"message"}} of OpenAI
        while isinstance(said, dict) and (known := [name for name in ("detail", "message", "error") if name in said]):
            said = said[known[0]]
        words = " ".join(str(said).split())[:300]
        if status in (401, 403):
            return TtsMisconfigured(f"{self._url} refused the key ({status}); correct {self._names.key}")
        if status in (404, 405):
            return TtsMisconfigured(f"{self._url}/audio/speech is not there ({status}); {self._how_to_write_it}")
        if status == 429:
            return TtsBusy(f"{self._url} has no room now (429): {words}")
        if status in (400, 413, 422):
            return SpeechRefused(f"{self._url} refused the request ({status}): {words}")
        return TtsUnavailable(f"{self._url} failed ({status}): {words}; see its log")


def _words_of(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
