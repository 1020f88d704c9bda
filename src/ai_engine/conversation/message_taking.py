"""A message that the caller leaves: asked for, recorded and written down, and not answered.

While it has the floor the caller's words are no turns. They are recorded from the end of the tone until `#`, a pause,
the greatest length, or the end of the call, and each stretch of them is transcribed as it comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.caller_floor import CallerFloor
from ai_engine.conversation.decisions import CallerTurn, Decision, Forget, MessageEnd, MessageTaken
from ai_engine.conversation.recovery import Say
from ai_engine.conversation.turns import ReplyKind, Utterance
from ai_engine.media.transport import MediaTransport
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, CallerSpeech, ProviderEvent, ProviderFailed
from voice_core.gate import Gate
from voice_core.voice_activity import VoiceChange
from voice_core.words import tokens

KEEP_KEY: Final = "1"
AGAIN_KEY: Final = "2"
END_KEY: Final = "#"
_STRETCH_PAUSE_MS: Final = 700.0
"""So long a pause ends what is transcribed in one piece."""
_SHORT_PAUSE_MS: Final = 200.0
_LONG_STRETCH_S: Final = 12.0
"""After so much in one piece a short pause does."""
_LONGEST_STRETCH_S: Final = 25.0
"""As much as Whisper takes at once, with room to spare."""
_TRANSCRIPT_WITHIN_S: Final = 10.0
_MOST_ATTEMPTS: Final = 4
"""Of one who presses "again" each time."""
_KEY_TONE_S: Final = 0.3


_OWN_ENDS: Final = frozenset({"silence", "key", "length"})


class MessageSound(Protocol):
    """Where the caller's sound goes: a `CallRecording`."""

    def tick(self, caller: bytes, agent: bytes | None, now: float) -> None: ...

    def blank(self, now: float, seconds: float) -> None: ...

    def end(self, *, discard: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """Somebody (a tool) wants a message of the caller."""

    id: str
    prompt: str
    """Said before; cannot be interrupted, but `#` skips the rest of it."""
    once_more: str
    """Said in its place for the second attempt of a caller of whom nothing was heard."""
    tone: bytes
    """In the line's format, heard after the prompt; empty for none."""
    record: Callable[[], MessageSound]
    """Begins a recording; one for each attempt."""
    silence_s: float = 4.0
    first_words_s: float = 8.0
    """So long it is waited for the first word."""
    max_s: float = 120.0
    min_s: float = 2.0
    """A message with less speech is one only if it has words and its end was the caller's own."""
    review: str = ""
    """Said after the message: which keys keep it and record it again; empty: it is kept."""
    review_s: float = 5.0


class _State(Enum):
    PROMPT = "prompt"
    RECORDING = "recording"
    REVIEW = "review"
    WRITING = "writing"
    """The floor is free; the last words are still being transcribed."""
    OVER = "over"


class MessageTaking:
    """One message. Emits `Forget`, a `CallerTurn` and `MessageTaken`, once.

    `Transcribe` and `SendAudio` go through the caller's floor.
    """

    def __init__(
        self,
        request: MessageRequest,
        agent: AgentFloor,
        caller: CallerFloor,
        gate: Gate,
        transport: MediaTransport,
        *,
        transcribes: bool,
        say: Say,
        emit: Callable[[Decision], None],
    ) -> None:
        """`transcribes`: False where the provider cannot be asked for a transcript alone."""
        self.request = request
        self._agent = agent
        self._caller = caller
        self._gate = gate
        self._transport = transport
        self._transcribes = transcribes
        self._say = say
        self._emit = emit
        self._state = _State.PROMPT
        self._prompt_turn = 0
        self._attempts = 0
        self._asked_again = False
        self._sound: MessageSound | None = None
        self._end: MessageEnd = "silence"
        self._begun_at = self._active_until = self._review_since = -math.inf
        self._spoken_s = 0.0
        self._parts: dict[tuple[int, int], str | None] = {}
        """Transcripts in order; None while one is waited for."""
        self._lost_words = False
        self._give_up_at = math.inf

    @property
    def has_floor(self) -> bool:
        """The caller is asked, heard or asked about his message: nobody takes turns."""
        return self._state not in (_State.WRITING, _State.OVER)

    @property
    def over(self) -> bool:
        """`MessageTaken` was emitted."""
        return self._state is _State.OVER

    # --- what comes ---------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """The floor is free: ask for the message."""
        self._ask(self.request.prompt, now)

    def hear(self, pcm: bytes, now: float) -> None:
        """The caller's last 20 ms."""
        if self._state is _State.RECORDING and self._sound is not None:
            self._sound.tick(pcm, None, now)

    def voice(self, change: VoiceChange | None, now: float) -> None:
        """The caller began to speak, or paused."""
        if self._state is not _State.RECORDING or change is None:
            return
        voice = self._caller.voice
        if change is VoiceChange.ONSET:
            if self._transcribes and self._caller.utterance is None:
                self._caller.begin(voice.started_at)
        else:
            self._caller.paused()
            self._spoken_s += max(0.0, voice.voiced_until - voice.started_at)
            self._active_until = voice.voiced_until

    def press(self, digit: str, now: float) -> bool:
        """A key; False for one that means nothing here."""
        if self._sound is not None:
            self._sound.blank(now, _KEY_TONE_S)
        if self._state is _State.REVIEW and digit in (KEEP_KEY, END_KEY):
            self._settle(now)
        elif self._state is _State.REVIEW and digit == AGAIN_KEY:
            self._record_again(self.request.prompt, now)
        elif self._state is _State.RECORDING and digit == END_KEY:
            self._recorded("key", now)
        elif self._state is _State.PROMPT and digit == END_KEY:
            self._agent.cut(now)
        else:
            return False
        return True

    def takes(self, event: ProviderEvent, now: float) -> bool:
        """Whether `event` was a transcript of the message. The tone goes before the end of the prompt's sound."""
        if isinstance(event, AgentAudioDone) and event.turn == self._prompt_turn and self.request.tone:
            prompt, self._prompt_turn = self._agent.reply, 0
            if self._state is _State.PROMPT and prompt is not None and prompt.turn == event.turn:
                tone = AgentAudio(event.turn, event.revision, self.request.tone, self._transport.format, "")
                self._agent.hear_audio(prompt, tone, now)
            return False
        if not isinstance(event, CallerSpeech | ProviderFailed):
            return False
        key = (event.turn, event.revision)
        if self._parts.get(key, "") is not None:
            return False
        if isinstance(event, CallerSpeech):
            self._parts[key] = event.text.strip()
        else:
            self._parts[key], self._lost_words = "", True
        self._emit(Forget(event.turn))
        return True

    def provider_lost(self) -> None:
        """No transcript comes any more; the recording goes on."""
        self._lose_words()
        self._transcribes = False

    def hold(self) -> None:
        """Nothing is heard until `unhold`; what was said until now is written down."""
        if self._state is _State.RECORDING and self._caller.utterance is not None:
            self._write_down(self._caller.utterance)

    def unhold(self, now: float) -> None:
        """Time on hold was no silence."""
        self._begun_at += max(0.0, now - self._active_until)
        self._active_until = self._review_since = now

    def tick(self, now: float) -> None:
        """Every 20 ms."""
        if self._state is _State.PROMPT and self._agent.free and self._transport.played.idle(now):
            self._record(now)
        elif self._state is _State.RECORDING:
            self._tick_recording(now)
        elif self._state is _State.REVIEW:
            if not self._agent.free or self._transport.played.speaking(now):
                self._review_since = now
            elif now - self._review_since >= self.request.review_s:
                self._settle(now)
        elif self._state is _State.WRITING:
            self._tick_writing(now)

    def stop(self, end: MessageEnd, now: float) -> None:
        """The call, or whoever has the floor now, wants no more of it; what there is of it counts."""
        if self._state is _State.RECORDING:
            self._recorded(end, now, may_ask=False)
        elif self._state is _State.PROMPT:
            self._end = end
            self._settle(now)
        elif self._state is _State.REVIEW:
            self._settle(now)

    def call_over(self, now: float) -> None:
        """The call ends: tell what there is, without waiting for words."""
        self.stop("hung_up", now)
        if self._state is _State.WRITING:
            self._lose_words()
            self._tick_writing(now)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, text: str, now: float) -> None:
        self._state = _State.PROMPT
        self._prompt_turn = self._say(ReplyKind.PROMPT, text, now, interruptible=False).turn

    def _record_again(self, text: str, now: float) -> None:
        if not self._agent.free:
            self._agent.cut(now)
        if self._sound is not None:
            self._sound.end(discard=True)
            self._sound = None
        self._forget_words()
        self._ask(text, now)

    # --- recording ----------------------------------------------------------------------------------------------------

    def _record(self, now: float) -> None:
        self._state = _State.RECORDING
        self._attempts += 1
        self._gate.heard()
        self._caller.forget_sound(now)
        self._spoken_s = 0.0
        self._begun_at = self._active_until = now
        self._sound = self.request.record()

    def _tick_recording(self, now: float) -> None:
        voice, utterance = self._caller.voice, self._caller.utterance
        if voice.speaking:
            self._active_until = now
        if utterance is not None and self._stretch_ends(utterance, now):
            self._write_down(utterance)
            if voice.speaking:
                self._caller.begin(now)
        heard = self._spoken_s > 0 or voice.speaking
        if now - self._begun_at >= self.request.max_s:
            self._recorded("length", now)
        elif now - self._active_until >= (self.request.silence_s if heard else self.request.first_words_s):
            self._recorded("silence", now)

    def _stretch_ends(self, utterance: Utterance, now: float) -> bool:
        length_s = now - utterance.started_at
        if self._caller.voice.speaking:
            return length_s >= _LONGEST_STRETCH_S
        pause_ms = self._caller.voice.pause_ms(now)
        return pause_ms >= (_SHORT_PAUSE_MS if length_s >= _LONG_STRETCH_S else _STRETCH_PAUSE_MS)

    def _write_down(self, utterance: Utterance) -> None:
        self._parts[utterance.turn, self._caller.dictated(utterance)] = None

    def _recorded(self, end: MessageEnd, now: float, *, may_ask: bool = True) -> None:
        """No more is recorded."""
        voice, utterance = self._caller.voice, self._caller.utterance
        if voice.speaking:
            self._spoken_s += max(0.0, now - max(voice.started_at, self._begun_at))
        if utterance is not None:
            self._write_down(utterance)
        self._end = end
        if may_ask and not self._spoken_s and not self._asked_again:
            self._asked_again = True
            self._record_again(self.request.once_more, now)
        elif may_ask and self._spoken_s and self.request.review and self._attempts < _MOST_ATTEMPTS:
            self._state = _State.REVIEW
            self._review_since = now
            self._say(ReplyKind.PROMPT, self.request.review, now, interruptible=False)
        else:
            self._settle(now)

    # --- its end ------------------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """The floor is given back; the last words are waited for."""
        if not self._agent.free:
            self._agent.cut(now)
        self._state = _State.WRITING
        self._give_up_at = now + _TRANSCRIPT_WITHIN_S
        self._caller.forget_sound(now)
        self._tick_writing(now)

    def _tick_writing(self, now: float) -> None:
        if now >= self._give_up_at:
            self._lose_words()
        if any(text is None for text in self._parts.values()):
            return
        text = " ".join(text for text in self._parts.values() if text)
        has_words = bool(tokens(text)) or (self._lost_words and self._spoken_s > 0)
        kept = self._spoken_s >= self.request.min_s or (has_words and self._end in _OWN_ENDS)
        if self._sound is not None:
            self._sound.end(discard=not kept)
        self._state = _State.OVER
        if kept and tokens(text):
            self._emit(CallerTurn(max(turn for turn, _ in self._parts), text, now))
        whole = self._transcribes and not self._lost_words
        self._emit(MessageTaken(self.request.id, self._end, kept, text if kept else "", whole, self._spoken_s))

    def _lose_words(self) -> None:
        """What is still being transcribed will not come."""
        for (turn, revision), text in self._parts.items():
            if text is None:
                self._parts[turn, revision], self._lost_words = "", True
                self._emit(Forget(turn))

    def _forget_words(self) -> None:
        for (turn, _), text in self._parts.items():
            if text is None:
                self._emit(Forget(turn))
        self._parts.clear()
        self._lost_words = False
