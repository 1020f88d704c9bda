"""Several language models in place of one; what breaks off in mid-answer is gone on with by the next."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Final

from ai_engine.providers.components.chain import Chain
from ai_engine.providers.components.component import Adoptable, ComponentFailed, LanguageModel, Output, ToolWanted
from ai_engine.tools.tool import ToolSpec
from voice_core.history import Message
from voice_wire.messages import Sampling

GO_ON: Final = "You were interrupted by a fault. Go on exactly where you stopped, without saying again what you said."
_SURE_CHARACTERS: Final = 12
"""So much of the same beginning is no accident: the whole answer is being said again."""
_UNFINISHED_WORD: Final = re.compile(r"[0-9A-Za-zÀ-ɏͰ-ԯ'’-]{1,40}$")
"""What may go on in the next piece, in scripts that part their words (Latin, Greek, Cyrillic)."""


class ChainedLanguageModel:
    """One call's."""

    def __init__(self, chain: Chain[LanguageModel], *, alike: bool = False) -> None:
        """`alike`: its members run the same model, which says the same again where nothing is drawn at random."""
        self._chain = chain
        self._alike = alike

    async def start(self) -> None:
        await self._chain.start()

    async def stop(self) -> None:
        await self._chain.stop()

    @asynccontextmanager
    async def reply(
        self, messages: Sequence[Message], *, sampling: Sampling, speculative: bool, tools: Sequence[ToolSpec] = ()
    ) -> AsyncIterator[Output[str | ToolWanted]]:
        again = self._alike and sampling.temperature == 0
        answer = _Answer(self._chain, messages, sampling, speculative=speculative, tools=tools, again=again)
        async with aclosing(answer.pieces()) as pieces:
            yield _Pieces(answer, pieces)

    async def warm(self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()) -> None:
        """Prime the one that will be asked."""
        await self._chain.likely.component.warm(messages, **({"tools": tools} if tools else {}))


class _Answer:
    def __init__(
        self,
        chain: Chain[LanguageModel],
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        speculative: bool,
        tools: Sequence[ToolSpec] = (),
        again: bool = False,
    ) -> None:
        """`again`: who is asked next will begin with what has been said."""
        self._chain = chain
        self._again = again
        self._messages = messages
        self._sampling = sampling
        self._offered: dict[str, Sequence[ToolSpec]] = {"tools": tools} if tools else {}
        self._wanted: list[ToolWanted] = []
        self._speculative = speculative
        self._said = ""
        self._running: Adoptable | None = None

    def adopt(self) -> None:
        self._speculative = False
        if self._running is not None:
            self._running.adopt()

    async def pieces(self) -> AsyncGenerator[str | ToolWanted, None]:
        """Whole words: of one that breaks off in the middle nothing is said, the next model may choose another.

        Tools come last, those of the model that came to its end.
        """
        for member, patience_s in self._chain.to_ask():
            word = ""
            before = len(self._said)
            self._wanted.clear()
            try:
                async with aclosing(self._of(member.component, patience_s)) as pieces:
                    async for piece in pieces:
                        text = word + piece
                        unfinished = _UNFINISHED_WORD.search(text)
                        text, word = (text[: unfinished.start()], unfinished[0]) if unfinished else (text, "")
                        if text:
                            self._said += text
                            yield text
                if word:
                    self._said += word
                    yield word
                for wanted in self._wanted:
                    yield wanted
            except (ComponentFailed, TimeoutError) as error:
                self._chain.failed(member, error)
                if patience_s is None:
                    raise
            except (GeneratorExit, asyncio.CancelledError):
                self._chain.left(member, worked=len(self._said) > before)
                raise
            else:
                self._chain.succeeded(member)
                return

    async def _of(self, model: LanguageModel, patience_s: float | None) -> AsyncGenerator[str, None]:
        """What one model says, less what was said before it."""
        repeated = Repeated(self._said)
        async with AsyncExitStack() as stack:
            speculative = self._speculative
            async with asyncio.timeout(patience_s):  # a request may have to wait for a connection
                output = await stack.enter_async_context(
                    model.reply(self._asked(), sampling=self._sampling, speculative=speculative, **self._offered)
                )
            if speculative and not self._speculative:
                output.adopt()  # it was adopted while the request was on its way out
            self._running = output
            try:
                pieces = aiter(output)
                while True:
                    async with asyncio.timeout(patience_s):
                        piece = await anext(pieces, None)
                    if piece is None:
                        break
                    if isinstance(piece, ToolWanted):
                        self._wanted.append(piece)
                    elif fresh := repeated.without(piece):
                        yield fresh
            finally:
                self._running = None
        if rest := repeated.rest():
            yield rest

    def _asked(self) -> Sequence[Message]:
        if self._again or not self._said.strip():
            return self._messages
        return [*self._messages, Message("assistant", self._said.strip()), Message("user", GO_ON)]


class _Pieces:
    def __init__(self, answer: _Answer, pieces: AsyncGenerator[str | ToolWanted, None]) -> None:
        self._answer = answer
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[str | ToolWanted]:
        return self

    async def __anext__(self) -> str | ToolWanted:
        return await anext(self._pieces)

    def adopt(self) -> None:
        self._answer.adopt()


class Repeated:
    """Takes what a model says after another one broke off, and leaves out the beginning if that was said already."""

    def __init__(self, said: str) -> None:
        self._said = said.strip()
        self._gap = "" if said != said.rstrip() else " "
        self._held = ""
        self._decided = not self._said

    def without(self, piece: str) -> str:
        """What of it is new, as far as that is known by now."""
        if self._decided:
            return piece
        self._held += piece
        held = self._held.lstrip()
        if self._said.startswith(held):  # not longer than what was said, and the same so far
            return ""
        self._decided = True
        common = next((n for n, (a, b) in enumerate(zip(self._said, held, strict=False)) if a != b), len(self._said))
        if common == len(self._said):
            return held[common:] if self._gap else held[common:].lstrip()
        if common >= _SURE_CHARACTERS and common >= 0.6 * len(self._said):  # the same, and then in other words
            return self._joined(held[held.rfind(" ", 0, common) + 1 :])
        return self._joined(held)

    def rest(self) -> str:
        """What was held back at the end: nothing where all of it had been said."""
        held = "" if self._decided or len(self._held.strip()) >= min(_SURE_CHARACTERS, len(self._said)) else self._held
        self._decided = True
        return self._joined(held.lstrip()) if held else ""

    def _joined(self, text: str) -> str:
        return text if not text or text[0] in ".,;:!?" else f"{self._gap}{text}"
