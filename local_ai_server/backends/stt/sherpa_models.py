"""Which of sherpa-onnx's model families lies in a folder, told by its files and by what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local_ai_server.backends.stt.onnx_metadata import NotOnnx, read_metadata

_STREAMING_KEYS: Final = ("decode_chunk_len", "chunk_shift", "right_context")
"""Models that take audio in chunks state the chunk: Zipformer, LSTM and Conformer; NeMo; WeNet."""
_SINGLE_FILE: Final = {
    "sense_voice": "sense_voice",
    "paraformer": "paraformer",
    "EncDec": "nemo_ctc",
    "wenet_ctc": "wenet_ctc",
    "zipformer2_ctc": "zipformer_ctc",
    "zipformer_ctc": "zipformer_ctc",
    "telespeech": "telespeech_ctc",
    "dolphin": "dolphin_ctc",
    "tdnn": "tdnn_ctc",
}
"""What `model_type` begins with → sherpa-onnx's name for the family."""
_KNOWN: Final = (
    "streaming: transducers (encoder, decoder, joiner: Zipformer and its like), Paraformer (encoder, decoder), CTC "
    "models of Zipformer2, NeMo and WeNet; whole utterances: transducers, Whisper, Moonshine, SenseVoice, Paraformer, "
    "CTC models of NeMo, WeNet, Zipformer, TeleSpeech and Dolphin"
)


class UnknownSherpaModel(ValueError):
    """The folder holds nothing that can be told to be a model; the message says what would be."""


@dataclass(frozen=True, slots=True)
class SherpaModelFiles:
    """A model: `family` completes `OnlineRecognizer.from_…` or `OfflineRecognizer.from_…`, which takes `files`."""

    family: str
    streams: bool
    files: Mapping[str, str]


def find_sherpa_model(path: Path) -> SherpaModelFiles:
    """The model in a folder, or beside the one file that is named. int8 files are preferred. `UnknownSherpaModel`."""
    folder = path if path.is_dir() else path.parent
    tokens = _best(folder, "*tokens*.txt")
    if tokens is None:
        raise UnknownSherpaModel(f"{folder} has no tokens.txt: it is no sherpa-onnx model. {_advice()}")
    try:
        return _find(path, folder, {"tokens": str(tokens)})
    except (NotOnnx, OSError) as error:
        raise UnknownSherpaModel(f"{error}; download the model again") from None


def _find(path: Path, folder: Path, tokens: dict[str, str]) -> SherpaModelFiles:
    def parts(**patterns: str) -> dict[str, str] | None:
        found = {name: _best(folder, pattern) for name, pattern in patterns.items()}
        return None if None in found.values() else {**tokens, **{name: str(file) for name, file in found.items()}}

    moonshine = parts(
        preprocessor="*preprocess*.onnx",
        encoder="*encode*.onnx",
        uncached_decoder="*uncached_decode*.onnx",
        cached_decoder="cached_decode*.onnx",
    )
    if moonshine:
        return SherpaModelFiles("moonshine", False, moonshine)
    transducer = parts(encoder="*encoder*.onnx", decoder="*decoder*.onnx", joiner="*joiner*.onnx")
    if transducer:
        about = read_metadata(Path(transducer["encoder"]))
        return SherpaModelFiles("transducer", _streams(about), transducer)
    pair = parts(encoder="*encoder*.onnx", decoder="*decoder*.onnx")
    if pair:
        about = read_metadata(Path(pair["encoder"]))
        if about.get("model_type", "").startswith("whisper"):
            return SherpaModelFiles("whisper", False, pair)
        if "paraformer" in about.get("model_type", "") or "encoder_output_size" in about:
            return SherpaModelFiles("paraformer", True, pair)
        raise UnknownSherpaModel(f"{folder}: an encoder and a decoder of no family known here. {_advice()}")
    model = path if path.suffix == ".onnx" else _best(folder, "*.onnx")
    if model is None:
        raise UnknownSherpaModel(f"{folder} has no .onnx file. {_advice()}")
    return _single_file(model, tokens)


def _single_file(model: Path, tokens: dict[str, str]) -> SherpaModelFiles:
    about = read_metadata(model)
    model_type = about.get("model_type", "")
    if "window_size" in about and "cache_last_channel_dim1" in about:
        return SherpaModelFiles("nemo_ctc", True, {**tokens, "model": str(model)})
    if "decode_chunk_len" in about:
        return SherpaModelFiles("zipformer2_ctc", True, {**tokens, "model": str(model)})
    if "right_context" in about:
        return SherpaModelFiles("wenet_ctc", True, {**tokens, "model": str(model)})
    family = next((name for start, name in _SINGLE_FILE.items() if model_type.startswith(start)), None)
    if family is None:
        said = f"says that it is {model_type!r}" if model_type else "does not say what it is"
        raise UnknownSherpaModel(f"{model} {said}. {_advice()}")
    argument = "paraformer" if family == "paraformer" else "model"
    return SherpaModelFiles(family, False, {**tokens, argument: str(model)})


def _best(folder: Path, pattern: str) -> Path | None:
    """Of the files that fit, an int8 one, and of those the shortest name."""
    found = sorted(folder.glob(pattern), key=lambda file: ("int8" not in file.name, len(file.name), file.name))
    return found[0] if found else None


def _streams(about: Mapping[str, str]) -> bool:
    return any(key in about for key in _STREAMING_KEYS)


def _advice() -> str:
    return f"SHERPA_MODEL_PATH is the unpacked folder of one of sherpa-onnx's models ({_KNOWN})"
