"""Replies become phrases: an early first one, whole figures and names, the same however the text arrived."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
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


LANGUAGES = [
    ("de", "Ja, gern. Um 9. Mai um 9 Uhr 30.", ["Ja, gern.", "Um 9. Mai um 9 Uhr 30."]),
    (
        "de",
        "Ihr Termin ist am 21. November 2026 um 9:30 Uhr bei Dr. Weber im 3. Stock.",
        ["Ihr Termin ist am 21. November 2026 um 9:30 Uhr", "bei Dr. Weber im 3. Stock."],
    ),
    (
        "de",
        "Wir haben z. B. Brot und ca. 20 Kuchen, aber keine Torten mehr.",
        ["Wir haben z. B. Brot", "und ca. 20 Kuchen, aber keine Torten mehr."],
    ),
    ("de", "Das kostet 1.234,50 Euro und mehr.", ["Das kostet 1.234,50 Euro", "und mehr."]),
    ("de", "Brot, Kuchen usw. Bitte kommen Sie.", ["Brot, Kuchen usw.", "Bitte kommen Sie."]),
    (
        "es",
        "¡Hola! ¿En qué puedo ayudarle? Abrimos a las 9 a. m. y cerramos a las 5 p. m. Venga cuando quiera.",
        ["¡Hola!", "¿En qué puedo ayudarle?", "Abrimos a las 9 a. m. y cerramos a las 5 p. m.", "Venga cuando quiera."],
    ),
    (
        "es",
        "La Sra. López vive en la Av. Mayor n.º 5, pero el Dr. Ruiz está en EE. UU. desde mayo.",
        ["La Sra. López vive en la Av. Mayor n.º 5,", "pero el Dr. Ruiz está en EE. UU. desde mayo."],
    ),
    ("fr", "Bonjour\u00a0! Cela coûte 12\u00a0500\u00a0€.", ["Bonjour!", "Cela coûte 12 500 €."]),
    ("fr", "Bonjour ! Ouvert de 9 h à 17 h 30.", ["Bonjour!", "Ouvert de 9 h à 17 h 30."]),
    (
        "fr",
        "M. Dupont et Mme Roche vous attendent au 3e étage parce que la salle est prise.",
        ["M. Dupont et Mme Roche vous attendent au 3e étage", "parce que la salle est prise."],
    ),
    (
        "it",
        "Certo, il Sig. Rossi arriva alle 17.30 e la Dott.ssa Verdi alle 18, ma non prima.",
        ["Certo, il Sig. Rossi arriva alle 17.30 e la Dott.ssa Verdi", "alle 18, ma non prima."],
    ),
    (
        "pt",
        "Claro, o Sr. Silva chega às 17h30 e a Dra. Costa às 18h, mas não antes.",
        ["Claro, o Sr. Silva chega às 17h30 e a Dra. Costa", "às 18h, mas não antes."],
    ),
    (
        "nl",
        "Natuurlijk, dhr. Jansen komt om 17.30 uur en mevr. De Vries om 18 uur, maar niet eerder.",
        ["Natuurlijk, dhr. Jansen komt om 17.30 uur", "en mevr. De Vries om 18 uur, maar niet eerder."],
    ),
    ("nl", "Dank u. Tot ziens.", ["Dank u.", "Tot ziens."]),
    (
        "zh",
        "您好！我们星期一到星期五上午九点到下午五点营业。请问还有什么可以帮您？",
        ["您好！", "我们星期一到星期五上午九点到下午五点营业。", "请问还有什么可以帮您？"],
    ),
    ("zh", "价格是3.5元，原价是1,234.50元。", ["价格是3.5元，", "原价是1,234.50元。"]),
    ("ja", "承知しました。営業時間は9時から17時です。", ["承知しました。", "営業時間は9時から17時です。"]),
    ("ja", "「こんにちは。」と言いました。", ["「こんにちは。」", "と言いました。"]),
    ("ko", "안녕하세요. 저희는 오전 아홉 시부터 영업합니다.", ["안녕하세요.", "저희는 오전 아홉 시부터 영업합니다."]),
    ("ar", "كيف يمكنني مساعدتك؟ نحن نعمل من التاسعة إلى الخامسة، كل يوم.",
     ["كيف يمكنني مساعدتك؟", "نحن نعمل من التاسعة إلى الخامسة، كل يوم."]),
    ("hi", "हम नौ बजे से खुले हैं। कृपया कल आइए ।", ["हम नौ बजे से खुले हैं।", "कृपया कल आइए ।"]),
    ("en", "We open 9 – 5 daily. Come by.", ["We open 9 – 5 daily.", "Come by."]),
    ("en", "On Monday, November 21, 2026, we are closed.", ["On Monday, November 21, 2026,", "we are closed."]),
    ("en", "It costs $ 19.99 or 20 % less. You can come at 5 p.m. Please call first.",
     ["It costs $ 19.99 or 20 % less.", "You can come at 5 p.m.", "Please call first."]),
]  # fmt: skip


@pytest.mark.parametrize(("language", "reply", "phrases"), LANGUAGES)
def test_where_phrases_end_in_other_languages(language, reply, phrases):
    assert texts_of(reply, language=language) == phrases


@pytest.mark.parametrize("letter", ["中", "あ", "ก"])
def test_a_script_without_spaces_and_marks_is_cut_all_the_same(letter):
    texts = texts_of(letter * 500, language="zh")
    assert "".join(texts) == letter * 500
    assert max(map(len, texts)) <= 100
    assert len(texts[0]) == 40


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
    *[
        "您好！",
        "，",
        "。",
        "」",
        "「",
        "中文",
        "3，000",
        "؟",
        "،",
        "।",
        "ก",
        "a. m.",
        "z. B.",
        "3.",
        "November",
        "€",
        "–",
    ],
    *["\u00a0", "\u202f", "«", "»", "12\u00a0500", "№", "Sr.", "Dott.ssa"],
]
REPLIES = st.lists(
    st.tuples(st.sampled_from(FRAGMENTS), st.sampled_from([" ", " ", " ", "", "\n", "  "])), max_size=40
).map(lambda parts: "".join(a + b for a, b in parts)) | st.text(max_size=120)


def test_a_stream_of_marks_holds_nothing_back():
    cutter = PhraseCutter(language="ja")
    assert [phrase.text for phrase in cutter.feed("承知しました" + "。" * 15)] == [], "another may come"
    assert [phrase.text for phrase in cutter.feed("。")] == ["承知しました" + "。" * 16]
    reply = "承知しました" + "。" * 3000 + "はい。"
    assert phrases_of(reply, list(reply), language="ja") == phrases_of(reply, language="ja")
    assert phrases_of(reply, language="ja")[-1].text.endswith("はい。")


@settings(deadline=None)
@given(
    reply=REPLIES,
    cuts=st.lists(st.integers(0, 10_000), max_size=20),
    one_by_one=st.booleans(),
    language=st.sampled_from(["en", "de", "fr", "es", "zh"]),
)
@example(reply="a [b](c) d", cuts=[], one_by_one=True, language="en")
@example(reply="a <th", cuts=[], one_by_one=True, language="en")
@example(reply="您好！」我们。", cuts=[], one_by_one=True, language="zh")
def test_phrases_do_not_depend_on_how_the_text_arrived(reply, cuts, one_by_one, language):
    edges = sorted({0, len(reply), *(range(len(reply)) if one_by_one else (c % (len(reply) + 1) for c in cuts))})
    pieces = [reply[a:b] for a, b in itertools.pairwise(edges)]
    assert phrases_of(reply, pieces, language=language) == phrases_of(reply, language=language)


@settings(deadline=None)
@given(reply=REPLIES)
def test_phrases_are_in_order_disjoint_and_what_their_offsets_say(reply):
    at = 0
    for phrase in phrases_of(reply):
        assert at <= phrase.start < phrase.end <= len(reply)
        assert phrase.text == speakable(reply[phrase.start : phrase.end]) != ""
        at = phrase.end


@settings(deadline=None)
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
        ("(lacht) Gern! *räuspert sich* Also.", "Gern! Also."),
        ("¡Claro! (risas) *sonríe* Sí.", "¡Claro! Sí."),
        ("Oui (rires), bien sûr *sourit*.", "Oui, bien sûr."),
        ("はい（笑）そうです。", "はい そうです。"),
        ("(ride the bus) and (pause de midi)", "(ride the bus) and"),
        ("Wait <break time='1s'/> here <b>now</b><end_of_turn>", "Wait here now"),
        ("<<SYS>> Hi", "Hi"),
        ("if a < b and c > d, <5", "if a < b and c > d, <5"),
        ("Assistant: Hello. Your assistant: me", "Hello. Your assistant: me"),
        ("Bread &amp; butter&nbsp;now", "Bread & butter now"),
        ("| Day | Hours |\n|---|:--|\n| Mon | 9 |", "Day, Hours. Mon, 9."),
        ("1\\. not \\*this\\*", "1. not this"),
        ("soft\u00adhy\u200bphen", "softhyphen"),
        ("Go → there ✓ 1️⃣", "Go there 1"),
        ("- - * deep\n◦ point", "deep point"),
        ("[one [two [three]]] four", "four"),
        ("---", ""),
        ("...", ""),
        ("😀", ""),
        ("Café — naïve “quotes” 12 €", "Café — naïve “quotes” 12 €"),
    ],
)
def test_only_what_is_for_the_ear_is_spoken(text, spoken):
    assert speakable(text) == spoken


@settings(deadline=None)
@given(text=REPLIES | st.text(st.sampled_from("<>[](){}*_-#`~|\\\\&,.:; a1\n（😀"), max_size=60))
@example(text="[" * 40 + "a" + "]" * 40)
@example(text="a" + "," * 40)
@example(text="a " + "- " * 40)
def test_cleaning_twice_changes_nothing(text):
    assert speakable(speakable(text)) == speakable(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "[a]",
        "<",
        "<a ",
        "<|",
        "<think>",
        "*",
        "*a",
        "_*",
        ",",
        " ,",
        "- ",
        "> ",
        "(",
        "`",
        "|",
        "| -",
        "&amp;",
        "😀",
    ],
)
def test_a_hundred_thousand_signs_are_no_more_work_than_as_many_letters(piece):
    """Both the cleaner, and the cutter when they arrive in pieces. Quadratic work would take many minutes."""
    text = piece * (100_000 // len(piece)) + " end."
    assert speakable(text + "]" * 50_000) is not None
    cutter = PhraseCutter()
    for at in range(0, len(text), 1000):
        cutter.feed(text[at : at + 1000])
    cutter.end()
