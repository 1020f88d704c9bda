"""Contexts (personas): who answers a call, what it says and knows. One YAML file each, named by the file.

A context is shared by calls and never changes; what belongs to one call is made from it by `for_call`, which takes
everything as arguments and keeps nothing. So no call can see another's data.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Protocol

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from ai_engine.business_hours import BusinessHours
from ai_engine.config_file import ConfigError, Document, read_document, validate
from ai_engine.context_hooks import KnownHooks, wrong_hooks
from ai_engine.context_parts import (
    DialedNumbers,
    FallbackPolicy,
    KeypadPolicy,
    Line,
    Lines,
    Part,
    Plain,
    Plains,
    RecordingPolicy,
    SetPhraseRule,
    SilencePolicy,
    check_rules,
    one_or_more,
    template,
)
from ai_engine.conversation.conversation_settings import GreetingMode
from ai_engine.conversation.known_answers import KnownAnswer as Pair
from ai_engine.conversation.known_answers import Thresholds
from ai_engine.conversation.reply_prompt import HONEST_LINE
from ai_engine.day_words import HOURS_VARIABLES, PART_VARIABLES, day_values, every_part, words_of
from ai_engine.default_sentences import sentences
from ai_engine.dialed_numbers import DialedNumber, twice
from ai_engine.templates import Template, clean_value

_DEFAULTS: Final = Thresholds()
_SINGLE_LINES: Final = (
    "greeting",
    "farewell",
    "apology",
    "time_warning",
    "time_up",
    "giving_up",
    "no_information",
    "reconnected",
    "busy",
)
_SEVERAL_LINES: Final = ("are_you_there", "filler")
_DISCLOSURES: Final = {
    "en": "You are talking with an automated assistant.",
    "de": "Sie sprechen mit einem automatischen Assistenten.",
    "fr": "Vous parlez avec un assistant automatique.",
    "es": "Está hablando con un asistente automático.",
    "it": "Sta parlando con un assistente automatico.",
    "nl": "U spreekt met een automatische assistent.",
    "pt": "Está falando com um assistente automático.",
}
_GIVING_UP_AND_HANGING_UP: Final = "I am sorry, I am having technical trouble. Please call again later. Goodbye."

Prompt = Annotated[str, Field(min_length=1), AfterValidator(template)]


class KnownAnswer(Part):
    """One thing the persona knows by heart."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Named in timelines and logs."""
    questions: Annotated[tuple[Plain, ...], BeforeValidator(one_or_more), Field(min_length=1)]
    """Wordings of the question; differ in meaning rather than in single words."""
    answer: Plain
    """Spoken as it is written."""


class KnownAnswers(Part):
    """Question–answer pairs matched by meaning; `ai_engine.conversation.known_answers` says what the scores are."""

    accept_score: float = Field(default=_DEFAULTS.accept_score, ge=0, le=2)
    """A question that scores this is answered with the pair's answer, without the LLM (above 1: none is) …"""
    margin: float = Field(default=_DEFAULTS.margin, ge=0, le=1)
    """… if it is this far ahead of the second best pair."""
    near_score: float = Field(default=_DEFAULTS.near_score, ge=0, le=2)
    """From here on the LLM is given the fact beside the question."""
    coverage_weight: float = Field(default=_DEFAULTS.coverage_weight, ge=0, le=1)
    """How much shared words count against the embeddings' similarity."""
    pairs: tuple[KnownAnswer, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> KnownAnswers:
        if self.near_score > self.accept_score:
            raise ValueError(f"near_score {self.near_score} is above accept_score {self.accept_score}")
        seen: set[str] = set()
        for pair in self.pairs:
            if pair.id in seen:
                raise ValueError(f"two known answers have the id {pair.id!r}; give one of them another")
            seen.add(pair.id)
        return self

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.accept_score, self.margin, self.near_score, self.coverage_weight)

    def for_matching(self) -> tuple[Pair, ...]:
        """The pairs as the matcher takes them."""
        return tuple(Pair(pair.id, pair.questions, pair.answer) for pair in self.pairs)


class Context(Part):
    """One persona, as its file says. Texts may hold variables where nothing else is said."""

    dialed_numbers: DialedNumbers = ()
    """Calls to these come to this context, where the dialplan sets no `AI_CONTEXT`: numbers, in quotes, or patterns as
    in the dialplan, `_7XX`. The most exact entry of all contexts decides."""
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")
    """Of the caller and the agent, as `en` or `en-US`."""
    voice: str | None = None
    """A voice of the TTS; absent: its default."""
    provider: str = "local"
    """A name under `providers` in the engine's settings."""
    prompt: Prompt
    """The system prompt of the language model."""
    greeting: Line
    """May differ by the time of day: "{time_greeting}, this is …" or "… this {part_of_day}"."""
    greeting_mode: GreetingMode = GreetingMode.AGENT
    """`agent`: speaks first. `wait`: the caller does; the greeting answers a mere hello, and is said after
    `greeting_wait_s` of silence. `none`: the caller does, and there is no greeting."""
    greeting_wait_s: float = Field(default=5.0, gt=0)
    """For `greeting_mode: wait`."""
    greeting_delay_s: float = Field(default=0.0, ge=0, le=30)
    """Silence before the greeting of an agent who speaks first."""
    interruptible_greeting: bool = True
    """False: the greeting is heard to its end, and what the caller says meanwhile is answered then."""
    disclose_ai: bool | Line = False
    """True, or a sentence of your own: tells the caller that he talks with a machine. It is said before the greeting
    and cannot be interrupted; where the caller speaks first, before the first answer."""
    recording: RecordingPolicy = RecordingPolicy()
    known_answers: KnownAnswers = KnownAnswers()
    set_phrases: tuple[SetPhraseRule, ...] = ()
    """Words that act whatever the language model thinks: "operator", an emergency. The first that fits acts."""
    keypad: KeypadPolicy = KeypadPolicy()
    are_you_there: Lines = ("Are you still there?",)
    """One or several; several are used in turn."""
    filler: Plains = ("One moment, please.",)
    """Said once when an answer takes long, from sound that was rendered before. One or several, used in turn; `[]` for
    none."""
    farewell: Line = "Thank you for calling. Goodbye."
    """After too long a silence, and when the engine stops."""
    apology: Plain = "I am sorry, something went wrong on my side. Could you say that again, please?"
    """Spoken when the provider failed, from sound that was rendered before."""
    giving_up: Plain = "I am sorry, I am having technical trouble. I will put you through."
    """Spoken before the fallback, from sound that was rendered before. With `fallback.act: hang_up` it is another."""
    reconnected: Line = "I am sorry, we were cut off for a moment. How can I help you?"
    """In place of the greeting, for a caller whose engine died while he was talking and whom this one took over."""
    busy: Plain = "I am sorry, all our lines are busy. Please call again later. Goodbye."
    """Said to a caller there is no room for, with `calls.when_full: message`; then he is hung up."""
    no_information: Line = HONEST_LINE
    """Said instead of a fact the language model made up."""
    before_call: tuple[str, ...] = ()
    """Names of the settings' `tools` of kind `http` that are asked before the call is answered; the texts take what
    they find as `{lookup_…}` (docs/tools.md)."""
    before_call_s: float = Field(default=0.8, gt=0, le=5)
    """So much longer the caller hears ringing for them at the most; what has not come by then has its default."""
    after_call: tuple[str, ...] = ()
    """Names of the settings' `tools` of the kinds `http` and `email` that are told of each call when it has ended."""
    tools: tuple[str, ...] = ()
    """Names of the settings' `tools` that the language model may use in calls with this context; no others are run."""
    silence_policy: SilencePolicy = SilencePolicy()
    max_call_s: float = Field(default=1800.0, ge=0)
    """The greatest length of a call, without the time on hold. 0: none."""
    time_warning: Line = ""
    """Said `time_warning_s` before that, or in the next pause; empty for none."""
    time_warning_s: float = Field(default=60.0, gt=0)
    """How long before `max_call_s` the caller is told, if there is a `time_warning`."""
    time_up: Line = "I am sorry, we have reached the end of our time. Goodbye."
    """Spoken when the call has lasted `max_call_s`, and heard to its end whatever the caller says."""
    fallback: FallbackPolicy = FallbackPolicy()
    hours: BusinessHours | None = None
    """When this persona answers; outside of them `closed_context` does."""
    closed_context: str | None = None
    """The context that answers calls that begin outside `hours`. A call that is going on when they end goes on."""

    @model_validator(mode="before")
    @classmethod
    def _default_sentences(cls, data: Any) -> Any:
        """In the language of the context; and nobody who is hung up on is told that he will be put through."""
        if not isinstance(data, dict):
            return data
        fallback = data.get("fallback")
        hangs_up = isinstance(fallback, dict) and fallback.get("act") == "hang_up"
        found: dict[str, Any] = {"giving_up": _GIVING_UP_AND_HANGING_UP} if hangs_up else {}
        if isinstance(language := data.get("language"), str):
            found |= sentences(language, hangs_up=hangs_up)
        return {**found, **data}

    @field_validator("disclose_ai")
    @classmethod
    def _can_be_told(cls, value: bool | str, info: ValidationInfo) -> bool | str:
        language = info.data.get("language", "en")
        if value is True and language.partition("-")[0] not in _DISCLOSURES:
            raise ValueError(f"there is no such sentence in the language {language!r}; write one in place of true")
        return value

    @field_validator("set_phrases")
    @classmethod
    def _rules_go_together(cls, value: tuple[SetPhraseRule, ...], info: ValidationInfo) -> tuple[SetPhraseRule, ...]:
        check_rules(value, info.data.get("language", "en"))
        return value

    @field_validator("time_warning_s")
    @classmethod
    def _before_the_end(cls, value: float, info: ValidationInfo) -> float:
        max_call_s = info.data.get("max_call_s")
        if info.data.get("time_warning") and max_call_s is not None and value >= max_call_s:
            raise ValueError(f"comes before the call has begun: max_call_s is {max_call_s:g}")
        return value

    @field_validator("closed_context")
    @classmethod
    def _has_hours(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("hours") is None:
            raise ValueError("is never used: the context has no `hours`")
        return value

    @property
    def disclosure(self) -> str:
        """What the caller has to be told first: what `disclose_ai` asks for, and that he is recorded; a template."""
        if isinstance(self.disclose_ai, str):
            told = self.disclose_ai
        else:
            told = _DISCLOSURES[self.language.partition("-")[0]] if self.disclose_ai else ""
        notice = self.recording.notice if self.recording.enabled else ""
        return f"{told} {notice or ''}".strip()

    def for_call(
        self,
        *,
        call_id: str,
        now: datetime,
        caller_name: str = "",
        caller_number: str = "",
        dialed_number: str = "",
        dialplan: Mapping[str, str] = MappingProxyType({}),
        hours: BusinessHours | None = None,
        lookups: Mapping[str, str] = MappingProxyType({}),
    ) -> CallTexts:
        """This persona in one call. `dialplan` are the channel's `AI_*` variables by their own names, `lookups` what
        was found before the call, by `lookup_…`.

        `now` needs a time zone. `hours` are those that chose the context; None: its own.
        """
        hours = hours or self.hours
        now = now.astimezone(hours.zone) if hours is not None else now
        values = {name.lower(): value for name, value in dialplan.items() if name.upper().startswith("AI_")}
        values |= lookups
        values |= {
            "caller_name": caller_name,
            "caller_number": caller_number,
            "dialed_number": dialed_number,
            "call_id": call_id,
            "now": f"{now:%A}, {now.day} {now:%B %Y}, {now:%H:%M}",
        }
        values |= day_values(self.language, now, hours)
        lines: dict[str, Any] = {name: _filled(getattr(self, name), values) for name in _SINGLE_LINES}
        several: dict[str, Any] = {
            name: tuple(_filled(line, values) for line in getattr(self, name)) for name in _SEVERAL_LINES
        }
        variables = {name: clean_value(value) for name, value in values.items()}
        return CallTexts(
            system_prompt=Template.parse(self.prompt).fill(values),
            disclosure=_filled(self.disclosure, values),
            variables=MappingProxyType(variables),
            **lines,
            **several,
        )

    def texts(self) -> list[tuple[str, str]]:
        """All texts that may hold variables, each with its key."""
        found = [("prompt", self.prompt), ("disclose_ai", self.disclosure)]
        found += [(name, getattr(self, name)) for name in _SINGLE_LINES]
        return found + [(name, line) for name in _SEVERAL_LINES for line in getattr(self, name)]

    @property
    def dialplan_variables(self) -> frozenset[str]:
        """The `ai_…` variables that its texts name."""
        named = frozenset[str]().union(*(Template.parse(text).variables for _, text in self.texts()))
        return frozenset(name for name in named if name.startswith("ai_"))

    def lines_to_render(self) -> list[str]:
        """What can be turned into sound before any call, most urgent first; texts with a call's variables cannot."""
        openings = [f"{self.disclosure} {line}".strip() for line in (self.greeting, self.reconnected)]
        lines = [*openings, *(getattr(self, name) for name in ("apology", "farewell", "giving_up"))]
        lines += [line for name in _SEVERAL_LINES for line in getattr(self, name)]
        lines += [rule.answer for rule in self.set_phrases]
        lines += [self.disclosure, *(getattr(self, name) for name in _SINGLE_LINES)]
        lines += [pair.answer for pair in self.known_answers.pairs]
        found: list[str] = []
        for line in lines:
            parsed = Template.parse(line)
            if parsed.constant:
                found.append(parsed.fill({}))
            elif parsed.variables <= set(PART_VARIABLES):
                found += [parsed.fill(values) for values in every_part(self.language)]
        return list(dict.fromkeys(filled for line in found if (filled := line.strip())))


def _filled(line: str, values: Mapping[str, str]) -> str:
    return Template.parse(line).fill(values).strip()


@dataclass(frozen=True, slots=True)
class CallTexts:
    """A context's texts with one call's variables in them."""

    system_prompt: str
    greeting: str
    disclosure: str
    are_you_there: tuple[str, ...]
    farewell: str
    apology: str
    filler: tuple[str, ...]
    time_warning: str
    time_up: str
    giving_up: str
    no_information: str
    reconnected: str
    busy: str
    variables: Mapping[str, str]
    """The cleaned values, by the names templates know them by."""


def load_contexts(folder: Path, tools: KnownTools | None = None) -> dict[str, Context]:
    """Every `*.yaml` of `folder` by its name. Raises one `ConfigError` with all complaints, each with file and line.

    `tools` are those of the settings; None: what contexts say of tools is not checked.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(f"{folder}: no context here; put a persona into {folder / 'default.yaml'}")
    contexts: dict[str, Context] = {}
    documents: dict[str, Document] = {}
    complaints: list[str] = []
    for file in files:
        try:
            documents[file.stem] = document = read_document(file)
            contexts[file.stem] = validate(Context, document)
        except ConfigError as error:
            complaints.append(str(error))
    if not complaints:
        complaints = list(_do_not_go_together(contexts, documents))
        if tools is not None:
            complaints += [*_unknown_tools(contexts, documents, tools), *wrong_hooks(contexts, documents, tools)]
    if complaints:
        raise ConfigError("\n".join(complaints))
    return contexts


class KnownTools(KnownHooks, Protocol):
    """The tools of the settings, by their names."""

    @property
    def names(self) -> tuple[str, ...]: ...
    def knows(self, name: str) -> bool: ...


def _unknown_tools(
    contexts: Mapping[str, Context], documents: Mapping[str, Document], tools: KnownTools
) -> Iterator[str]:
    for name, context in contexts.items():
        for position, tool in enumerate(context.tools):
            if tools.knows(tool):
                continue
            near = difflib.get_close_matches(tool, tools.names, n=1, cutoff=0.5)
            there = f"there are {', '.join(sorted(tools.names))}" if tools.names else "the settings have none"
            hint = f"did you mean {near[0]!r}?" if near else there
            yield f"{documents[name].where(('tools', position))}: `tools`: no tool named {tool!r}; {hint}"


def _do_not_go_together(contexts: Mapping[str, Context], documents: Mapping[str, Document]) -> Iterator[str]:
    """Complaints about what one context says of another, and about variables that have no value in any call."""
    for name, position, owner in twice(dialed_entries(contexts)):
        where = documents[name].where(("dialed_numbers", position))
        number = contexts[name].dialed_numbers[position]
        yield f"{where}: `dialed_numbers`: {number} is in the context {owner!r} already; take it out of one"
    closed_by_hours = {context.closed_context for context in contexts.values()}
    for name, context in contexts.items():
        document = documents[name]
        if context.closed_context is not None and context.closed_context not in contexts:
            try:
                find_context(contexts, context.closed_context)
            except ConfigError as error:
                yield f"{document.where(('closed_context',))}: `closed_context`: {error}"
        if context.closed_context == name:
            yield f"{document.where(('closed_context',))}: `closed_context`: is this context; name another"
        has_hours = context.hours is not None or name in closed_by_hours
        for key, text in context.texts():
            for variable in sorted(Template.parse(text).variables):
                if variable in HOURS_VARIABLES and not has_hours:
                    yield f"{document.where((key,))}: `{key}` holds {{{variable}}}, but no `hours` lead to this context"
                if variable in (*HOURS_VARIABLES, *PART_VARIABLES) and words_of(context.language) is None:
                    yield (
                        f"{document.where((key,))}: `{key}` holds {{{variable}}}, for which there are no words in the "
                        f"language {context.language!r}"
                    )


def dialed_entries(contexts: Mapping[str, Context]) -> dict[str, list[DialedNumber]]:
    """The dialled numbers of all contexts, parsed."""
    return {name: [DialedNumber.parse(text) for text in context.dialed_numbers] for name, context in contexts.items()}


def find_context(contexts: Mapping[str, Context], name: str) -> Context:
    """The context of that name. Raises `ConfigError` that names the nearest one there is."""
    if name in contexts:
        return contexts[name]
    near = difflib.get_close_matches(name, contexts, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(contexts))}"
    raise ConfigError(f"no context named {name!r}; {hint}")
