"""Numbers, names, addresses and dates that are being dictated: half, whole, or nothing of the kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_core.half_said import Dictated, dictated, spoken_digits
from voice_core.turn_words import UNLISTED
from voice_core.turn_words_by_language import LISTED, turn_words

HALF, MAYBE, WHOLE = Dictated.HALF, Dictated.MAYBE, Dictated.WHOLE

ENGLISH = {
    HALF: """
        zero three zero
        1 2
        oh three oh
        Yes, it's 030
        double five
        five five double
        two one two, five five five
        My number is 212-555
        My mobile is 07 12.
        4111 1111
        4111 1111 1111
        My name is Brown. B, R, O.
        B-R-O
        B as in Bravo
        B for bravo, R for romeo
        bravo romeo
        anna dot
        anna underscore
        anna dot smith at
        anna at gmail
        anna@gmail
        anna@gmail.co
        anna dot smith at gmail dot co
        My email is anna.
        My e-mail address is anna smith
        On the twelfth of.
        I would like to come on March.
        I was born on March 3.
        My birthday is the 12th of May
    """,
    MAYBE: """
        one two three four five six seven
        Twenty five.
        12 30
        The code is 4711.
        It is room 1204
        My account number is 471112
        on March twenty
        My birthday is March the third nineteen eighty
        12345678901234
    """,
    WHOLE: """
        My number is 030 1234567.
        2 1 2 5 5 5 0 1 2 3
        (212) 555-0123
        oh seven seven double oh nine hundred four five six
        plus four nine three zero one two three four five six seven
        4111 1111 1111 1111
        four one one one, two two two two, three three three three, four four four four
        My name is Brown, B-R-O-W-N.
        Miller, M I double L E R
        anna at gmail dot com
        It is anna@gmail.com.
        my email address is anna dot smith at web.de
    """,
    None: """
        Hello.
        Two.
        call me at 5
        at ten thirty.
        I'll come at 10:30.
        It costs 150.
        It is 12.50 €
        I was born in 1984.
        I was born in Berlin.
        born on March the third, nineteen eighty four
        born on March 3rd, 1984
        born on 3/12/1984
        Is March the third, two thousand six, possible?
        March the third two thousand six is fine
        Is it 12 30?
        Is it 030 12?
        I like music
        I live in the U.S.
        at 5 p.m.
        I am at home
        We met at ten or eleven
        I sent you an e-mail yesterday
        I have two children and one dog.
        That is vitamin C.
        ...
    """,
}
OTHERS = {
    "de": {
        HALF: "null drei null|Meine Nummer ist 030 12|B wie Berta|anna punkt|anna punkt schmidt at|Geboren am 3. März",
        MAYBE: "einundzwanzig siebzehn|eins zwei drei vier fünf sechs sieben",
        WHOLE: "null drei null eins zwei drei vier fünf sechs sieben|anna punkt schmidt at web punkt de",
        None: "Ich möchte einen Termin.|Rufen Sie mich an.|Um halb zehn.|Geboren am 3. März 1984",
    },
    "es": {
        HALF: "seis uno dos|Mi número es 612|ana arroba|mi correo es ana|B de Barcelona",
        WHOLE: "612 345 678|ana arroba gmail punto com",
        MAYBE: "treinta y cinco",
        None: "Quiero una cita.|a las diez y media",
    },
    "fr": {
        HALF: "06 12 34|zéro six douze trente-quatre|anna point dupont arobase|B comme Berthe",
        WHOLE: "06 12 34 56 78|zéro six douze trente-quatre cinquante-six soixante-dix-huit|anna arobase web point fr",
        MAYBE: "vingt et un",
        None: "Je voudrais un rendez-vous.|il y a|à dix heures",
    },
    "it": {
        HALF: "tre quattro sette|anna chiocciola|la mia mail è anna|A come Ancona, B come Bari",
        WHOLE: "3 4 7 1 2 3 4 5 6 7|anna chiocciola gmail punto it",
        MAYBE: "trentacinque",
        None: "Vorrei un appuntamento.|alle dieci",
    },
    "pt": {
        HALF: "nove um dois|ana arroba|meu email é ana",
        WHOLE: "912 345 678|ana arroba gmail ponto com",
        MAYBE: "trinta e cinco",
        None: "Quero marcar uma consulta.|às dez",
    },
    "nl": {
        HALF: "nul zes twaalf|anna punt|anna apenstaartje|B van Bernard",
        WHOLE: "06 12 34 56 78|anna apenstaartje gmail punt com",
        MAYBE: "vijfendertig|tweeëntwintig",
        None: "Ik wil een afspraak.|om tien uur|Belt u mij op.",
    },
}
CASES = [
    *(("en", line.strip(), how) for how, lines in ENGLISH.items() for line in lines.strip().splitlines()),
    *((name, text, how) for name, cases in OTHERS.items() for how, texts in cases.items() for text in texts.split("|")),
]


@pytest.mark.parametrize(("language", "text", "expected"), CASES)
def test_how_far_it_has_come(language, text, expected):
    assert dictated(text, turn_words(language)) is expected


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("my number is zero 30 double 7", 5),
        ("30 people", 0),
        ("twenty five eight hundred", 5),
        ("thirty-one", 2),
        ("at 10:30", 0),
        ("triple oh seven", 4),
        ("hundred", 3),
    ],
)
def test_digits_at_the_end_are_counted(text, digits):
    assert spoken_digits(text) == digits


def test_digits_need_no_word_list():
    assert dictated("030 12", UNLISTED) is HALF
    assert dictated("030 1234567", UNLISTED) is WHOLE
    assert dictated("anna@gmail", UNLISTED) is HALF


LISTED_WORDS = sorted(
    {
        word
        for words in LISTED.values()
        for word in words.number_words | words.at_words | words.email_names | words.months
    }
    | {word for words in LISTED.values() for word in words.dot_words | words.birth_words | words.ordinals}
)
PIECES = st.sampled_from(LISTED_WORDS) | st.text(max_size=6) | st.sampled_from(["B", "anna@gmail", "030", "is", "1.2"])


@given(st.lists(PIECES, max_size=8).map(" ".join), st.sampled_from([*LISTED, "xx"]))
def test_any_text_is_read(text, language):
    dictated(text, turn_words(language))
