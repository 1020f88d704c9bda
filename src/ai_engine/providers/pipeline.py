"""A provider made of three components: speech-to-text, language model, text-to-speech.

The conversation decides when the caller has finished; this does the work. Each revision of a turn is one task, from
the audio to the last sound of the answer. Cancelling it ends its work at the components and silences its events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog

from ai_engine.providers.answering import Answering, Delivery
from ai_engine.providers.components.component import (
    Adoptable,
    ComponentFailed,
    LanguageModel,
    SpeechToText,
    SttTraits,
    TextToSpeech,
    ToolWanted,
    Transcript,
)
from ai_engine.providers.conversation_window import ConversationWindow, Summariser
from ai_engine.providers.event_stream import EventStream, Validity
from ai_engine.providers.hearing import Hearing
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    AgentText,
    BackendChanged,
    CallerSpeech,
    CallInfo,
    Capabilities,
    ProviderError,
    ProviderEvent,
    ProviderFailed,
    Stage,
    StageReached,
    ToolCall,
    WordsRead,
)
from ai_engine.providers.tool_exchange import ToolAnswer, ToolExchange
from model_worker.errors import WorkerError
from voice_core.history import Message

log = structlog.get_logger(__name__)

_KEPT_TURNS: Final = 2
"""A turn that was adopted can be taken back until the next one has been: its audio is kept that long."""


@dataclass(slots=True, eq=False)
class _Work(Validity):
    """One revision: what it is to do, and how far it came."""

    turn: int = 0
    revision: int = 0
    history: tuple[Message, ...] | None = None
    """None: only the transcript is wanted."""
    text: str | None = None
    """What `say` was given."""
    adopted: bool = False
    task: asyncio.Task[None] | None = None
    transcript: Transcript | None = None
    told: bool = False
    """The transcript has been."""
    answer: str = ""
    answered: bool = False
    sounded: bool = False
    failure: ComponentFailed | None = None
    """Of a speculation: told when it is adopted."""
    running: set[Adoptable] = field(default_factory=set)
    adoption: asyncio.Event = field(default_factory=asyncio.Event)
    used: list[Message] = field(default_factory=list)
    """Tools, and what they brought."""


class PipelineProvider:
    """Implements `Provider`. Made for one call; `answering` knows where answers come from."""

    def __init__(
        self,
        *,
        stt: SpeechToText,
        llm: LanguageModel,
        tts: TextToSpeech,
        answering: Answering,
        history_tokens: int = 0,
        small_model: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`history_tokens`: how much of a prompt the conversation may take (`ConversationWindow`)."""
        self._window = ConversationWindow(history_tokens)
        self._summariser = Summariser(self._window, llm, small_model=small_model)
        self._stt = stt
        self._llm = llm
        self._tts = tts
        self._answering = answering
        self._clock = clock
        self._log = log
        self._stream = EventStream()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._works: dict[tuple[int, int], _Work] = {}
        self._hearings: dict[int, Hearing] = {}
        self._newest_heard = 0
        self._warming: asyncio.Task[None] | None = None
        self._call: CallInfo | None = None
        self._tools = ToolExchange()
        self._history: tuple[Message, ...] = ()
        """What has been said so far, as far as is known here."""
        self._stopped = False

    # --- Provider -----------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            owns_turn_taking=False, input_format=self._stt.input_format, needs_gating=self._stt.traits.needs_gating
        )

    async def start(self, call: CallInfo) -> None:
        self._call = call
        self._log = log.bind(call_id=call.call_id)
        self._stt.on_change(self._backend_changed)
        try:
            async with asyncio.TaskGroup() as group:
                for component in (self._stt, self._llm, self._tts):
                    group.create_task(component.start())
        except BaseExceptionGroup as group_failure:
            await self.stop()
            failure = _find_failure(group_failure)
            if failure is None:
                raise
            raise ProviderError(str(failure), retryable=failure.retryable) from None
        self._warm(())

    def events(self) -> AsyncIterator[ProviderEvent]:
        return self._stream.read()

    def send_audio(self, turn: int, audio: bytes) -> None:
        hearing = self._hearings.get(turn)
        if hearing is None:
            if turn <= self._newest_heard or self._stopped:
                return  # late audio of a turn that was interrupted or forgotten
            self._newest_heard = turn
            utterance = self._stt.stream(turn, partial(self._heard_so_far, turn))
            hearing = self._hearings[turn] = Hearing(utterance, self._spawn)
            for old in [n for n, h in self._hearings.items() if n <= turn - _KEPT_TURNS and not h.awaited]:
                self._hearings.pop(old).drop()
        hearing.send(audio)

    def transcribe(self, turn: int, revision: int) -> None:
        self._begin(_Work(turn=turn, revision=revision))

    def speculate(self, turn: int, revision: int, history: Sequence[Message], text: str = "") -> None:
        for other in list(self._works.values()):
            if not other.adopted and other.history is not None:
                self._cancel(other)
        heard = Transcript(text, "") if text else None
        self._history = tuple(history)
        self._begin(_Work(turn=turn, revision=revision, history=self._history, transcript=heard))

    def adopt(self, turn: int, revision: int) -> None:
        work = self._works.get((turn, revision))
        if work is None or work.over:
            self._log.error("adopted what was never prepared", turn=turn, revision=revision)
            failure = ProviderFailed(turn, revision, "connection", "nothing was prepared to be said", retryable=True)
            self._stream.put(failure)
            return
        if work.adopted:
            return
        work.adopted = True
        work.adoption.set()
        for other in [w for w in self._works.values() if w.turn == turn and w is not work]:
            self._cancel(other)
        if work.told:
            self._tell_transcript(work)
        elif (hearing := self._hearings.get(turn)) is not None:
            hearing.adopt()
        for output in work.running:
            output.adopt()
        if work.failure is not None:
            self._failed(work, work.failure)
        elif work.answered:
            self._settle(work)

    def discard(self, turn: int, revision: int) -> None:
        if (work := self._works.get((turn, revision))) is not None:
            self._cancel(work)
            if work.adopted:
                self._stop_warming()

    def forget(self, turn: int) -> None:
        self._end_turn(turn)

    def say(self, turn: int, revision: int, text: str) -> None:
        self._begin(_Work(turn=turn, revision=revision, text=text, adopted=True))

    def interrupt(self, turn: int, heard: str) -> None:
        self._end_turn(turn)
        self._stop_warming()

    def tool_result(self, tool_call_id: str, result: Mapping[str, Any]) -> None:
        if not self._tools.result(tool_call_id, result):
            self._log.debug("tool result of an answer that is over", tool_call_id=tool_call_id)

    async def stop(self) -> None:
        self._stopped = True
        self._stream.close()
        for work in list(self._works.values()):
            self._cancel(work)
        for hearing in self._hearings.values():
            hearing.drop()
        self._hearings.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(self._stt.stop(), self._llm.stop(), self._tts.stop())

    # --- one revision -------------------------------------------------------------------------------------------------

    def _begin(self, work: _Work) -> None:
        if self._stopped:
            return
        if (before := self._works.get((work.turn, work.revision))) is not None:
            self._cancel(before)
        for key in [k for k, w in self._works.items() if k[0] <= work.turn - _KEPT_TURNS and w.task and w.task.done()]:
            del self._works[key]  # what is still being said, a long answer under coughs, goes on
        self._works[work.turn, work.revision] = work
        work.task = self._spawn(self._run(work))

    async def _run(self, work: _Work) -> None:
        try:
            if work.text is not None:
                await self._answering.say(self._delivery(work), work.text)
                self._emit(work, AgentAudioDone(work.turn, work.revision))
                self._warm((*self._history, Message("assistant", work.text)))
            else:
                await self._hear_and_answer(work)
        except Exception as error:  # noqa: BLE001 - the root of a task: the caller must hear something all the same
            failure = _find_failure(error)
            if failure is None:
                self._log.exception("answering broke", turn=work.turn, revision=work.revision)
                failure = ComponentFailed("connection", f"internal error: {_innermost(error)}")
            self._failed(work, failure)

    async def _hear_and_answer(self, work: _Work) -> None:
        if work.transcript is None:
            work.transcript = await self._transcript(work)
            self._stage(work, "stt_done", work.transcript.stt_backend)
        self._tell_transcript(work)
        if work.history is None:
            return
        if work.transcript.text:
            assert self._call is not None
            told = self._window.view(work.history)
            work.answer = await self._answering.answer(self._delivery(work), self._call, work.transcript.text, told)
        self._emit(work, AgentAudioDone(work.turn, work.revision))
        work.answered = True
        if work.adopted:
            self._settle(work)

    async def _transcript(self, work: _Work) -> Transcript:
        hearing = self._hearings.get(work.turn)
        if hearing is None:
            return Transcript("", self._stt.traits.backend)
        return await hearing.transcript(speculative=not work.adopted)

    def _tell_transcript(self, work: _Work) -> None:
        heard = work.transcript
        assert heard is not None
        work.told = True
        self._emit(
            work,
            CallerSpeech(work.turn, work.revision, heard.text, work.adopted, heard.stt_backend, heard.confidence),
        )

    def _settle(self, work: _Work) -> None:
        """The answer is complete and is being heard: time to prime the prompt cache for the next one."""
        if work.answer and work.history is not None and work.transcript is not None:
            said = (Message("user", work.transcript.text), Message("assistant", work.answer))
            self._warm((*work.history, said[0], *work.used, said[1]))

    def _failed(self, work: _Work, failure: ComponentFailed) -> None:
        if work.over:
            return
        if not work.adopted and work.history is not None:
            work.failure = failure  # told if it is adopted; most speculations are not
            return
        self._log.warning("component failed", turn=work.turn, component=failure.component, reason=str(failure))
        self._emit(work, ProviderFailed(work.turn, work.revision, failure.component, str(failure), failure.retryable))

    def _cancel(self, work: _Work) -> None:
        work.over = True
        self._works.pop((work.turn, work.revision), None)
        if work.task is not None:
            work.task.cancel()

    def _end_turn(self, turn: int) -> None:
        """Nothing more is wanted of this turn, its audio included."""
        for work in [w for w in self._works.values() if w.turn == turn]:
            self._cancel(work)
        if (hearing := self._hearings.pop(turn, None)) is not None:
            hearing.drop()

    # --- events and tasks ---------------------------------------------------------------------------------------------

    def _delivery(self, work: _Work) -> Delivery:
        assert self._call is not None
        audio_format = self._call.output_format

        def audio(chunk: bytes, text: str) -> None:
            if not work.sounded:
                work.sounded = True
                self._stage(work, "tts_first_audio")
            self._emit(work, AgentAudio(work.turn, work.revision, chunk, audio_format, text))

        return Delivery(
            audio_format=audio_format,
            speculative=lambda: not work.adopted,
            audio=audio,
            text=lambda text: self._emit(work, AgentText(work.turn, work.revision, text)),
            stage=lambda stage, detail: self._stage(work, stage, detail),
            settled=lambda settled: self._emit(work, WordsRead(work.turn, work.revision, settled)),
            running=work.running,
            use_tool=(lambda wanted: self._use_tool(work, wanted)) if self._call.tools else None,
            adopted=work.adoption.wait,
            used=work.used,
        )

    async def _use_tool(self, work: _Work, wanted: ToolWanted) -> ToolAnswer:
        """The conversation has it run once the answer is adopted."""

        def tell(tool_call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
            self._emit(work, ToolCall(work.turn, work.revision, tool_call_id, name, arguments))

        return await self._tools.use(wanted, tell, work.used)

    def _emit(self, work: _Work, event: ProviderEvent) -> None:
        self._stream.put(event, work)

    def _stage(self, work: _Work, stage: Stage, detail: str = "") -> None:
        self._emit(work, StageReached(work.turn, work.revision, stage, self._clock(), detail))

    def _heard_so_far(self, turn: int, text: str, backend: str) -> None:
        """A streaming STT's words of a turn, while the caller speaks; they are of no revision."""
        if turn in self._hearings:
            self._stream.put(CallerSpeech(turn, 0, text, final=False, stt_backend=backend))

    def _backend_changed(self, traits: SttTraits) -> None:
        self._stream.put(BackendChanged(traits.backend, traits.needs_gating))

    def _warm(self, history: tuple[Message, ...]) -> None:
        """Prime the prompt cache, while the agent is heard, with what the next prompt is likely to begin with."""
        self._history = history
        if self._warming is None or self._warming.done():
            self._warming = self._spawn(self._prime())

    def _stop_warming(self) -> None:
        """It primes an answer that the caller did not hear."""
        if self._warming is not None:
            self._warming.cancel()
            self._warming = None

    async def _prime(self) -> None:
        assert self._call is not None
        primed: tuple[Message, ...] | None = None
        try:
            await self._answering.prepare(self._call)
            while primed != self._history:  # it may have grown meanwhile, and what is primed is its beginning
                primed = self._history
                await self._summariser.make_room(primed)
                prefix = self._answering.prompt_prefix(self._call, self._window.view(primed))
                await (self._llm.warm(prefix, tools=self._call.tools) if self._call.tools else self._llm.warm(prefix))
        except (ComponentFailed, WorkerError) as failure:
            self._log.info("prompt cache not primed", reason=str(failure))

    def _spawn(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that `stop` awaits."""
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _find_failure(error: BaseException) -> ComponentFailed | None:
    """The component's failure inside what a task group raised."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _find_failure(inner))), None)
    return error if isinstance(error, ComponentFailed) else None


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
