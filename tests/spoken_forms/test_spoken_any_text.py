"""Whatever text there is, in any language: a text comes out, no word is lost, and it does not take long."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spoken_forms.spoken_form import LANGUAGES, spoken_form

LANGUAGE = st.sampled_from([*LANGUAGES, "xx"])
WORDS = ["window", "Fenster", "ventana", "fenêtre", "finestra", "janela", "venster", "窓", "نافذة", "खिड़की"]
FRAGMENTS = [
    *["5", "1", "0", "21", "100", "1,234.56", "1.234,56", "12 500", "1984", "2026", "007", "99999999999999999999"],
    *["$5", "€5", "5 €", "$", "€", "£3", "-5", "+7", "±2", "5%", "%", "20 °C", "°", "5 km", "5 min.", "1 h", "9h30"],
    *["9:30", "9:30 pm", "9am", "p.m.", "a. m.", "17:45 Uhr", "9–5", "9-17", "24/7", "1/2", "11/21", "½", "1½", "/"],
    *["2026-11-21", "21.11.2026", "11/21/2026", "21.11.", "Nov 21st", "21. November", "1er mai", "3.", "1st", "2ª"],
    *["+49 30 123456", "(555) 123-4567", "555-0134", "1-800-555-0199", "PIN 1234", "#5", "#", "No. 5", "code", "A4"],
    *["info@example.com", "www.example.de/a-b", "https://x.y", "@", "&", "and/or", "A/B", "=", "+", "*", "~", "~5"],
    *["Dr.", "St.", "e.g.", "z. B.", "etc.", "Mon–Fri", "Mo", "M.", "n.º", "C/", "w/", "U.S.A.", "R$ 5", "5,-", "5 M"],
    *[".", ",", "-", "–", "—", "'", '"', "(", ")", "…", "!", "?", "\n", "\u00a0", "\u202f"],
]
TEXT = st.lists(st.sampled_from([*WORDS, *FRAGMENTS]), max_size=12).flatmap(
    lambda parts: st.sampled_from([" ", "", ", "]).map(lambda joint: joint.join(parts))
)


@settings(deadline=None)
@given(text=st.text(max_size=200) | TEXT, language=LANGUAGE)
@example(text="\ud800 5 €", language="de")
@example(text="٣ ٤ ५ ४", language="en")
@example(text="9" * 500, language="fr")
def test_any_text_gives_a_text(text, language):
    assert isinstance(spoken_form(text, language), str)


@settings(deadline=None)
@given(text=st.lists(st.sampled_from([*WORDS, *FRAGMENTS]), max_size=12).map(" ".join), language=LANGUAGE)
def test_no_word_is_lost_or_moved(text, language):
    spoken = [word for word in spoken_form(text, language).split() if word in WORDS]
    assert spoken == [word for word in text.split() if word in WORDS]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_in_words_stays(language):
    for fragment in FRAGMENTS:
        for text in (fragment, f"window {fragment} window", f"5 {fragment}."):
            spoken = spoken_form(text, language)
            assert spoken_form(spoken, language) == spoken


@settings(deadline=None)
@given(whole=st.integers(0, 10**15 - 1), cents=st.integers(0, 99), language=st.sampled_from(sorted(LANGUAGES)))
def test_every_price_is_said_without_figures(whole, cents, language):
    marks = ",." if LANGUAGES[language].decimal_comma else ".,"
    grouped = f"{whole:,}".replace(",", marks[1])
    for figure in (f"{grouped}{marks[0]}{cents:02}", grouped):
        for price in (f"€{figure}", f"{figure} €", f"${figure}"):
            assert not any(character.isdigit() or character in "$€" for character in spoken_form(price, language))


@settings(deadline=None)
@given(n=st.integers(0, 10**20), language=st.sampled_from(sorted(LANGUAGES)))
def test_every_number_is_said_without_figures(n, language):
    assert spoken_form(str(n), language).replace(" ", "").replace("-", "").replace(",", "").isalpha()


@settings(deadline=None)
@given(hour=st.integers(0, 23), minute=st.integers(0, 59), language=st.sampled_from(sorted(LANGUAGES)))
def test_every_time_of_day_is_said_without_figures(hour, minute, language):
    assert not any(character.isdigit() for character in spoken_form(f"{hour}:{minute:02}", language))


@settings(deadline=None)
@given(date=st.dates(), language=st.sampled_from(sorted(LANGUAGES)))
def test_every_date_is_said_without_figures(date, language):
    for written in (date.isoformat(), f"{date.day}.{date.month}.{date.year:04}"):
        assert not any(character.isdigit() for character in spoken_form(written, language))


HOSTILE = ["1", "1 ", "1.", "1,", "1-", "1/", "1:", "a@", "a.", "$1 ", "(1", "9–5 ", "www.", "A1-", "21.11.", "½",
           "1\u00a0", "12 345 678 ", "code 1", "№", "°", "Mon–", "1 de ", "1 €"]  # fmt: skip


@pytest.mark.timeout(100)
@pytest.mark.parametrize(("at", "piece"), list(enumerate(HOSTILE)))
def test_a_hundred_thousand_characters_made_to_hurt_do_not_hurt(at, piece):
    """Each takes about half a second. A pattern that tries every way of reading them would take hours."""
    text = piece * (100_000 // len(piece))
    assert len(spoken_form(text, ("en", "fr", "de")[at % 3])) >= len(text) // 4
