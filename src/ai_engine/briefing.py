"""The private talk with a colleague who is asked to take a call: a line and a conversation of its own.

He hears what it is about, may ask (the model answers), and takes the call or does not, by a key at any moment or by a
word. The caller hears nothing of it. Lives on the control loop; everything it opens is given back by `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.events import ChannelDestroyed, Event, StasisEnd, StasisStart
from ai_engine.call_line import CallLine
from ai_engine.call_services import CallServices
from ai_engine.contexts import CallTexts, Context
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import GreetingMode, Phrases
from ai_engine.conversation.decisions import (
    AgentTurn,
    Decision,
    FallBack,
    HangUp,
    RunTool,
    Say,
    Speculate,
    Transcribe,
)
from ai_engine.conversation.set_answers import SetAnswer, SetAnswers
from ai_engine.media.call_media import CallMedia
from ai_engine.media.caller_audio import CallerAudioConverter
from ai_engine.media.line_choice import LineChoice
from ai_engine.provider_steering import steer
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    CallerSpeech,
    CallInfo,
    Provider,
    ProviderEvent,
    ProviderFailed,
)
from ai_engine.tools.telephony_sentences import sentence, words_of_decision
from ai_engine.transfer import Happened
from voice_core.set_phrases import SetPhrase, SetPhrases
from voice_core.turn_words_by_language import turn_words

log = structlog.get_logger(__name__)

ACCEPT_KEY: Final = "1"
DECLINE_KEY: Final = "2"
_DELAY_S: Final = 0.7
"""The receiver is on its way to the ear."""
_ASK_AGAIN_S: Final = 6.0
_GIVE_UP_S: Final = 20.0
_PROMPT: Final = (
    "You are on the telephone with a colleague, in private, and ask whether they take a caller who waits on another "
    "line. This is what you told them: {briefing} Answer what they ask in one short sentence, from that alone. Then "
    "say: {offer}"
)


@dataclass(frozen=True, slots=True)
class Persona:
    """Of the call, whose voice and language the colleague hears, too."""

    context: Context
    name: str
    texts: CallTexts


class Briefing:
    """One colleague's. `prepare` while his telephone rings, `begin` when he has answered."""

    def __init__(
        self,
        leg_id: str,
        callee_channel_id: str,
        *,
        services: CallServices,
        lane: Lane,
        persona: Persona,
        text: str,
        line: LineChoice,
        on_happened: Callable[[Happened], None],
    ) -> None:
        """`leg_id` names the leg as a call id names a call. `on_happened` gets accepted, declined and the like."""
        self._leg_id = leg_id
        self._services = services
        self._context = persona.context
        self._context_name = persona.name
        self._texts = persona.texts
        self._text = text
        self._wanted = line
        self._on_happened = on_happened
        self._line = CallLine(
            leg_id, callee_channel_id, ari=services.ari, ids=services.ids, lane=lane, media=services.media
        )
        self._provider: Provider | None = None
        self._starting: asyncio.Task[None] | None = None
        self._media: CallMedia | None = None
        self._pump: asyncio.Task[None] | None = None
        self._caller_audio = CallerAudioConverter(8000)
        self._opening_turn: int | None = None
        """The turn in which he is told what it is about."""
        self._told = False
        """That turn's sound is there."""
        self._heard = False
        """And was heard to its end."""
        self._too_early: set[tuple[int, int]] = set()
        """Turns and revisions of what he said before: "yes?" on picking up is no answer."""
        self._parting = False
        self._closed = False
        self._log = log.bind(leg=leg_id)

    @property
    def ids(self) -> frozenset[str]:
        """Of what it makes in Asterisk."""
        return frozenset((self._line.media_channel_id, self._line.bridge_id))

    def prepare(self) -> None:
        """Start the provider, so that he need not wait for it."""
        context, texts = self._context, self._texts
        offer = sentence("offer", context.language)
        info = CallInfo(
            call_id=self._leg_id,
            context=self._context_name,
            system_prompt=_PROMPT.format(briefing=self._text, offer=offer),
            language=context.language,
            voice=context.voice,
            output_format=self._wanted.audio_format,
            variables=texts.variables,
        )
        factory = self._services.factories[context.provider]
        self._provider = factory.create(info, context, no_information=texts.no_information)
        self._starting = asyncio.create_task(self._provider.start(info), name=f"briefing-provider-{self._leg_id}")

    async def begin(self) -> None:
        """He has answered: join him to us and tell him. Raises `AriError` and the errors of lines and providers."""
        provider, services, context = self._provider, self._services, self._context
        assert provider is not None and self._starting is not None
        choice = await self._line.open(services.lines, self._wanted, otherwise=services.line)
        transport = await self._line.connect()
        await self._starting
        language = context.language
        accepts, declines = words_of_decision(language)
        phrases = SetPhrases(
            [SetPhrase("accept", accepts, keys=ACCEPT_KEY), SetPhrase("decline", declines, keys=DECLINE_KEY)], language
        )
        answers = {
            "accept": SetAnswer(sentence("connecting", language), HangUp("accept")),
            "decline": SetAnswer(sentence("refused", language), HangUp("decline")),
        }
        conversation = Conversation(
            transport,
            settings=replace(
                services.conversation,
                greeting_mode=GreetingMode.AGENT,
                greeting_delay_s=_DELAY_S,
                greeting_interruptible=False,  # his "hello?" is no answer
                ask_after_s=_ASK_AGAIN_S,
                ask_times=1,
                give_up_after_s=_GIVE_UP_S,
                max_call_s=0.0,
            ),
            phrases=Phrases(
                greeting=self._text,
                are_you_there=sentence("offer", language),
                farewell=sentence("refused", language),
                filler=self._texts.filler,
                apology=self._texts.apology,
                giving_up="",
            ),
            owns_turn_taking=provider.capabilities.owns_turn_taking,
            words=turn_words(language),
            set_answers=SetAnswers(phrases, answers),
        )
        guard_echo = services.guard_echo.get(choice.echo)
        self._caller_audio = CallerAudioConverter(transport.pcm_rate_hz)
        self._media = media = CallMedia(
            services.media,
            transport,
            conversation,
            call_id=self._leg_id,
            detector=services.detector,
            control=asyncio.get_running_loop(),
            on_decisions=self._carry_out,
            on_failed=lambda _error: self._on_happened(Happened.BRIEFING_FAILED),
            level=services.voice_levels.of(context.provider, context.voice or ""),
            echo=guard_echo(transport) if guard_echo is not None else None,
        )
        self._pump = asyncio.create_task(self._pump_events(provider, media), name=f"briefing-pump-{self._leg_id}")
        media.start()

    def on_event(self, event: Event) -> None:
        """One event of the media channel or the bridge."""
        match event:
            case StasisStart() if event.channel.id == self._line.media_channel_id:
                self._line.media_channel_entered()
            case StasisEnd() | ChannelDestroyed() if event.channel.id == self._line.media_channel_id:
                if not self._closed:
                    self._on_happened(Happened.BRIEFING_FAILED)

    def key(self, digit: str) -> None:
        """He pressed a key: it counts at once, whatever is being said."""
        if digit in (ACCEPT_KEY, DECLINE_KEY) and not self._parting:
            self._on_happened(Happened.ACCEPTED if digit == ACCEPT_KEY else Happened.DECLINED)

    def say_caller_is_gone(self) -> None:
        """Then `PARTED` happens; at once where nothing can be said."""
        self._parting = True
        if self._media is None or self._closed:
            self._on_happened(Happened.PARTED)
            return
        text = sentence("callers_gone", self._context.language)
        self._media.run(lambda conversation, now: conversation.say_farewell_and_hang_up(text, now, reason="parted"))

    async def close(self) -> None:
        """Give everything back but the colleague's channel, which is out of the bridge then. Idempotent."""
        self._closed = True
        if self._media is not None:
            await self._media.close()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._provider is not None:
            await self._provider.stop()
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump
        await self._line.close(hang_up=False, fallback=None)

    async def _pump_events(self, provider: Provider, media: CallMedia) -> None:
        try:
            async for event in provider.events():
                self._look_at(event)
                if isinstance(event, CallerSpeech) and self._is_too_early(event):
                    media.provider_event(replace(event, text=""))
                else:
                    media.provider_event(event)
        except Exception:  # noqa: BLE001 - root of the pump's task: nothing can be said to him any more
            self._log.exception("provider_events_failed")
            self._on_happened(Happened.BRIEFING_FAILED)

    def _look_at(self, event: ProviderEvent) -> None:
        """Who cannot be told what it is about would listen to nothing, and the caller wait for that."""
        if isinstance(event, AgentAudioDone):
            self._told = self._told or event.turn == self._opening_turn
        elif isinstance(event, ProviderFailed):
            self._log.warning("provider_failed", component=event.component, error=event.message, turn=event.turn)
            if not self._told and event.turn in (0, self._opening_turn):
                self._on_happened(Happened.BRIEFING_FAILED)

    def _is_too_early(self, speech: CallerSpeech) -> bool:
        return not self._heard or (speech.turn, speech.revision) in self._too_early

    def _carry_out(self, decisions: list[Decision]) -> None:
        if self._provider is None or self._closed:
            return
        heard = self._heard
        for decision in decisions:
            if isinstance(decision, AgentTurn) and decision.turn == self._opening_turn:
                self._heard = True
            elif isinstance(decision, Speculate | Transcribe) and not heard:  # in the tick of the end, too
                self._too_early.add((decision.turn, decision.revision))
            self._steer(self._provider, decision)

    def _steer(self, provider: Provider, decision: Decision) -> None:
        if steer(provider, decision, self._caller_audio):
            return
        match decision:
            case Say():
                self._say(provider, decision)
            case RunTool(tool_call_id=tool_call_id):
                provider.tool_result(tool_call_id, {"error": "there are no tools in this conversation"})
            case HangUp(reason):
                self._on_happened(_DECIDED.get(reason, Happened.NO_DECISION))
            case FallBack():
                self._on_happened(Happened.BRIEFING_FAILED)
            case _:
                pass  # turns and states: of a conversation that is nobody's but theirs

    def _say(self, provider: Provider, decision: Say) -> None:
        if self._opening_turn is None:
            self._opening_turn = decision.turn
        if not decision.rendered_only:
            provider.say(decision.turn, decision.revision, decision.text)
            return
        if self._media is None:
            return
        factory, audio_format = self._services.factories[self._context.provider], self._wanted.audio_format
        audio = factory.rendered_line(self._context_name, decision.text, audio_format)
        if audio is not None:
            self._media.provider_event(AgentAudio(decision.turn, decision.revision, audio, audio_format, decision.text))
        self._media.provider_event(AgentAudioDone(decision.turn, decision.revision))


_DECIDED: Final = {"accept": Happened.ACCEPTED, "decline": Happened.DECLINED, "parted": Happened.PARTED}
