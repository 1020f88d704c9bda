"""`/v1/models`: what is loaded here, under names that stay the same while it is."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter
from fastapi import Path as PathParameter
from starlette.responses import JSONResponse, Response

from local_ai_server.backends.backend import Kind
from local_ai_server.http_api.answers import error_response
from local_ai_server.service import Service
from local_ai_server.switchboard import Switchboard

OWNER: Final = "parley"
ALIASES: Final = ("default", "local")
"""The language model, whichever is loaded."""
_KINDS: Final[tuple[Kind, ...]] = ("llm", "stt", "tts")
"""The language model first: by the first entry clients tell whose server this is."""
_SUFFIX: Final = re.compile(r"\.(gguf|onnx|bin|pt|pth|data)$", re.IGNORECASE)
_HUB_FOLDER: Final = re.compile(r"models--(?P<name>.+)")


def model_id(service: Service) -> str:
    """The name of what `service` has loaded: another server's own, else that of the file or folder."""
    named = service.traits.get("model")
    if isinstance(named, str) and named:
        return named
    path = service.model_path
    if path is None:
        return service.backend.name
    for part in path.parts:
        if found := _HUB_FOLDER.fullmatch(part):
            return found["name"].replace("--", "/")
    return _SUFFIX.sub("", path.name)


class Models:
    """One server's models by the names that clients know them by."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._started = int(time.time())
        self._llms_told: set[str] = set()

    def entries(self) -> list[dict[str, Any]]:
        """What is loaded now, in OpenAI's form; beside it `kind`, `backend` and what that kind can."""
        entries: dict[str, dict[str, Any]] = {}
        for kind in _KINDS:
            service = self._switchboard.find(kind)
            if service is None:
                continue
            name = model_id(service)
            name = f"{name}-{kind}" if name in entries else name
            entries[name] = {
                "id": name,
                "object": "model",
                "created": self._started,
                "owned_by": OWNER,
                "kind": kind,
                "backend": service.backend.name,
                **_abilities(service),
            }
            if kind == "llm":
                self._llms_told.add(name)
        return list(entries.values())

    def find(self, name: str) -> dict[str, Any] | None:
        """The entry of that name; the language model's by an alias of it as well."""
        return next((e for e in self.entries() if name == e["id"] or name in e.get("aliases", ())), None)

    def is_llm(self, name: str) -> bool:
        """Whether `name` is answered for by the language model: its own, an alias, or that of one before it.

        A client that was told a name is not to lose its next answer because another model was loaded meanwhile.
        """
        found = self.find(name)
        return name in self._llms_told or (found is not None and found["kind"] == "llm")

    def names(self) -> str:
        """The names there are, for an error."""
        return ", ".join([entry["id"] for entry in self.entries()] + list(ALIASES))

    def refuse(self) -> Response:
        """404, as OpenAI has it."""
        message = f"there is no such model here; there are: {self.names()}"
        return error_response(message, code="model_not_found", status=404, param="model")


def model_routes(models: Models) -> APIRouter:
    """`/v1/models` and `/v1/models/{id}`."""
    router = APIRouter(tags=["models"])

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """What is loaded: language model, speech-to-text, text-to-speech."""
        return {"object": "list", "data": models.entries()}

    @router.get("/v1/models/{model:path}", response_model=None)
    async def one_model(model: Annotated[str, PathParameter(max_length=300)]) -> Response:
        """One of them; `default` and `local` are the language model."""
        found = models.find(model)
        return JSONResponse(found) if found else models.refuse()

    return router


def _abilities(service: Service) -> dict[str, Any]:
    traits = service.traits
    if service.backend.kind == "llm":
        context = {"max_model_len": traits["context_tokens"]} if "context_tokens" in traits else {}
        return {"aliases": list(ALIASES), **context}
    return {"voices": list(traits["voices"])} if "voices" in traits else {}
