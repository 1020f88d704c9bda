"""`/v1/realtime`: the handshake, and one session behind it."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI, WebSocket

from local_ai_server.connection import Connection
from local_ai_server.http_api.access import Access
from local_ai_server.http_api.answers import error_response
from local_ai_server.http_api.door import REFUSED
from local_ai_server.metrics import ServerMetrics
from local_ai_server.model_changes import ModelChanges
from local_ai_server.places import Places
from local_ai_server.realtime.dialect import dialect_of
from local_ai_server.realtime.session import RealtimeSession
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.turns.speech_judge import SpeechJudges

PATH: Final = "/v1/realtime"
_MAX_MODEL_CHARS: Final = 200


def add_realtime(
    app: FastAPI,
    *,
    settings: Settings,
    switchboard: Switchboard,
    metrics: ServerMetrics,
    places: Places,
    judges: SpeechJudges,
    changes: ModelChanges,
) -> None:
    """Adds the route."""
    access = Access(settings)

    async def realtime(websocket: WebSocket) -> None:
        refusal = access.refusal(PATH, websocket.headers)
        if refusal is not None:
            status, message = REFUSED[refusal]
            answer = error_response(message, code=f"refused_{refusal}", status=status)
            await websocket.send_denial_response(answer)
            return
        connection = Connection(websocket, idle_timeout_s=settings.idle_timeout_s)
        full = places.admit(connection)
        if full is not None:
            metrics.refused(full.code)
            answer = error_response(str(full), code=full.code, status=503, headers={"Retry-After": "1"})
            await websocket.send_denial_response(answer)
            return
        try:
            await websocket.accept()
            session = RealtimeSession(
                settings=settings,
                switchboard=switchboard,
                metrics=metrics,
                client=connection,
                judges=judges,
                instructions=changes.system_prompt,
                model=websocket.query_params.get("model", "")[:_MAX_MODEL_CHARS],
                dialect=dialect_of(websocket.headers),
            )
            try:
                await connection.run(session)
            finally:
                await session.close()
        finally:
            places.leave(connection)

    app.websocket(PATH)(realtime)
