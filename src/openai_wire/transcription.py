"""One server of OpenAI's `/audio/transcriptions`: what is sent, what comes back, what goes wrong.

Where it is written: platform.openai.com/docs/api-reference/audio/createTranscription.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, Final

import httpx

from openai_wire.errors import SttBusy, SttMisconfigured, SttRefused, SttTimeout, SttUnavailable, without_key
from openai_wire.setting_names import SettingNames
from openai_wire.stream import error_words

_CONNECT_S: Final = 3.0
_MOST_ANSWER_BYTES: Final = 1024 * 1024


class TranscriptionClient:
    """Keeps its connections. Raises `SttError`; the key stands in none of its messages."""

    def __init__(self, base_url: str, key: str, *, model: str, silence_s: float, names: SettingNames) -> None:
        """`silence_s`: the longest wait for a transcript."""
        self._url = base_url.rstrip("/")
        self._key = key
        self._model = model
        self._silence_s = silence_s
        self._names = names
        self._http = httpx.AsyncClient(
            base_url=self._url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
            trust_env=False,  # no proxy of the environment and no redirect hears callers
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def transcribe(self, pcm: bytes, rate_hz: int, *, language: str | None) -> str:
        """The words of 16-bit mono PCM; empty for none. Cancelling closes the request at once."""
        fields = {"model": self._model, "response_format": "json"}
        if language:
            fields["language"] = language.partition("-")[0]
        files = {"file": ("turn.wav", wav_of(pcm, rate_hz), "audio/wav")}
        try:
            async with asyncio.timeout(self._silence_s):
                response, body = await self._post(fields, files)
        except TimeoutError:
            raise SttTimeout(
                f"{self._url} was silent for {self._silence_s:g} s; see its load, or raise {self._names.timeout}"
            ) from None
        if response.status_code != 200:
            raise self._refusal(response, body)
        try:
            text = json.loads(body)["text"]
        except (ValueError, RecursionError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise SttMisconfigured(
                f"{self._url}/audio/transcriptions answered with something else than a transcript; {self._names.url} "
                "is the address up to and with its version, as in http://127.0.0.1:8000/v1"
            )
        return text.strip()

    async def _post(self, fields: dict[str, str], files: dict[str, Any]) -> tuple[httpx.Response, bytes]:
        """A kept connection that the server has closed meanwhile is tried anew, once."""
        attempt = 0
        while True:
            try:
                async with self._http.stream("POST", "/audio/transcriptions", data=fields, files=files) as response:
                    body = b""
                    async for data in response.aiter_bytes():
                        body += data
                        if len(body) > _MOST_ANSWER_BYTES:
                            break
                    return response, body
            except httpx.HTTPError as error:
                attempt += 1
                if attempt > 1 or not isinstance(error, httpx.ReadError | httpx.RemoteProtocolError):
                    raise SttUnavailable(
                        f"no answer from {self._url}/audio/transcriptions: {str(error) or type(error).__name__}; start "
                        f"the server there, or correct {self._names.url}"
                    ) from None

    def _refusal(self, response: httpx.Response, body: bytes) -> Exception:
        text = without_key(body.decode("utf-8", "replace"), self._key)
        try:
            words = error_words(json.loads(text))
        except (ValueError, RecursionError):
            words = " ".join(text.split())[:300]
        status = response.status_code
        said = f"{self._url} answered {status}: {words or 'nothing'}"
        if status in (401, 403):
            return SttMisconfigured(f"{said}; set {self._names.key} to a key that it accepts")
        if status in (404, 405):
            return SttMisconfigured(f"{said}; see {self._names.url} (…/v1) and {self._names.model}")
        if status == 429:
            return SttBusy(said)
        if status in (408, 409, 425) or status >= 500:
            return SttUnavailable(f"{said}; see its log")
        return SttRefused(said)


def wav_of(pcm: bytes, rate_hz: int) -> bytes:
    """16-bit mono PCM as a WAV file."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    riff = struct.pack("<4sI4s", b"RIFF", 4 + len(fmt) + 8 + len(pcm), b"WAVE")
    return riff + fmt + struct.pack("<4sI", b"data", len(pcm)) + pcm
