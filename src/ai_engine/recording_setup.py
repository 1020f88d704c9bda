"""Whether a context's calls are recorded, what they are told of it, and the recorder that the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast, get_args

from ai_engine.config_file import ConfigError
from ai_engine.contexts import Context
from ai_engine.conversation.conversation import Conversation
from ai_engine.media.call_recording import CallRecording, State
from ai_engine.media.recorder import Recorder
from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.media.transport import MediaTransport
from ai_engine.metrics import Metrics
from ai_engine.settings import RecordingSettings

NOTICES: Final = {
    "en": "This call is recorded.",
    "de": "Dieses Gespräch wird aufgezeichnet.",
    "fr": "Cet appel est enregistré.",
    "es": "Esta llamada se graba.",
    "it": "Questa chiamata viene registrata.",
    "nl": "Dit gesprek wordt opgenomen.",
    "pt": "Esta chamada é gravada.",
}

Action = Literal["pause", "resume", "stop", "discard"]
"""What may be asked of a recording while its call lasts."""
SECRET_KEYS_S: Final = 5.0
"""After a secret key, so much of a recording is silence."""
_ACTIONS: Final[tuple[str, ...]] = get_args(Action)


def announced(contexts: Mapping[str, Context], settings: RecordingSettings) -> dict[str, Context]:
    """The contexts with what `settings` leaves to them decided: whether they record, and which sentence tells it.

    Raises `ConfigError` for one that has to tell it and has no words for that.
    """
    decided: dict[str, Context] = {}
    for name, context in contexts.items():
        chosen = context.recording
        enabled = settings.enabled if chosen.enabled is None else chosen.enabled
        notice = ""
        if enabled and settings.consent == "announce":
            language = context.language.partition("-")[0]
            notice = NOTICES.get(language, "") if chosen.notice is None else chosen.notice
            if not notice:
                raise ConfigError(
                    f"context {name}: its calls are recorded, and recording.consent asks for the caller to be told: "
                    f"write `recording: {{notice: ...}}` in the language {context.language!r}"
                )
        policy = chosen.model_copy(update={"enabled": enabled, "notice": notice})
        decided[name] = context.model_copy(update={"recording": policy})
    return decided


def make_recorder(contexts: Mapping[str, Context], settings: RecordingSettings, metrics: Metrics) -> Recorder | None:
    """None where no context (as `announced` decided them) is recorded, nor any recording kept from before."""
    if not any(context.recording.enabled for context in contexts.values()) and not settings.folder.exists():
        return None
    folder = RecordingFolder(
        settings.folder, keep_days=settings.keep_days, keep_mb=settings.keep_mb, min_free_mb=settings.min_free_mb
    )
    return Recorder(
        folder,
        sync_s=settings.sync_s,
        on_outcome=lambda outcome: metrics.recordings.labels(outcome).inc(),
        on_deleted=metrics.recordings_deleted.inc,
    )


def recording_for(
    recorder: Recorder | None, context: Context, call_id: str, transport: MediaTransport, conversation: Conversation
) -> CallRecording | None:
    """A call's recording, which waits until the caller has been told where he has to be; None for no recording."""
    if recorder is None or not context.recording.enabled:
        return None
    allowed = conversation.told if context.recording.notice else lambda _now: True
    return recorder.recording(call_id, transport.pcm_rate_hz, transport.format, allowed=allowed)


def press_key(
    conversation: Conversation, digit: str, now: float, *, recording: CallRecording | None, pause_s: float
) -> None:
    """A key for `conversation`; out of the recording with it where it is secret or the context's `pause_s` says so."""
    secret = conversation.keys_are_secret
    conversation.dtmf(digit, now)
    seconds = max(pause_s, SECRET_KEYS_S if secret else 0.0)
    if seconds and recording is not None:
        recording.blank(now, seconds)


def check_action(action: str) -> Action:
    """Raises `ValueError` for one that there is not."""
    if action not in _ACTIONS:
        raise ValueError(f"there is no action {action!r}; there are {', '.join(_ACTIONS)}")
    return cast("Action", action)


def act(recording: CallRecording, action: Action) -> State:
    """Carry out what was asked; on the media thread. Returns the state the recording then has."""
    match action:
        case "pause":
            recording.pause()
        case "resume":
            recording.resume()
        case "stop":
            recording.end()
        case "discard":
            recording.end(discard=True)
    return recording.state
