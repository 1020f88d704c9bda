"""Loading a CTranslate2 model in the best number format that the GPU's memory and kind allow."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

Loaded = TypeVar("Loaded")

_SMALLER: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "auto": ("float16", "int8_float16", "int8"),
        "default": ("float16", "int8_float16", "int8"),
        "float32": ("float16", "int8_float16", "int8"),
        "bfloat16": ("float16", "int8_float16", "int8"),
        "int8_float32": ("int8",),
        "int8_bfloat16": ("int8",),
        "float16": ("int8_float16", "int8"),
        "int8_float16": ("int8",),
    }
)
"""What is tried after each type, each about half the size of, or more widely known than, the one before."""
_OUT_OF_MEMORY: Final = ("out of memory", "alloc_failed", "cannot allocate memory", "bad_alloc")
_NOT_KNOWN: Final = ("do not support efficient",)  # CTranslate2's words for a type that the device has no fast path for


def types_to_try(compute_type: str, device: str) -> tuple[str, ...]:
    """The type that was asked for and, on a GPU, those to fall back on. `auto` there means the best that fits."""
    if device == "cpu":
        return (compute_type,)
    smaller = _SMALLER.get(compute_type, ())
    return smaller if compute_type in ("auto", "default") else (compute_type, *smaller)


def with_fallback(load: Callable[[str], Loaded], compute_types: Sequence[str]) -> tuple[Loaded, str]:
    """What `load` gave for the first type that fits, and that type; it must also have used the model once.

    Only for want of memory, or of support for a type, is the next one tried; other errors are raised as they come.
    `MemoryError` when none fits.
    """
    for position, compute_type in enumerate(compute_types):
        try:
            return load(compute_type), compute_type
        except (RuntimeError, ValueError, MemoryError) as error:
            if not _cured_by_a_smaller_type(error):
                raise
            said = str(error).strip() or type(error).__name__
            if position == len(compute_types) - 1:
                tried = ", ".join(compute_types)
                raise MemoryError(
                    f"the model does not fit with compute type {tried} ({said}): choose a smaller model, "
                    "free memory on the device, or run it on the CPU (FASTER_WHISPER_DEVICE=cpu)"
                ) from None
        print(f"compute type {compute_type}: {said}; trying the next", file=sys.stderr)  # noqa: T201 - the worker's log
        # The error has gone with its block, and with its frames what was loaded half: the next one needs that memory.
        gc.collect()
    raise ValueError("no compute type to try")


def _cured_by_a_smaller_type(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in (*_OUT_OF_MEMORY, *_NOT_KNOWN))
