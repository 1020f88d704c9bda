"""The private talk with a colleague, on virtual time: what he hears, what decides, and that all is given back.

The conversation and its half on the media thread are the engine's own; line, voice activity and provider are by script.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ai_engine import briefing as subject
from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.events import Channel, ChannelDestroyed, StasisEnd, StasisStart
from ai_engine.briefing import Briefing, Persona
from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.media.agent_level import VoiceLevels
from ai_engine.media.call_media import CallMedia
from ai_engine.media.line_choice import LineChoice
from ai_engine.media.lines import MediaError
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.provider import CallInfo, ProviderError, ProviderEvent, ProviderFailed, ToolCall
from ai_engine.tools.telephony_sentences import sentence
from ai_engine.transfer import Happened
from tools.hand_paced import HandPacedTransport
from tools.load_test.scripted_provider import ScriptedFactory, ScriptedOptions, ScriptedProvider

ABOUT = "Bo wants to return a bicycle."
OFFER = sentence("offer", "en")
TICK_S = 0.02
MEDIA_CHANNEL = "call1-callee1-media"


class Provider(ScriptedProvider):
    """Understands `words` whatever is said, and notes what is asked of it."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.said: list[str] = []
        self.answered: list[tuple[int, int]] = []
        """Turns and revisions."""
        self.results: list[Mapping[str, Any]] = []
        self.stopped = 0
        self.starts: Callable[[], Coroutine[Any, Any, Any]] = _at_once
        self.breaks: Exception | None = None
        self.cannot_say = self.cannot_answer = False

    async def start(self, call: CallInfo) -> None:
        await self.starts()

    async def events(self) -> AsyncIterator[ProviderEvent]:
        async for event in super().events():
            if self.breaks is not None:
                raise self.breaks
            yield event

    def tell(self, event: ProviderEvent) -> None:
        self._stream.put(event)

    def say(self, turn: int, revision: int, text: str) -> None:
        self.said.append(text)
        if self.cannot_say:
            self.tell(ProviderFailed(turn, revision, "tts", "no voice", retryable=True))
            return
        super().say(turn, revision, text)

    def adopt(self, turn: int, revision: int) -> None:
        self.answered.append((turn, revision))
        if self.cannot_answer:
            self.tell(ProviderFailed(turn, revision, "llm", "no model", retryable=True))
            return
        super().adopt(turn, revision)

    def tool_result(self, tool_call_id: str, result: Mapping[str, Any]) -> None:
        self.results.append(result)

    async def stop(self) -> None:
        self.stopped += 1
        await super().stop()


async def _at_once() -> None:
    """Nothing to connect to."""


class Factory(ScriptedFactory):
    def __init__(self) -> None:
        self.options = ScriptedOptions(words="", think_s=0.0, answer_s=1.0, line_s=1.0)
        super().__init__(self.options)
        self.made: list[Provider] = []
        self.infos: list[CallInfo] = []

    def create(self, call: CallInfo, context: Any, *, no_information: str) -> Provider:
        self.infos.append(call)
        self.made.append(Provider(self.options, self._piece(call.output_format), call.output_format))
        return self.made[-1]


class Transport(HandPacedTransport):
    """What the colleague says is loud or not; his telephone may break."""

    def __init__(self) -> None:
        super().__init__()
        self.speaks = False
        self.fails = False
        self.closed = False

    def receive(self, now: float) -> Frame:
        if self.fails:
            raise MediaError("the connection is gone")
        samples = np.full(160, 3000 if self.speaks else 0, np.int16)
        samples[::2] *= -1
        return Frame(samples.tobytes(), FrameKind.SPEECH)

    async def close(self) -> None:
        self.closed = True


class Line:
    """`CallLine`, written down."""

    made: Line

    def __init__(self, leg_id: str, callee: str, **_: Any) -> None:
        self.media_channel_id = MEDIA_CHANNEL
        self.bridge_id = "call1-callee1-bridge"
        self.transport = Transport()
        self.done: list[str] = []
        Line.made = self

    def media_channel_entered(self) -> None:
        self.done.append("media channel")

    async def open(self, _lines: Any, wanted: LineChoice, *, otherwise: LineChoice) -> LineChoice:
        self.done.append("open")
        return wanted

    async def connect(self) -> Transport:
        self.done.append("connect")
        return self.transport

    async def close(self, *, hang_up: bool, fallback: Any) -> None:
        self.done.append("hang up" if hang_up or fallback is not None else "close")


class MediaThread:
    """A media loop on the control loop, ticked by hand."""

    def __init__(self) -> None:
        self.driven: CallMedia | None = None

    def post(self, function: Callable[..., None], *arguments: object) -> None:
        function(*arguments)

    def add(self, media: CallMedia) -> None:
        self.driven = media

    def remove(self, _media: CallMedia) -> None:
        self.driven = None

    def tick(self, now: float) -> None:
        """As the pacer does."""
        driven = self.driven
        if driven is not None:
            try:
                driven.tick(now)
            except MediaError as error:
                self.driven = None
                driven.failed(error)

    def submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, asyncio.get_running_loop())


class Detector:
    def open(self, _key: str, on_probability: Callable[[float, float], None], *, rate_hz: int) -> Any:
        def push(pcm: bytes, now: float) -> None:
            on_probability(0.95 if any(pcm) else 0.02, now)

        return SimpleNamespace(push=push, close=lambda: None)


class Asked:
    """A briefing, its parts, and what came of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(subject, "CallLine", Line)
        monkeypatch.setattr(subject, "CallMedia", partial(CallMedia, clock=lambda: self.now))
        self.thread = MediaThread()
        self.factory = Factory()
        self.happened: list[Happened] = []
        choice = LineChoice("rtp", "ulaw")
        services = SimpleNamespace(
            ari=None,
            ids=None,
            media=self.thread,
            lines=None,
            line=choice,
            factories={"scripted": self.factory},
            conversation=ConversationSettings(),
            detector=Detector(),
            guard_echo={},
            voice_levels=VoiceLevels(None),
        )
        context = SimpleNamespace(language="en", provider="scripted", voice=None)
        texts = SimpleNamespace(no_information="", variables={}, filler=(), apology="I am sorry.")
        self.briefing = Briefing(
            "call1-callee1",
            "callee",
            services=cast(Any, services),
            lane=cast(Lane, None),
            persona=Persona(cast(Any, context), "exchange", cast(Any, texts)),
            text=f"{ABOUT} {OFFER}",
            line=choice,
            on_happened=self.happened.append,
        )

    @property
    def provider(self) -> Provider:
        return self.factory.made[0]

    @property
    def transport(self) -> Transport:
        return Line.made.transport

    async def begin(self) -> None:
        self.briefing.prepare()
        await self.briefing.begin()

    async def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            self.thread.tick(self.now)
            for _ in range(6):  # decisions, what the provider makes of them, and back
                await asyncio.sleep(0)

    async def until(self, fits: Callable[[], bool], within_s: float = 60.0) -> float:
        begun = self.now
        while not fits():
            assert self.now - begun < within_s, (self.happened, self.provider.said)
            await self.advance(TICK_S)
        return self.now - begun

    async def briefed(self) -> None:
        """He has heard what it is about, to its end."""
        await self.begin()
        await self.until(lambda: bool(self.provider.said))
        await self.advance(2.0)

    async def says(self, words: str) -> None:
        self.factory.options.words = words
        self.transport.speaks = True
        await self.advance(0.8)
        self.transport.speaks = False


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    made = Asked(monkeypatch)
    yield made
    await made.briefing.close()
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith(("briefing", "scripted"))], "no task is left"
    assert made.thread.driven is None
    assert Line.made.done[-1] == "close", "the colleague himself is not hung up on here"


async def test_who_answers_hears_what_it_is_about_when_the_receiver_is_at_his_ear(asked: Asked) -> None:
    await asked.begin()
    await asked.advance(0.5)
    assert asked.provider.said == []
    await asked.advance(0.5)
    assert asked.provider.said == [f"{ABOUT} {OFFER}"]
    (info,) = asked.factory.infos
    assert (info.call_id, info.context, info.tools) == ("call1-callee1", "exchange", ())
    assert ABOUT in info.system_prompt
    assert OFFER in info.system_prompt
    assert asked.happened == []


@pytest.mark.parametrize(("key", "happened"), [("1", [Happened.ACCEPTED]), ("2", [Happened.DECLINED]), ("7", [])])
async def test_a_key_counts_at_once(asked: Asked, key: str, happened: list[Happened]) -> None:
    await asked.begin()
    await asked.advance(1.0)
    asked.briefing.key(key)
    assert asked.happened == happened


@pytest.mark.parametrize(
    ("words", "reply", "happened"),
    [
        ("Yes, put them through.", "connecting", Happened.ACCEPTED),
        ("Okay", "connecting", Happened.ACCEPTED),
        ("No, not now.", "refused", Happened.DECLINED),
        ("I'm busy.", "refused", Happened.DECLINED),
    ],
)
async def test_words_count_after_the_briefing(asked: Asked, words: str, reply: str, happened: Happened) -> None:
    await asked.briefed()
    await asked.says(words)
    await asked.until(lambda: bool(asked.happened))
    assert asked.happened == [happened]
    assert asked.provider.said[1:] == [sentence(reply, "en")]
    assert asked.provider.answered == [], "no model is asked"


async def test_a_hello_while_he_is_told_is_no_answer(asked: Asked) -> None:
    asked.factory.options.line_s = 3.0
    await asked.begin()
    await asked.until(lambda: bool(asked.provider.said))
    await asked.says("Yes?")
    await asked.advance(3.0)
    assert asked.happened == []
    assert asked.provider.said == [f"{ABOUT} {OFFER}"]


async def test_a_yes_on_picking_up_is_no_answer_and_he_is_told_when_he_has_said_it(asked: Asked) -> None:
    await asked.begin()
    await asked.advance(0.1)
    await asked.says("Yes?")
    assert asked.provider.said == []
    await asked.until(lambda: bool(asked.provider.said))
    assert asked.provider.said == [f"{ABOUT} {OFFER}"]
    await asked.advance(2.0)
    assert asked.happened == []
    await asked.says("Yes?")
    await asked.until(lambda: bool(asked.happened))
    assert asked.happened == [Happened.ACCEPTED]


async def test_what_he_is_still_saying_when_he_has_been_told_counts(asked: Asked) -> None:
    await asked.begin()
    await asked.until(lambda: bool(asked.provider.said))
    await asked.advance(0.7)
    await asked.says("Yes.")
    await asked.until(lambda: bool(asked.happened))
    assert asked.happened == [Happened.ACCEPTED]


async def test_a_question_is_answered_by_the_model_and_decides_nothing(asked: Asked) -> None:
    await asked.briefed()
    await asked.says("Which bicycle is it about?")
    await asked.until(lambda: len(asked.provider.answered) == 1)
    await asked.advance(2.0)
    assert asked.happened == []
    await asked.says("Yes.")
    await asked.until(lambda: bool(asked.happened))
    assert asked.happened == [Happened.ACCEPTED]


async def test_who_says_nothing_is_asked_once_more_and_has_declined(asked: Asked) -> None:
    await asked.briefed()
    await asked.until(lambda: len(asked.provider.said) == 2)
    assert asked.provider.said[1] == OFFER
    await asked.until(lambda: bool(asked.happened))
    assert asked.happened == [Happened.NO_DECISION]


async def test_that_the_caller_is_gone_is_said_to_its_end(asked: Asked) -> None:
    await asked.briefed()
    asked.briefing.say_caller_is_gone()
    await asked.advance(0.3)
    assert asked.provider.said[1:] == [sentence("callers_gone", "en")]
    asked.briefing.key("1")
    assert asked.happened == [], "there is nobody to take any more"
    await asked.until(lambda: bool(asked.happened))
    assert asked.happened == [Happened.PARTED]


async def test_that_the_caller_is_gone_breaks_into_what_is_being_said(asked: Asked) -> None:
    await asked.begin()
    await asked.until(lambda: bool(asked.provider.said))
    asked.briefing.say_caller_is_gone()
    await asked.until(lambda: bool(asked.happened), within_s=5.0)
    assert asked.happened == [Happened.PARTED]


async def test_who_cannot_be_told_anything_is_parted_from_at_once(asked: Asked) -> None:
    asked.briefing.prepare()
    asked.briefing.say_caller_is_gone()
    assert asked.happened == [Happened.PARTED]


async def test_nobody_is_told_anything_after_the_end(asked: Asked) -> None:
    await asked.begin()
    await asked.briefing.close()
    asked.briefing.say_caller_is_gone()
    assert asked.happened == [Happened.PARTED]


async def test_a_media_channel_that_ends_is_the_end_of_the_briefing(asked: Asked) -> None:
    media, other = Channel(MEDIA_CHANNEL, "UnicastRTP/x", "Up"), Channel("other", "PJSIP/x", "Up")
    await asked.begin()
    asked.briefing.on_event(StasisStart(media))
    assert Line.made.done == ["open", "connect", "media channel"]
    for event in (StasisStart(other), StasisEnd(other), ChannelDestroyed(other, 16)):
        asked.briefing.on_event(event)
    assert asked.happened == []
    asked.briefing.on_event(StasisEnd(media))
    assert asked.happened == [Happened.BRIEFING_FAILED]
    await asked.briefing.close()
    asked.briefing.on_event(ChannelDestroyed(media, 16))
    assert asked.happened == [Happened.BRIEFING_FAILED], "what was given back may end"


async def test_a_line_that_breaks_is_the_end_of_the_briefing(asked: Asked) -> None:
    await asked.briefed()
    asked.transport.fails = True
    await asked.advance(TICK_S)
    assert asked.happened == [Happened.BRIEFING_FAILED]


async def test_a_provider_whose_events_break_off_is_the_end_of_the_briefing(asked: Asked) -> None:
    await asked.briefed()
    asked.provider.breaks = ValueError("a fault")
    asked.provider.tell(ProviderFailed(0, 0, "connection", "not there", retryable=True))
    await asked.advance(TICK_S)
    assert asked.happened == [Happened.BRIEFING_FAILED]


async def test_who_cannot_be_told_what_it_is_about_is_not_waited_for(asked: Asked) -> None:
    await asked.begin()
    asked.provider.cannot_say = True
    await asked.until(lambda: bool(asked.provider.said))
    await asked.advance(TICK_S)
    assert asked.happened == [Happened.BRIEFING_FAILED]


async def test_an_answer_that_fails_leaves_the_keys(asked: Asked) -> None:
    await asked.briefed()
    asked.provider.tell(ProviderFailed(0, 0, "llm", "not there", retryable=True))
    await asked.advance(1.0)
    assert asked.happened == []
    asked.briefing.key("1")
    assert asked.happened == [Happened.ACCEPTED]


async def test_when_no_answer_can_be_had_the_caller_is_not_kept_waiting(asked: Asked) -> None:
    await asked.briefed()
    asked.provider.cannot_answer = True
    for _ in range(3):
        await asked.says("Which bicycle is it about?")
        await asked.advance(3.0)
    await asked.until(lambda: bool(asked.happened))
    assert asked.happened == [Happened.BRIEFING_FAILED]


async def test_there_are_no_tools(asked: Asked) -> None:
    await asked.briefed()
    await asked.says("Which bicycle is it about?")
    await asked.until(lambda: len(asked.provider.answered) == 1)
    turn, revision = asked.provider.answered[0]
    asked.provider.tell(ToolCall(turn, revision, "t1", "hang_up", {}))
    await asked.until(lambda: bool(asked.provider.results))
    assert asked.provider.results == [{"error": "there are no tools in this conversation"}]


async def test_a_provider_that_cannot_be_started_is_told_to_whoever_began(asked: Asked) -> None:
    async def refuses() -> None:
        raise ProviderError("no models", retryable=False)

    asked.briefing.prepare()
    asked.provider.starts = refuses
    with pytest.raises(ProviderError, match="no models"):
        await asked.briefing.begin()
    await asked.briefing.close()
    assert asked.provider.stopped == 1


async def test_what_was_only_prepared_is_given_back(asked: Asked) -> None:
    asked.briefing.prepare()
    asked.provider.starts = asyncio.Event().wait
    await asyncio.sleep(0)
    await asked.briefing.close()
    assert asked.provider.stopped == 1


async def test_closing_twice_is_closing_once(asked: Asked) -> None:
    await asked.briefed()
    await asked.briefing.close()
    await asked.briefing.close()
    assert asked.transport.closed
    assert asked.happened == []
