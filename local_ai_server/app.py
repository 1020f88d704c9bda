"""HTTP and WebSocket on one port: who may come in, and what stands on the doors."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Response, WebSocket
from fastapi.responses import JSONResponse

from local_ai_server.connection import Connection
from local_ai_server.http_api.answers import explain_errors
from local_ai_server.http_api.audio_turn import audio_turn
from local_ai_server.http_api.chat import chat_routes
from local_ai_server.http_api.chat_sessions import ChatSessions
from local_ai_server.http_api.document import describe
from local_ai_server.http_api.door import Door
from local_ai_server.http_api.health import health_route
from local_ai_server.http_api.models_list import Models, model_routes
from local_ai_server.http_api.speech import speech
from local_ai_server.metrics import ServerMetrics
from local_ai_server.model_changes import ModelChanges
from local_ai_server.places import Places
from local_ai_server.realtime.route import add_realtime
from local_ai_server.session import Session
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.turns.speech_judge import SpeechJudges
from local_ai_server.turns.spoken_turns import SpokenTurns

log = structlog.get_logger(__name__)


def build_app(settings: Settings, switchboard: Switchboard) -> FastAPI:
    """The application. The caller closes `app.state.chat_sessions` once nothing is served any more, stops the
    switchboard's workers (it started them) and then closes `app.state.model_changes` and `app.state.judges`."""
    app = FastAPI(title="Parley local AI server", docs_url=None, redoc_url=None)
    metrics = ServerMetrics(switchboard)
    places = Places(settings.max_sessions)
    metrics.sessions.set_function(lambda: places.sessions)
    explain_errors(app)
    app.add_middleware(Door, settings=settings)
    changes = app.state.model_changes = ModelChanges(switchboard, system_prompt=settings.llm_system_prompt)
    models = Models(switchboard)
    chats = app.state.chat_sessions = ChatSessions(switchboard)
    judges = app.state.judges = SpeechJudges()
    turns = SpokenTurns(settings=settings, switchboard=switchboard, judges=judges, sessions=chats)
    app.include_router(audio_turn(settings, turns, metrics, changes))
    app.include_router(speech(settings, switchboard, metrics))
    app.include_router(health_route(switchboard))
    app.include_router(model_routes(models))
    app.include_router(chat_routes(switchboard, metrics, models=models, sessions=chats))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process serves."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> Response:
        """200 when every configured model can be asked; else 503 with what cannot and why."""
        not_ready = switchboard.not_ready
        body = {"ready": not not_ready, "not_ready": not_ready}
        return JSONResponse(body, status_code=503 if not_ready else 200)

    @app.get("/metrics")
    async def prometheus() -> Response:
        """Prometheus text format."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    async def serve(websocket: WebSocket) -> None:
        # Browsers send Origin, and would let any page on the web talk to a server on the visitor's own machine.
        if "origin" in websocket.headers:
            await websocket.close(1008, "browser origins are refused")
            return
        await websocket.accept()
        connection = Connection(websocket, idle_timeout_s=settings.idle_timeout_s)
        session = Session(
            settings=settings,
            switchboard=switchboard,
            metrics=metrics,
            client=connection,
            changes=changes,
            admit=lambda: places.admit(connection),
            judges=judges,
        )
        if session.authenticated:  # there is no token
            session.admit()
        else:
            places.wait(connection, lambda: session.turn_away("authentication_required"))
        try:
            await connection.run(session)
        finally:
            places.leave(connection)
            await session.close()

    describe(app)
    add_realtime(
        app,
        settings=settings,
        switchboard=switchboard,
        metrics=metrics,
        places=places,
        judges=judges,
        changes=changes,
    )
    app.websocket("/")(serve)
    app.websocket("/ws")(serve)
    return app
