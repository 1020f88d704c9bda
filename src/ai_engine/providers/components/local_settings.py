"""What the three local components share: the call's socket, and that they have no options."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ai_engine.providers.components.local_socket import LocalSocket, LocalSocketSettings
from ai_engine.providers.services import CallScope


class NoOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")


def shared_socket(scope: CallScope) -> LocalSocket:
    """The one socket of the call, whichever component asks first."""
    services = scope.services
    probes = services.local_servers()
    settings = LocalSocketSettings(token=services.local_token)

    def make() -> LocalSocket:
        return LocalSocket(settings, call_id=scope.call.call_id, fleet=probes.fleet, on_connecting=probes.start)

    return scope.share(settings, make)
