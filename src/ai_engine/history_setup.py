"""The call history that the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.metrics import Metrics
from ai_engine.settings import Settings

if TYPE_CHECKING:
    from ai_engine.call_history.history import CallHistory


def make_history(settings: Settings, metrics: Metrics) -> CallHistory | None:
    """None where none is kept. Raises `ConfigError` for a database that cannot be."""
    if not settings.history.enabled:
        return None
    # SQLAlchemy and Alembic take 30 MB, which nobody should pay for nothing.
    from ai_engine.call_history.history import CallHistory  # noqa: PLC0415

    return CallHistory(
        settings.history,
        state_folder=settings.state_folder,
        engine_app=settings.asterisk.app,
        recordings=RecordingFolder(settings.recording.folder),
        metrics=metrics,
    )
