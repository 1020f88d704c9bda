"""One client: who it is, which version it speaks, and what it asks of the server itself."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import math
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from local_ai_server import facts
from local_ai_server.errors import ServeError
from local_ai_server.metrics import ServerMetrics
from local_ai_server.model_changes import ModelChanges
from local_ai_server.rate_limits import RateLimited, RateLimits
from local_ai_server.request import Client
from local_ai_server.session_settings import SessionSettings
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.turns.speech_judge import SpeechJudges
from local_ai_server.version2 import Version2
from local_ai_server.version3 import Version3
from voice_wire.messages import (
    VERSION_3_ONLY,
    Auth,
    AuthResponse,
    Backends,
    BackendSchema,
    BargeIn,
    Cancel,
    Capabilities,
    ClientMessage,
    ConnectionClosed,
    End,
    Error,
    Ping,
    Pong,
    ProtocolError,
    ReloadLlm,
    ReloadModels,
    Status,
    SwitchModel,
    SwitchResponse,
    Warm,
    WireModel,
    parse_client_message,
)

log = structlog.get_logger(__name__)

CLOSE_NORMAL: Final = 1000
CLOSE_POLICY: Final = 1008
CLOSE_TRY_AGAIN_LATER: Final = 1013
CLOSE_IDLE: Final = 4000

_MAX_AUTH_CHARS: Final = 8192
"""Of a first message: what strangers send is not worth reading at length."""

_keys = itertools.count(1)


class Session:
    """What the app's connection feeds with messages. `receive` returns at once; answers go to `client`."""

    def __init__(
        self,
        *,
        settings: Settings,
        switchboard: Switchboard,
        metrics: ServerMetrics,
        client: Client,
        changes: ModelChanges | None = None,
        admit: Callable[[], ServeError | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        judges: SpeechJudges | None = None,
    ) -> None:
        """`changes`: the server's, shared by all sessions; `admit`: called when the client has said who it is, gives
        the reason why there is no place for it. `judges` tell a version-2 client's speech from other sounds."""
        self.key = f"session-{next(_keys)}"
        """Names the session to the LLM's prefix cache. Not the client's `call_id`: two calls must never share one."""
        self.call_id: str | None = None
        self.authenticated = not settings.auth_token.get_secret_value()
        self.ended = False
        self._settings = settings
        self._switchboard = switchboard
        self._metrics = metrics
        self._client = client
        self._changes = changes or ModelChanges(switchboard, system_prompt=settings.llm_system_prompt)
        self._admit = admit
        self._clock = clock
        self._judges = judges
        self._limits = RateLimits(
            messages=settings.max_messages,
            cancels=settings.max_cancels,
            prompt_updates=settings.max_prompt_updates,
            window_s=settings.rate_window_s,
        )
        self._own = SessionSettings(self._changes.system_prompt)
        self._version: Version2 | Version3 | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    @property
    def protocol_version(self) -> int:
        return 3 if isinstance(self._version, Version3) else 2

    @property
    def closes_when_idle(self) -> bool:
        """Version 2 knows no pings, and its clients may say nothing for hours."""
        return self.protocol_version == 3

    async def take(self, data: str | bytes) -> None:
        """One frame from the client, for its connection."""
        self.receive(data)
        # Messages that came together are handed over without a wait: a flood of them is not to stop all others.
        await asyncio.sleep(0)

    def receive(self, data: str | bytes) -> None:
        """One frame from the client."""
        if self.ended:
            return
        try:
            if not self.authenticated:
                self._require_auth(data)
            elif isinstance(data, bytes):
                self._speak().receive_audio(data)
            else:
                self._take(self._read(data))
        except ProtocolError as error:
            self._refuse(ServeError(error.code, str(error)), request_id=error.request_id)
        except ServeError as error:
            self._refuse(error, request_id=error.request_id)

    def admit(self) -> bool:
        """Takes a session's place. False: there is none, which the client is told before its connection closes."""
        full = self._admit()
        if full is not None:
            self.ended = True
            self._refuse(full)
            self._client.close(CLOSE_TRY_AGAIN_LATER, full.code)
        return full is None

    def turn_away(self, reason: str) -> None:
        """Says why the client may not speak, and closes. Idempotent."""
        if self.ended:
            return
        self._metrics.refused(reason)
        self.ended = True
        self._client.send(AuthResponse(status="error", message=reason))
        self._client.close(CLOSE_POLICY, reason)

    async def close(self) -> None:
        """The connection has ended, or is to: all work ends, the prefix cache is given back."""
        self.ended = True
        self._unsubscribe()
        if self._version is not None:
            await self._version.close()
            await self._switchboard.forget(self.key)

    def _read(self, text: str) -> ClientMessage:
        """The message, counted. One that cannot be read counts as well."""
        try:
            message = parse_client_message(text)
        except ProtocolError as error:
            self._count(None, request_id=error.request_id)
            raise
        if not isinstance(message, End):
            self._count(message, request_id=getattr(message, "request_id", None))
        return message

    def _count(self, message: ClientMessage | None, *, request_id: str | None) -> None:
        try:
            self._limits.admit(
                self._clock(),
                cancels=isinstance(message, Cancel | BargeIn),
                updates_prompt=isinstance(message, Warm | SwitchModel),
            )
        except RateLimited as error:
            wait_s = math.ceil(10 * error.retry_after_s) / 10
            raise ServeError(
                "rate_limited", str(error), request_id=request_id, retryable=True, retry_after=wait_s
            ) from None

    def _refuse(self, error: ServeError, *, request_id: str | None = None) -> None:
        """Answers one message with an error. It never bears the name of another message's request at work: it would
        end that."""
        if request_id is not None and isinstance(self._version, Version3) and self._version.in_flight(request_id):
            request_id = None
        self._metrics.refused(error.code)
        self._client.send(error.to_message(request_id=request_id, call_id=self.call_id))

    def _require_auth(self, data: str | bytes) -> None:
        """Nothing but a right `auth` is looked at, and nothing is told to whoever has none."""
        try:
            message = parse_client_message(data) if isinstance(data, str) and len(data) <= _MAX_AUTH_CHARS else None
        except ProtocolError:
            message = None
        if isinstance(message, Auth):
            self._authenticate(message)
        else:
            self.turn_away("authentication_required")

    def _authenticate(self, message: Auth) -> None:
        token = self._settings.auth_token.get_secret_value()
        if token and not hmac.compare_digest(message.auth_token.encode(), token.encode()):
            self.turn_away("invalid_auth_token")
            return
        if self._version is not None and message.protocol_version != self.protocol_version:
            raise ProtocolError("invalid_message", "auth: the protocol version cannot change within a connection")
        if not self.authenticated and not self.admit():
            return
        self.authenticated = True
        self.call_id = message.call_id or self.call_id
        if self._version is None:
            self._begin(message.protocol_version)
        if isinstance(self._version, Version2):
            self._version.call_id = self.call_id
        self._client.send(self._welcome(message.protocol_version))

    def _welcome(self, version: int) -> AuthResponse:
        if version == 2:
            return AuthResponse(status="ok", call_id=self.call_id)
        stt, llm, tts = (self._switchboard.find(kind) for kind in ("stt", "llm", "tts"))
        return AuthResponse(
            status="ok",
            call_id=self.call_id,
            protocol_version=version,
            stt_backend=stt.backend.name if stt else None,
            needs_gating=stt.needs_gating if stt else None,
            tts_voices=tuple(tts.traits.get("voices", ())) if tts else None,
            llm_context_tokens=llm.traits.get("context_tokens") if llm else None,
        )

    def _begin(self, version: int) -> Version2 | Version3:
        of_both: dict[str, Any] = {
            "settings": self._settings,
            "switchboard": self._switchboard,
            "metrics": self._metrics,
            "client": self._client,
            "own": self._own,
        }
        self._version = (
            Version3(self.key, **of_both) if version == 3 else Version2(self.key, **of_both, judges=self._judges)
        )
        if version == 3:
            self._unsubscribe = self._switchboard.subscribe(self._tell)
        return self._version

    def _tell(self, message: WireModel) -> None:
        """What comes of its own accord, or late."""
        if not self.ended:
            self._client.send(message)

    def _speak(self) -> Version2 | Version3:
        """The client's version; one that never said `auth` speaks version 2."""
        return self._version or self._begin(2)

    def _take(self, message: ClientMessage) -> None:
        match message:
            case Auth():
                self._authenticate(message)
            case Ping():
                self._client.send(Pong(request_id=message.request_id))
            case End():
                self.ended = True
                self._client.send(ConnectionClosed())
                self._client.close(CLOSE_NORMAL, "end")
            case Status():
                self._client.send(facts.status(message, settings=self._settings, switchboard=self._switchboard))
            case Capabilities():
                self._client.send(facts.capabilities(message))
            case Backends():
                self._client.send(facts.backends(message, switchboard=self._switchboard))
            case BackendSchema():
                self._client.send(facts.backend_schema(message))
            case SwitchModel(scope="session"):
                self._client.send(self._change_own(message))
            case SwitchModel():
                self._changes.switch(message, tell=self._tell, progress=self.protocol_version == 3)
            case ReloadModels() | ReloadLlm():
                self._changes.reload(message, tell=self._tell, progress=self.protocol_version == 3)
            case _:
                version = self._speak()
                if isinstance(message, VERSION_3_ONLY) and not isinstance(version, Version3):
                    raise ProtocolError(
                        "version_required",
                        f"{message.type} is of protocol version 3; ask for it in auth (protocol_version: 3)",
                        request_id=getattr(message, "request_id", None),
                    )
                if not version.receive(message):
                    self._client.send(
                        Error(
                            code="not_supported",
                            message=f"this server does not serve {message.type} in protocol version "
                            f"{self.protocol_version} yet",
                            request_id=getattr(message, "request_id", None),
                            call_id=self.call_id,
                        )
                    )

    def _change_own(self, message: SwitchModel) -> SwitchResponse:
        """Changes this session and nothing else."""
        answer = SwitchResponse(
            status="error", message="", code="invalid_message", call_id=message.call_id, request_id=message.request_id
        )
        ours = self._version.call_id if isinstance(self._version, Version2) else self.call_id
        if message.call_id is not None and ours is not None and message.call_id != ours:
            return answer.model_copy(
                update={
                    "code": "unknown_call",
                    "message": "call_id: scope session changes the call of this connection only, which has another id",
                }
            )
        try:
            changed = self._own.change(message, tts=self._switchboard.find("tts"))
        except ServeError as error:
            return answer.model_copy(update={"code": error.code, "message": str(error)})
        done = "would change" if message.dry_run else "changed"
        return answer.model_copy(
            update={
                "status": "success" if changed else "no_change",
                "code": None,
                "message": f"{', '.join(changed)} {done} for this session" if changed else "all was so already",
                "changed": changed,
            }
        )
