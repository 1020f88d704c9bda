"""The responses of one session: one at a time, made phrase by phrase, cancelled when the user speaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from local_ai_server.errors import ServeError
from local_ai_server.metrics import ServerMetrics
from local_ai_server.realtime.errors import EventRefused
from local_ai_server.realtime.items import Spoken
from local_ai_server.realtime.response import Response
from local_ai_server.realtime.session_config import SessionConfig, ToolNamed
from local_ai_server.request import Client, Request, Requests
from local_ai_server.switchboard import Switchboard
from local_ai_server.tool_calls import choose
from local_ai_server.turns.playback import Playback
from local_ai_server.turns.replies import Reply, Speaker, Voice
from voice_wire.messages import LlmToolRequest

MAX_AHEAD_S: Final = 20.0
"""Sound is made faster than it plays, but no further ahead of the listener: what is interrupted was made for nobody."""
_PIECE_MS: Final = 400
"""The longest sound of one event."""

Lines = Sequence[dict[str, str]]
Sleep = Callable[[float], Awaitable[None]]


class Answering:
    """Owns the response at work and knows what of the last one has been heard."""

    def __init__(
        self,
        session_key: str,
        *,
        switchboard: Switchboard,
        metrics: ServerMetrics,
        requests: Requests,
        client: Client,
        on_end: Callable[[], None],
        clock: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`on_end` is called when a response has ended and another may begin."""
        self.silent = True
        """Nothing has come yet of the latest response."""
        self._key = session_key
        self._switchboard = switchboard
        self._metrics = metrics
        self._requests = requests
        self._client = client
        self._on_end = on_end
        self._clock = clock
        self._sleep = sleep
        self._speaker = Speaker(switchboard, session_key)
        self._response: Response | None = None
        self._request: Request | None = None
        self._playback = Playback()
        self._playing: Spoken | None = None

    @property
    def active(self) -> Response | None:
        """The response that is being made: who has been told of its end may ask for the next at once."""
        return self._response if self._response is not None and not self._response.ended else None

    @property
    def audible(self) -> bool:
        """The listener may be hearing an answer."""
        return self._playback.left_s(self._clock()) > 0

    def check_voice(self, config: SessionConfig) -> None:
        """Raises `EventRefused` for a voice that is not here."""
        try:
            self._speaker.check_voice(config.voice)
        except ServeError as error:
            raise EventRefused(str(error), param="voice") from None

    def start(
        self, response: Response, lines: Callable[[], Lines], *, ready: Callable[[], Awaitable[None]], language: str
    ) -> None:
        """Makes the answer to `lines`, which are read once `ready` returns."""
        request = Request(response.id, "realtime", client=self._client)
        self._response, self._request = response, request
        self.silent = True

        async def work(request: Request) -> None:
            await ready()
            reply = Reply()
            if not await self._calls_tools(request, response, reply, lines()):
                await self._answer(request, response, reply, lines(), language)
            cut = reply.usage.get("finish_reason") == "length"
            response.end(
                "incomplete" if cut else "completed", reason="max_output_tokens" if cut else None, usage=reply.usage
            )
            request.end()

        def explain(error: ServeError) -> tuple[()]:
            kind = "invalid_request_error" if error.code == "invalid_message" else "server_error"
            response.end("failed", error={"type": kind, "code": error.code, "message": str(error)})
            return ()

        self._requests.start(request, work, explain=explain, on_end=lambda: self._ended(response))

    def interrupt(self, reason: str) -> bool:
        """Nothing more is to be heard; the history keeps what has been. False where nothing was at work."""
        now = self._clock()
        if self._playing is not None and self._playback.left_s(now) > 0:
            self._playing.heard_until(1000 * self._playback.heard_s(now))
        self._playback, self._playing = Playback(), None
        response, request = self.active, self._request
        if response is None or request is None:
            return False
        self._response = self._request = None
        self._requests.drop(request)
        response.end("cancelled", reason=reason)
        return True

    def _ended(self, response: Response) -> None:
        if self._response is response:
            self._response = self._request = None
            self._on_end()

    # --- an answer

    async def _calls_tools(self, request: Request, response: Response, reply: Reply, lines: Lines) -> bool:
        """Whether the answer is a function to be called. One is called after what a user says, not after a result:
        small models would call the same for ever."""
        config = response.config
        wanted = _tools(config)
        if wanted is None or (wanted.tool_choice == "auto" and (not lines or lines[-1]["role"] != "user")):
            return False
        chosen = await choose(
            self._switchboard.service("llm").deciding,
            messages=lines,
            message=wanted,
            session_key=self._key,
            place=request.place,
            sampling=config.sampling,
        )
        for call in chosen.tool_calls:
            response.call(call["name"], json.dumps(call["parameters"], ensure_ascii=False))
        if not chosen.tool_calls and wanted.tool_choice == "required":
            raise ServeError("worker_failed", "llm: it called no tool, and tool_choice demands one", retryable=True)
        return bool(chosen.tool_calls)

    async def _answer(self, request: Request, response: Response, reply: Reply, lines: Lines, language: str) -> None:
        config = response.config
        if not config.speaks:
            async with aclosing(self._speaker.write(reply, lines, config.sampling, place=request.place)) as texts:
                async for text in texts:
                    self._tell_first(request)
                    response.text(text)
            return
        self._playback, self._playing = Playback(), None
        voice = Voice(config.output_format, config.voice, config.speed)
        phrases = self._speaker.phrases(
            reply, lines, config.sampling, place=request.place, language=language, when=self._not_too_far_ahead
        )
        async with aclosing(phrases):
            async for phrase in phrases:
                await self._say(request, response, phrase, voice)

    async def _say(self, request: Request, response: Response, phrase: str, voice: Voice) -> None:
        response.phrase(phrase)
        most = voice.format.bytes_for_ms(_PIECE_MS)
        async with aclosing(self._speaker.speak(phrase, voice, place=request.place)) as sound:
            async for audio in sound:
                self._tell_first(request)
                for at in range(0, len(audio), most):
                    response.sound(audio[at : at + most])
                if isinstance(response.item, Spoken):
                    self._playing = response.item
                self._playback.send(voice.format.duration_s(len(audio)), self._clock())

    async def _not_too_far_ahead(self) -> None:
        while (ahead_s := self._playback.left_s(self._clock()) - MAX_AHEAD_S) > 0:
            await self._sleep(ahead_s)

    def _tell_first(self, request: Request) -> None:
        if self.silent:
            self.silent = False
            self._metrics.first_output("realtime", request.elapsed_ms() / 1000)


def _tools(config: SessionConfig) -> LlmToolRequest | None:
    choice = config.tool_choice
    if not config.tools or choice == "none":
        return None
    tools: list[dict[str, Any]] = [tool.model_dump() for tool in config.tools]
    if isinstance(choice, ToolNamed):
        return LlmToolRequest(tools=tools, tool_choice="required", allowed_tools=[choice.name])
    return LlmToolRequest(tools=tools, tool_choice=choice)
