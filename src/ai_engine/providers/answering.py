"""Where the answer to one question comes from, and its way into sound.

A known answer is spoken as it is written; else the language model answers, with the facts that come near beside the
question, and each phrase passes the fact guard before it is spoken.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol, cast

import structlog

from ai_engine.conversation.fact_guard import COURTEOUS_LINE, FACT_LEAD_IN, FactGuard, GuardedReply, fallback_line
from ai_engine.conversation.known_answers import KnownAnswer, Match
from ai_engine.conversation.question_form import read_question
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.conversation.reply_prompt import build_messages
from ai_engine.conversation.small_talk import SMALL_TALK
from ai_engine.providers.components.component import Adoptable, LanguageModel, TextToSpeech
from ai_engine.providers.provider import CallInfo, Stage
from ai_engine.providers.speech import Speech
from ai_engine.templates import Template
from model_worker.errors import WorkerError
from spoken_forms.spoken_form import spoken_form
from voice_core.history import Message, Role
from voice_core.phrases import PhraseCutter
from voice_wire.audio import AudioFormat
from voice_wire.messages import Sampling

log = structlog.get_logger(__name__)


SMALL_MODEL_SAMPLING: Final = Sampling(temperature=0.0, max_tokens=40, sanitize_output=False)
LARGER_MODEL_SAMPLING: Final = Sampling(temperature=0.4, max_tokens=160, sanitize_output=False)
"""The marks are wanted: without its stars *laughs* is a word like others. `PhraseCutter` leaves out both."""


class AnswerMatcher(Protocol):
    async def match(self, question: str, *, speculative: bool = False) -> Match:
        """What the persona knows by heart about `question`. Raises `model_worker.errors.WorkerError`."""


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
        language: str = "en",
    ) -> None:
        """`no_information` is said instead of a fact that was made up, and when the model says nothing.

        `language` is the call's. `rendered` holds spoken forms.
        """
        self._llm = llm
        self._tts = tts
        self._answers = answers
        self._rendered = rendered
        self._no_information = no_information
        self._settings = settings or AnsweringSettings()
        self._language = language
        chosen = SMALL_MODEL_SAMPLING if self._settings.small_model else LARGER_MODEL_SAMPLING
        self._sampling = self._settings.sampling or chosen

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
        source = f"near:{facts[0].id}" if facts else "llm"
        examples = match.examples if self._settings.small_model else ()
        messages = _messages(call, history, question, facts, examples)
        guarded = self._guarded(call, history, question, facts)
        said: list[str] = []
        words = 0
        instead: str | None = None
        async with self._speech(delivery) as speech, aclosing(self._phrases(delivery, messages)) as phrases:
            async for phrase in phrases:
                words += len(phrase.split())
                if said and words > self._settings.max_words:
                    break
                text = guarded.offer(phrase)
                if guarded.closed:
                    instead = text
                    break
                if text is None:
                    continue
                if not said:
                    delivery.stage("first_phrase", source)
                said.append(text)
                delivery.text(text)
                await speech.say(text)
        if guarded.objection is not None:
            log.info("fact guard cut the reply", call_id=call.call_id, objection=guarded.objection.kind)
        if instead is None:
            instead = guarded.finish()
        if instead is not None:
            if not said:
                delivery.stage("first_phrase", source)
            await self._speak(delivery, instead)
            said.append(instead)
        return " ".join(said)

    async def _phrases(self, delivery: Delivery, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        """The model's answer phrase by phrase. Closing it ends the model's work."""
        cutter = self._cutter()
        speculative = delivery.speculative()
        first = True
        async with self._llm.reply(messages, sampling=self._sampling, speculative=speculative) as output:
            if speculative and not delivery.speculative():
                output.adopt()  # it was adopted while the request was on its way out
            delivery.running.add(output)
            try:
                async for delta in output:
                    if first:
                        delivery.stage("llm_first_token", "")
                        first = False
                    for phrase in cutter.feed(delta):
                        yield phrase.text
            finally:
                delivery.running.discard(output)
        for phrase in cutter.end():
            yield phrase.text

    def _guarded(
        self, call: CallInfo, history: Sequence[Message], question: str, facts: Sequence[KnownAnswer]
    ) -> GuardedReply:
        asked = read_question(question, language=call.language).asks
        guard = FactGuard(
            facts=[fact.answer for fact in facts],
            persona=[call.system_prompt, self._no_information],
            caller=[message.content for message in history if message.role == "user"],
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


def _messages(
    call: CallInfo,
    history: Sequence[Message],
    question: str,
    facts: Sequence[KnownAnswer] = (),
    examples: Sequence[tuple[str, str]] = (),
) -> list[Message]:
    chat = build_messages(call.system_prompt, history, question, facts, examples=examples)
    return [Message(cast("Role", line["role"]), line["content"]) for line in chat]
