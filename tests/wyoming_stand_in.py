"""A Wyoming server on loopback that does as its script says.

True to github.com/OHF-Voice/wyoming, README (format and event flow), and as its faster-whisper server does, it closes
the connection after a transcript. It stands for servers that need a model, and where a failure is wanted that a real
one does not give on demand.
"""

import asyncio
import json

HANG = object()
"""In a script: say nothing more and keep the connection open."""
DROP = object()
"""In a script: close the connection here."""


def packed(kind, data=None, payload=b"", *, in_header=False):
    """An event; its data stand in the header, or, as the reference server sends them, after it."""
    header = {"type": kind, "version": "1.10.2"}
    apart = b""
    if data and in_header:
        header["data"] = data
    elif data:
        apart = json.dumps(data, ensure_ascii=False).encode()
        header["data_length"] = len(apart)
    if payload:
        header["payload_length"] = len(payload)
    return json.dumps(header).encode() + b"\n" + apart + payload


def sound(pcm, rate_hz=22_050, size=2048, **odd):
    """What follows `synthesize`."""
    kind = {"rate": rate_hz, "width": 2, "channels": 1, **odd}
    chunks = [packed("audio-chunk", {**kind, "timestamp": None}, pcm[n : n + size]) for n in range(0, len(pcm), size)]
    return [packed("audio-start", {**kind, "timestamp": None}), *chunks, packed("audio-stop", {"timestamp": None})]


class WyomingStandIn:
    """`script` is what comes after `audio-stop` or `synthesize`: bytes, HANG or DROP. `asked` are the requests."""

    def __init__(self):
        self.script = [packed("transcript", {"text": " Are you open? ", "language": "en"})]
        self.while_heard = []
        """What comes after the first sound of a transcription."""
        self.asked = []
        self.connections = 0
        self.open = 0
        self.hung_up = asyncio.Event()
        """A client closed its connection before the end of the script."""

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self):
        self._server.close()
        async with asyncio.timeout(30):
            while self.open:
                await asyncio.sleep(0.01)

    async def _serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            self.open -= 1
            writer.close()

    async def _talk(self, reader, writer):
        audio, request, form = b"", {}, None
        while line := await reader.readline():
            header = json.loads(line)
            data = dict(header.get("data") or {})
            if header.get("data_length"):
                data |= json.loads(await reader.readexactly(header["data_length"]))
            payload = await reader.readexactly(header.get("payload_length") or 0)
            match header["type"]:
                case "transcribe":
                    request = data
                case "audio-start":
                    form = (data["rate"], data["width"], data["channels"])
                case "audio-chunk":
                    assert form == (data["rate"], data["width"], data["channels"])
                    if not audio and not await self._play(reader, writer, self.while_heard):
                        return
                    audio += payload
                case "audio-stop":
                    self.asked.append({**request, "format": form, "audio": audio})
                    await self._play(reader, writer, self.script)
                    return
                case "synthesize":
                    self.asked.append(data)
                    if not await self._play(reader, writer, self.script):
                        return

    async def _play(self, reader, writer, script):
        for step in script:
            if step is DROP:
                return False
            if step is HANG:
                await reader.read(1)
                self.hung_up.set()
                return False
            writer.write(step)
            await writer.drain()
        return True
