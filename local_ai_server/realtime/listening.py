"""What one session's user says: sound in, turns and their words out, told to the client as they come."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

from local_ai_server.errors import ServeError
from local_ai_server.realtime.errors import EventRefused
from local_ai_server.realtime.items import Conversation, Remark, new_id
from local_ai_server.realtime.response import Emit
from local_ai_server.realtime.session_config import SessionConfig
from local_ai_server.request import Client, Request, Requests
from local_ai_server.speech_stream import SpeechStream
from local_ai_server.switchboard import Switchboard
from local_ai_server.turns.hearing import LEAST_MS, Began, Draft, Ended, Full, Heard, Hearing
from local_ai_server.turns.speech_judge import SpeechJudges
from local_ai_server.turns.utterance_streams import UtteranceStreams

_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"


class Listening:
    """Owns the sound that waits, and the transcripts that are being made of what was committed."""

    def __init__(
        self,
        config: SessionConfig,
        *,
        switchboard: Switchboard,
        judges: SpeechJudges,
        max_utterance_s: float,
        requests: Requests,
        client: Client,
        conversation: Conversation,
        emit: Emit,
        refuse: Callable[[EventRefused], None],
        agent_audible: Callable[[], bool],
        on_speech: Callable[[], None],
        on_understood: Callable[[], None],
    ) -> None:
        """`on_speech`: the user begins to speak; `on_understood`: what was said has its transcript, or will have
        none. `refuse` tells of what is wrong with sound that has been taken in."""
        self.unanswered = False
        """Something has been said since this was last cleared."""
        self._switchboard = switchboard
        self._judges = judges
        self._max_utterance_s = max_utterance_s
        self._requests = requests
        self._client = client
        self._conversation = conversation
        self._emit = emit
        self._refuse = refuse
        self._agent_audible = agent_audible
        self._on_speech = on_speech
        self._on_understood = on_understood
        self._names = itertools.count(1)
        self._streams = UtteranceStreams(switchboard, max_utterance_s=max_utterance_s)
        self._next_item = new_id("item")
        """What is being said becomes this item."""
        self._transcribing: dict[str, asyncio.Event] = {}
        """Set when the item's transcript is there or never will be."""
        self._config = config
        self._hearing = self._new_hearing(config)

    @property
    def in_turn(self) -> bool:
        """The user speaks, or pauses."""
        return self._hearing.in_turn

    @property
    def all_understood(self) -> bool:
        """No transcript is outstanding."""
        return not self._transcribing

    async def until_understood(self) -> None:
        """Returns when what has been committed by now is understood."""
        for understood in tuple(self._transcribing.values()):
            await understood.wait()

    def use(self, config: SessionConfig) -> None:
        """From now on. Sound that waits in another format is forgotten."""
        before, self._config = self._config, config
        if config.input_format != before.input_format:
            self._hearing.close()
            self._hearing = self._new_hearing(config)
        _use_turns(self._hearing, config)

    async def take(self, audio: bytes) -> None:
        """Whole samples of sound; returns when they have been judged."""
        async with aclosing(self._hearing.hear(audio)) as changes:
            async for heard in changes:
                self._take_heard(heard)

    def commit(self) -> None:
        """All that waits is one turn. Raises `EventRefused` where that is nothing."""
        ended = self._hearing.commit()
        if ended is None:
            fix = f"less than {LEAST_MS} ms of sound waits to be committed"
            raise EventRefused(fix, code="input_audio_buffer_commit_empty")
        self._commit(ended, answer=False)

    def clear(self) -> None:
        """Forgets what waits."""
        self._hearing.clear()

    async def close(self) -> None:
        """The requests have ended: ends what is left."""
        self._hearing.close()
        await self._streams.close()

    def _new_hearing(self, config: SessionConfig) -> Hearing:
        hearing = Hearing(
            self._streams,
            self._judges,
            audio_format=config.input_format,
            max_utterance_s=self._max_utterance_s,
            agent_audible=self._agent_audible,
        )
        _use_turns(hearing, config)
        return hearing

    def _take_heard(self, heard: Heard) -> None:
        match heard:
            case Began(at_ms):
                self._emit("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=self._next_item)
                self._on_speech()
            case Draft(stream):
                self._read_draft(stream)
            case Ended(at_ms):
                self._emit("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=self._next_item)
                self._commit(heard, answer=True)
            case Full():
                most = f"{self._max_utterance_s:g} s"
                fix = f"{most} of sound wait to be committed, which is the limit (LOCAL_MAX_UTTERANCE); commit them"
                self._refuse(EventRefused(fix, code="input_audio_buffer_full"))

    def _read_draft(self, stream: SpeechStream) -> None:
        """What has been said so far decides how long the turn waits for more."""

        async def work(request: Request) -> None:
            result, _ = await stream.decode(request.place, final=False)
            self._hearing.words(result["text"])
            request.end()

        self._start(work, stream.release, speculative=True)

    def _commit(self, ended: Ended, *, answer: bool) -> None:
        item = Remark(id=self._next_item, role="user", heard=True, awaited=True)
        self._next_item = new_id("item")
        previous = self._conversation.add(item)
        self._emit("input_audio_buffer.committed", previous_item_id=previous, item_id=item.id)
        self._emit("conversation.item.added", previous_item_id=previous, item=item.fields())
        self._transcribing[item.id] = asyncio.Event()

        async def work(request: Request) -> None:
            self._switchboard.service("stt")  # without one it says why
            result, _ = await ended.stream.decode(request.place, final=True)
            item.text = result["text"].strip()
            self._tell(item, ended.seconds)
            self.unanswered = self.unanswered or (answer and bool(item.text))
            request.end()

        def failed(error: ServeError) -> tuple[()]:
            about = {"type": "server_error", "code": error.code, "message": str(error), "param": None}
            self._emit(f"{_TRANSCRIPTION}.failed", item_id=item.id, content_index=0, error=about)
            return ()

        def done() -> None:
            ended.stream.release()
            item.awaited = False
            self._transcribing.pop(item.id).set()
            self._emit("conversation.item.done", previous_item_id=previous, item=item.fields())
            self._on_understood()

        self._start(work, done, explain=failed)

    def _tell(self, item: Remark, seconds: float) -> None:
        if self._config.transcription is None:
            return
        about = {"item_id": item.id, "content_index": 0}
        if item.text:
            self._emit(f"{_TRANSCRIPTION}.delta", **about, delta=item.text)
        usage = {"type": "duration", "seconds": round(seconds, 2)}
        self._emit(f"{_TRANSCRIPTION}.completed", **about, transcript=item.text, usage=usage)

    def _start(
        self,
        work: Callable[[Request], Awaitable[None]],
        on_end: Callable[[], None],
        *,
        explain: Callable[[ServeError], tuple[()]] = lambda error: (),
        speculative: bool = False,
    ) -> None:
        request = Request(f"stt-{next(self._names)}", "stt", client=self._client, speculative=speculative)
        self._requests.start(request, work, explain=explain, on_end=on_end)


def _use_turns(hearing: Hearing, config: SessionConfig) -> None:
    detection, transcription = config.turn_detection, config.transcription
    hearing.use(
        detection.rules() if detection else None,
        prefix_ms=detection.prefix_padding_ms if detection else 0,
        language=transcription.language if transcription else None,
    )


def language_of(config: SessionConfig) -> str:
    """The one that is spoken, as far as the session says."""
    return (config.transcription.language if config.transcription else None) or "en"
