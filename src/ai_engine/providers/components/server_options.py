"""What the components that ask a server of OpenAI's API have in common: where it is, and which key."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ai_engine.config_file import ConfigError
from ai_engine.providers.services import CallScope
from openai_wire.setting_names import SettingNames


def http_url(url: str) -> str:
    """Checks an address."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as http://host:port/v1")
    if parts.username or parts.password:
        raise ValueError("leave the key out of the address: name its environment variable as `key`")
    if parts.query or parts.fragment:
        raise ValueError("leave out what follows the path (? or #); a key is named as `key`")
    return url.strip().rstrip("/")


class ServerOptions(BaseModel):
    """Where the server is and how long it is waited for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: Annotated[str, AfterValidator(http_url)]
    """With its version, as in http://127.0.0.1:8000/v1."""
    key: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    """The environment variable that holds the key, as in OPENAI_API_KEY. None: it asks for none."""
    timeout_s: float = Field(default=8.0, gt=0, le=120)
    """Longest silence before the answer begins, and within it; a caller waits for it."""

    def names(self) -> SettingNames:
        """For errors of a running call."""
        return SettingNames(
            url="`base_url`",
            key=self.key or "the variable that `key` names",
            model="`model`",
            timeout="`timeout_s`",
            context="a smaller `max_words`, or the server",
        )

    def key_in(self, scope: CallScope, what: str) -> str:
        """The key; empty where none is asked for. Raises `ConfigError` where the variable named is not set."""
        key = scope.services.environment.get(self.key, "").strip() if self.key else ""
        if self.key and not key:
            raise ConfigError(f"{what}: `key` names {self.key}, which is not set: set it in .env")
        return key
