"""One spoken turn at a time: a recording in; its words, the answer and its sound out. Conversations that go on."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from local_ai_server.http_api.chat_sessions import ChatSessions
from local_ai_server.request_queue import Place
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.turns.replies import Reply, Speaker, Voice
from local_ai_server.turns.speech_judge import SpeechJudges
from local_ai_server.turns.turn_taking import TurnBegan, TurnRules, TurnTaking
from local_ai_server.turns.utterance_streams import UtteranceStreams
from model_worker.spec import Priority
from voice_wire.audio import AudioFormat, Pcm

RATE_HZ: Final = 16_000
"""Of the recordings."""
SOUND: Final = AudioFormat("linear16", 24_000)
"""Of the answers."""
MAX_CONVERSATIONS: Final = 256
IDLE_S: Final = 900.0
_MAX_LINES: Final = 200
_BEFORE_MS: Final = 300
_AFTER_MS: Final = 200
_WHOLE: Final = TurnRules(silence_ms=math.inf)
"""A recording is one turn, whatever pauses are in it."""


@dataclass(slots=True)
class _Conversation:
    used_at: float
    lines: list[dict[str, str]] = field(default_factory=list)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


@dataclass(slots=True)
class Turn:
    """What came of one turn. Without speech all but `seconds` is empty."""

    seconds: float
    """Of speech in the recording."""
    transcript: str = ""
    reply: str = ""
    sound: bytes = b""
    transcript_ms: float = 0.0
    """From the beginning to the words."""
    first_sound_ms: float = 0.0
    total_ms: float = 0.0


class SpokenTurns:
    """One server's. A conversation that nobody has used for `IDLE_S` is forgotten, beyond `MAX_CONVERSATIONS` the one
    that was used longest ago."""

    def __init__(
        self,
        *,
        settings: Settings,
        switchboard: Switchboard,
        judges: SpeechJudges,
        sessions: ChatSessions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sessions` name the conversations to the LLM's prefix cache."""
        self._settings = settings
        self._switchboard = switchboard
        self._judges = judges
        self._sessions = sessions
        self._clock = clock
        self._conversations: OrderedDict[str, _Conversation] = OrderedDict()

    def __len__(self) -> int:
        return len(self._conversations)

    async def turn(
        self, pcm: Pcm, *, session_id: str | None, system: str, voice: Voice, language: str | None = None
    ) -> Turn:
        """Answers a recording (`RATE_HZ`). Raises `ServeError`; then the conversation is as it was."""
        began = self._clock()
        Speaker(self._switchboard, "").check_voice(voice.name)
        first, last = await self._speech(pcm)
        turn = Turn((last - first) / RATE_HZ)
        place = Place(Priority.FINAL)
        if last > first:
            turn.transcript = await self._transcript(pcm[first:last], language, place)
            turn.transcript_ms = self._since(began)
        if turn.transcript:
            async with self._conversation(session_id) as (conversation, key):
                said = {"role": "user", "content": turn.transcript}
                lines = [{"role": "system", "content": system}, *conversation.lines, said]
                await self._answer(turn, lines, voice, language, key=key, place=place, began=began)
                conversation.lines += [said, {"role": "assistant", "content": turn.reply}]
                del conversation.lines[:-_MAX_LINES]
        turn.total_ms = self._since(began)
        return turn

    async def _speech(self, pcm: Pcm) -> tuple[int, int]:
        """Where speech begins and ends, with a little around it; (0, 0) where there is none."""
        judge = await self._judges.open(RATE_HZ)
        taking = TurnTaking(_WHOLE)
        begins_ms: int | None = None
        try:
            for at in range(0, pcm.size, RATE_HZ):
                for probability in await judge.judge(pcm[at : at + RATE_HZ]):
                    for change in taking.window(probability):
                        if isinstance(change, TurnBegan):
                            begins_ms = change.at_ms
        finally:
            judge.close()
        if begins_ms is None:
            return 0, 0
        first = (begins_ms - _BEFORE_MS) * RATE_HZ // 1000
        return max(0, first), min(pcm.size, (taking.end() + _AFTER_MS) * RATE_HZ // 1000)

    async def _transcript(self, pcm: Pcm, language: str | None, place: Place) -> str:
        self._switchboard.service("stt")  # without one it says why
        streams = UtteranceStreams(self._switchboard, max_utterance_s=self._settings.max_utterance_s)
        streams.language = language
        stream = streams.recorded(pcm, RATE_HZ)
        try:
            result, _ = await stream.decode(place, final=True)
        finally:
            stream.release()
        return str(result["text"]).strip()

    async def _answer(
        self,
        turn: Turn,
        lines: list[dict[str, str]],
        voice: Voice,
        language: str | None,
        *,
        key: str,
        place: Place,
        began: float,
    ) -> None:
        speaker = Speaker(self._switchboard, key)
        said: list[str] = []
        sound = bytearray()
        phrases = speaker.phrases(Reply(), lines, {}, place=place, language=language or "en", when=_at_once)
        async with aclosing(phrases):
            async for phrase in phrases:
                said.append(phrase)
                async with aclosing(speaker.speak(phrase, voice, place=place)) as pieces:
                    async for piece in pieces:
                        turn.first_sound_ms = turn.first_sound_ms or self._since(began)
                        sound += piece
        turn.reply, turn.sound = " ".join(said), bytes(sound)

    @asynccontextmanager
    async def _conversation(self, session_id: str | None) -> AsyncIterator[tuple[_Conversation, str]]:
        """The conversation, for one turn alone, and its name in the prefix cache."""
        if session_id is None:
            async with self._sessions.session(None) as key:
                yield _Conversation(0.0), key
            return
        self._forget_idle()
        conversation = self._conversations.setdefault(session_id, _Conversation(self._clock()))
        self._conversations.move_to_end(session_id)
        conversation.users += 1
        try:
            async with conversation.one_at_a_time, self._sessions.session(f"/api/audio {session_id}") as key:
                yield conversation, key
        finally:
            conversation.users -= 1
            conversation.used_at = self._clock()

    def _forget_idle(self) -> None:
        unused = [(name, one) for name, one in self._conversations.items() if not one.users]
        too_many = len(self._conversations) - MAX_CONVERSATIONS + 1
        for at, (name, one) in enumerate(unused):
            if at < too_many or self._clock() - one.used_at > IDLE_S:
                del self._conversations[name]

    def _since(self, began: float) -> float:
        return round(1000 * (self._clock() - began), 1)


async def _at_once() -> None:
    """There is no listener yet to be ahead of."""
