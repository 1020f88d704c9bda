"""What the engine has once and providers may use: addresses, stores, workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from ai_engine.config_file import ConfigError
from ai_engine.contexts import Context
from ai_engine.conversation.embedding_worker import KnownAnswerMatcher, TextEmbedder
from ai_engine.conversation.rendered import Progress, RenderedSpeech
from ai_engine.providers.circuit_breaker import CircuitBreaker
from ai_engine.providers.clients import SharedClients
from ai_engine.providers.provider import CallInfo, Provider
from ai_engine.providers.server_fleet import ServerFleet
from ai_engine.providers.server_probes import ServerProbes
from ai_engine.providers.tool_choice import ToolChooser
from ai_engine.server_addresses import server_addresses
from voice_wire.audio import AudioFormat

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Services:
    """Made by the engine at its start, shared by all calls."""

    local_url: str
    """LOCAL_WS_URL: one address or several"""
    local_token: str = field(repr=False)
    """LOCAL_WS_AUTH_TOKEN"""
    rendered: RenderedSpeech
    embedder: TextEmbedder | None = None
    """None: known answers cannot be had here, or no persona has any."""
    clock: Callable[[], float] = time.monotonic
    matchers: dict[str, KnownAnswerMatcher] = field(default_factory=dict)
    """Known answers by context, made once each."""
    tool_choosers: dict[str, ToolChooser] = field(default_factory=dict)
    """Tools by their wordings, by context."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The process's and `.env`: where components find their keys, by the names that the configuration gives."""
    clients: SharedClients = field(default_factory=SharedClients)
    breakers: dict[Hashable, CircuitBreaker] = field(default_factory=dict)
    """Which components of chains are asked at present."""
    on_fallback: Callable[[str, str], None] = lambda component, member: None
    """Told when the next of a chain is asked: stt, llm or tts, and who failed."""

    def local_servers(self) -> ServerProbes:
        """The servers of `local_url`, the same for all calls. Raises `ConfigError` for addresses that cannot be."""

        def make() -> ServerProbes:
            try:
                addresses = server_addresses(self.local_url)
            except ValueError as error:
                raise ConfigError(str(error)) from None
            return ServerProbes(ServerFleet(addresses, clock=self.clock))

        return self.clients.get(("local servers", self.local_url), make)

    def matcher(self, name: str, context: Context) -> KnownAnswerMatcher | None:
        """The known answers of the context of that name."""
        if self.embedder is None:
            return None
        if name not in self.matchers:
            self.matchers[name] = KnownAnswerMatcher(
                context.known_answers.for_matching(),
                self.embedder,
                context.known_answers.thresholds,
                language=context.language,
            )
        return self.matchers[name]

    def tool_chooser(self, name: str, context: Context) -> ToolChooser | None:
        """What finds the tools that callers of the context of that name ask for."""
        if self.embedder is None or not context.tools:
            return None
        if name not in self.tool_choosers:
            others = [question for pair in context.known_answers.pairs for question in pair.questions]
            self.tool_choosers[name] = ToolChooser(self.embedder, others, language=context.language)
        return self.tool_choosers[name]


class CallScope:
    """What the components of one call have in common."""

    def __init__(self, call: CallInfo, services: Services) -> None:
        self.call = call
        self.services = services
        self._shared: dict[Hashable, Any] = {}

    def share(self, key: Hashable, make: Callable[[], T]) -> T:
        """The one thing of this call under `key`, made when it is first asked for."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast("T", self._shared[key])


class ProviderFactory(Protocol):
    """One provider of the configuration, ready to be made for calls."""

    def create(self, call: CallInfo, context: Context, *, no_information: str) -> Provider:
        """A provider for `call`, not yet started. `no_information` is the context's line with this call's variables."""

    async def prepare(
        self, name: str, context: Context, audio_format: AudioFormat, progress: Progress | None = None
    ) -> None:
        """Get the context of that name ready for calls that play `audio_format`: render its lines, index its answers.

        Raises `ProviderError`. Calls may be taken meanwhile; it goes on where it was when called again.
        """

    def rendered_line(self, name: str, text: str, audio_format: AudioFormat) -> bytes | None:
        """A line of the context of that name as `prepare` rendered it: it can be played when all else fails."""
