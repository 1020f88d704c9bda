"""sherpa-onnx: streaming recognisers (Zipformer above all), and models for whole utterances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.options import BackendOptions, Threads, variable
from local_ai_server.backends.stt.sherpa_models import UnknownSherpaModel, find_sherpa_model
from local_ai_server.backends.stt.streaming import Heard, StreamingModel, Utterance
from voice_wire.audio import Pcm

_RATE_HZ: Final = 16_000
_CONCURRENCY: Final = 2


class Options(BackendOptions):
    """Which model, and how it is run."""

    model_path: Path | None = variable("SHERPA_MODEL_PATH")
    """The unpacked folder of a model; what it is, is told by its files."""
    threads: Threads = variable("LOCAL_STT_THREADS", default=1)
    language: str = variable("LOCAL_STT_LANGUAGE", default="en")
    """For models of several languages: Whisper, SenseVoice."""


def plan(options: Options, machine: Machine) -> Plan:
    """Streams where the model does; else it takes whole utterances and the caller is kept from it meanwhile."""
    path = BACKEND.model_file(options)
    try:
        found = find_sherpa_model(path)
    except UnknownSherpaModel as error:
        raise BackendUnusable(str(error)) from None
    load = {
        "family": found.family,
        "streams": found.streams,
        "files": dict(found.files),
        "threads": options.threads,
        "language": options.language,
    }
    return Plan(
        load=load,
        model_path=path,
        threads=options.threads,
        concurrency=_CONCURRENCY,
        traits={"family": found.family, "streams": found.streams, "needs_gating": not found.streams},
    )


BACKEND: Final = Backend(
    kind="stt",
    name="sherpa",
    model="local_ai_server.backends.stt.sherpa:SherpaModel",
    options=Options,
    plan=plan,
    modules=("sherpa_onnx",),
    extra="sherpa",
    canary=("canary", {}),
    streams=True,
)


class SherpaModel(StreamingModel):
    """One model of sherpa-onnx's."""

    flush_ms = 640.0
    """Twice a Zipformer's chunk: what is said in one is known at the end of the next."""

    def load(
        self,
        *,
        family: str,
        streams: bool,
        files: Mapping[str, str],
        threads: int = 1,
        language: str = "en",
    ) -> None:
        import sherpa_onnx  # noqa: PLC0415 - this process's native stack

        makers: Any = sherpa_onnx.OnlineRecognizer if streams else sherpa_onnx.OfflineRecognizer
        more = {"language": language} if family in ("whisper", "sense_voice") else {}
        self._streaming = streams
        self._recogniser: Any = getattr(makers, f"from_{family}")(**files, num_threads=threads, **more)

    def begin(self, language: str | None) -> Utterance:
        if self._streaming:
            return OnlineUtterance(self._recogniser)
        return _OfflineUtterance(self._recogniser)


class OnlineUtterance:
    """An utterance in one of sherpa-onnx's online recognisers."""

    def __init__(self, recogniser: Any) -> None:
        self._recogniser = recogniser
        self._stream = recogniser.create_stream()

    def accept(self, pcm: Pcm) -> None:
        self._stream.accept_waveform(_RATE_HZ, pcm.astype(np.float32) / np.float32(32768))
        while self._recogniser.is_ready(self._stream):
            self._recogniser.decode_stream(self._stream)

    def text(self) -> str:
        return str(self._recogniser.get_result(self._stream))

    def heard(self) -> Heard:
        result = self._recogniser.get_result_all(self._stream)
        return Heard(str(result.text), _confidence(getattr(result, "ys_probs", ())))

    def end(self) -> Heard:
        self._stream.input_finished()
        while self._recogniser.is_ready(self._stream):
            self._recogniser.decode_stream(self._stream)
        return self.heard()

    def close(self) -> None:
        pass


class _OfflineUtterance:
    """Keeps the audio; decodes when asked what was heard."""

    def __init__(self, recogniser: Any) -> None:
        self._recogniser = recogniser
        self._pieces: list[Pcm] = []

    def accept(self, pcm: Pcm) -> None:
        self._pieces.append(pcm)

    def text(self) -> str:
        return ""

    def heard(self) -> Heard:
        stream = self._recogniser.create_stream()
        samples = np.concatenate((*self._pieces, np.zeros(0, np.int16)))
        stream.accept_waveform(_RATE_HZ, samples.astype(np.float32) / np.float32(32768))
        self._recogniser.decode_stream(stream)
        return Heard(str(stream.result.text))

    def end(self) -> Heard:
        return self.heard()

    def close(self) -> None:
        self._pieces.clear()


def _confidence(log_probabilities: Sequence[float]) -> float | None:
    """exp of the tokens' mean log-probability."""
    if not log_probabilities:
        return None
    return min(1.0, math.exp(sum(log_probabilities) / len(log_probabilities)))
