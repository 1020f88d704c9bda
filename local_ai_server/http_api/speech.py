"""All that the server offers for speech over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from local_ai_server.http_api.fetching import Fetcher
from local_ai_server.http_api.openai_speech import openai_speech
from local_ai_server.http_api.recording import Recordings
from local_ai_server.http_api.speech_routes import speech_routes
from local_ai_server.metrics import ServerMetrics
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from outbound_guard.destination import Allowed


def speech(settings: Settings, switchboard: Switchboard, metrics: ServerMetrics) -> APIRouter:
    """The routes."""
    router = APIRouter()
    recordings = Recordings(max_s=settings.max_http_audio_s)
    fetcher = Fetcher(Allowed.parse(settings.http_fetch_allowed), max_bytes=settings.max_http_body_bytes)
    router.include_router(speech_routes(switchboard, metrics, recordings, fetcher))
    router.include_router(openai_speech(switchboard, metrics, recordings))
    return router
