"""Where the answer to one question comes from, and its way into sound.

A known answer is spoken as it is written; else the language model answers, with the facts that come near beside the
question, and each phrase passes the fact guard before it is spoken. A model that is offered tools may ask for some;
what they bring goes back to it, and it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

import structlog

from ai_engine.conversation.fact_guard import COURTEOUS_LINE, FACT_LEAD_IN, FactGuard, GuardedReply, fallback_line
from ai_engine.conversation.known_answers import KnownAnswer, Match
from ai_engine.conversation.question_form import read_question
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.conversation.reply_prompt import build_messages
from ai_engine.conversation.small_talk import SMALL_TALK
from ai_engine.providers.components.component import Adoptable, LanguageModel, TextToSpeech, ToolWanted
from ai_engine.providers.provider import CallInfo, Stage
from ai_engine.providers.speech import Speech
from ai_engine.providers.tool_choice import ToolChoice
from ai_engine.providers.tool_exchange import ToolAnswer
from ai_engine.templates import Template
from ai_engine.tools.tool import ToolSpec
from model_worker.errors import WorkerError
from spoken_forms.spoken_form import spoken_form
from voice_core.history import Message, Role
from voice_core.phrases import PhraseCutter
from voice_wire.audio import AudioFormat
from voice_wire.messages import Sampling

log = structlog.get_logger(__name__)

_TOOL_ROUNDS: Final = 3
"""So often an answer may go on with what tools brought; then it has to do with what it has."""
_TOOLS_AT_ONCE: Final = 4
_TOOL_TOKENS: Final = 400
"""Of an answer that may hold the arguments of a tool, at least."""
_FILLER_AFTER_S: Final = 0.7
"""A tool that is quicker needs no filler."""

SMALL_MODEL_SAMPLING: Final = Sampling(temperature=0.0, max_tokens=40, sanitize_output=False)
LARGER_MODEL_SAMPLING: Final = Sampling(temperature=0.4, max_tokens=160, sanitize_output=False)
"""The marks are wanted: without its stars *laughs* is a word like others. `PhraseCutter` leaves out both."""


class AnswerMatcher(Protocol):
    async def match(self, question: str, *, speculative: bool = False) -> Match:
        """What the persona knows by heart about `question`. Raises `model_worker.errors.WorkerError`."""


class ChoosesTools(Protocol):
    async def prepare(self, tools: Sequence[ToolSpec]) -> None:
        """Get ready to choose among these. Raises `model_worker.errors.WorkerError`."""

    async def choose(self, remark: str, tools: Sequence[ToolSpec], *, speculative: bool) -> ToolChoice:
        """Which of them the model is offered, and which is used without asking it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where one answer goes: called in order, on the control loop."""

    audio_format: AudioFormat
    speculative: Callable[[], bool]
    """Whether nobody waits for this answer yet."""
    audio: Callable[[bytes, str], None]
    """Sound in `audio_format` and what it speaks; an empty text goes on with the last one."""
    text: Callable[[str], None]
    stage: Callable[[Stage, str], None]
    settled: Callable[[bool], None]
    """Told whether more words would not change the answer, where that is known (`WordsRead`)."""
    running: set[Adoptable]
    """Holds the work under way, for whoever adopts the answer."""
    use_tool: Callable[[ToolWanted], Awaitable[ToolAnswer]] | None = None
    """Has a tool run once the answer is adopted. None: there are none."""
    adopted: Callable[[], Awaitable[object]] | None = None
    """Returns when somebody waits for this answer."""
    used: list[Message] = field(default_factory=list)
    """The tools that `use_tool` was asked for, and their results."""


@dataclass(frozen=True, slots=True)
class AnsweringSettings:
    sampling: Sampling | None = None
    """None: greedy and short for a small model (chosen by benchmarks/agent_answers.py), else a little freer."""
    small_model: bool = True
    """The model follows examples rather than instructions, and is trusted with no fact it was not given."""
    max_words: int = 60
    """A generated answer ends before the phrase that would make it longer; a caller cannot skim."""
    first_phrase_words: int = 5
    """The first phrase is cut this early, so that it can be spoken while the rest is made."""


def stock_phrases(no_information: str, settings: AnsweringSettings, language: str = "en") -> list[str]:
    """What a small model and its guard say again and again, cut as it will be spoken: worth rendering ahead of calls.

    `no_information` as the persona writes it; with variables in it, it cannot be.
    """
    if not settings.small_model:
        return []
    found: dict[str, None] = {}
    honest = (no_information,) if Template.parse(no_information).constant else ()
    for text in (FACT_LEAD_IN, COURTEOUS_LINE, *honest, *(answer for _, answer in SMALL_TALK)):
        cutter = PhraseCutter(first_words=settings.first_phrase_words, language=language)
        found |= dict.fromkeys(phrase.text for phrase in (*cutter.feed(text), *cutter.end()))
    return list(found)


class Answering:
    """Answers of one persona in one call."""

    def __init__(
        self,
        *,
        llm: LanguageModel,
        tts: TextToSpeech,
        answers: AnswerMatcher | None = None,
        rendered: RenderedSpeech | None = None,
        no_information: str,
        settings: AnsweringSettings | None = None,
        tool_chooser: ChoosesTools | None = None,
        language: str = "en",
    ) -> None:
        """`no_information` is said instead of a fact that was made up, and when the model says nothing.

        `tool_chooser` is asked for a small model only: others choose better by themselves. `language` is the call's.
        `rendered` holds spoken forms.
        """
        self._llm = llm
        self._tts = tts
        self._answers = answers
        self._rendered = rendered
        self._no_information = no_information
        self._settings = settings or AnsweringSettings()
        self._tool_chooser = tool_chooser if self._settings.small_model else None
        self._language = language
        chosen = SMALL_MODEL_SAMPLING if self._settings.small_model else LARGER_MODEL_SAMPLING
        self._sampling = self._settings.sampling or chosen
        longer = max(self._sampling.max_tokens or 0, _TOOL_TOKENS)
        self._sampling_with_tools = self._sampling.model_copy(update={"max_tokens": longer})

    async def answer(self, delivery: Delivery, call: CallInfo, question: str, history: Sequence[Message]) -> str:
        """Deliver the answer to `question` and return its text. Raises `ComponentFailed`, also inside groups."""
        match = await self._match(question, delivery)
        if match.settled is not None:
            delivery.settled(match.settled)
        if match.kind == "answer" and match.pair is not None:
            delivery.stage("first_phrase", f"known:{match.pair.id}")
            await self._speak(delivery, match.pair.answer)
            return match.pair.answer
        return await self._generate(delivery, call, question, history, match)

    async def say(self, delivery: Delivery, text: str) -> None:
        """Deliver `text` as it is."""
        if text.strip():
            delivery.stage("first_phrase", "said")
            await self._speak(delivery, text)

    def prompt_prefix(self, call: CallInfo, history: Sequence[Message]) -> list[Message]:
        """What the next prompt begins with, if `history` is what it will be."""
        return _messages(call, history, "")[:-1]

    async def prepare(self, call: CallInfo) -> None:
        """What the first question would have to wait for. Raises `model_worker.errors.WorkerError`."""
        if self._tool_chooser is not None:
            await self._tool_chooser.prepare(call.tools)

    async def _match(self, question: str, delivery: Delivery) -> Match:
        if self._answers is None:
            return Match("none", None, 0.0, 0.0)
        try:
            return await self._answers.match(question, speculative=delivery.speculative())
        except WorkerError as error:
            log.warning("known answers not available", reason=str(error))
            return Match("none", None, 0.0, 0.0)

    async def _speak(self, delivery: Delivery, text: str) -> None:
        audio = self._rendered_audio(delivery, spoken_form(text, self._language))
        if audio is not None:
            delivery.text(text)
            delivery.audio(audio, text)
            return
        cutter = self._cutter()
        async with self._speech(delivery) as speech:
            for phrase in (*cutter.feed(text), *cutter.end()):
                delivery.text(phrase.text)
                await speech.say(phrase.text)

    async def _generate(
        self, delivery: Delivery, call: CallInfo, question: str, history: Sequence[Message], match: Match
    ) -> str:
        facts = match.facts if match.kind == "near" else ()
        examples = match.examples if self._settings.small_model else ()
        reply = _Reply(f"near:{facts[0].id}" if facts else "llm")
        brought: tuple[KnownAnswer, ...] = ()
        choice = await self._choose_tools(delivery, call, question)
        plainly_wanted = list(choice.wanted)
        for rounds_left in range(_TOOL_ROUNDS if choice.offered or choice.wanted else 0, -1, -1):
            beside = (*facts, *brought) if self._settings.small_model else facts
            messages = _messages(call, history, question, beside, examples)
            if not self._settings.small_model:
                messages += delivery.used
            guarded = self._guarded(call, history, question, (*facts, *brought))
            goes_on = rounds_left > 0 and not reply.ends and not (brought and self._settings.small_model)
            wanted, plainly_wanted = plainly_wanted, []
            if not wanted:
                wanted = await self._round(delivery, messages, guarded, reply, choice.offered if goes_on else ())
            if guarded.objection is not None:
                log.info("fact guard cut the reply", call_id=call.call_id, objection=guarded.objection.kind)
            if not wanted or not goes_on:
                await self._finish(delivery, guarded, reply)
                break
            answers = [await self._use(delivery, call.tools, tool, reply) for tool in wanted[:_TOOLS_AT_ONCE]]
            brought += tuple(KnownAnswer("tool", (), answer.text) for answer in answers if answer.text)
            reply.ends = any(answer.ends for answer in answers)
            if any(answer.say is not None for answer in answers):
                for text in [answer.say for answer in answers if answer.say]:
                    await self._say_more(delivery, reply, text)
                break
        return " ".join(reply.said)

    async def _choose_tools(self, delivery: Delivery, call: CallInfo, question: str) -> ToolChoice:
        if delivery.use_tool is None:
            return ToolChoice(())
        if self._tool_chooser is None or not call.tools:
            return ToolChoice(tuple(call.tools))
        return await self._tool_chooser.choose(question, call.tools, speculative=delivery.speculative())

    async def _round(
        self,
        delivery: Delivery,
        messages: Sequence[Message],
        guarded: GuardedReply,
        reply: _Reply,
        tools: Sequence[ToolSpec],
    ) -> list[ToolWanted]:
        """Speak what the model says as long as the guard lets it; returns the tools it wants. Those may come last."""
        wanted: list[ToolWanted] = []
        reply.instead = None
        silenced = False
        async with self._speech(delivery) as speech, aclosing(self._phrases(delivery, messages, tools)) as phrases:
            async for phrase in phrases:
                if isinstance(phrase, ToolWanted):
                    wanted.append(phrase)
                    continue
                reply.words += len(phrase.split())
                if silenced or (reply.said and reply.words > self._settings.max_words):
                    if not tools:
                        break
                    silenced = True
                    continue
                text = guarded.offer(phrase)
                if guarded.closed:
                    reply.instead, silenced = text, True
                    if not tools:
                        break
                elif text is not None:
                    reply.begin(delivery)
                    reply.said.append(text)
                    delivery.text(text)
                    await speech.say(text)
        return wanted

    async def _finish(self, delivery: Delivery, guarded: GuardedReply, reply: _Reply) -> None:
        """The model has ended: what is said in place of what it must not say, or of nothing."""
        instead = reply.instead if reply.instead is not None else guarded.finish()
        if instead is not None and not reply.ends:
            await self._say_more(delivery, reply, instead)

    async def _say_more(self, delivery: Delivery, reply: _Reply, text: str) -> None:
        reply.begin(delivery)
        await self._speak(delivery, text)
        reply.said.append(text)

    async def _use(
        self, delivery: Delivery, tools: Sequence[ToolSpec], wanted: ToolWanted, reply: _Reply
    ) -> ToolAnswer:
        """Have the tool run. Its filler is said if it takes long and nothing has been said yet."""
        assert delivery.use_tool is not None
        reply.source = f"tool:{wanted.name}" if any(tool.name == wanted.name for tool in tools) else reply.source
        filler = next((tool.filler for tool in tools if tool.name == wanted.name), "")
        use = asyncio.ensure_future(delivery.use_tool(wanted))
        try:
            if filler and not reply.said and delivery.adopted is not None:
                await delivery.adopted()
                await asyncio.wait((use,), timeout=_FILLER_AFTER_S)
                if not use.done():
                    await self._say_more(delivery, reply, filler)
            return await use
        finally:
            use.cancel()
            await asyncio.gather(use, return_exceptions=True)

    async def _phrases(
        self, delivery: Delivery, messages: Sequence[Message], tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[str | ToolWanted, None]:
        """The model's answer phrase by phrase, then the tools it wants. Closing it ends the model's work."""
        cutter = self._cutter()
        speculative = delivery.speculative()
        first = True
        wanted: list[ToolWanted] = []
        asked = (
            self._llm.reply(messages, sampling=self._sampling_with_tools, speculative=speculative, tools=tools)
            if tools
            else self._llm.reply(messages, sampling=self._sampling, speculative=speculative)
        )
        async with asked as output:
            if speculative and not delivery.speculative():
                output.adopt()  # it was adopted while the request was on its way out
            delivery.running.add(output)
            try:
                async for delta in output:
                    if first:
                        delivery.stage("llm_first_token", "")
                        first = False
                    if isinstance(delta, ToolWanted):
                        wanted.append(delta)
                        continue
                    for phrase in cutter.feed(delta):
                        yield phrase.text
            finally:
                delivery.running.discard(output)
        for phrase in cutter.end():
            yield phrase.text
        for tool in wanted:
            yield tool

    def _guarded(
        self, call: CallInfo, history: Sequence[Message], question: str, facts: Sequence[KnownAnswer]
    ) -> GuardedReply:
        asked = read_question(question, language=call.language).asks
        guard = FactGuard(
            facts=[fact.answer for fact in facts],
            persona=[call.system_prompt, self._no_information],
            caller=[message.content for message in history if message.role in ("user", "system")],  # or its record
            question=question,
            strict=self._settings.small_model,
        )
        fallback = self._no_information if asked and not facts else fallback_line(facts, asked=asked)
        return GuardedReply(guard, fallback=fallback, asked=asked)

    def _cutter(self) -> PhraseCutter:
        return PhraseCutter(first_words=self._settings.first_phrase_words, language=self._language)

    def _speech(self, delivery: Delivery) -> Speech:
        return Speech(
            self._tts,
            delivery.audio_format,
            delivery.audio,
            speculative=delivery.speculative,
            running=delivery.running,
            language=self._language,
            rendered=lambda spoken: self._rendered_audio(delivery, spoken),
        )

    def _rendered_audio(self, delivery: Delivery, spoken: str) -> bytes | None:
        if self._rendered is None:
            return None
        return self._rendered.get(spoken, self._tts.voice, delivery.audio_format)


@dataclass(slots=True)
class _Reply:
    """One generated answer: how far it came."""

    source: str
    said: list[str] = field(default_factory=list)
    words: int = 0
    instead: str | None = None
    """What the guard has said in place of the rest."""
    ends: bool = False
    """A tool has seen to it that the call ends after this: no excuse is made up if the model says nothing."""

    def begin(self, delivery: Delivery) -> None:
        """The first phrase is there."""
        if not self.said:
            delivery.stage("first_phrase", self.source)


def _messages(
    call: CallInfo,
    history: Sequence[Message],
    question: str,
    facts: Sequence[KnownAnswer] = (),
    examples: Sequence[tuple[str, str]] = (),
) -> list[Message]:
    chat = build_messages(call.system_prompt, history, question, facts, examples=examples)
    messages = [Message(cast("Role", line["role"]), line["content"]) for line in chat]
    messages[1 : 1 + len(history)] = history  # with what tools did
    return messages
