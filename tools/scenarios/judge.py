"""Was a conversation as its scenario expects? The same question for both modes, asked of what was observed.

`Observed` is filled in by whoever ran the scenario. The order of `happened` is that in which the engine tells of
things: a caller's turn when its answer begins to sound, an agent's turn when it ends, an interruption after the agent's
turn that it cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tools.scenarios.model import Expect, Happening, Mode, Outcome, Scenario, plain
from voice_core.words import tokens

_DIGIT_WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_HALF_OF_THE_WORDS: Final = 0.5
_DIGITS: Final = {word: str(digit) for digit, word in enumerate(_DIGIT_WORDS)}
_OVER_BY_S: Final = 0.2
"""Less than this at the edges of what the caller says is no talking over him."""


@dataclass(frozen=True, slots=True)
class CallerTurn:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class AgentTurn:
    at: float
    """When it was told of, which is when it was over."""
    text: str
    """What was heard of it."""
    interrupted: bool
    began: float | None
    """Its first sound."""
    kind: str = "answer"
    """`answer`, or what the persona said by itself: `greeting`, `filler`, `apology` …"""


@dataclass(frozen=True, slots=True)
class StateChange:
    at: float
    state: str
    detail: str = ""


Happened = CallerTurn | AgentTurn | StateChange


@dataclass(slots=True)
class Observed:
    """One conversation. Times are seconds on any one clock."""

    began: float
    happened: list[Happened] = field(default_factory=list)
    spoken: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of each stretch of the caller's speech."""
    agent_silent_at: list[tuple[float, float]] = field(default_factory=list)
    """Of each interruption by voice: the caller's beginning, the agent's last sound."""
    outcome: Outcome = "talking"
    history: tuple[str, ...] | None = None
    words_kept_percent: float | None = None
    broken: list[str] = field(default_factory=list)
    """What went wrong in running it: waits that came to nothing, invariants that did not hold."""

    def turns(self) -> list[AgentTurn]:
        return [turn for turn in self.happened if isinstance(turn, AgentTurn)]

    def states(self, state: str) -> list[StateChange]:
        return [change for change in self.happened if isinstance(change, StateChange) and change.state == state]


def complaints(scenario: Scenario, observed: Observed, mode: Mode) -> list[str]:
    """What is not as expected, one sentence each; empty when all is well."""
    expect = scenario.expect
    found = [*observed.broken, *_in_order(scenario, observed, mode), *_never(expect, observed), *_always(observed)]
    told = [turn.text for turn in observed.happened if isinstance(turn, CallerTurn)]
    if expect.caller_turns is not None and len(told) != expect.caller_turns:
        found.append(f"the caller had {len(told)} turns, not {expect.caller_turns}: {told}")
    if observed.outcome != expect.outcome:
        found.append(f"it came out as {observed.outcome}, not {expect.outcome}")
    if mode == "real":
        return found
    if expect.history is not None and observed.history != expect.history:
        found.append(f"the history is {list(observed.history or ())}, not {list(expect.history)}")
    if expect.silent_within_ms is not None:
        late = [round(1000 * (end - begin)) for begin, end in observed.agent_silent_at]
        found += [f"the agent fell silent after {ms} ms" for ms in late if ms > expect.silent_within_ms]
        if not late:
            found.append("the agent was never interrupted by voice")
    kept = observed.words_kept_percent
    if expect.words_kept_percent is not None and kept is not None and kept < expect.words_kept_percent:
        found.append(
            f"{kept:.0f} % of the caller's words reached the recogniser, not {expect.words_kept_percent:.0f} %"
        )
    return found


# --- in order ---------------------------------------------------------------------------------------------------------


def _in_order(scenario: Scenario, observed: Observed, mode: Mode) -> Iterator[str]:
    rest = list(observed.happened)
    for number, wanted in enumerate(scenario.expect.in_order, start=1):
        index = next((i for i, one in enumerate(rest) if _fits(scenario, wanted, one, mode)), None)
        if index is None:
            nearest = ", ".join(_words_of(one) for one in rest if _same_kind(wanted, one)) or "nothing of the kind"
            yield f"expectation {number} ({_wish(wanted)}) did not come in its place; there was {nearest}"
            return
        found, rest = rest[index], rest[index + 1 :]
        if mode == "virtual":
            yield from _in_time(number, wanted, found, observed)


def _fits(scenario: Scenario, wanted: Happening, one: Happened, mode: Mode) -> bool:
    if not _same_kind(wanted, one):
        return False
    if isinstance(one, CallerTurn):
        return _same_words(wanted.caller or "", wanted.keywords, one.text, mode)
    if isinstance(one, StateChange):
        return one.state == wanted.state
    if wanted.interrupted is not None and one.interrupted != wanted.interrupted:
        return False
    text = wanted.agent or ""
    if mode == "real" and not scenario.persona.says(text):
        return one.kind == "answer"
    return f" {plain(text)} " in f" {plain(one.text)} " or not plain(text)


def _same_kind(wanted: Happening, one: Happened) -> bool:
    kind = CallerTurn if wanted.caller is not None else AgentTurn if wanted.agent is not None else StateChange
    return isinstance(one, kind)


def _same_words(said: str, keywords: Sequence[str], heard: str, mode: Mode) -> bool:
    if mode == "virtual":
        return plain(heard) == plain(said)
    if keywords:
        return all(plain(keyword) in plain(heard) for keyword in keywords)
    wanted, found = list(with_digits(said)), set(with_digits(heard))
    return sum(word in found for word in wanted) >= _HALF_OF_THE_WORDS * len(wanted)


def with_digits(text: str) -> Iterator[str]:
    """The words, numbers digit by digit however the recogniser writes them: 'four seven', '4 7' and '47' alike."""
    for word in tokens(text):
        if word.isdigit():
            yield from word
        else:
            yield _DIGITS.get(word, word)


def _in_time(number: int, wanted: Happening, found: Happened, observed: Observed) -> Iterator[str]:
    if wanted.within_ms is None and wanted.not_before_ms is None:
        return
    if isinstance(found, AgentTurn):
        at = found.began if found.began is not None else found.at
        since = max((end for _, end in observed.spoken if end <= at), default=observed.began)
    else:
        at = found.at
        since = max((begin for begin, _ in observed.spoken if begin <= at), default=observed.began)
    ms = 1000 * (at - since)
    if wanted.within_ms is not None and ms > wanted.within_ms + 0.5:
        yield f"expectation {number} ({_wish(wanted)}) came after {ms:.0f} ms, not within {wanted.within_ms:.0f}"
    if wanted.not_before_ms is not None and ms < wanted.not_before_ms - 0.5:
        yield f"expectation {number} ({_wish(wanted)}) came after {ms:.0f} ms already, not {wanted.not_before_ms:.0f}"


def _wish(wanted: Happening) -> str:
    if wanted.caller is not None:
        return f"caller: {wanted.caller}"
    if wanted.agent is not None:
        how = "" if wanted.interrupted is None else ", interrupted" if wanted.interrupted else ", not interrupted"
        return f"agent: {wanted.agent}{how}"
    return f"state: {wanted.state}"


def _words_of(one: Happened) -> str:
    if isinstance(one, StateChange):
        return one.state
    if isinstance(one, AgentTurn) and one.interrupted:
        return f"{one.text!r} (interrupted)"
    return repr(one.text)


# --- never ------------------------------------------------------------------------------------------------------------


def _never(expect: Expect, observed: Observed) -> Iterator[str]:
    states = {"interrupted": "barge_in", "paused": "paused", "took_back": "took_back"}
    for what in expect.never:
        if what in states:
            for change in observed.states(states[what]):
                yield f"never {what}, but so it was at {change.at - observed.began:.2f} s ({change.detail})"
        elif what == "talked_over":
            for turn in _over_the_caller(observed):
                yield f"the agent began to say {turn.text!r} while the caller was speaking"
        elif what in ("apology", "filler"):
            for turn in observed.turns():
                if turn.kind == what:
                    yield f"never {what}, but it was said: {turn.text!r}"
        elif what == "agent_spoke":
            for turn in observed.turns():
                if turn.began is not None:
                    yield f"the agent was to say nothing, and said {turn.text!r}"
        elif what == "hung_up" and observed.outcome in ("agent_hung_up", "fell_back", "transferred"):
            yield "the agent hung up"


def _over_the_caller(observed: Observed) -> Iterator[AgentTurn]:
    for turn in observed.turns():
        began = turn.began
        if began is not None and any(a + _OVER_BY_S < began < b - _OVER_BY_S for a, b in observed.spoken):
            yield turn


def _always(observed: Observed) -> Iterator[str]:
    filled = False
    for turn in observed.turns():
        if turn.kind == "filler":
            if filled:
                yield "two fillers without an answer between them"
            filled = True
        else:
            filled = False
    for turn in _over_the_caller(observed):
        if turn.kind == "filler":
            yield "a filler was said over the caller"
