"""German words of turn-taking.

Prepositions that are verbs' prefixes too ("Rufen Sie mich an.") may end a sentence.
"""

from __future__ import annotations

from typing import Final

from voice_core.turn_words import TurnWords, words

_FIRM: Final = words("ja nein nö nee doch stimmt genau richtig jawohl stopp stop halt falsch jep jo")
_TENS: Final = words("zwanzig dreißig dreissig vierzig fünfzig sechzig siebzig achtzig neunzig")
_ONES: Final = words("ein zwei zwo drei vier fünf sechs sieben acht neun")

GERMAN: Final = TurnWords(
    backchannels=words(
        "mhm mh mm mmm hm hmm aha ah oh ach ja jaja jo okay ok gut genau stimmt klar alles ich verstehe richtig so na",
        "äh ähm öh interessant toll schön prima super wirklich echt",
    ),
    greetings=words("hallo guten tag morgen abend grüß gott servus moin hi hey grüezi"),
    firm_answers=_FIRM,
    answers=_FIRM
    | words(
        "okay ok klar danke dank bitte gern gerne tschüss wiederhören wiedersehen nichts nie niemals vielleicht sicher",
        "natürlich selbstverständlich keine keiner alles gut wars war's",
    ),
    around_answers=words("das ist es alles war wäre schön sehr auf vielen besten nicht so dann auch ganz nein ja"),
    corrections=words("entschuldigung verzeihung nein nee warten warte moment stopp stop halt"),
    never_last=words(
        "und oder weil wenn falls ob dass sondern bevor nachdem obwohl sowie äh ähm öhm im am zum zur beim vom ins dem",
        "des",
    ),
    seldom_last=words(
        "der die das den ein eine einen einem einer eines mein meine meinen meinem meiner unser unsere unseren ihre",
        "ihren kein keinen ich sie wir er es man mit für von zu auf an in aus bei nach vor um über unter zwischen",
        "durch gegen ohne bis seit ab ist sind war waren wäre hat haben hätte hätten kann können könnte könnten muss",
        "müssen soll sollte wird werden würde möchte möchten will wollte wollen brauche suche welche welcher welches",
        "wie wo wann was wer warum als dann noch auch nur schon sehr also aber denn dieser diese dieses diesen jeder",
        "jede jeden gern gerne",
    ),
    open_tails=(
        "können sie", "könnten sie", "kann ich", "könnte ich", "ich möchte", "ich hätte gern", "ich hätte gerne",
        "ich würde gern", "ich würde gerne", "mein name ist", "ich heiße", "nummer ist", "nummer lautet",
        "adresse ist", "adresse lautet", "haben sie", "gibt es", "wissen sie", "einen moment", "moment mal",
        "einen augenblick", "eine sekunde", "ich wollte", "ich brauche", "was für", "geboren am",
    ),
    units=_ONES - words("ein") | words("eins"),
    two_digits=_TENS
    | words("zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn")
    | {f"{one}und{ten}" for one in _ONES for ten in _TENS},
    zeros=words("null"),
    scales={"hundert": 2, "einhundert": 3, "tausend": 3},
    repeats={"doppel": 2, "doppelt": 2},
    number_names=words(
        "nummer telefonnummer handynummer mobilnummer rufnummer telefon handy kundennummer kontonummer kartennummer",
        "vorwahl iban",
    ),
    code_names=words("code pin postleitzahl plz zimmer zimmernummer durchwahl"),
    phone_digits=(10, 12),
    as_in=("wie",),
    email_names=words("email e-mail mail gmail mailadresse emailadresse e-mail-adresse"),
    at_words=words("at ät klammeraffe"),
    dot_words=words("punkt dot"),
    address_marks=words("unterstrich minus bindestrich"),
    months=words(
        "januar jänner februar märz april mai juni juli august september oktober november dezember",
    ),
    birth_words=words("geboren geburtstag geburtsdatum"),
)  # fmt: skip
