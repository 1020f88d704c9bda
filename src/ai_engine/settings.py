"""The engine's settings: `config/ai-agent.yaml`, `ai-agent.local.yaml` over it, and the environment over both.

Secrets come from the environment alone. Each field says what it does and in which unit.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    model_validator,
)

from ai_engine.asterisk.ids import instance_of
from ai_engine.config_file import ConfigError, Document, overlay, read_document, validate
from ai_engine.conversation_section import ConversationSection
from ai_engine.environment import SettingPath, overrides, read_environment
from ai_engine.media.line_choice import READY_PROFILES, EchoChoice, LineChoice
from ai_engine.media.line_formats import LINE_FORMATS, MediaFormat, TransportName
from ai_engine.server_addresses import server_addresses

OVERLAY_NAME = "ai-agent.local.yaml"


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PortRange(Section):
    """First and last UDP port, both included. Written `18080-18579`."""

    first: int = Field(ge=1024, le=65535)
    last: int = Field(ge=1024, le=65535)

    @model_validator(mode="after")
    def _ordered(self) -> PortRange:
        if self.last < self.first:
            raise ValueError(f"the last port {self.last} is below the first {self.first}")
        return self


def _parse_ports(value: Any) -> Any:
    if isinstance(value, str):
        first, dash, last = value.partition("-")
        if not dash or not first.strip().isdigit() or not last.strip().isdigit():
            raise ValueError("write a port range as first-last, like 18080-18579")
        return {"first": int(first), "last": int(last)}
    return value


class AsteriskSettings(Section):
    host: str = "127.0.0.1"
    """Where Asterisk's HTTP server listens (http.conf)."""
    port: int = Field(default=8088, ge=1, le=65535)
    scheme: Literal["http", "https"] = "http"
    username: str = "parley"
    """A user of ari.conf."""
    password: SecretStr = SecretStr("")
    """Only from the environment: ASTERISK_ARI_PASSWORD."""
    app: str = Field(default="ai-agent", pattern=r"^[A-Za-z0-9_-]+$")
    """The name in the dialplan's Stasis(). Each engine process needs its own."""
    peers: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_*?-]+$")]] = Field(default_factory=list)
    """Names of the other engines on this Asterisk, whose callers this one takes over should they die. `*` and `?` stand
    for anything: `ai-agent-*`; this engine's own name may be among them."""
    fallback_context: str = "parley-fallback"
    """Dialplan context a caller is continued to when no agent can be had."""
    fallback_extension: str = "s"

    @model_validator(mode="after")
    def _told_apart(self) -> AsteriskSettings:
        for peer in self.peers:
            if peer != self.app and instance_of(peer) == instance_of(self.app):
                raise ValueError(
                    f"peers: {peer!r} and this engine's {self.app!r} differ too little to tell their channels apart; "
                    "use names that differ in a letter or digit among the first 32 characters"
                )
        return self

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


class AudioSocketSettings(Section):
    """Where the engine listens for Asterisk's AudioSocket connections, once a call asks for that transport."""

    bind: str = "127.0.0.1"
    """Local address. Connections from anywhere but Asterisk's address and `media.allowed_sources` are closed."""
    port: int = Field(default=0, ge=0, le=65535)
    """TCP; 0 picks a free one, which Asterisk is told with each call."""
    advertise: str | None = None
    """Address Asterisk connects to when it is not the bound one (NAT, containers)."""


class WebsocketSettings(Section):
    """Calls whose sound goes over chan_websocket; the engine connects to Asterisk's HTTP server, as for ARI."""

    lead_ms: int = Field(default=60, ge=40, le=400)
    """Sound that Asterisk has in hand, so that ticks of ours may be so late unheard. It delays nothing: not the first
    word, and not the silence when the caller interrupts."""


def _check_pair(transport: TransportName, media_format: MediaFormat) -> None:
    formats = LINE_FORMATS[transport]
    if media_format not in formats:
        may_be = ", ".join(formats)
        raise ValueError(f"format {media_format} does not work both ways over {transport}; write one of {may_be}")


def _unquoted_off(value: Any) -> Any:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


Echo = Annotated[EchoChoice, BeforeValidator(_unquoted_off)]


def _checked_address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is no IP address; write each one, neither names nor networks") from None
    return value


class AudioProfile(Section):
    """A line with a name."""

    transport: TransportName
    format: MediaFormat
    echo: Echo | None = None

    @model_validator(mode="after")
    def _works(self) -> AudioProfile:
        _check_pair(self.transport, self.format)
        return self


ProfileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class MediaSettings(Section):
    transport: TransportName = "rtp"
    """How sound goes between Asterisk and the engine: rtp, audiosocket or websocket (docs/transports.md). A call whose
    dialplan sets AI_TRANSPORT has that one."""
    format: MediaFormat = "ulaw"
    """What goes over the wire: ulaw, alaw or slin (8 kHz), g722 or slin16 (16 kHz). Not every transport carries each. A
    call's AI_TRANSPORT_FORMAT goes before it."""
    profiles: dict[ProfileName, AudioProfile] = Field(default_factory=dict)
    """Lines with a name, for a call's AI_AUDIO_PROFILE: each has `transport`, `format` and perhaps `echo`. Ready ones
    are telephony, telephony_alaw, wideband, wideband_audiosocket and wideband_websocket; one of the same name goes
    before it."""
    bind: str = "127.0.0.1"
    """Local address of the RTP sockets."""
    advertise: str | None = None
    """Address Asterisk sends to when it is not the bound one (NAT, containers)."""
    ports: Annotated[PortRange, BeforeValidator(_parse_ports)] = PortRange(first=18080, last=18579)
    """UDP ports for media, one call each."""
    allowed_sources: list[Annotated[str, AfterValidator(_checked_address)]] = Field(default_factory=list)
    """Addresses media may come from besides Asterisk's own."""
    downstream_ms: int = Field(default=80, ge=0, le=2000)
    """From a packet leaving us to the caller hearing it."""
    echo: Echo = "auto"
    """The agent's sound taken out of the caller's: where it comes back (and the extra `echo` is installed), always
    (every caller has his loudspeaker on), never."""
    agent_level_dbfs: float | None = Field(default=None, ge=-35, le=-10)
    """Each voice is brought to this level of speech (RMS without pauses; -20 is usual) by one gain for a whole turn.
    Absent: voices stay as loud as they are made."""
    comfort_noise_dbfs: float | None = Field(default=None, ge=-75, le=-40)
    """Noise of this level in the agent's silence, for telephones and callers who take silence for a dead line: -65 is
    barely heard. Over rtp and audiosocket. Absent: silence."""
    audiosocket: AudioSocketSettings = AudioSocketSettings()
    websocket: WebsocketSettings = WebsocketSettings()

    @model_validator(mode="after")
    def _works(self) -> MediaSettings:
        _check_pair(self.transport, self.format)
        return self

    @property
    def line(self) -> LineChoice:
        """What a call has whose dialplan asks for nothing else."""
        return LineChoice(self.transport, self.format, self.echo)

    @property
    def line_profiles(self) -> dict[str, LineChoice]:
        """What AI_AUDIO_PROFILE may name: the ready ones and those of the configuration."""
        ready = {name: LineChoice(*pair, self.echo) for name, pair in READY_PROFILES.items()}
        own = {
            name: LineChoice(profile.transport, profile.format, profile.echo or self.echo)
            for name, profile in self.profiles.items()
        }
        return ready | own


class RecordingSettings(Section):
    """Calls as stereo WAV files, the caller left, the agent right (docs/recording.md). A context may say otherwise."""

    enabled: bool = False
    folder: Path = Path("recordings")
    """One folder a day is made in it. Only the engine's user can read what it makes."""
    consent: Literal["announce", "none"] = "announce"
    """`announce`: the caller is told first (a context's `recording.notice`), and recording begins when he has heard it.
    `none`: it begins with the call; the caller has agreed in another way, or the law does not ask for it."""
    keep_days: float = Field(default=30.0, ge=0)
    """Older recordings are deleted, at the start and each hour. 0: never."""
    keep_mb: float = Field(default=0.0, ge=0)
    """The oldest are deleted as long as all of them together are larger. 0: no limit."""
    min_free_mb: float = Field(default=500.0, ge=0)
    """With less room on the disk no recording begins. 0: as long as there is any."""
    sync_s: float = Field(default=10.0, ge=0)
    """A power failure costs no more than so much of a call. 0: what the system has not written by itself."""


class MessageSettings(Section):
    """Messages that callers leave (the tool `leave_message`), as WAV files (docs/tools.md)."""

    folder: Path = Path("messages")
    """One folder a day is made in it. Only the engine's user can read what it makes."""
    keep_days: float = Field(default=30.0, ge=0)
    """Older messages are deleted, at the start and each hour, delivered or not. 0: never."""
    keep_mb: float = Field(default=0.0, ge=0)
    """The oldest are deleted as long as all of them together are larger. 0: no limit."""
    min_free_mb: float = Field(default=100.0, ge=0)
    """With less room on the disk none is recorded, and only its words are passed on. 0: as long as there is any."""


class HistorySettings(Section):
    """What became of each call, in a database (docs/call-history.md)."""

    enabled: bool = False
    url: SecretStr = SecretStr("")
    """Only from the environment: ENGINE_HISTORY_URL, such as postgresql://parley:secret@db.example/parley (extra
    `postgres`). Empty: SQLite, `call-history.sqlite3` in `state_folder`."""
    transcripts: bool = True
    """False: what was said is not kept, nor what tools were given; that it was said is, and when."""
    tool_arguments: bool = True
    """False: what tools were given is not kept."""
    keep_days: float = Field(default=30.0, ge=0)
    """Older calls are deleted, at the start and each hour. 0: never."""


class HttpSettings(Section):
    bind: str = "127.0.0.1"
    port: int = Field(default=15000, ge=0, le=65535)
    """0 picks a free one."""
    token: SecretStr = SecretStr("")
    """Only from the environment: ENGINE_HTTP_TOKEN. Needed for callers' data unless bound to loopback."""


def _checked_addresses(text: str) -> str:
    server_addresses(text)
    return text


class LocalServerSettings(Section):
    """Where `local_ai_server` is, for providers of kind `local`."""

    url: Annotated[str, AfterValidator(_checked_addresses)] = "ws://127.0.0.1:8765"
    """ws://host:port or wss://host:port. Several, with commas or spaces between them, share the calls, and one takes
    over from another in the middle of a call; they run the same models, and one token opens all."""
    token: SecretStr = SecretStr("")
    """Only from the environment: LOCAL_WS_AUTH_TOKEN."""


class CallSettings(Section):
    max_concurrent: int = Field(default=50, ge=1)
    """Calls beyond this are not taken: see `when_full`."""
    when_full: Literal["dialplan", "message", "busy"] = "dialplan"
    """What becomes of a call beyond `max_concurrent`. `dialplan`: it goes to `asterisk.fallback_context`. `message`: it
    is answered, hears the context's `busy` sentence and is hung up. `busy`: it gets the busy signal, unanswered."""
    max_messages: int = Field(default=10, ge=0)
    """For `when_full: message`: how many hear it at once, besides `max_concurrent`. More go to the dialplan."""
    default_context: str = "default"
    answer_timeout_s: float = Field(default=10.0, gt=0)
    """Time to answer, bridge and connect media before the caller is sent to the fallback."""
    stop_deadline_s: float = Field(default=30.0, ge=0)
    """On SIGTERM: live calls have this long to finish before they get a farewell."""


class EndOfTurnSettings(Section):
    """What, beside words and pauses, tells that a caller has finished (docs/conversation.md)."""

    model: Literal["none", "smart-turn-v3"] = "none"
    """A semantic model, which hears how the caller speaks; it only moves the wait, by `wait.semantic_span_ms`."""
    deadline_ms: int = Field(default=400, ge=50, le=2000)
    """An opinion that takes longer counts for nothing."""


class LoggingSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
    transcripts: bool = True
    """False redacts what callers and agent say from the logs."""


SaidLine = Annotated[str, Field(min_length=1, max_length=300)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class ProviderSettings(Section):
    """One provider by its name in contexts; `kind` is an entry of the provider registry."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)
    """Checked by that provider."""


class ToolSettings(Section):
    """One tool by its name in contexts and for the model; `kind` is an entry of the tool registry (docs/tools.md)."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)
    """Checked by that tool."""
    description: str | None = Field(default=None, min_length=1)
    """What the model is told it does, and when to use it; absent: what the kind says. Not for several tools at once."""
    filler: str = ""
    """Said while it runs, where that takes long and nothing was said before: "Let me look at the calendar."."""
    timeout_s: float | None = Field(default=None, gt=0, le=600)
    """After so long it is given up and the model is told so; absent: the kind's."""
    said: tuple[SaidLine, ...] = Field(default=(), max_length=50)
    """What callers say who want it, 3 to 6 wordings. By these it is chosen where the model is small."""
    not_said: tuple[SaidLine, ...] = Field(default=(), max_length=50)
    """What sounds like it and is not meant."""


def _default_providers() -> dict[str, ProviderSettings]:
    return {"local": ProviderSettings(kind="local")}


class Settings(Section):
    asterisk: AsteriskSettings = AsteriskSettings()
    media: MediaSettings = MediaSettings()
    recording: RecordingSettings = RecordingSettings()
    messages: MessageSettings = MessageSettings()
    history: HistorySettings = HistorySettings()
    http: HttpSettings = HttpSettings()
    local: LocalServerSettings = LocalServerSettings()
    calls: CallSettings = CallSettings()
    logging: LoggingSettings = LoggingSettings()
    providers: dict[str, ProviderSettings] = Field(default_factory=_default_providers)
    conversation: ConversationSection = Field(default_factory=ConversationSection)  # type: ignore[valid-type]
    """Knobs of turn-taking."""
    tools: dict[ToolName, ToolSettings] = Field(default_factory=dict)
    """What models may do beside speaking. A tool serves the contexts whose `tools` name it, and no others."""
    end_of_turn: EndOfTurnSettings = EndOfTurnSettings()
    contexts_folder: Path = Path("config/contexts")
    models_folder: Path = Path("models")
    state_folder: Path = Path("var")
    """Rendered speech and other things that can be made again."""
    outbox_folder: Path = Path("var/outbox")
    """What is still to be delivered of calls: messages, e-mails, webhooks. It holds callers' words and has to outlast
    a restart."""

    _environment: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """The process's and `.env`: providers find their keys in it."""
        return self._environment

    @model_validator(mode="after")
    def _guard_callers_data(self) -> Settings:
        if not is_loopback(self.http.bind) and not self.http.token.get_secret_value():
            raise ValueError(
                f"http.bind {self.http.bind} can be reached from other machines: set ENGINE_HTTP_TOKEN, "
                "or bind to 127.0.0.1"
            )
        return self


SECRET_SETTINGS: tuple[SettingPath, ...] = (
    ("asterisk", "password"),
    ("history", "url"),
    ("http", "token"),
    ("local", "token"),
)


def load_settings(config: Path, env_file: Path, process: dict[str, str] | None = None) -> Settings:
    """Settings from `config`, the overlay beside it and the environment.

    Raises `ConfigError` with all complaints at once.
    """
    document = read_document(config)
    local = config.with_name(OVERLAY_NAME)
    if local.exists():
        document = overlay(document, read_document(local))
    for secret in SECRET_SETTINGS:
        if secret[1] in (document.data.get(secret[0]) or {}):
            name = ".".join(str(part) for part in secret)
            raise ConfigError(f"{document.where(secret)}: `{name}` is a secret: set it in .env, not in YAML")
    environment = read_environment(env_file, process)
    for path, (variable, value) in overrides(environment).items():
        _set(document, path, value, variable)
    settings = validate(Settings, document)
    settings._environment = environment
    return settings


def _set(document: Document, path: SettingPath, value: str, variable: str) -> None:
    section = document.data.setdefault(path[0], {})
    if not isinstance(section, dict):
        raise ConfigError(f"{document.where(path[:1])}: `{path[0]}` must hold keys and values ({variable} sets one)")
    section[path[1]] = value


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`. Host names other than localhost count as reachable."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
