"""Signatures of webhooks, by the Standard Webhooks specification 1.0.0 (standardwebhooks.com).

The receiver computes the HMAC-SHA-256 of `<webhook-id>.<webhook-timestamp>.<body>` with the key that both know,
compares it with `webhook-signature` (`v1,<base64>`), and refuses what is older than a few minutes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Final

from ai_engine.config_file import ConfigError

_PREFIX: Final = "whsec_"
_LEAST_BYTES: Final = 24
"""As the specification asks for."""


class WebhookSigner:
    """Signs requests with one key."""

    def __init__(self, key: bytes, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._wall_clock = wall_clock

    def __repr__(self) -> str:
        return "WebhookSigner()"

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """Those of a request with `body`. `message_id` is the same each time the same thing is sent."""
        timestamp = str(int(self._wall_clock()))
        signed = b".".join((message_id.encode(), timestamp.encode(), body))
        digest = hmac.new(self._key, signed, hashlib.sha256).digest()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


def signer_from(what: str, variable: str | None, environment: Mapping[str, str]) -> WebhookSigner | None:
    """With the key in the environment's `variable`: `whsec_` and base64, or any text. Raises `ConfigError`."""
    if variable is None:
        return None
    text = environment.get(variable, "").strip()
    if not text:
        raise ConfigError(f"{what}: `signature` names {variable}, which is not set: set it in .env")
    key = text.encode()
    if text.startswith(_PREFIX):
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ConfigError(f"{what}: {variable} begins with {_PREFIX}, but what follows is no base64") from None
    if len(key) < _LEAST_BYTES:
        raise ConfigError(f"{what}: {variable} is too short a key: take {_LEAST_BYTES} bytes or more")
    return WebhookSigner(key)
