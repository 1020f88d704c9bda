"""Every knob of a conversation, with its unit, and the sentences it says by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from voice_core.end_of_turn import WaitLimits
from voice_core.interruption import InterruptionLimits


class GreetingMode(Enum):
    """Who speaks first."""

    AGENT = "agent"
    """The agent greets."""
    WAIT = "wait"
    """The caller; an agent who hears nothing for `greeting_wait_s` greets, and so does one who hears only a hello."""
    NONE = "none"
    """The caller; there is no greeting at all."""


@dataclass(frozen=True, slots=True)
class Phrases:
    """What the agent says by itself. An empty phrase is not said."""

    greeting: str = ""
    disclosure: str = ""
    """That the caller talks with a machine: before the greeting, or before the first answer where there is none."""
    are_you_there: str | tuple[str, ...] = "Are you still there?"
    """Several wordings are used in turn."""
    farewell: str = "I can't hear you, so I'll hang up now. Please call again. Goodbye."
    """After too long a silence."""
    time_up: str = "I'm sorry, we have reached the end of our time. Goodbye."
    """When the call has reached its greatest length."""
    time_warning: str = ""
    """Some time before that."""
    filler: str | tuple[str, ...] = "One moment, please."
    """Several wordings are used in turn. Has to be pre-rendered."""
    apology: str = "I'm sorry, something went wrong on my side. Could you say that again, please?"
    """When an answer could not be given. Has to be pre-rendered."""
    giving_up: str = "I'm sorry, I'm having technical trouble. I'll put you through."
    """Before the fallback. Has to be pre-rendered."""


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """Frozen for the length of a call. Zero switches a time limit off where it says so."""

    frame_ms: float = 20.0
    greeting_interruptible: bool = True
    greeting_mode: GreetingMode = GreetingMode.AGENT
    greeting_delay_s: float = 0.0
    """From the connection to the greeting of an agent who speaks first."""
    greeting_wait_s: float = 5.0
    """Silence before the greeting of one who does not."""

    # Hearing
    onset_probability: float = 0.5
    offset_probability: float = 0.35
    onset_windows: int = 2
    """Voice-activity windows (32 ms) above the threshold before it is speech."""
    onset_probability_over_agent: float = 0.65
    onset_windows_over_agent: int = 3
    offset_ms: float = 90.0
    """Three windows without voice are a pause."""
    lookback_ms: float = 300.0
    """Sent to the STT from before the onset, so that the first syllable is there."""
    withheld_ms: float = 4000.0
    """Caller audio kept while the gate is closed."""
    echo_return_loss_db: float = 17.0
    """Sound this far below the agent's own, or further, is taken for its echo."""
    cancelled_echo_db: float = 13.0
    """Where the echo canceller works: what it leaves of an echo is quieter than the echo by at least this."""
    echo_delay_ms: float = 450.0
    """How long after it was sent the agent's sound may come back."""

    # Turns
    speculation_ms: float = 140.0
    """The pause at which an answer is begun before it is known that the caller has finished."""
    wait: WaitLimits = field(default_factory=WaitLimits)
    interruption: InterruptionLimits = field(default_factory=InterruptionLimits)
    max_take_backs: int = 3
    """So often one turn is taken back by sounds before its answer is heard; then the answer is played all the same."""
    long_turn_s: float = 30.0
    """From this age on, a turn ends at the first pause that a speculation would start at."""
    max_false_alarms: int = 4
    """So often one reply is paused for sounds without words; then it is heard out, or noise would never let it end."""
    keypad_wait_s: float = 2.0
    """After the last digit; `#` ends at once."""

    # Waiting
    ask_after_s: float = 8.0
    """Silence before "are you there?". Zero: never."""
    ask_times: int = 1
    """So often it is asked, each time after that much more silence."""
    give_up_after_s: float = 20.0
    """Silence before farewell and hang-up. Zero: never."""
    max_call_s: float = 1800.0
    """Zero: no limit."""
    time_warning_s: float = 60.0
    """So long before the greatest length is reached, the caller is told, if there are words for it."""
    filler_after_s: float = 2.5
    """Zero: no filler."""
    filler_again_after_s: float = 6.0
    """The same in the turn after one that had a filler: two turns running with one sound like a machine."""
    answer_timeout_s: float = 20.0
    """From the end of the caller's turn to the first sound of the answer; then it has failed."""
    say_timeout_s: float = 4.0
    """The same for a sentence that is only to be spoken; then it is tried from the pre-rendered store."""
    stall_s: float = 8.0
    """Without audio in the middle of an answer; then the rest is given up."""
    farewell_deadline_s: float = 10.0
    """The longest silence in which a farewell may keep the line."""
    max_failures: int = 3
    """Turns that failed in a row before the caller is handed to the fallback."""
