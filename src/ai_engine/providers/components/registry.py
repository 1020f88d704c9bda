"""The components by the kind that the configuration names. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ai_engine.providers.components.component import LanguageModel, SpeechToText, TextToSpeech
from ai_engine.providers.components.llm.anthropic import anthropic_language_model
from ai_engine.providers.components.llm.local import local_language_model
from ai_engine.providers.components.llm.ollama import ollama_language_model
from ai_engine.providers.components.llm.openai import openai_language_model
from ai_engine.providers.components.options import Options
from ai_engine.providers.components.stt.local import local_speech_to_text
from ai_engine.providers.components.stt.openai import openai_speech_to_text
from ai_engine.providers.components.stt.wyoming import wyoming_speech_to_text
from ai_engine.providers.components.tts.local import local_text_to_speech
from ai_engine.providers.components.tts.openai import openai_text_to_speech
from ai_engine.providers.components.tts.wyoming import wyoming_text_to_speech
from ai_engine.providers.services import CallScope

SPEECH_TO_TEXT: Final[dict[str, Callable[[CallScope, Options], SpeechToText]]] = {
    "local": local_speech_to_text,
    "openai": openai_speech_to_text,
    "wyoming": wyoming_speech_to_text,
}
LANGUAGE_MODELS: Final[dict[str, Callable[[CallScope, Options], LanguageModel]]] = {
    "local": local_language_model,
    "openai": openai_language_model,
    "anthropic": anthropic_language_model,
    "ollama": ollama_language_model,
}
TEXT_TO_SPEECH: Final[dict[str, Callable[[CallScope, Options], TextToSpeech]]] = {
    "local": local_text_to_speech,
    "openai": openai_text_to_speech,
    "wyoming": wyoming_text_to_speech,
}


class ComponentChoice(BaseModel):
    """Which component, and its options: checked by that component."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "local"
    options: dict[str, Any] = Field(default_factory=dict)
    patience_s: float | None = Field(default=None, gt=0, le=60)
    """How long its next output is waited for while there is another to ask; None: 5 for hearing, 4 for the language
    model, 2.5 for the voice."""
