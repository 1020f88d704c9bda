"""whisper.cpp through its C interface (whisper.h), out of the library that pywhispercpp brings.

pywhispercpp's own classes do not tell how likely it is that nobody spoke (whisper.cpp computes that from the wrong row
where the prompt has more than one token), and hand out no logits to compute it from. Calls here release the GIL.

`Params` is declared as whisper.h 1.8 has it and checked against the library's defaults: a library that lays it out
differently is refused and not called.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

_AbortCallback = ctypes.CFUNCTYPE(c_bool, c_void_p)
_LogCallback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
_GREEDY: Final = 0
_ERROR_LEVEL: Final = 4


class WhisperCppError(RuntimeError):
    """whisper.cpp cannot do what it was asked to; the message says why and what mends it."""


class _ContextParams(ctypes.Structure):
    _fields_ = (
        ("use_gpu", c_bool),
        ("flash_attn", c_bool),
        ("gpu_device", c_int),
        ("dtw_token_timestamps", c_bool),
        ("dtw_aheads_preset", c_int),
        ("dtw_n_top", c_int),
        ("dtw_aheads", c_size_t * 2),
        ("dtw_mem_size", c_size_t),
    )


class _VadParams(ctypes.Structure):
    _fields_ = (
        ("threshold", c_float),
        ("min_speech_duration_ms", c_int),
        ("min_silence_duration_ms", c_int),
        ("max_speech_duration_s", c_float),
        ("speech_pad_ms", c_int),
        ("samples_overlap", c_float),
    )


class _Params(ctypes.Structure):
    _fields_ = (
        ("strategy", c_int),
        ("n_threads", c_int),
        ("n_max_text_ctx", c_int),
        ("offset_ms", c_int),
        ("duration_ms", c_int),
        *((name, c_bool) for name in ("translate", "no_context", "no_timestamps", "single_segment")),
        *((name, c_bool) for name in ("print_special", "print_progress", "print_realtime", "print_timestamps")),
        ("token_timestamps", c_bool),
        ("thold_pt", c_float),
        ("thold_ptsum", c_float),
        ("max_len", c_int),
        ("split_on_word", c_bool),
        ("max_tokens", c_int),
        ("debug_mode", c_bool),
        ("audio_ctx", c_int),
        ("tdrz_enable", c_bool),
        ("suppress_regex", c_char_p),
        ("initial_prompt", c_char_p),
        ("carry_initial_prompt", c_bool),
        ("prompt_tokens", c_void_p),
        ("prompt_n_tokens", c_int),
        ("language", c_char_p),
        *((name, c_bool) for name in ("detect_language", "suppress_blank", "suppress_nst")),
        *((name, c_float) for name in ("temperature", "max_initial_ts", "length_penalty", "temperature_inc")),
        *((name, c_float) for name in ("entropy_thold", "logprob_thold", "no_speech_thold")),
        ("best_of", c_int),
        ("beam_size", c_int),
        ("patience", c_float),
        *((name, c_void_p) for name in ("new_segment", "new_segment_data", "progress", "progress_data")),
        *((name, c_void_p) for name in ("encoder_begin", "encoder_begin_data")),
        ("abort", _AbortCallback),
        ("abort_data", c_void_p),
        *((name, c_void_p) for name in ("logits_filter", "logits_filter_data", "grammar_rules")),
        ("n_grammar_rules", c_size_t),
        ("i_start_rule", c_size_t),
        ("grammar_penalty", c_float),
        ("vad", c_bool),
        ("vad_model_path", c_char_p),
        ("vad_params", _VadParams),
    )


class _TokenData(ctypes.Structure):
    _fields_ = (
        ("id", c_int),
        ("tid", c_int),
        *((name, c_float) for name in ("p", "plog", "pt", "ptsum")),
        *((name, ctypes.c_int64) for name in ("t0", "t1", "t_dtw")),
        ("vlen", c_float),
    )


_DEFAULTS: Final = {
    "strategy": _GREEDY, "n_max_text_ctx": 16384, "offset_ms": 0, "audio_ctx": 0, "max_tokens": 0, "language": b"en",
    "suppress_blank": True, "temperature": 0.0, "max_initial_ts": 1.0, "length_penalty": -1.0, "temperature_inc": 0.2,
    "entropy_thold": 2.4, "logprob_thold": -1.0, "no_speech_thold": 0.6, "best_of": 5, "grammar_penalty": 100.0,
}  # fmt: skip
"""What whisper.h 1.8 says of a new `Params`, over all of its length: it proves the layout."""


class Found(NamedTuple):
    tokens: list[int]
    """Of the text."""
    log_probabilities: list[float]
    """Of all tokens, the end's too."""
    text: bytes
    """UTF-8, unless it ends inside a character."""


class WhisperCpp:
    """One loaded model. Not for two threads at once."""

    def __init__(self, model: Path, *, use_gpu: bool, threads: int) -> None:
        self._library = _open_library()
        self._log = _LogCallback(self._hear)  # kept: the library calls it for as long as it lives
        self._last_error = ""
        self._library.whisper_log_set(self._log, None)
        _check_layout(self._library)
        self._threads = threads
        params = self._library.whisper_context_default_params()
        params.use_gpu = use_gpu
        self._context = self._library.whisper_init_from_file_with_params(str(model).encode(), params)
        if not self._context:
            raise WhisperCppError(
                f"whisper.cpp cannot load {model}: {self._last_error or 'it is no ggml model'}; take a model in "
                "whisper.cpp's own format, or make one: python -m local_ai_server.whisper_cpp_convert"
            )
        self.multilingual = bool(self._library.whisper_is_multilingual(self._context))
        self.full_window: int = self._library.whisper_n_audio_ctx(self._context)
        self.width: int = self._library.whisper_model_n_audio_state(self._context)
        self._end_of_text: int = self._library.whisper_token_eot(self._context)

    def close(self) -> None:
        self._library.whisper_free(self._context)
        self._context = None

    def knows_language(self, language: str) -> bool:
        return int(self._library.whisper_lang_id(language.encode())) >= 0

    def decode(
        self,
        samples: npt.NDArray[np.float32],
        *,
        language: str,
        window: int,
        max_tokens: int,
        stop: Callable[[], bool],
    ) -> Found | None:
        """Greedily, at most 30 s at 16 kHz.

        `window`: of the encoder, in frames of 20 ms. None when `stop` was true meanwhile. Raises `WhisperCppError`.
        """
        library, context = self._library, self._context
        params = _default_params(library)
        abort = _AbortCallback(lambda _: stop())
        params.n_threads = self._threads
        params.no_context = params.no_timestamps = params.single_segment = params.suppress_nst = True
        params.print_progress = params.print_timestamps = False
        params.language = language.encode()
        params.audio_ctx = window
        params.max_tokens = max_tokens
        params.best_of = 1
        params.temperature_inc = 0.0  # no second try with chance in it
        params.no_speech_thold = 2.0  # its own figure is not to be used, see above
        params.abort = abort
        audio = np.ascontiguousarray(samples, np.float32)
        failed = library.whisper_full(context, params, audio.ctypes.data_as(POINTER(c_float)), audio.size)
        if stop():
            return None
        if failed:
            raise WhisperCppError(f"whisper.cpp could not decode (error {failed}): {self._last_error}")
        tokens: list[int] = []
        scores: list[float] = []
        text = b""
        for segment in range(library.whisper_full_n_segments(context)):
            text += library.whisper_full_get_segment_text(context, segment)
            for i in range(library.whisper_full_n_tokens(context, segment)):
                token = library.whisper_full_get_token_data(context, segment, i)
                scores.append(token.plog)
                if token.id < self._end_of_text:
                    tokens.append(token.id)
        return Found(tokens, scores, text)

    def no_speech_probability(self) -> float:
        """Of what `decode` was last given: one step of the decoder more, from the start token alone."""
        library, context = self._library, self._context
        start = (c_int * 1)(library.whisper_token_sot(context))
        if library.whisper_decode(context, start, 1, 0, self._threads):
            raise WhisperCppError(f"whisper.cpp could not decode: {self._last_error}")
        logits = np.ctypeslib.as_array(library.whisper_get_logits(context), (library.whisper_n_vocab(context),))
        likely = np.exp(logits.astype(np.float64) - float(logits.max()))
        return float(likely[library.whisper_token_nosp(context)] / likely.sum())

    def _hear(self, level: int, text: bytes | None, _: Any) -> None:
        if level == _ERROR_LEVEL and text:
            self._last_error = text.decode(errors="replace").strip()


def _open_library() -> Any:
    """The binding's module: what it is linked with is found through it, wherever the wheel puts that."""
    found = importlib.util.find_spec("_pywhispercpp")
    if found is None or found.origin is None:
        raise WhisperCppError("the Python package pywhispercpp is not installed; run: pip install 'parley[whispercpp]'")
    library = ctypes.CDLL(found.origin)
    context, number = c_void_p, c_int
    for name, result, *arguments in (
        ("whisper_log_set", None, _LogCallback, c_void_p),
        ("whisper_context_default_params", _ContextParams),
        ("whisper_init_from_file_with_params", c_void_p, c_char_p, _ContextParams),
        ("whisper_free", None, context),
        ("whisper_is_multilingual", number, context),
        ("whisper_n_audio_ctx", number, context),
        ("whisper_n_vocab", number, context),
        ("whisper_model_n_audio_state", number, context),
        ("whisper_lang_id", number, c_char_p),
        ("whisper_token_eot", number, context),
        ("whisper_token_sot", number, context),
        ("whisper_token_nosp", number, context),
        ("whisper_full_default_params_by_ref", POINTER(_Params), number),
        ("whisper_free_params", None, POINTER(_Params)),
        ("whisper_full", number, context, _Params, POINTER(c_float), number),
        ("whisper_full_n_segments", number, context),
        ("whisper_full_n_tokens", number, context, number),
        ("whisper_full_get_segment_text", c_char_p, context, number),
        ("whisper_full_get_token_data", _TokenData, context, number, number),
        ("whisper_decode", number, context, POINTER(c_int), number, number, number),
        ("whisper_get_logits", POINTER(c_float), context),
    ):
        function = getattr(library, str(name))
        function.restype, function.argtypes = result, arguments
    return library


def _default_params(library: Any) -> _Params:
    found = library.whisper_full_default_params_by_ref(_GREEDY)
    params = _Params.from_buffer_copy(found.contents)
    library.whisper_free_params(found)
    return params


def _check_layout(library: Any) -> None:
    params = _default_params(library)
    for name, expected in _DEFAULTS.items():
        value = getattr(params, name)
        if value != (c_float(expected).value if isinstance(expected, float) else expected):
            raise WhisperCppError(
                f"this build of whisper.cpp lays out its parameters differently ({name} reads {value!r}); "
                "install the version this server is made for: pip install -c constraints.txt 'parley[whispercpp]'"
            )
