"""What a built TensorRT-LLM engine can do, as the `config.json` beside it says (`trtllm-build` writes it).

An engine is built for the largest batch, sequence and number of tokens there will be; it cannot be asked for more, and
it is never built anew here: that takes minutes to hours, and is the operator's to start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class BuildMismatch(ValueError):
    """The engine was not built for what is asked of it; the message has the figures and what mends it."""


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """None: the file does not tell."""

    max_batch_size: int | None
    max_seq_len: int | None
    """Tokens of one sequence, prompt and answer."""
    max_num_tokens: int | None
    """Of all sequences in one step."""
    world_size: int
    """GPUs that it was split over; one engine file for each."""


def read_build_limits(folder: Path) -> BuildLimits:
    """Of the engine in `folder`. Raises `BuildMismatch` where files of it are missing, and `OSError`."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    build: dict[str, Any] = config["build_config"]
    world_size = _number((config.get("pretrained_config") or {}).get("mapping") or {}, "world_size") or 1
    missing = [name for rank in range(world_size) if not (folder / (name := f"rank{rank}.engine")).is_file()]
    if missing:
        raise BuildMismatch(
            f"{folder} has no {missing[0]}: copy all of the engine, or build it again with trtllm-build"
        )
    return BuildLimits(
        max_batch_size=_number(build, "max_batch_size"),
        max_seq_len=_number(build, "max_seq_len"),
        max_num_tokens=_number(build, "max_num_tokens"),
        world_size=world_size,
    )


def check_build(limits: BuildLimits, *, sessions: int, context_tokens: int, batch_tokens: int | None) -> None:
    """Raises `BuildMismatch` where the engine was built for less."""
    for what, wanted, built, variable, flag in (
        ("sessions at once", sessions, limits.max_batch_size, "LOCAL_LLM_PARALLEL", "--max_batch_size"),
        ("tokens a session", context_tokens, limits.max_seq_len, "LOCAL_LLM_CONTEXT", "--max_seq_len"),
        ("tokens a step", batch_tokens, limits.max_num_tokens, "TRTLLM_SERVE_BATCH_TOKENS", "--max_num_tokens"),
    ):
        if wanted is not None and built is not None and wanted > built:
            raise BuildMismatch(
                f"the engine was built for {built} {what} and {wanted} are asked for: set {variable}={built} or less, "
                f"or build it again with trtllm-build {flag} {wanted}"
            )


def _number(of: dict[str, Any], key: str) -> int | None:
    value = of.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
