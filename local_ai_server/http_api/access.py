"""Who may ask over HTTP: a bearer token or `X-API-Key`, no browsers of strangers."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from typing import Final, Literal

from local_ai_server.settings import Settings

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/health", "/metrics", "/docs", "/openapi.json"})
"""Answered without a token: they tell nothing of anybody's call."""
Refusal = Literal["browser", "host", "token"]


class Access:
    """The server's rules, by a request's headers."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.auth_token.get_secret_value().encode()

    def refusal(self, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request may not be served; None where it may."""
        # A browser sends Origin: any page on the web could otherwise speak to a server on its visitor's machine. With
        # a name of its own that leads here it could do so without one (DNS rebinding), which the token stops, or Host.
        if "origin" in headers:
            return "browser"
        if not self._token and not _is_this_machine(headers.get("host", "")):
            return "host"
        if path in OPEN_PATHS or not self._token:
            return None
        return None if hmac.compare_digest(_presented(headers), self._token) else "token"


def _presented(headers: Mapping[str, str]) -> bytes:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode("latin-1", "replace")
    return headers.get("x-api-key", "").encode("latin-1", "replace")


def _is_this_machine(host: str) -> bool:
    """Whether a Host header names this machine to itself. Without a token the server listens nowhere else."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").rstrip(".").lower()
    if name == "localhost" or not name:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
