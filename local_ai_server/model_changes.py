"""Switches and reloads that clients ask for. They take seconds and belong to the server: one whose client has gone goes
on to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog

from local_ai_server.backends.backend import Kind
from local_ai_server.errors import ServeError
from local_ai_server.session_settings import check_prompt
from local_ai_server.switchboard import Switchboard
from voice_wire.messages import (
    ReloadLlm,
    ReloadModels,
    ReloadResponse,
    SwitchModel,
    SwitchProgress,
    SwitchResponse,
    WireModel,
)

log = structlog.get_logger(__name__)

Tell = Callable[[WireModel], None]
"""Sends to the client that asked; does nothing once it has gone."""

Change = SwitchModel | ReloadModels | ReloadLlm
Answer = TypeVar("Answer", SwitchResponse, ReloadResponse, SwitchProgress)

_PROMPT: Final = "llm_config.system_prompt"
_ALL_KINDS: Final[tuple[Kind, ...]] = ("stt", "tts", "llm")


class ModelChanges:
    """One for a server. Owns the tasks; each ends in exactly one answer."""

    def __init__(self, switchboard: Switchboard, *, system_prompt: str) -> None:
        self.system_prompt = system_prompt
        """Of version-2 sessions that begin from now on; never of those that have begun."""
        self._switchboard = switchboard
        self._tasks: set[asyncio.Task[None]] = set()

    def switch(self, message: SwitchModel, *, tell: Tell, progress: bool) -> None:
        """Begins a switch of the server; `tell` gets the answer, and where it is until then if `progress`."""
        self._spawn(self._switch(message, tell, progress), tell, message)

    def reload(self, message: ReloadModels | ReloadLlm, *, tell: Tell, progress: bool) -> None:
        """Begins a reload; as `switch`."""
        self._spawn(self._reload(message, tell, progress), tell, message)

    async def close(self) -> None:
        """Waits for what is at work. The switchboard must have been stopped, which ends it."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[Any, Any, None], tell: Tell, message: Change) -> None:
        task = asyncio.create_task(_guard(work, tell, message), name=message.type)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _switch(self, message: SwitchModel, tell: Tell, progress: bool) -> None:
        config = dict(message.llm_config or {})
        prompt = check_prompt(config.pop("system_prompt")) if "system_prompt" in config else None
        rest = message.model_copy(update={"llm_config": config or None}) if prompt is not None else message
        if prompt is None or _names_models(rest):
            answer = await self._switchboard.switch(rest, on_progress=_progress(message, tell, progress))
        else:
            answer = SwitchResponse(status="no_change", message="the system prompt is as it was")
        if prompt is not None and answer.status != "error" and prompt != self.system_prompt:
            said = [answer.message] if answer.status == "success" else []
            said.append("sessions that begin from now on have the new system prompt")
            answer = answer.model_copy(
                update={"status": "success", "message": "; ".join(said), "changed": [*answer.changed, _PROMPT]}
            )
            if not message.dry_run:
                self.system_prompt = prompt
        tell(_addressed(answer, message))

    async def _reload(self, message: ReloadModels | ReloadLlm, tell: Tell, progress: bool) -> None:
        only_llm = isinstance(message, ReloadLlm)
        answer = await self._switchboard.reload(
            ("llm",) if only_llm else _ALL_KINDS,
            llm_model_path=message.llm_model_path if isinstance(message, ReloadLlm) else None,
            on_progress=_progress(message, tell, progress),
        )
        tell(_addressed(answer, message))


async def _guard(work: Coroutine[Any, Any, None], tell: Tell, message: Change) -> None:
    try:
        await work
    except ServeError as error:
        tell(_refusal(message, error))
    except Exception:  # the root of a task: the server goes on, and whoever asked is told
        log.exception("model_change_failed", operation=message.type)
        tell(_refusal(message, ServeError("internal_error", "the server failed; see its log")))


def _refusal(message: Change, error: ServeError) -> WireModel:
    if isinstance(message, SwitchModel):
        return _addressed(SwitchResponse(status="error", code=error.code, message=str(error)), message)
    return _addressed(ReloadResponse(status="error", code=error.code, message=str(error)), message)


def _addressed(answer: Answer, message: Change) -> Answer:
    """`answer` with the names that `message` bears."""
    return answer.model_copy(update={"call_id": message.call_id, "request_id": message.request_id})


def _progress(message: Change, tell: Tell, wanted: bool) -> Callable[[SwitchProgress], None]:
    def on_progress(news: SwitchProgress) -> None:
        if wanted:
            tell(_addressed(news, message))

    return on_progress


def _names_models(message: SwitchModel) -> bool:
    """Something of it concerns the server's models."""
    about = {"type", "call_id", "request_id", "dry_run", "scope", "stop_then_start", "drain_deadline_s"}
    return bool(message.model_dump(exclude_none=True, exclude=about))
