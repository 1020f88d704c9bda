"""Kroko ASR: its server binary or its community models on this machine, or a server that runs elsewhere.

Where it runs is decided once, and a model on this machine never sends a caller's voice away:

    KROKO_EMBEDDED, or a path given (models/kroko/…, *.data, *.onnx)   on this machine:
        KROKO_SERVER_SHA256 or KROKO_SERVER_PATH                           by the binary, which must have that checksum
        neither                                                            a community model, by sherpa-onnx
    KROKO_URL                                                          by that server
"""

from __future__ import annotations

import importlib.util
import ipaddress
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.options import ApiKey, BackendOptions, Threads, variable
from local_ai_server.backends.stt.kroko_files import NotCommunityModel, is_community, read_header, unpack
from local_ai_server.backends.stt.kroko_server import DEFAULT_PATH, BinaryRefused, KrokoServer, check_pin
from local_ai_server.backends.stt.kroko_socket import SocketUtterance, address
from local_ai_server.backends.stt.sherpa import OnlineUtterance
from local_ai_server.backends.stt.sherpa_models import UnknownSherpaModel, find_sherpa_model
from local_ai_server.backends.stt.streaming import StreamingModel, Utterance

_CONCURRENCY: Final = 2
_CONCURRENCY_REMOTE: Final = 8


class Options(BackendOptions):
    """Where Kroko runs and what it hears."""

    model_path: Path | None = variable("KROKO_MODEL_PATH")
    """A `.data` file, or a folder of `.onnx` files with their tokens."""
    embedded: bool | None = variable("KROKO_EMBEDDED")
    """On this machine; not set: if there is a model's path."""
    url: str | None = variable("KROKO_URL")
    """ws:// or wss:// of a server that runs elsewhere."""
    api_key: ApiKey = variable("KROKO_API_KEY", default=SecretStr(""))
    """Of the hosted server; or the licence of a model that needs one."""
    language: str = variable("KROKO_LANGUAGE", default="en-US")
    port: int = variable("KROKO_PORT", default=0, ge=0, le=65535)
    """Of the binary, on loopback; 0, and one that is taken, mean a free one."""
    server_path: Path | None = variable("KROKO_SERVER_PATH")
    server_sha256: str | None = variable("KROKO_SERVER_SHA256", pattern=r"^\s*[0-9a-fA-F]{64}\s*$")
    """Only a binary of this checksum is run."""
    threads: Threads = variable("LOCAL_STT_THREADS", default=1)


def plan(options: Options, machine: Machine) -> Plan:
    """On this machine if a path says so, else at KROKO_URL."""
    if options.model_path is not None and options.embedded is False:
        raise BackendUnusable(
            f"KROKO_EMBEDDED is off, and KROKO_MODEL_PATH names a model for this machine ({options.model_path}): leave "
            "one of them out; a caller's voice is not sent elsewhere by mistake"
        )
    if options.model_path is not None or options.embedded:
        return _embedded(options)
    if options.url:
        return _remote(options, options.url)
    raise BackendUnusable("kroko needs a model (set KROKO_MODEL_PATH) or a server that runs elsewhere (set KROKO_URL)")


def _embedded(options: Options) -> Plan:
    path = BACKEND.model_file(options)
    if options.server_path is not None or options.server_sha256 is not None:
        binary = (options.server_path or DEFAULT_PATH).expanduser().resolve()
        try:
            check_pin(binary, options.server_sha256)
        except BinaryRefused as error:
            raise BackendUnusable(str(error)) from None
        load = {
            "mode": "binary",
            "model_path": str(path),
            "binary": str(binary),
            "sha256": options.server_sha256,
            "port": options.port,
            "language": options.language,
            "api_key": options.api_key.get_secret_value(),
        }
        return Plan(
            load=load, model_path=path, concurrency=_CONCURRENCY_REMOTE, traits={"engine": "kroko server, pinned"}
        )
    _check_sherpa_can(path)
    load = {"mode": "sherpa", "model_path": str(path), "threads": options.threads}
    return Plan(
        load=load,
        model_path=path,
        threads=options.threads,
        concurrency=_CONCURRENCY,
        traits={"engine": "sherpa-onnx", "model": _about(path)},
    )


def _check_sherpa_can(path: Path) -> None:
    pin = "pin Kroko's server binary with KROKO_SERVER_SHA256 (and name it with KROKO_SERVER_PATH)"
    if path.suffix == ".data" and not is_community(path):
        raise BackendUnusable(
            f"{path} is encrypted, or no Kroko model: sherpa-onnx runs the community's only; for others {pin}"
        )
    if importlib.util.find_spec("sherpa_onnx") is None:
        raise BackendUnusable(
            "a Kroko model is run by sherpa-onnx or by Kroko's server binary, and neither is here: run: pip install "
            f"'parley[sherpa]', or {pin}"
        )
    if path.suffix != ".data":
        try:
            found = find_sherpa_model(path)
        except UnknownSherpaModel as error:
            raise BackendUnusable(f"KROKO_MODEL_PATH: {error}") from None
        if not found.streams or found.family != "transducer":
            raise BackendUnusable(f"KROKO_MODEL_PATH: {path} is no streaming transducer, which Kroko's models are")


def _about(path: Path) -> str:
    if path.suffix != ".data":
        return path.name
    header = read_header(path)
    return " ".join(str(header[key]) for key in ("type", "id", "version") if key in header) or path.name


def _remote(options: Options, url: str) -> Plan:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise BackendUnusable("KROKO_URL is to begin with wss:// (ws:// for a server on this machine) and name a host")
    if parts.username or parts.password or "apikey=" in parts.query.lower():
        raise BackendUnusable("KROKO_URL: leave the key out of the address and set KROKO_API_KEY")
    key = options.api_key.get_secret_value()
    if key and parts.scheme == "ws" and not _is_loopback(parts.hostname):
        raise BackendUnusable("KROKO_URL: a key is sent by wss:// only; change the address, or leave KROKO_API_KEY out")
    load = {"mode": "remote", "url": url, "language": options.language, "api_key": key}
    return Plan(load=load, concurrency=_CONCURRENCY_REMOTE, traits={"engine": f"server at {parts.hostname}"})


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


BACKEND: Final = Backend(
    kind="stt",
    name="kroko",
    model="local_ai_server.backends.stt.kroko:KrokoModel",
    options=Options,
    plan=plan,
    modules=("websockets",),
    extra="server",
    canary=("canary", {}),
    streams=True,
)


class KrokoModel(StreamingModel):
    """One model, or one server."""

    flush_ms = 660.0
    """What Kroko's own examples end a recording with."""

    def load(
        self,
        *,
        mode: str,
        model_path: str = "",
        threads: int = 1,
        binary: str = "",
        sha256: str = "",
        port: int = 0,
        url: str = "",
        language: str = "en-US",
        api_key: str = "",
    ) -> None:
        self._recogniser: Any = None
        self._server: KrokoServer | None = None
        self._url = address(url, language=language, api_key=api_key) if url else ""
        if mode == "sherpa":
            self._recogniser = _load_sherpa(Path(model_path), threads)
        elif mode == "binary":
            self._server = KrokoServer(Path(binary), sha256, model_path, port=port, key=api_key)
            self._server.url()

    def unload(self) -> None:
        if self._server is not None:
            self._server.stop()

    def begin(self, language: str | None) -> Utterance:
        if self._recogniser is not None:
            return OnlineUtterance(self._recogniser)
        return SocketUtterance(self._server.url() if self._server is not None else self._url)


def _load_sherpa(path: Path, threads: int) -> Any:
    import sherpa_onnx  # noqa: PLC0415 - this process's native stack

    with tempfile.TemporaryDirectory(prefix="parley-kroko-") as folder:
        if path.suffix == ".data":
            try:
                unpack(path, Path(folder))
            except NotCommunityModel as error:
                raise RuntimeError(str(error)) from None
            path = Path(folder)
        files = dict(find_sherpa_model(path).files)
        return sherpa_onnx.OnlineRecognizer.from_transducer(**files, num_threads=threads)
