"""The environment and the `.env` file: where secrets and machine-specific values come from.

`.env` is shared by all parts of the product. The engine knows its own names and refuses one that looks like them but
is not; names that begin with another part's prefix are that part's to check.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from ai_engine.config_file import ConfigError

SettingPath = tuple[str, str]
"""Section and key."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable of the engine and the setting it overrides."""

    name: str
    setting: SettingPath
    meaning: str
    secret: bool = False


ENGINE_VARIABLES = (
    Variable("ASTERISK_HOST", ("asterisk", "host"), "Address of Asterisk's HTTP server."),
    Variable("ASTERISK_ARI_PORT", ("asterisk", "port"), "Its port."),
    Variable("ASTERISK_ARI_SCHEME", ("asterisk", "scheme"), "http or https."),
    Variable("ASTERISK_ARI_USERNAME", ("asterisk", "username"), "A user of ari.conf."),
    Variable("ASTERISK_ARI_PASSWORD", ("asterisk", "password"), "That user's password.", secret=True),
    Variable("ASTERISK_ARI_APP", ("asterisk", "app"), "The Stasis application named in the dialplan."),
    Variable("ENGINE_MEDIA_HOST", ("media", "bind"), "Local address of the RTP sockets."),
    Variable(
        "ENGINE_MEDIA_ADVERTISE", ("media", "advertise"), "Address Asterisk sends RTP to, when not the bound one."
    ),
    Variable("ENGINE_MEDIA_PORTS", ("media", "ports"), "Port range for RTP, first-last."),
    Variable("ENGINE_HISTORY_URL", ("history", "url"), "Database of the call history, if not SQLite.", secret=True),
    Variable("ENGINE_HTTP_HOST", ("http", "bind"), "Address of the engine's health and metrics server."),
    Variable("ENGINE_HTTP_PORT", ("http", "port"), "Its port."),
    Variable("ENGINE_HTTP_TOKEN", ("http", "token"), "Bearer token for callers' data off loopback.", secret=True),
    Variable("ENGINE_LOG_LEVEL", ("logging", "level"), "debug, info, warning or error."),
    Variable("ENGINE_LOG_FORMAT", ("logging", "format"), "json or console."),
    Variable("LOCAL_WS_URL", ("local", "url"), "Address of local_ai_server as the engine reaches it, or several."),
    Variable("LOCAL_WS_AUTH_TOKEN", ("local", "token"), "Token of local_ai_server, the same for all.", secret=True),
)

OTHER_PREFIXES = (
    "LOCAL_",
    "PBX_",
    "PARLEY_",
    "FASTER_WHISPER_",
    "WHISPER_",
    "SHERPA_",
    "KOKORO_",
    "KROKO_",
    "MELOTTS_",
    "LLAMA_",
    "LLM_",
    "VLLM_",
    "ENABLE_",
    "INCLUDE_",
    "GPU_",
    "SERVICE_TIMEOUT",
    "HUGGINGFACE_",
    "HF_",
    "JWT_",
    "ADMIN_",
    "OPENAI_",
    "GROQ_",
    "DEEPGRAM_",
    "ELEVENLABS_",
    "GOOGLE_",
    "ANTHROPIC_",
    "SMTP_",
    "TOOL_",
    "COMPOSE_",
    "TZ",
)


def read_environment(env_file: Path, process: Mapping[str, str] | None = None) -> dict[str, str]:
    """`.env` under the process's own environment (which wins). A missing file is an empty one.

    Raises `ConfigError` with file and line for a line that cannot be parsed or a name nobody reads.
    """
    values: dict[str, str] = {}
    if env_file.exists():
        known = [variable.name for variable in ENGINE_VARIABLES]
        try:
            with env_file.open(encoding="utf-8") as stream:
                bindings = list(parse_stream(stream))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{env_file}: cannot be read: {error}") from error
        for binding in bindings:
            line = binding.original.line
            if binding.error:
                raise ConfigError(f"{env_file}:{line}: not NAME=value: {binding.original.string.strip()[:40]!r}")
            if binding.key is None:
                continue
            if binding.key not in known and not binding.key.startswith(OTHER_PREFIXES):
                near = difflib.get_close_matches(binding.key, known, n=1, cutoff=0.6)
                hint = f"did you mean `{near[0]}`?" if near else "see .env.example for the names that are read"
                raise ConfigError(f"{env_file}:{line}: unknown variable `{binding.key}`; {hint}")
            if binding.value is not None:
                values[binding.key] = binding.value
    values.update(os.environ if process is None else process)
    return values


def overrides(environment: Mapping[str, str]) -> dict[SettingPath, tuple[str, str]]:
    """Setting path → (variable, value) for every engine variable that is set and not empty."""
    return {
        variable.setting: (variable.name, environment[variable.name])
        for variable in ENGINE_VARIABLES
        if environment.get(variable.name)
    }
