"""Which of the two prompt forms a GGUF is spoken to in, where the settings leave it open."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from local_ai_server.catalog import load_catalog
from local_ai_server.prompt_forms import PromptForm

_TEMPLATE_KEY: Final = b"tokenizer.chat_template"
_METADATA_BYTES: Final = 64 * 1024 * 1024
"""The vocabulary is part of the metadata; the largest have a few hundred thousand words."""


def choose_prompt_form(gguf: Path) -> PromptForm:
    """What the catalogue measured to be better for this model; else its own chat template, if it has one."""
    for model in load_catalog().models:
        if model.kind == "llm" and Path(model.path).name == gguf.name:
            return model.prompt_form
    return "chat" if has_chat_template(gguf) else "transcript"


def has_chat_template(gguf: Path) -> bool:
    """The GGUF's metadata carries a chat template. (llama.cpp would silently use one that the model never saw.)"""
    if not gguf.stat().st_size:
        return False
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(_TEMPLATE_KEY, 0, _METADATA_BYTES) >= 0
