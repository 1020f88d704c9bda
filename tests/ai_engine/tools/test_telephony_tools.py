"""What the telephony tools offer a model, and what follows when it calls them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.conversation.decisions import HangUp, Transfer
from ai_engine.destinations import Target
from ai_engine.settings import ToolSettings
from ai_engine.tools.call_control import Consultation
from ai_engine.tools.registry import TOOLS, Toolbox, ToolServices
from ai_engine.tools.runner import ToolRunner
from ai_engine.tools.telephony_sentences import _SENTENCES, sentence, words_of_decision
from ai_engine.tools.tool import Later, ToolCallScope, ToolResult
from voice_core.set_phrases import SetPhrase, SetPhrases

DESTINATIONS: dict[str, Any] = {
    "sales": {"extension": "600", "dialplan_context": "internal", "description": "orders and prices"},
    "support": {"kind": "queue", "extension": "support", "spoken": "our help desk"},
    "ann": {"extension": "601", "endpoint": "PJSIP/601"},
}
OUTSIDE = {"kind": "outside", "numbers": ["0Z."]}


@dataclass
class Line:
    """`CallControl`, written down."""

    extensions: set[str] = field(default_factory=lambda: {"600", "601", "support", "0301234", "s"})
    status: str = "available"
    keys: list[str] = field(default_factory=list)
    asked: list[Target] = field(default_factory=list)
    consultations: list[Consultation] = field(default_factory=list)

    async def send_dtmf(self, digits: str) -> None:
        self.keys.append(digits)

    async def dialplan_has(self, extension: str, dialplan_context: str = "") -> bool:
        return extension in self.extensions

    async def extension_status(self, target: Target) -> str:
        self.asked.append(target)
        return self.status

    async def consult(self, consultation: Consultation) -> None:
        self.consultations.append(consultation)


def entry(kind: str, options: dict[str, Any] | None = None) -> ToolSettings:
    """Of the configuration's `tools:`."""
    return ToolSettings(kind=kind, options=options or {})


async def use(kind: str, options: dict[str, Any], arguments: dict[str, Any], line: Line, **scope: Any) -> ToolResult:
    """As a call does it: through toolbox and runner."""
    toolbox = Toolbox({"it": entry(kind, options)}, ToolServices(), TOOLS)
    defaults = {"context": "x", "caller_number": "0401", "caller_name": "Bo", "dialed_number": "700", "language": "en"}
    call = ToolCallScope(call_id="1", line=line, **{**defaults, **scope})
    return await ToolRunner(toolbox.allowed(["it"])).run("it", arguments, call)


async def test_a_blind_transfer_tells_the_caller_and_then_sends_him_on() -> None:
    result = await use("blind_transfer", {"destinations": DESTINATIONS}, {"destination": "support"}, Line())
    assert result.ok
    assert result.say == "I will put you through to our help desk. One moment, please."
    assert result.then == Transfer("support", "", "tool it: support")


async def test_a_blind_transfer_says_what_the_configuration_wants_said() -> None:
    options = {"destinations": DESTINATIONS, "say": "Off to {name}!"}
    result = await use("blind_transfer", options, {"destination": "sales"}, Line())
    assert result.say == "Off to sales!"
    assert result.then == Transfer("600", "internal", "tool it: sales")


@pytest.mark.parametrize("kind", ["blind_transfer", "attended_transfer", "extension_status"])
async def test_a_destination_that_is_not_configured_reaches_nothing(kind: str) -> None:
    line = Line()
    arguments = {"destination": "PJSIP/666", **({"about": "x"} if kind == "attended_transfer" else {})}
    result = await use(kind, {"destinations": DESTINATIONS}, arguments, line)
    assert not result.ok
    assert result.then is None
    assert line == Line()


@pytest.mark.parametrize("kind", ["blind_transfer", "attended_transfer"])
async def test_an_extension_that_the_dialplan_does_not_have_is_not_tried(kind: str) -> None:
    """The caller would be hung up on."""
    arguments = {"destination": "sales", **({"about": "x"} if kind == "attended_transfer" else {})}
    result = await use(kind, {"destinations": DESTINATIONS}, arguments, Line(extensions=set()))
    assert not result.ok
    assert result.then is None
    assert "no extension" in result.text


@pytest.mark.parametrize(("number", "extension"), [("030 1234", "0301234"), ("0900 1", None), ("", None)])
async def test_a_number_outside_is_dialled_by_rule(number: str, extension: str | None) -> None:
    outside = {**OUTSIDE, "except_numbers": ["0900."]}
    arguments = {"destination": "outside", **({"number": number} if number else {})}
    result = await use("blind_transfer", {"destinations": {"outside": outside}}, arguments, Line())
    assert result.then == (Transfer(extension, "", "tool it: outside") if extension else None)


async def test_an_attended_transfer_asks_the_colleague_after_the_caller_was_told() -> None:
    line = Line()
    options = {
        "destinations": DESTINATIONS,
        "ring_s": 12,
        "music_class": "jazz",
        "briefing": "Call from {caller_name}, {caller_number}. {about}",
    }
    arguments = {"destination": "ann", "about": "He wants\n to return a bicycle."}
    result = await use("attended_transfer", options, arguments, line)
    assert result.say == "I will see whether ann can take your call. Please hold the line."
    assert line.consultations == []
    assert isinstance(result.then, Later)
    await result.then.run()
    (asked,) = line.consultations
    assert asked.target == Target("ann", "ann", "601", "", "PJSIP/601")
    assert asked.briefing == (
        "Call from Bo, 0401. He wants to return a bicycle. Press 1 to take the call, or 2 to decline it."
    )
    assert (asked.ring_s, asked.decide_s, asked.music_class) == (12, 60, "jazz")


async def test_without_the_extension_that_joins_nobody_is_asked() -> None:
    """The caller would be hung up on when the colleague accepts."""
    arguments = {"destination": "ann", "about": "x"}
    result = await use("attended_transfer", {"destinations": DESTINATIONS}, arguments, Line(extensions={"601"}))
    assert not result.ok
    assert result.then is None


async def test_a_call_ends_after_a_farewell() -> None:
    result = await use("hang_up", {}, {}, Line(), language="de-AT")
    assert result.say == "Vielen Dank für Ihren Anruf. Auf Wiederhören."
    assert result.then == HangUp("tool it")
    assert (await use("hang_up", {}, {"farewell": "See you on Monday!"}, Line())).say == "See you on Monday!"
    assert (await use("hang_up", {"farewell": "Bye."}, {"farewell": "See you!"}, Line())).say == "Bye."


@pytest.mark.parametrize(("digits", "sent"), [("12w#", ["12w#"]), ("12;rm", []), ("", []), ("1" * 21, [])])
async def test_keys_are_pressed_if_they_are_keys(digits: str, sent: list[str]) -> None:
    line = Line()
    result = await use("send_dtmf", {}, {"digits": digits}, line)
    assert result.ok is bool(sent)
    assert line.keys == sent


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("available", "ann is free."),
        ("busy", "ann is on another call."),
        ("ringing", "The telephone of ann is ringing."),
        ("unreachable", "ann cannot be reached: the telephone is not connected."),
        ("unknown", "It is not known whether ann can be reached."),
    ],
)
async def test_the_model_learns_how_a_telephone_is(status: str, told: str) -> None:
    line = Line(status=status)
    result = await use("extension_status", {"destinations": DESTINATIONS}, {"destination": "ann"}, line)
    assert result.text == told
    assert line.asked == [Target("ann", "ann", "601", "", "PJSIP/601")]


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("blind_transfer", {}, "destinations"),
        ("blind_transfer", {"destinations": {}}, "destinations"),
        ("blind_transfer", {"destinations": DESTINATIONS, "ring": 3}, "unknown option `ring`"),
        ("attended_transfer", {"destinations": DESTINATIONS, "rings_s": 3}, "did you mean `ring_s`"),
        ("extension_status", {"destinations": {"o": OUTSIDE}}, "nothing is known of numbers outside"),
        ("hang_up", {"say": "Bye"}, "unknown option `say`"),
    ],
)
def test_options_that_do_nothing_are_refused(kind: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Toolbox({"it": entry(kind, options)}, ToolServices(), TOOLS)


def test_every_language_has_every_sentence() -> None:
    for language, sentences in _SENTENCES.items():
        assert sentences.keys() == _SENTENCES["en"].keys(), language
    assert sentence("busy", "pt", "Ann") == sentence("busy", "en", "Ann")


@pytest.mark.parametrize("language", [*_SENTENCES, "pt"])
def test_a_colleagues_yes_and_no_are_understood(language: str) -> None:
    """Whatever is neither goes to nobody: no phrase accepts and declines at once."""
    accepts, declines = words_of_decision(language)
    phrases = SetPhrases([SetPhrase("accept", accepts), SetPhrase("decline", declines)], language)
    plain = [pattern for pattern in (*accepts, *declines) if not set(pattern) & set("[]()|")]
    for pattern in plain:
        assert phrases.match(pattern) == ("accept" if pattern in accepts else "decline"), pattern
