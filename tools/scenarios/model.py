"""What a scenario file says: one conversation, on which line, and what has to come of it. The file's name is its name.

    about: One sentence.
    modes: [virtual, real]            # a mode left out needs its reason under `not_in`
    not_in: {real: "why"}
    known_failing: {virtual: "why"}   # strict: it has to fail, or the mark is taken off
    persona:                          # as in config/contexts, with defaults for everything
      greeting: Hello, how can I help you?
      answers: [{ask: What are your opening hours?, say: We open at nine.}]
      conversation: {filler_after_s: 1.0}       # as in the engine's settings
    provider:                         # virtual mode only: what hears and answers
      stt: gated                      # or streaming
      replies: {what was heard: what is answered}
    line: {noise: {kind: street, snr_db: 15}, echo: {loss_db: 20}, loss_percent: 5, jitter_ms: 60}
    caller:                           # one after the other
      - until: quiet
      - say: My number is 0 3 0 [0.6] 5 5 5.    # pauses in seconds
      - interrupt: {say: No wait, after_ms: 800}
      - hang_up
    expect:
      in_order:                       # others may lie between
        - caller: My number is 0 3 0 5 5 5.
          keywords: [number, "555"]   # what of it real mode has to find
        - agent: Thank you
          within_ms: 1200             # since the caller fell silent
      caller_turns: 1
      never: [talked_over, apology]

`caller` steps are explained at their classes, each of which is the value of the step's key; so are expectations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ai_engine.context_parts import SetPhraseRule, SilencePolicy
from ai_engine.contexts import Context
from ai_engine.conversation_section import ConversationSection
from tools.line_noise import SOUNDS
from voice_core.words import tokens

Mode = Literal["virtual", "real"]
MODES: Final[tuple[Mode, ...]] = ("virtual", "real")
SPEECH_DBFS: Final = -20.0
"""The caller's level, which the levels of everything else refer to."""
_PAUSE: Final = re.compile(r"\[(\d+(?:\.\d+)?)\]")


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _sound(value: str) -> str:
    if value not in SOUNDS:
        raise ValueError(f"no such sound; there are {', '.join(SOUNDS)}")
    return value


def _shorthand(field: str) -> BeforeValidator:
    """Lets the value of `field` stand for the whole mapping."""
    return BeforeValidator(lambda value: value if isinstance(value, dict | BaseModel) else {field: value})


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


SoundName = Annotated[str, AfterValidator(_sound)]
"""A key of `tools.line_noise.SOUNDS`."""
Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

# --- the persona ------------------------------------------------------------------------------------------------------


class Answer(Part):
    """What the persona knows by heart: in virtual mode the provider's reply, in real mode a known answer."""

    ask: Texts
    say: str


LINES: Final = ("are_you_there", "farewell", "apology", "filler", "time_warning", "time_up", "giving_up")
"""What a persona says by itself, beside the greeting."""
_AS_THEY_ARE: Final = (
    "greeting", "greeting_mode", "greeting_wait_s", "greeting_delay_s", "interruptible_greeting",
    "prompt", "max_call_s", "time_warning_s",
)  # fmt: skip


def plain(text: str) -> str:
    """Words only, in lower case: how what was said and what was to be said are compared."""
    return " ".join(tokens(text))


class Persona(Part):
    """The fields of a context by their names; what is absent is as in any context, but there is no greeting."""

    greeting: str = ""
    greeting_mode: Literal["agent", "wait", "none"] = "agent"
    greeting_wait_s: Positive = 5.0
    greeting_delay_s: NotNegative = 0.0
    interruptible_greeting: bool = True
    disclose_ai: str = ""
    set_phrases: tuple[SetPhraseRule, ...] = ()
    answers: tuple[Answer, ...] = ()
    prompt: str = "You answer the telephone of a small shop. Answer in one short sentence."
    are_you_there: str | None = None
    farewell: str | None = None
    apology: str | None = None
    filler: str | None = ""
    """Empty, which is usual in scenarios: none; null: that of any context."""
    time_warning: str | None = None
    time_warning_s: Positive = 60.0
    time_up: str | None = None
    giving_up: str | None = None
    silence_policy: SilencePolicy = SilencePolicy()
    max_call_s: Positive = 1800.0
    conversation: ConversationSection = ConversationSection()  # type: ignore[valid-type]
    """The engine's `conversation` section; what is not written is as it has it."""

    def says(self, part: str) -> bool:
        """Some text of this persona's own has `part` in it; otherwise only a language model can have said it."""
        texts = [self.greeting, self.disclose_ai, *(self.line(name) for name in LINES)]
        texts += [answer.say for answer in self.answers]
        texts += [rule.answer for rule in self.set_phrases]
        return any(plain(part) in plain(text) for text in texts)

    def line(self, name: str) -> str:
        """One of `LINES`: as written, or as every context has it (of several wordings the first)."""
        written: str | None = getattr(self, name)
        default: str | tuple[str, ...] = Context.model_fields[name].default
        return written if written is not None else default if isinstance(default, str) else default[0]

    def context_fields(self) -> dict[str, Any]:
        """The persona as a context file has it."""
        pairs = [
            {"id": f"answer-{number}", "questions": list(answer.ask), "answer": answer.say}
            for number, answer in enumerate(self.answers, start=1)
        ]
        return {
            **{name: getattr(self, name) for name in _AS_THEY_ARE},
            **{name: self.line(name) for name in LINES if name != "filler"},
            "filler": [self.line("filler")] if self.line("filler") else [],
            "disclose_ai": self.disclose_ai or False,
            "silence_policy": self.silence_policy.model_dump(),
            "set_phrases": [rule.model_dump(mode="json", exclude_defaults=True) for rule in self.set_phrases],
            "known_answers": {"pairs": pairs},
        }

    @model_validator(mode="after")
    def _a_context(self) -> Persona:
        """What no context may say, no persona may either."""
        try:
            Context.model_validate(self.context_fields())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"is no context: {where}: {first['msg']}") from None
        return self


# --- what hears and answers in virtual mode ---------------------------------------------------------------------------


class Mishearing(Part):
    """What the recogniser makes of certain words."""

    text: str
    confidence: float | None = Field(default=None, ge=0, le=1)


class Provider(Part):
    """The scripted provider of virtual mode. Times in milliseconds of its own work."""

    stt: Literal["gated", "streaming"] = "gated"
    stt_ms: NotNegative = 150
    first_audio_ms: NotNegative = 250
    """From the transcript to the first sound of the answer."""
    phrase_gap_ms: NotNegative = 100
    """Between one sentence's sound and the next one's."""
    say_ms: NotNegative = 50
    """To the sound of a sentence that is only to be spoken."""
    marks_fragments: bool = False
    """The recogniser puts a full stop or a question mark behind whatever it is given, as Whisper does."""
    hears: dict[str, Annotated[Mishearing, _shorthand("text")]] = {}
    """What is understood in place of these words."""
    replies: dict[str, str] = {}
    """By what was understood; the persona's answers come first."""
    otherwise: str = "Certainly. We can do that for you."
    ignores_cancels: bool = False
    """Goes on with work that was cancelled, so that its late events have to be told from living ones."""


# --- the line ---------------------------------------------------------------------------------------------------------


class Noise(Part):
    """On the caller's side, all the time."""

    kind: SoundName = "pink noise"
    snr_db: float
    """Below the caller's speech."""


class Echo(Part):
    """The agent's sound that comes back from the caller's telephone."""

    loss_db: float = Field(ge=0)
    delay_ms: float = Field(default=200, ge=20)
    """From leaving to coming back; through the real line, the network's own delay comes on top."""


class Line(Part):
    """What lies between the caller and the agent, for the whole call, both directions where packets are meant."""

    noise: Noise | None = None
    echo: Echo | None = None
    loss_percent: float = Field(default=0, ge=0, le=50)
    jitter_ms: float = Field(default=0, ge=0, le=500)
    """Packets are delayed by up to so much, evenly spread; they may overtake each other."""
    seed: int = 1

    @property
    def perfect_network(self) -> bool:
        return not (self.loss_percent or self.jitter_ms)


# --- the caller -------------------------------------------------------------------------------------------------------


class Say(Part):
    """The caller speaks. `[0.6]` in the text is a pause of so many seconds."""

    text: str = ""
    wav: str = ""
    """Beside the scenario file; `text` then says what is spoken there, for the recogniser of virtual mode."""
    go_on: bool = False
    """The next step does not wait for the end of it."""
    for_s: float = Field(default=0, ge=0)
    """Said again and again for so long, with no more than 0.2 s between: a caller who never stops."""
    second_voice: bool = False
    """Somebody else beside the caller. In virtual mode the recogniser understands him where he is not 15 dB below."""
    louder_db: float = 0.0

    @model_validator(mode="after")
    def _something(self) -> Say:
        if not (self.text or self.wav):
            raise ValueError("nothing is said; write `text` or `wav`")
        if self.wav and _PAUSE.search(self.text):
            raise ValueError("the pauses of a WAV lie in its sound; leave them out of its text")
        return self

    def pieces(self) -> Iterator[tuple[str, float]]:
        """(words, the pause in seconds behind them), in order; words may be empty."""
        parts = _PAUSE.split(self.text)
        for index in range(0, len(parts), 2):
            yield " ".join(parts[index].split()), float(parts[index + 1]) if index + 1 < len(parts) else 0.0


class Interrupt(Part):
    """The caller speaks over the agent once it has spoken `after_ms` of the turn at hand; waits until then."""

    say: Annotated[Say, _shorthand("text")]
    after_ms: NotNegative


class Until(Part):
    """Wait for the agent: `agent`, a turn of it begins to sound that had not before; `question`, it has said a
    question mark (real mode: it pauses); `quiet`, it has been heard to the end and nothing is pending; `end`, it
    hung up."""

    what: Literal["agent", "question", "quiet", "end"]
    limit_s: Positive = 60.0


class Sound(Part):
    """A sound without words: a cough, breathing, music …"""

    kind: SoundName
    seconds: Positive = 0.3
    below_speech_db: float = 0.0
    voice_like: float = Field(default=0.95, ge=0, le=1)
    """What the voice-activity network makes of it (virtual mode without the network)."""
    go_on: bool = False


class Keys(Part):
    """DTMF, 100 ms a key. `in_band`: as tones in the sound, which nobody is meant to decode."""

    digits: str = Field(pattern=r"^[0-9A-D*#]+$")
    in_band: bool = False


class Freeze(Part):
    """The network carries nothing of the caller for so long; what was said comes afterwards at once, or is lost."""

    seconds: Positive
    lost: bool = True
    go_on: bool = False


class Trouble(Part):
    """Virtual mode only: from now on the provider's next answers `fail` so, it is `lost` as a whole for good or until
    `fail: none`, `answers_after_ms` is another, or the `backend` is switched."""

    fail: Literal["none", "stt", "llm", "tts", "silent"] | None = None
    """`silent`: it takes requests and never answers."""
    lost: bool = False
    """Says that it is gone: whatever it was doing comes to nothing."""
    first_audio_ms: NotNegative | None = None
    backend: Literal["gated", "streaming"] | None = None


class Nothing(Part):
    pass


def _bare(value: Any) -> Any:
    """`- hang_up` instead of `- hang_up: {}`."""
    return {value: {}} if isinstance(value, str) else value


class Step(Part):
    """Exactly one of these."""

    say: Annotated[Say, _shorthand("text")] | None = None
    interrupt: Interrupt | None = None
    until: Annotated[Until, _shorthand("what")] | None = None
    pause: Positive | None = None
    """Seconds without doing anything."""
    sound: Annotated[Sound, _shorthand("kind")] | None = None
    keys: Annotated[Keys, _shorthand("digits")] | None = None
    hold: Nothing | None = None
    unhold: Nothing | None = None
    freeze: Annotated[Freeze, _shorthand("seconds")] | None = None
    provider: Trouble | None = None
    hang_up: Nothing | None = None
    """At once, in the middle of whatever is being said."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Step:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a step is one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def kind(self) -> str:
        (name,) = self.model_fields_set
        return name

    @property
    def value(self) -> Any:
        """What stands behind the step's key: an object of this file, or the seconds of a pause."""
        return getattr(self, self.kind)


# --- what has to come of it -------------------------------------------------------------------------------------------

State = Literal["barge_in", "resumed", "kept", "took_back", "failed", "paused", "thinking", "held"]
"""Of `ai_engine.conversation.decisions.Announce`."""


class Happening(Part):
    """One of `caller`, `agent` and `state`, and what is to be true of it."""

    caller: str | None = None
    """A turn of the caller with these words: exactly these in virtual mode (marks and case aside), its `keywords` in
    real mode (absent: half of the words)."""
    keywords: tuple[str, ...] = ()
    agent: str | None = None
    """A turn of the agent of which this was heard: a part of the text, marks and case aside. In real mode the
    engine's own account of what was heard counts, and text that the persona does not have word for word (the language
    model's) is not looked for: any words will do."""
    interrupted: bool | None = None
    """The agent's turn was cut, or was not."""
    state: State | None = None
    within_ms: Positive | None = None
    """`agent`: from the caller's falling silent to the first sound; `state`: from the caller's beginning to speak.
    Virtual mode only: real mode leaves speed to the benchmarks."""
    not_before_ms: Positive | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Happening:
        if sum(value is not None for value in (self.caller, self.agent, self.state)) != 1:
            raise ValueError("write one of `caller`, `agent` and `state`")
        if self.keywords and self.caller is None:
            raise ValueError("`keywords` are of a caller's turn")
        if self.interrupted is not None and self.agent is None:
            raise ValueError("`interrupted` is of an agent's turn")
        return self


Never = Literal[
    "interrupted",
    "paused",
    "talked_over",
    "apology",
    "filler",
    "agent_spoke",
    "took_back",
    "hung_up",
]
"""`interrupted`: the agent lost the floor. `paused`: it fell silent for a suspicion. `talked_over`: it began to speak
while the caller was speaking. `agent_spoke`: there was any sound of it. `hung_up`: by the agent. Never, whether written
or not: two fillers without an answer between, a filler over the caller, sound of an answer that was thrown away."""

Outcome = Literal["talking", "caller_hung_up", "agent_hung_up", "fell_back", "transferred"]
"""`talking`: when all steps are done the call is as alive as ever."""


class Expect(Part):
    in_order: tuple[Happening, ...] = ()
    caller_turns: Annotated[int, Field(ge=0)] | None = None
    """Exactly so many: nothing was cut in two, nothing was taken for words."""
    history: tuple[str, ...] | None = None
    """Virtual mode: `user: …` and `assistant: …` of the whole call, word for word."""
    silent_within_ms: Positive | None = None
    """After each interruption: from the caller's beginning to the agent's last sound."""
    words_kept_percent: float | None = Field(default=None, ge=0, le=100)
    """Virtual mode: of the caller's words, so many reached the recogniser whole (5 % of loss may cost some)."""
    never: tuple[Never, ...] = ()
    outcome: Outcome = "talking"


class Scenario(Part):
    about: str
    modes: tuple[Mode, ...] = MODES
    not_in: dict[Mode, str] = {}
    known_failing: dict[Mode, str] = {}
    persona: Persona = Persona()
    provider: Provider = Provider()
    line: Line = Line()
    caller: Annotated[tuple[Annotated[Step, BeforeValidator(_bare)], ...], Field(min_length=1)]
    expect: Expect

    @model_validator(mode="after")
    def _modes_explained(self) -> Scenario:
        for mode in MODES:
            if (mode in self.modes) == (mode in self.not_in):
                missing = mode not in self.modes
                raise ValueError(
                    f"`modes` leaves {mode} out; say why under `not_in`"
                    if missing
                    else f"`not_in` gives a reason for leaving {mode} out, but `modes` names it"
                )
        if "real" in self.modes and any(step.provider is not None for step in self.caller):
            raise ValueError("a `provider` step works in virtual mode only; leave real out of `modes`")
        return self
