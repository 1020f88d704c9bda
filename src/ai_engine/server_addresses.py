"""LOCAL_WS_URL: where the local AI servers are, one address or several."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
_FORM: Final = "write ws://host:port or wss://host:port, several with commas or spaces between them"


def server_addresses(text: str) -> tuple[str, ...]:
    """The addresses in `text`, in their order. Raises `ValueError`, which names no credentials."""
    addresses = tuple(part for part in re.split(r"[,\s]+", text) if part)
    if not addresses:
        raise ValueError(f"LOCAL_WS_URL holds no address: {_FORM}")
    seen: set[tuple[str, str | None, int | None, str, str]] = set()
    for address in addresses:
        parts = _parts(address)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        server = (parts.scheme, parts.hostname, port, parts.path.rstrip("/"), parts.query)
        if server in seen:
            raise ValueError(f"LOCAL_WS_URL names {server_label(address)} twice: leave one of them out")
        seen.add(server)
    return addresses


def server_label(address: str) -> str:
    """The address as logs, pages and metrics may show it: without user, password and query."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def readiness_page(address: str) -> str:
    """The page that tells whether the server at that address is ready; its address holds no credentials."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    path = parts.path.rstrip("/").removesuffix("/ws")
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{host}{path}/readyz"


def _parts(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        valid = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0 and not parts.fragment
        # A password whose / or ? is not written as %2F or %3F ends the host, and would be shown as a path.
        valid = valid and "@" not in parts.path + parts.query
    except ValueError:  # a port that is no number, a bracket that is not closed
        valid = False
    if not valid:
        shown = address.rpartition("@")[2].partition("?")[0]
        raise ValueError(f"LOCAL_WS_URL: {shown!r} is not the address of a server: {_FORM}")
    return parts
