"""Decisions of a conversation that are for its provider, whosever conversation it is."""

from __future__ import annotations

from ai_engine.conversation.decisions import (
    Adopt,
    Decision,
    Discard,
    Forget,
    Interrupt,
    SendAudio,
    Speculate,
    Transcribe,
)
from ai_engine.media.caller_audio import CallerAudioConverter
from ai_engine.providers.provider import Provider


def steer(provider: Provider, decision: Decision, caller_audio: CallerAudioConverter) -> bool:
    """Carry the decision out. False where it is none for the provider."""
    match decision:
        case SendAudio(turn, audio):
            provider.send_audio(turn, caller_audio.convert(turn, audio, provider.capabilities.input_format))
        case Speculate(turn, revision, history, text):
            provider.speculate(turn, revision, history, text)
        case Adopt(turn, revision):
            provider.adopt(turn, revision)
        case Discard(turn, revision):
            provider.discard(turn, revision)
        case Transcribe(turn, revision):
            provider.transcribe(turn, revision)
        case Forget(turn):
            provider.forget(turn)
        case Interrupt(turn, heard):
            provider.interrupt(turn, heard)
        case _:
            return False
    return True
