"""The call history that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.metrics import Metrics
from ai_engine.settings import Settings

if TYPE_CHECKING:
    from ai_engine.call_history.history import CallHistory


def make_history(
    settings: Settings, metrics: Metrics, also_delete: Callable[[str], int] = lambda call_id: 0
) -> CallHistory | None:
    """None where none is kept. Raises `ConfigError` for a database that cannot be.

    `also_delete` deletes what else there is of a call, and returns how many files it was.
    """
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
        also_delete=also_delete,
    )
