"""Which line a call gets of what the dialplan asks for, and what is told of a value that cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.media.line_choice import READY_PROFILES, LineChoice, Misfit, choose_line
from ai_engine.media.line_formats import LINE_FORMATS, format_beside

CONFIGURED = LineChoice("rtp", "ulaw", "auto")
PROFILES = {
    "telephony": LineChoice("rtp", "ulaw", "auto"),
    "wide": LineChoice("websocket", "slin16", "auto"),
    "lobby": LineChoice("rtp", "alaw", "always"),
}
PROFILE, TRANSPORT, FORMAT = "AI_AUDIO_PROFILE", "AI_TRANSPORT", "AI_TRANSPORT_FORMAT"

CHOICES = {
    "nothing asked": ({}, "rtp/ulaw"),
    "empty is nothing": ({PROFILE: "", TRANSPORT: " ", FORMAT: ""}, "rtp/ulaw"),
    "other variables do not matter": ({"AI_CONTEXT": "websocket"}, "rtp/ulaw"),
    "a profile": ({PROFILE: "wide"}, "websocket/slin16"),
    "a transport keeps the format it can": ({TRANSPORT: "websocket"}, "websocket/ulaw"),
    "or one as wide": ({TRANSPORT: "audiosocket"}, "audiosocket/slin"),
    "a profile's width is kept too": ({PROFILE: "wide", TRANSPORT: "audiosocket"}, "audiosocket/slin16"),
    "a format of the configured transport": ({FORMAT: "alaw"}, "rtp/alaw"),
    "transport and format": ({TRANSPORT: "websocket", FORMAT: "slin16"}, "websocket/slin16"),
    "all three": ({PROFILE: "lobby", TRANSPORT: "audiosocket", FORMAT: "slin16"}, "audiosocket/slin16"),
    "case and blanks": ({TRANSPORT: " WebSocket ", FORMAT: "SLIN16"}, "websocket/slin16"),
}


@pytest.mark.parametrize(("variables", "expected"), CHOICES.values(), ids=CHOICES.keys())
def test_what_the_dialplan_asks_for(variables: dict[str, str], expected: str) -> None:
    choice, misfits = choose_line(variables, CONFIGURED, PROFILES)
    assert (str(choice), misfits) == (expected, [])


MISFITS = {
    "unknown profile": ({PROFILE: "hifi"}, "rtp/ulaw", [Misfit(PROFILE, "hifi", ("telephony", "wide", "lobby"))]),
    "unknown transport": (
        {TRANSPORT: "iax", FORMAT: "alaw"},
        "rtp/alaw",
        [Misfit(TRANSPORT, "iax", ("rtp", "audiosocket", "websocket"))],
    ),
    "a format that is only heard": (
        {FORMAT: "slin16"},
        "rtp/ulaw",
        [Misfit(FORMAT, "slin16", tuple(LINE_FORMATS["rtp"]))],
    ),
    "ulaw over AudioSocket": (
        {TRANSPORT: "audiosocket", FORMAT: "ulaw"},
        "audiosocket/slin",
        [Misfit(FORMAT, "ulaw", ("slin", "slin16"))],
    ),
    "a good transport beside a bad profile": (
        {PROFILE: "hifi", TRANSPORT: "websocket"},
        "websocket/ulaw",
        [Misfit(PROFILE, "hifi", ("telephony", "wide", "lobby"))],
    ),
}


@pytest.mark.parametrize(("variables", "expected", "told"), MISFITS.values(), ids=MISFITS.keys())
def test_what_cannot_be_is_told_and_the_rest_stands(
    variables: dict[str, str], expected: str, told: list[Misfit]
) -> None:
    choice, misfits = choose_line(variables, CONFIGURED, PROFILES)
    assert (str(choice), misfits) == (expected, told)


def test_a_profile_says_how_echo_is_treated_and_a_transport_does_not() -> None:
    choice, _ = choose_line({PROFILE: "lobby", TRANSPORT: "websocket"}, CONFIGURED, PROFILES)
    assert choice == LineChoice("websocket", "alaw", "always")


def test_the_log_names_variable_value_and_what_may_be_written() -> None:
    _, [misfit] = choose_line({TRANSPORT: "Iax2"}, CONFIGURED, PROFILES)
    assert misfit.facts == {
        "variable": "AI_TRANSPORT",
        "value": "Iax2",
        "may_be": "rtp, audiosocket, websocket",
    }


_values = st.one_of(
    st.text(max_size=12),
    st.sampled_from([*PROFILES, *LINE_FORMATS, *(name for formats in LINE_FORMATS.values() for name in formats)]),
)


@given(st.dictionaries(st.sampled_from([PROFILE, TRANSPORT, FORMAT]), _values))
def test_whatever_is_written_the_call_gets_a_line_that_works(variables: dict[str, str]) -> None:
    choice, misfits = choose_line(variables, CONFIGURED, PROFILES)
    assert choice.media_format in LINE_FORMATS[choice.transport]
    assert choice.audio_format == LINE_FORMATS[choice.transport][choice.media_format]
    assert {misfit.variable for misfit in misfits} <= set(variables)


@pytest.mark.parametrize("profile", READY_PROFILES)
def test_each_ready_profile_is_a_pair_that_works_both_ways(profile: str) -> None:
    transport, media_format = READY_PROFILES[profile]
    assert media_format in LINE_FORMATS[transport]
    assert LINE_FORMATS[transport][media_format].sample_rate_hz == (16000 if profile.startswith("wideband") else 8000)


@pytest.mark.parametrize("transport", LINE_FORMATS)
@pytest.mark.parametrize("media_format", {name for formats in LINE_FORMATS.values() for name in formats})
def test_another_transport_keeps_the_width(transport: str, media_format: str) -> None:
    rate_hz = next(f[media_format].sample_rate_hz for f in LINE_FORMATS.values() if media_format in f)
    beside = format_beside(transport, media_format)
    rates = {audio.sample_rate_hz for audio in LINE_FORMATS[transport].values()}
    assert beside in LINE_FORMATS[transport]
    assert rate_hz not in rates or LINE_FORMATS[transport][beside].sample_rate_hz == rate_hz
