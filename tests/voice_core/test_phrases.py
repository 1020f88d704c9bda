"""Replies become phrases: an early first one, whole figures and names, the same however the text arrived."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voice_core.phrases import Phrase, PhraseCutter, speakable


def phrases_of(text: str, pieces: list[str] | None = None, **options) -> list[Phrase]:
    cutter = PhraseCutter(**options)
    phrases = [phrase for piece in (pieces or [text]) for phrase in cutter.feed(piece)]
    return phrases + cutter.end()


def texts_of(text: str, **options) -> list[str]:
    return [phrase.text for phrase in phrases_of(text, **options)]


@pytest.mark.parametrize(
    ("reply", "phrases"),
    [
        ("", []),
        ("  \n ", []),
        ("Yes.", ["Yes."]),
        ("Yes. We are open today.", ["Yes.", "We are open today."]),
        ("Of course, we are open.", ["Of course, we are open."]),
        ("We are open today, and you can come by.", ["We are open today,", "and you can come by."]),
        ("You can come by today and ask for Ann.", ["You can come by today", "and ask for Ann."]),
        ("Let me see: the shop opens at nine.", ["Let me see:", "the shop opens at nine."]),
        (
            "Our little shop has served this neighbourhood with fresh bread since nineteen twenty.",
            ["Our little shop has served this neighbourhood with fresh bread", "since nineteen twenty."],
        ),
        ("Hello! I can help. Ask me. Anything you like.", ["Hello!", "I can help.", "Ask me. Anything you like."]),
        ("We sell:\n- bread\n- cakes\n", ["We sell:", "bread", "cakes"]),
        ("Two things:\n1. Bread rolls\n2. Cakes", ["Two things:", "1. Bread rolls", "2. Cakes"]),
        ("No. We are closed.", ["No.", "We are closed."]),
        ("Well... I am not sure.", ["Well... I am not sure."]),
        ('She said "hello." Then she left.', ['She said "hello."', "Then she left."]),
    ],
)
def test_where_phrases_end(reply, phrases):
    assert texts_of(reply) == phrases


WHOLE = [
    "$12.50",
    "3.30 p.m.",
    "3:30 PM",
    "10 a.m.",
    "Dr. Smith",
    "Mrs. J. Miller",
    "ann.lee@example.com",
    "https://example.com/a.b?c=1,2",
    "e.g. bread",
    "i.e. bread",
    "1,234.56",
    "St. Mary",
    "99.9",
    "555 0123",
    "www.example.com",
    "ext. 12",
    "(call us first, please)",
]


@pytest.mark.parametrize("whole", WHOLE)
@pytest.mark.parametrize("before", range(0, 30, 1))
def test_what_belongs_together_is_never_cut(whole, before):
    reply = "word " * before + whole + " and so on and so on for a while, until it ends."
    assert any(whole in text for text in texts_of(reply)), texts_of(reply)


def test_a_sentence_may_end_with_an_abbreviation():
    assert texts_of("We close at 5 p.m. Please come early.") == ["We close at 5 p.m.", "Please come early."]
    assert texts_of("We are at 9 Park Ave. You can park here.") == ["We are at 9 Park Ave.", "You can park here."]
    assert texts_of("Come at 5 p.m. Monday please.") == ["Come at 5 p.m. Monday please."]


def test_the_first_phrase_comes_while_the_reply_is_being_written():
    cutter = PhraseCutter()
    words = ["You", "can", "come", "by", "today", "and", "ask", "for", "Ann", "at", "the", "desk."]
    came = [i for i, word in enumerate(words) if cutter.feed(word + " ")]
    assert came[0] == 5


def test_phrases_without_any_stop_are_bounded():
    phrases = phrases_of("blah " * 200, first_words=5, max_words=20)
    assert len(phrases[0].text.split()) == 10
    assert max(len(phrase.text.split()) for phrase in phrases) == 20


def test_offsets_are_of_the_raw_reply():
    reply = "  <think>hm, what?</think> **Sure!** We open at *nine*, [pause] every day. 😀 "
    phrases = phrases_of(reply)
    assert [phrase.text for phrase in phrases] == ["Sure!", "We open at nine, every day."]
    for phrase in phrases:
        assert speakable(reply[phrase.start : phrase.end]) == phrase.text
    assert reply[phrases[1].start : phrases[1].end].startswith("We open at *nine*")


def test_nothing_is_spoken_of_reasoning_that_never_ends():
    cutter = PhraseCutter()
    assert cutter.feed("<think>The caller wants bread. I should say yes. ") == []
    assert cutter.end() == []


@pytest.mark.parametrize("wrong", [{"first_words": 0}, {"first_words": 9, "max_words": 8}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="first_words"):
        PhraseCutter(**wrong)


FRAGMENTS = [
    *WHOLE,
    *["Yes.", "No.", "well,", "and", "but", "the", "word", "bread", "1.", "-", "—", "*laughs*", "[pause]", "(laughs)"],
    *[
        "<think>",
        "</think>",
        "<|im_end|>",
        "<|",
        "<",
        "[link](http://x.y)",
        "[",
        "]",
        "(",
        ")",
        "*",
        "**",
        "_",
        "`",
        "\n",
    ],
    *["😀", "...", "Monday", "It", "p.m.", "?", "!"],
]
REPLIES = st.lists(
    st.tuples(st.sampled_from(FRAGMENTS), st.sampled_from([" ", " ", " ", "", "\n", "  "])), max_size=40
).map(lambda parts: "".join(a + b for a, b in parts)) | st.text(max_size=120)


@given(reply=REPLIES, cuts=st.lists(st.integers(0, 10_000), max_size=20), one_by_one=st.booleans())
@example(reply="a [b](c) d", cuts=[], one_by_one=True)
@example(reply="a <th", cuts=[], one_by_one=True)
def test_phrases_do_not_depend_on_how_the_text_arrived(reply, cuts, one_by_one):
    edges = sorted({0, len(reply), *(range(len(reply)) if one_by_one else (c % (len(reply) + 1) for c in cuts))})
    pieces = [reply[a:b] for a, b in itertools.pairwise(edges)]
    assert phrases_of(reply, pieces) == phrases_of(reply)


@given(reply=REPLIES)
def test_phrases_are_in_order_disjoint_and_what_their_offsets_say(reply):
    at = 0
    for phrase in phrases_of(reply):
        assert at <= phrase.start < phrase.end <= len(reply)
        assert phrase.text == speakable(reply[phrase.start : phrase.end]) != ""
        at = phrase.end


@given(
    words=st.lists(
        st.sampled_from(["bread", "Yes.", "well,", "and", "$12.50", "Dr.", "p.m.", "today", "7"]), max_size=60
    )
)
def test_every_plain_word_is_spoken_once_and_in_order(words):
    reply = " ".join(words)
    assert " ".join(texts_of(reply)).split() == words


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("plain text, as it is: $5.", "plain text, as it is: $5."),
        ("**bold** and *light* and `code`", "bold and light and code"),
        ("# Opening hours\nNine to five", "Opening hours Nine to five"),
        ("> quoted", "quoted"),
        ("- one\n* two\n• three", "one two three"),
        ("See [our page](https://example.com/x).", "See our page."),
        ("*laughs* Sure!", "Sure!"),
        ("Well, *clears throat*, yes.", "Well, yes."),
        ("*softly laughs* Sure!", "Sure!"),
        ("(laughs) Sure (it is free)!", "Sure (it is free)!"),
        ("[pause] Yes [laughter].", "Yes."),
        ("Done.<|im_end|>", "Done."),
        ("Done.</s>", "Done."),
        ("Done.<|im_e", "Done."),
        ("<think>\nsecret\n</think>\n\nHi", "Hi"),
        ("<think>secret", ""),
        ("Great! 😀👍🏽 ❤️ 🇩🇪", "Great!"),
        ("5 * 3 and 5*3 and snake_case and a_b@example.com", "5 * 3 and 5*3 and snake_case and a_b@example.com"),
        ("---", ""),
        ("...", ""),
        ("😀", ""),
        ("Café — naïve “quotes” 12 €", "Café — naïve “quotes” 12 €"),
    ],
)
def test_only_what_is_for_the_ear_is_spoken(text, spoken):
    assert speakable(text) == spoken


@given(text=REPLIES)
def test_cleaning_twice_changes_nothing(text):
    assert speakable(speakable(text)) == speakable(text)
