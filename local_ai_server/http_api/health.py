"""`/health`: what serves here, on what."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from local_ai_server.service import Service
from local_ai_server.switchboard import Switchboard


class ModelHealth(BaseModel):
    """One of the models."""

    backend: str
    model: str
    state: str = Field(description="ready, starting, restarting, failed or stopped.")
    device: str | None = Field(description="cpu or cuda; null where another server computes.")


class Health(BaseModel):
    """The server at a glance."""

    status: Literal["ok", "degraded"] = Field(description="degraded: something that is configured cannot serve now.")
    model: str | None = Field(description="Of speech to text.")
    device: str | None = Field(description="Of speech to text.")
    gpu_available: bool
    models: dict[str, ModelHealth]
    not_ready: dict[str, str] = Field(description="What cannot serve, and why.")


def health_route(switchboard: Switchboard) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> Health:
        """What serves here. Always 200; `/readyz` has a status."""
        models = {service.backend.kind: _model(service) for service in switchboard.services}
        not_ready = switchboard.not_ready
        hearing = models.get("stt")
        return Health(
            status="degraded" if not_ready else "ok",
            model=hearing.model if hearing else None,
            device=hearing.device if hearing else None,
            gpu_available=switchboard.gpu.state.available,
            models={str(kind): model for kind, model in models.items()},
            not_ready=not_ready,
        )

    return router


def _model(service: Service) -> ModelHealth:
    return ModelHealth(
        backend=service.backend.name, model=service.model_name, state=service.link.state, device=_device(service)
    )


def _device(service: Service) -> str | None:
    load = service.plan.load
    if service.plan.model_path is None and (load.get("url") or load.get("base_url")):
        return None
    if load.get("gpu_layers"):
        return "cuda"
    return str(load.get("device", "cpu"))
