"""Pipelines from the configuration: which three components, and how they answer."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ai_engine.contexts import Context
from ai_engine.conversation.rendered import Progress
from ai_engine.providers.answering import Answering, AnsweringSettings, stock_phrases
from ai_engine.providers.component_choices import Choices, ComponentMaker
from ai_engine.providers.components.component import ComponentFailed, LanguageModel, SpeechToText, TextToSpeech
from ai_engine.providers.components.llm.chain import ChainedLanguageModel
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.registry import (
    LANGUAGE_MODELS,
    SPEECH_TO_TEXT,
    TEXT_TO_SPEECH,
    ComponentChoice,
)
from ai_engine.providers.components.stt.chain import ChainedSpeechToText
from ai_engine.providers.components.tts.chain import ChainedTextToSpeech
from ai_engine.providers.pipeline import PipelineProvider
from ai_engine.providers.provider import CallInfo, ProviderError
from ai_engine.providers.services import CallScope, Services
from model_worker.errors import WorkerError
from spoken_forms.spoken_form import spoken_form
from voice_wire.audio import AudioFormat
from voice_wire.messages import Sampling

_SMALL_WINDOW_TOKENS: Final = 300
"""The embedded model has 768 tokens a session, of which a persona, its examples and facts take about half."""
_WINDOW_TOKENS: Final = 3000


class AnswerOptions(BaseModel):
    """How a pipeline answers, whatever it is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sampling: Sampling | None = None
    """Of the language model; absent: what suits `small_model`."""
    small_model: bool = True
    """The model is shown examples and may state no fact it was not given. False for models that follow instructions."""
    max_words: int = Field(default=60, ge=5, le=500)
    """A generated answer ends before the phrase that would make it longer."""
    first_phrase_words: int = Field(default=5, ge=1, le=30)
    """The first phrase is spoken when it has this many words."""
    history_tokens: int | None = Field(default=None, ge=0, le=1_000_000)
    """Of the prompt, for what was said so far; beyond it older turns are told in few words. Absent: 300 for a small
    model, else 3000. 0: any length."""

    @property
    def window_tokens(self) -> int:
        if self.history_tokens is not None:
            return self.history_tokens
        return _SMALL_WINDOW_TOKENS if self.small_model else _WINDOW_TOKENS

    def settings(self) -> AnsweringSettings:
        return AnsweringSettings(
            sampling=self.sampling,
            small_model=self.small_model,
            max_words=self.max_words,
            first_phrase_words=self.first_phrase_words,
        )


class PipelineOptions(AnswerOptions):
    stt: Choices = (ComponentChoice(),)
    llm: Choices = (ComponentChoice(),)
    tts: Choices = (ComponentChoice(),)


class PipelineFactory:
    """Implements `ProviderFactory`."""

    def __init__(self, options: PipelineOptions, services: Services) -> None:
        """Raises `ConfigError` for components or options that do not exist."""
        self._options = options
        self._services = services
        self._voices: dict[str, str] = {}
        """The voice each context was rendered with."""
        self._languages: dict[str, str] = {}
        """And its language."""
        self._stt = ComponentMaker[SpeechToText](
            "stt", SPEECH_TO_TEXT, options.stt, what="speech to text", patience_s=5.0, chained=ChainedSpeechToText
        )
        self._llm = ComponentMaker[LanguageModel](
            "llm", LANGUAGE_MODELS, options.llm, what="language model", patience_s=4.0, chained=ChainedLanguageModel
        )
        self._tts = ComponentMaker[TextToSpeech](
            "tts", TEXT_TO_SPEECH, options.tts, what="text to speech", patience_s=2.5, chained=ChainedTextToSpeech
        )
        self._components(CallScope(_NOBODY, services))  # so that they complain about their options now

    def create(self, call: CallInfo, context: Context, *, no_information: str) -> PipelineProvider:
        stt, llm, tts = self._components(CallScope(call, self._services))
        answering = Answering(
            llm=llm,
            tts=tts,
            answers=self._services.matcher(call.context, context),
            rendered=self._services.rendered,
            no_information=no_information,
            settings=self._options.settings(),
            tool_chooser=self._services.tool_chooser(call.context, context),
            language=call.language,
        )
        return PipelineProvider(
            stt=stt,
            llm=llm,
            tts=tts,
            answering=answering,
            history_tokens=self._options.window_tokens,
            small_model=self._options.small_model,
            clock=self._services.clock,
        )

    def _components(self, scope: CallScope) -> tuple[SpeechToText, LanguageModel, TextToSpeech]:
        return self._stt.make(scope), self._llm.make(scope), self._tts.make(scope)

    async def prepare(
        self, name: str, context: Context, audio_format: AudioFormat, progress: Progress | None = None
    ) -> None:
        call = CallInfo(f"prepare-{name}", name, context.prompt, context.language, context.voice, audio_format)
        stock = stock_phrases(context.no_information, self._options.settings(), context.language)
        self._languages[name] = context.language
        written = (*context.lines_to_render(), *stock)
        lines = list(dict.fromkeys(spoken_form(line, context.language) for line in written))
        voices = self._tts.each(CallScope(call, self._services))
        for place, (kind, tts) in enumerate(voices):
            try:
                asked_for = f"{kind} {context.voice or ''}"
                await self._render(name, asked_for, lines, tts, audio_format=audio_format, progress=progress)
                break
            except ComponentFailed as failure:
                if place == len(voices) - 1:
                    raise ProviderError(str(failure), retryable=failure.retryable) from failure
        matcher = self._services.matcher(name, context)
        try:
            if matcher is not None:
                await matcher.prepare()
        except WorkerError as error:
            raise ProviderError(f"known answers: {error}", retryable=error.retryable) from error

    async def _render(
        self,
        name: str,
        asked_for: str,
        lines: list[str],
        tts: TextToSpeech,
        *,
        audio_format: AudioFormat,
        progress: Progress | None,
    ) -> None:
        """All lines of a context in one voice. Raises `ComponentFailed`."""
        rendered = self._services.rendered
        if name not in self._voices and (kept := await rendered.load_voice(asked_for)) is not None:
            self._voices[name] = kept  # so that an apology can be heard while the TTS is away
            for line in lines:
                await rendered.load(line, kept, audio_format)
        try:
            await tts.start()
            self._voices[name] = tts.voice
            await rendered.keep_voice(asked_for, tts.voice)
            await rendered.prepare(lines, tts, audio_format, progress)
        finally:
            await tts.stop()

    def rendered_line(self, name: str, text: str, audio_format: AudioFormat) -> bytes | None:
        spoken = spoken_form(text, self._languages.get(name, ""))
        return self._services.rendered.get(spoken, self._voices.get(name, ""), audio_format)


def make_pipeline(options: Options, services: Services) -> PipelineFactory:
    return PipelineFactory(read_options(PipelineOptions, options, "pipeline"), services)


_NOBODY = CallInfo("", "", "", "en", None, AudioFormat("mulaw", 8000))


def with_components(kind: str, options: Options, services: Services, what: str) -> PipelineFactory:
    """A pipeline whose three components are all of one kind."""
    answer = read_options(AnswerOptions, options, what)
    chosen: dict[str, Any] = {part: (ComponentChoice(kind=kind),) for part in ("stt", "llm", "tts")}
    return PipelineFactory(PipelineOptions(**dict(answer), **chosen), services)
