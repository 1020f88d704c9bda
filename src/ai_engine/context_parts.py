"""The parts of a context beside its texts and known answers: silence, fallback and set phrases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ai_engine.conversation.decisions import Ending, FallBack, HangUp, Transfer
from ai_engine.conversation.key_input import KeyRules
from ai_engine.conversation.set_answers import SetAnswer, SetAnswers
from ai_engine.dialed_numbers import DialedNumber
from ai_engine.templates import Template, TemplateError
from voice_core.set_phrase_words import LANGUAGES
from voice_core.set_phrases import Meaning, PatternError, SetPhrase, SetPhrases, check_pattern

_EXTENSION: Final = r"^[A-Za-z0-9_*#+.-]{1,80}$"


def text(value: str) -> str:
    return " ".join(value.split())


def template(value: str) -> str:
    try:
        Template.parse(value)
    except TemplateError as error:
        raise ValueError(str(error)) from None
    return value.strip()


def constant(value: str) -> str:
    if not Template.parse(template(value)).constant:
        raise ValueError("is rendered to sound ahead of any call and so cannot hold variables; write it without braces")
    return text(value)


def one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _pattern(value: str) -> str:
    try:
        check_pattern(value)
    except PatternError as error:
        raise ValueError(str(error)) from None
    return text(value)


Plain = Annotated[str, Field(min_length=1), AfterValidator(constant)]
"""A spoken text that is the same in every call."""
Line = Annotated[str, AfterValidator(template), AfterValidator(text)]
"""A spoken text with variables; empty where nothing is to be said."""
Plains = Annotated[tuple[Plain, ...], BeforeValidator(one_or_more)]
"""One such text, or several that are used in turn."""
Lines = Annotated[tuple[Line, ...], BeforeValidator(one_or_more)]
Extension = Annotated[str, Field(pattern=_EXTENSION)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SilencePolicy(Part):
    """What happens when the caller says nothing. Only time is counted in which nobody speaks and no answer is made."""

    ask_after_s: float = Field(default=8.0, gt=0)
    """After so much silence "are you there?" is asked."""
    ask_times: int = Field(default=1, ge=0)
    """How often it is asked, each time after that much more silence. 0: never."""
    hang_up_after_s: float = Field(default=20.0, ge=0)
    """Silence after which the farewell is said; a caller who speaks over it keeps the call. 0: never."""

    @model_validator(mode="after")
    def _consistent(self) -> SilencePolicy:
        asked_until_s = self.ask_after_s * self.ask_times
        if self.hang_up_after_s and asked_until_s >= self.hang_up_after_s:
            raise ValueError(
                f"asks until {asked_until_s:g} s, but hangs up after {self.hang_up_after_s:g} s; "
                "raise hang_up_after_s or lower ask_after_s or ask_times"
            )
        return self


class FallbackPolicy(Part):
    """Where a caller goes whom the agent cannot serve any more."""

    act: Literal["dialplan", "transfer", "hang_up"] = "dialplan"
    """`dialplan`: the engine's `asterisk.fallback_context`. `transfer`: `extension`. `hang_up`: after `giving_up`."""
    extension: Extension | None = None
    """For `act: transfer`. One that the dialplan does not have ends the call."""
    dialplan_context: Extension | None = None
    """Of `extension`; absent: the dialplan context the call came from."""
    after_failures: int | None = Field(default=None, ge=1)
    """Turns that failed in a row before that; absent: the engine's `conversation.max_failures`."""

    @model_validator(mode="after")
    def _consistent(self) -> FallbackPolicy:
        _check_extension(self.act == "transfer", self.extension, self.dialplan_context)
        return self


class RecordingPolicy(Part):
    """Whether calls are recorded, and what the caller is told (docs/recording.md)."""

    enabled: bool | None = None
    """Absent: as the engine's `recording.enabled` says."""
    notice: Line | None = None
    """Tells the caller, before the greeting and not to be interrupted; recording begins when it was heard. Absent: such
    a sentence in the context's language. Not said with the engine's `recording.consent: none`."""
    pause_on_keys_s: float = Field(default=0.0, ge=0, le=60)
    """After each key the caller presses, so many seconds are silence in the recording, and so is the half second
    before. 0: keys change nothing."""


def _in_quotes(value: Any) -> Any:
    written = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(one, int | float) for one in written):
        raise ValueError("write numbers in quotes: without them YAML reads 0701 as 449")
    return list(written)


def _dialed(value: str) -> str:
    return DialedNumber.parse(value).text


DialedNumbers = Annotated[tuple[Annotated[str, AfterValidator(_dialed)], ...], BeforeValidator(_in_quotes)]
"""One or several, as `ai_engine.dialed_numbers` reads them."""


class KeypadPolicy(Part):
    """How keys are taken that the caller presses. They interrupt the agent, and a complete input is a turn."""

    wait_s: float | None = Field(default=None, gt=0, le=30)
    """The pause after the last key that ends an input, as `#` does at once; absent: the engine's
    `conversation.keypad_wait_s`."""
    max_keys: int = Field(default=0, ge=0, le=100)
    """So many keys end an input without a pause. 0: any number."""
    secret: bool = False
    """True: what is typed is kept nowhere. The language model, transcripts, logs and live events see `****` and how
    many digits it was, and it is silence in recordings. Only a tool that asks for keys gets them."""
    secret_after: Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(one_or_more)] = ()
    """The same for single questions: wordings, as in `set_phrases`; keys typed after the agent has said one of them are
    secret, until the caller has typed and then says something."""

    @model_validator(mode="after")
    def _consistent(self) -> KeypadPolicy:
        if self.secret and self.secret_after:
            raise ValueError("has `secret_after`, which does nothing: with `secret: true` all keys are")
        return self

    def rules(self) -> KeyRules:
        return KeyRules(self.wait_s, self.max_keys, self.secret, self.secret_after)


class SetPhraseRule(Part):
    """Words that act whatever the language model thinks. `voice_core.set_phrases` says when a turn is one."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Named in logs and in the source of the answer."""
    meaning: Meaning | None = None
    """`person` or `emergency`: the wordings the context's language has for asking for a person or for help."""
    said: Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(one_or_more)] = ()
    """More wordings: words, `[the]` may be left out, `(desk|office)` is one of several. With `meaning: person` they
    also name whom a caller may ask for ("can I speak to …")."""
    keys: str = Field(default="", pattern=r"^([0-9*#A-D]*[0-9*A-D])?$")
    """A keypad input that means the same, such as `0`."""
    act: Literal["say", "transfer", "fallback", "hang_up"] = "say"
    """What follows `answer`: the conversation, `extension`, the context's fallback, or the end of the call."""
    answer: Annotated[str, AfterValidator(constant)] = ""
    """Said at once, from sound that was rendered before; heard to its end before a transfer or hang-up."""
    extension: Extension | None = None
    """For `act: transfer`. One that the dialplan does not have ends the call."""
    dialplan_context: Extension | None = None
    """Of `extension`; absent: the dialplan context the call came from."""

    @model_validator(mode="after")
    def _consistent(self) -> SetPhraseRule:
        if not (self.meaning or self.said or self.keys):
            raise ValueError("has nothing to listen for: give it `said`, `meaning` or `keys`")
        if self.act == "say" and not self.answer:
            raise ValueError("has nothing to say: give it an `answer` or another `act`")
        _check_extension(self.act == "transfer", self.extension, self.dialplan_context)
        return self

    def phrase(self) -> SetPhrase:
        return SetPhrase(self.id, self.said, self.meaning, self.keys)

    def set_answer(self) -> SetAnswer:
        then: Ending | None = None
        if self.act == "transfer" and self.extension is not None:
            then = Transfer(self.extension, self.dialplan_context or "", f"set phrase {self.id}")
        elif self.act == "fallback":
            then = FallBack(f"set phrase {self.id}")
        elif self.act == "hang_up":
            then = HangUp(f"set phrase {self.id}")
        return SetAnswer(self.answer, then)


def _check_extension(wanted: bool, extension: str | None, dialplan_context: str | None) -> None:
    if wanted and extension is None:
        raise ValueError("a transfer needs an `extension`")
    if not wanted and (extension or dialplan_context):
        raise ValueError("has an `extension` or `dialplan_context`, which only `act: transfer` uses")


def check_rules(rules: Sequence[SetPhraseRule], language: str) -> None:
    """Raises `ValueError` for rules that cannot stand beside each other, or a meaning the language has no words for."""
    seen: dict[str, str] = {}
    for rule in rules:
        for what in ("id", "keys"):
            value = getattr(rule, what)
            if value and f"{what} {value}" in seen:
                raise ValueError(f"two set phrases have the {what} {value!r}")
            seen[f"{what} {value}"] = rule.id
        if rule.meaning and language.partition("-")[0] not in LANGUAGES:
            raise ValueError(
                f"{rule.id!r}: there are no wordings of `{rule.meaning}` for the language {language!r}, only for "
                f"{', '.join(sorted(LANGUAGES))}; list them under `said` instead"
            )


def set_answers(rules: Sequence[SetPhraseRule], language: str) -> SetAnswers | None:
    """What the conversation listens for; None where there is nothing."""
    if not rules:
        return None
    answers: Mapping[str, SetAnswer] = {rule.id: rule.set_answer() for rule in rules}
    return SetAnswers(SetPhrases([rule.phrase() for rule in rules], language), answers)
