"""A realtime session over fake services, without a socket: events in, events out."""

import asyncio
import base64
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from local_ai_server.metrics import ServerMetrics
from local_ai_server.realtime.session import RealtimeSession
from local_ai_server.settings import Settings
from local_ai_server.turns.speech_judge import LevelJudge
from tests.local_ai_server.fake_services import FakeServices, ListClient

RATE_HZ = 24_000


class LevelJudges:
    """Stands for the network where its weights are not wanted: noise as loud as speech is speech."""

    def __init__(self):
        self.open_streams = 0

    async def open(self, rate_hz):
        judges = self
        judges.open_streams += 1

        class Judge(LevelJudge):
            closed = False

            def close(self):
                judges.open_streams -= not self.closed
                self.closed = True

        return Judge(rate_hz)

    async def network(self, rate_hz):
        return await self.open(rate_hz)

    def close(self): ...


class EventClient(ListClient):
    """Keeps events as they are sent."""

    def send(self, message: Any) -> None:
        super().send(json.loads(message))

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.sent]

    def of(self, *kinds: str) -> list[Any]:
        return [event for event in self.sent if event["type"] in kinds]

    def sound(self) -> bytes:
        deltas = self.of("response.output_audio.delta", "response.audio.delta")
        return b"".join(base64.b64decode(event["delta"]) for event in deltas)

    async def event(self, kind: str, n: int = 1) -> Any:
        await self.until(lambda: len(self.of(kind)) >= n, within_s=20)
        return self.of(kind)[n - 1]


class Talk:
    """`now` is the session's clock."""

    def __init__(self, *, dialect="released", services: FakeServices | None = None, **settings):
        self.services = services or FakeServices()
        self.services.tts.answer = says
        self.client = EventClient()
        self.judges = LevelJudges()
        self.now = 100.0
        self.slept: list[float] = []
        self.session = RealtimeSession(
            settings=Settings.model_validate(settings),
            switchboard=self.services.switchboard,
            metrics=ServerMetrics(self.services.switchboard),
            client=self.client,
            judges=self.judges,
            instructions="Be kind.",
            model="gpt-realtime",
            dialect=dialect,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def send(self, kind: str, **fields: Any) -> None:
        await self.session.take(json.dumps({"type": kind, **fields}))

    async def hear(self, *sounds: bytes, step_ms: int = 100) -> None:
        """Sound as a microphone sends it."""
        sound = b"".join(sounds)
        step = RATE_HZ * 2 * step_ms // 1000
        for at in range(0, len(sound), step):
            await self.send("input_audio_buffer.append", audio=base64.b64encode(sound[at : at + step]).decode())

    async def say(self) -> None:
        """A turn."""
        await self.hear(quiet(0.5), speech(1.0), quiet(0.7))

    async def ask(self, text: str) -> None:
        """A written remark, and an answer is wanted."""
        await self.send("conversation.item.create", item=message(text))
        await self.send("response.create")

    async def called(self, link: Any) -> Any:
        """The first call of a model, once there is one."""
        async with asyncio.timeout(20):
            while not link.calls:
                await asyncio.sleep(0.001)
        return link.calls[0]

    def lines(self, n: int = -1) -> list[tuple[str, str]]:
        """What the language model read."""
        return [(m["role"], m["content"]) for m in self.services.llm.calls[n].args["messages"]]


def message(text: str, role: str = "user") -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def says(method: str, args: dict[str, Any], body: bytes) -> Any:
    """A hundredth of a second a character."""
    per_s = args["sample_rate_hz"] * (2 if args["encoding"] == "linear16" else 1)
    n_bytes = 2 * math.ceil(per_s * len(args["text"]) / 100 / 2)
    return [({}, bytes(n_bytes))], {}


def writes(*texts: str, **result: Any) -> Callable[..., Any]:
    """A language model that answers so, the last text again and again."""
    left = list(texts)

    def answer(method: str, args: dict[str, Any], body: bytes) -> Any:
        text = left.pop(0) if len(left) > 1 else left[0]
        words = text.split(" ")
        chunks = [({"text": word if i == 0 else f" {word}"}, b"") for i, word in enumerate(words)]
        figures = {"prompt_tokens": 30, "cached_tokens": 20, "completion_tokens": len(words), "finish_reason": "stop"}
        return chunks, figures | result

    return answer


def hears(*texts: str) -> Callable[..., Any]:
    left = list(texts)

    def answer(method: str, args: dict[str, Any], body: bytes) -> Any:
        return [], {"text": left.pop(0) if len(left) > 1 else left[0]}

    return answer


def speech(seconds: float, rate_hz: int = RATE_HZ) -> bytes:
    """Noise as loud as speech."""
    return np.random.default_rng(1).normal(0, 3000, round(seconds * rate_hz)).astype("<i2").tobytes()


def quiet(seconds: float, rate_hz: int = RATE_HZ) -> bytes:
    return bytes(2 * round(seconds * rate_hz))
