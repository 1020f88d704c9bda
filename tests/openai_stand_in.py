"""A server of OpenAI's chat completions on loopback that does as its script says.

True to https://platform.openai.com/docs/api-reference/chat/streaming and to what vLLM and llama-server send: HTTP/1.1
with chunked transfer, server-sent events, `data: [DONE]` last. It stands for those servers where a failure is wanted
that a real one does not give on demand; the good way is also tested against llama.cpp's own server.
"""

import asyncio
import json
import threading


def delta(text=None, finish=None, **more):
    fields = dict(more) if text is None else {"content": text, **more}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": fields, "finish_reason": finish}],
    }


USAGE = {
    "id": "c1",
    "choices": [],
    "usage": {"prompt_tokens": 42, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 40}},
}
DONE = "[DONE]"
HANG = object()
"""In a script: say nothing more and keep the connection open."""
DROP = object()
"""In a script: close the connection here."""
HELLO = [delta(role="assistant", text=""), delta("Hello"), delta(" there"), delta("", "stop"), USAGE, DONE]


class StandIn:
    """`script` is what /chat/completions answers: events in order, or (status, headers, body)."""

    def __init__(self):
        self.script = HELLO
        self.models = {"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "vllm"}]}
        self.models_status = 200
        self.key = None
        self.asked = []
        self.refuses = {}
        """Fields that its model does not take, and what it says of them."""
        self.listed = 0
        self.hung_up = threading.Event()
        """A client closed its connection while an answer was being written."""
        self.connections = 0
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

    async def _serve(self, reader, writer):
        self.connections += 1
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
            self.hung_up.set()
        finally:
            writer.close()

    async def _answer(self, reader, writer, method, path, headers, body):
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            error = {"error": {"message": f"Incorrect API key provided: {headers.get('authorization')}", "code": 401}}
            return await self._whole(writer, 401, {}, json.dumps(error))
        if path == "/v1/models":
            self.listed += 1
            return await self._whole(writer, self.models_status, {}, json.dumps(self.models))
        if path != "/v1/chat/completions":
            return await self._whole(writer, 404, {}, '{"detail": "Not Found"}')
        request = json.loads(body)
        if wrong := [said for name, said in self.refuses.items() if name in request]:
            return await self._whole(writer, 400, {}, json.dumps({"error": {"message": wrong[0], "code": 400}}))
        self.asked.append(request)
        script = self.script
        if isinstance(script, tuple):
            return await self._whole(writer, *script)
        return await self._stream(reader, writer, script)

    async def _whole(self, writer, status, headers, body):
        lines = {"content-type": "application/json", "content-length": str(len(body.encode())), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n{body}".encode())
        await writer.drain()
        return True

    async def _stream(self, reader, writer, script):
        begun = False
        for event in script:
            if event is HANG:
                await self._until_hung_up(reader)
                return False
            if event is DROP:
                return False
            if not begun:
                begun = True
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
            if isinstance(event, (int, float)):
                await writer.drain()
                await asyncio.sleep(event)
                continue
            data = (
                event
                if isinstance(event, bytes)
                else f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
            )
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _until_hung_up(self, reader):
        await reader.read(1)
        self.hung_up.set()
