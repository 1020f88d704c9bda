"""`local`: speech and language by local_ai_server, all three components over one socket.

It has no options of its own beside those of every pipeline; where the server is comes from LOCAL_WS_URL and
LOCAL_WS_AUTH_TOKEN.
"""

from __future__ import annotations

from ai_engine.providers.components.options import Options
from ai_engine.providers.pipeline_factory import PipelineFactory, with_components
from ai_engine.providers.services import Services


def make_local(options: Options, services: Services) -> PipelineFactory:
    """Raises `ConfigError`."""
    return with_components("local", options, services, "local")
