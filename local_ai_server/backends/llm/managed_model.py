"""The worker's side of a managed engine: starts it, asks it, and ends with it.

When the engine dies this worker dies too: its parent then restarts both, with the delays that it has for workers.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from local_ai_server.backends.llm.errors import LlmError
from local_ai_server.backends.llm.openai_model import OpenAiModel
from local_ai_server.engines.programs import LLAMA_SERVER, TRTLLM, VLLM
from local_ai_server.engines.supervised import EngineFailed, EngineProcess
from model_worker.model import Answer, Cancelled
from model_worker.worker import end_process

_ENGINES: Final = {engine.name: engine for engine in (LLAMA_SERVER, VLLM, TRTLLM)}
_HOST: Final = "127.0.0.1"
_SERVED_AS: Final = "parley"
_PORT_ATTEMPTS: Final = 3
_PORT_TAKEN: Final = ("address already in use", "couldn't bind", "failed to bind", "errno 98")
_TOO_SLOW: Final = "set SERVICE_TIMEOUT to more seconds, or see its last lines"
_PROBE_S: Final = 2.0
_RESET_S: Final = 30.0
_QUIET_POLL_S: Final = 0.1
_SECRET_ENDINGS: Final = ("_TOKEN", "_KEY", "_SECRET", "_PASSWORD")
_THEIR_OWN: Final = frozenset({"HF_TOKEN"})
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class ManagedEngineModel(OpenAiModel):
    """A model in an engine of another's making, which lives as long as this worker."""

    def load(  # type: ignore[override]  # a worker calls it by keywords, those of its plan
        self,
        *,
        engine: str,
        program: list[str],
        model: str,
        settings: Mapping[str, Any],
        context_tokens: int,
        offline: bool = True,
        port: int = 0,
        port_variable: str = "port",
        own_variables: list[str] | None = None,
        first_token_s: float = 20.0,
        start_timeout_s: float = 60.0,
        cache_reset_s: float = 0.0,
        thinking: bool = False,
    ) -> None:
        """Returns when the engine answers. Raises `EngineFailed` with its last lines, `LlmError`; nothing is left then.

        `port` 0: a free one; `own_variables`: of our settings, which are not the engine's to read.
        """
        self._engine = _ENGINES[engine]
        self._key = secrets.token_urlsafe(32) if self._engine.key_variable else ""
        self._running = 0
        self._counting = threading.Lock()
        self._unloading = threading.Event()
        self._directory = tempfile.TemporaryDirectory(prefix="parley-engine-", ignore_cleanup_errors=True)
        env = self._environment(own_variables or [], offline=offline, resets=cache_reset_s > 0)
        if "served_as" in self._engine.flags:
            settings = {**settings, "served_as": _SERVED_AS}
        try:
            self._process, at = self._start(
                lambda at: self._command(tuple(program), model, {"host": _HOST, "port": at, **settings}),
                env,
                port=port,
                port_variable=port_variable,
                timeout_s=start_timeout_s,
            )
        except BaseException:
            self._directory.cleanup()
            raise
        self._address = f"http://{_HOST}:{at}"
        try:
            super().load(
                base_url=f"{self._address}/v1",
                api_key=self._key or None,
                context_tokens=context_tokens,
                first_token_s=first_token_s,
                thinking=thinking,
            )
        except LlmError as error:
            self._process.stop()
            said = "\n".join(self._process.output())
            raise EngineFailed(f"{engine} listens and does not serve: {error}; its last lines:\n{said}") from None
        threading.Thread(target=self._watch, name="engine", daemon=True).start()
        if cache_reset_s > 0 and self._engine.reset_path:
            threading.Thread(target=self._reset_caches, args=(cache_reset_s,), name="reset", daemon=True).start()

    def unload(self) -> None:
        """Stops the engine; nothing of it is left when this returns."""
        self._unloading.set()
        super().unload()
        self._process.stop()
        self._directory.cleanup()

    def generate(self, body: bytes, cancelled: Cancelled, **asked: Any) -> Generator[Answer, None, Answer]:
        """As `OpenAiModel.generate`."""
        with self._counted():
            return (yield from super().generate(body, cancelled, **asked))

    # --- start

    def _start(
        self,
        command: Callable[[int], list[str]],
        env: Mapping[str, str],
        *,
        port: int,
        port_variable: str,
        timeout_s: float,
    ) -> tuple[EngineProcess, int]:
        """The engine, ready, and its port. A free port that another process takes first is changed for another."""
        attempts = 1 if port else _PORT_ATTEMPTS
        while True:
            attempts -= 1
            at = _port(port, port_variable)
            process = EngineProcess(command(at), env, name=self._engine.name, secret=self._key)
            try:
                process.wait_ready(partial(self._is_ready, at), timeout_s=timeout_s, remedy=_TOO_SLOW)
            except EngineFailed as error:
                if not attempts or not any(words in str(error).lower() for words in _PORT_TAKEN):
                    raise
            except BaseException:
                process.stop()
                raise
            else:
                return process, at

    def _command(self, program: tuple[str, ...], model: str, settings: Mapping[str, Any]) -> list[str]:
        command = self._engine.command(program, model, settings)
        content = self._engine.file(settings)
        if content is None or self._engine.file_flag is None:
            return command
        path = Path(self._directory.name) / "settings.yaml"
        path.write_text(json.dumps(content), encoding="utf-8")
        return [*command, self._engine.file_flag, str(path)]

    def _environment(self, own_variables: list[str], *, offline: bool, resets: bool) -> dict[str, str]:
        """Ours, without our settings and secrets, and without our Python's path: the engine may be another Python's."""
        ours = {*own_variables, "PYTHONHOME", "PYTHONPATH", "PYTHONUNBUFFERED"}
        env = {
            name: value
            for name, value in os.environ.items()
            if name not in ours and (name in _THEIR_OWN or not name.endswith(_SECRET_ENDINGS))
        }
        env |= {"PYTHONUNBUFFERED": "1", **self._engine.env, **(_OFFLINE if offline else {})}
        env |= self._engine.reset_env if resets else {}
        if self._engine.key_variable:
            env[self._engine.key_variable] = self._key
        return env

    def _is_ready(self, port: int) -> bool:
        with suppress(httpx.HTTPError):
            url = f"http://{_HOST}:{port}{self._engine.ready_path}"
            return httpx.get(url, timeout=_PROBE_S, trust_env=False).status_code == httpx.codes.OK
        return False

    # --- while it runs

    def _watch(self) -> None:
        ended = self._process.wait()
        if ended is not None and not self._unloading.is_set():
            print(ended, file=sys.stderr, flush=True)  # noqa: T201 - stderr is this process's log
            end_process()

    def _reset_caches(self, every_s: float) -> None:
        """Empties the prefix cache when nothing runs: prompts in use cannot be dropped."""
        headers = {"Authorization": f"Bearer {self._key}"}
        while not self._unloading.wait(every_s):
            while self._running and not self._unloading.wait(_QUIET_POLL_S):
                pass
            try:
                answer = httpx.post(
                    f"{self._address}{self._engine.reset_path}", headers=headers, timeout=_RESET_S, trust_env=False
                )
                answer.raise_for_status()
            except httpx.HTTPError as error:
                print(f"the prefix cache was not reset: {error}", file=sys.stderr, flush=True)  # noqa: T201

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self._running += 1
        try:
            yield
        finally:
            with self._counting:
                self._running -= 1


def _port(wanted: int, variable: str) -> int:
    """A free port of loopback's, or `wanted`. Raises `EngineFailed` where another program has that."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, wanted))
        except OSError as error:
            words = f"{variable}: port {wanted} of {_HOST} cannot be had ({error.strerror})"
            raise EngineFailed(f"{words}; set another, or 0 for a free one") from None
        return int(probe.getsockname()[1])
