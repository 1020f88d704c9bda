"""A speech server on loopback that does as its script says.

True to https://platform.openai.com/docs/api-reference/audio/createSpeech and, in its list of voices, its errors and its
chunked bare PCM at 24 kHz, to Kokoro-FastAPI (api/src/routers/openai_compatible.py). It stands for that server, which
needs PyTorch and weights from a hub, and where a failure is wanted that a real one does not give on demand.
"""

import asyncio
import json
import struct
import threading

import numpy as np

HANG = object()
"""In a script: say nothing more and keep the connection open."""
DROP = object()
"""In a script: close the connection here, in the middle of the body."""
RATE_HZ = 24_000


def tone(seconds, rate_hz=RATE_HZ, quiet_s=0.2, amplitude=0.2):
    quiet = np.zeros(int(quiet_s * rate_hz))
    sound = amplitude * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate_hz)) / rate_hz)
    return np.rint(32767 * np.concatenate((quiet, sound, quiet))).astype("<i2").tobytes()


def wav(pcm, rate_hz=RATE_HZ, channels=1, bits=16, size=None):
    n = len(pcm) if size is None else size
    fields = (1, channels, rate_hz, rate_hz * channels * bits // 8, channels * bits // 8, bits)
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, *fields)
    note = struct.pack("<4sI", b"LIST", 3) + b"abc\0"
    riff = struct.pack("<4sI4s", b"RIFF", min(n + 36, 0xFFFFFFFF), b"WAVE")
    return riff + fmt + note + struct.pack("<4sI", b"data", n) + pcm


class SpeechStandIn:
    """`script` is what /audio/speech answers: None (a tone as long as the text), pieces of PCM, or
    (status, headers, body)."""

    def __init__(self):
        self.script = None
        self.content_type = "audio/pcm"
        self.voices = {"voices": [{"id": "af_heart", "name": "af_heart"}, {"id": "bm_george", "name": "bm_george"}]}
        self.voices_status = 200
        self.key = None
        self.asked = []
        self.hung_up = threading.Event()
        """A client closed its connection while audio was being sent."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self):
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _close(self):
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader, writer):
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split()
                headers = {}
                while (line := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._answer(reader, writer, method, path, headers, body):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader, writer, method, path, headers, body):
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return self._json(writer, 401, {"detail": f"{headers.get('authorization', '')} is no key of ours"})
        if (method, path) == ("GET", "/v1/audio/voices"):
            return self._json(writer, self.voices_status, self.voices)
        if (method, path) == ("GET", "/v1/models"):
            return self._json(writer, 200, {"object": "list", "data": [{"id": "kokoro", "object": "model"}]})
        if (method, path) != ("POST", "/v1/audio/speech"):
            return self._json(writer, 404, {"detail": "Not Found"})
        request = json.loads(body)
        self.asked.append(request)
        if isinstance(self.script, tuple):
            status, more, content = self.script
            return self._raw(writer, status, more, content)
        script = self.script
        if script is None:
            script = [tone(max(0.3, 0.06 * len(request["input"])) / request["speed"])]
        return await self._stream(reader, writer, script)

    async def _stream(self, reader, writer, script):
        try:
            return await self._play(reader, writer, script)
        except ConnectionError:  # a client with audio unread hangs up by a reset
            self.hung_up.set()
            return False

    async def _play(self, reader, writer, script):
        if script[0] is not HANG:
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {self.content_type}\r\n".encode())
            writer.write(b"transfer-encoding: chunked\r\n\r\n")
        for piece in script:
            if piece is DROP:
                return False
            if piece is HANG:
                await writer.drain()
                await reader.read(1)
                self.hung_up.set()
                return False
            for at in range(0, len(piece), 4001):  # no whole number of samples
                part = piece[at : at + 4001]
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _json(self, writer, status, content):
        return self._raw(writer, status, {"content-type": "application/json"}, json.dumps(content).encode())

    def _raw(self, writer, status, headers, content):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(content)}\r\n\r\n".encode() + content)
        return True
