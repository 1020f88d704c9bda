"""Dutch words of turn-taking.

Prepositions that are verbs' prefixes too ("Belt u mij op.") may end a sentence.
"""

from __future__ import annotations

from typing import Final

from voice_core.turn_words import TurnWords, words

_FIRM: Final = words("ja nee neen jawel jazeker inderdaad klopt precies juist stop fout")
_TENS: Final = words("twintig dertig veertig vijftig zestig zeventig tachtig negentig")

DUTCH: Final = TurnWords(
    backchannels=words(
        "mhm mm mmm hm hmm aha ah oh ja jaja oké oke okay ok goed precies klopt juist duidelijk ik snap het begrijp",
        "zo nou eh uh ehm uhm interessant leuk mooi prima fijn echt",
    ),
    greetings=words("hallo hoi hai dag goedemorgen goedemiddag goedenavond goedendag goede morgen middag avond hey"),
    firm_answers=_FIRM,
    answers=_FIRM
    | words(
        "oké oke okay ok goed bedankt dank dankjewel dankuwel alsjeblieft alstublieft graag doei tot ziens niets niks",
        "nooit misschien natuurlijk zeker geen alles prima",
    ),
    around_answers=words("dat is het alles was u je wel heel erg veel niet zo dan hoor ja nee"),
    corrections=words("sorry pardon nee wacht stop"),
    never_last=words("en of maar omdat als indien hoewel voordat nadat zodat want eh uh ehm uhm de een mijn"),
    seldom_last=words(
        "het dat dit deze die uw jouw onze ons hun haar zijn geen ik u je jij wij we hij zij ze er men met voor van",
        "naar op aan in uit bij na over onder tussen door tegen zonder tot sinds af om te is was waren heeft hebben",
        "heb had kan kunnen kunt zou zouden moet moeten mag wordt worden wil wilde willen graag zoek welke wie waar",
        "wanneer wat waarom hoe dan nog ook alleen al heel dus elke ieder iedere",
    ),
    open_tails=(
        "kunt u", "kan ik", "zou u", "zou ik", "ik wil", "ik wilde", "ik zou graag", "ik wil graag", "mijn naam is",
        "ik heet", "nummer is", "adres is", "heeft u", "hebt u", "is er", "zijn er", "weet u", "een moment",
        "momentje", "een seconde", "ik heb", "wat voor", "geboren op",
    ),
    units=words("één eén twee drie vier vijf zes zeven acht negen"),
    two_digits=_TENS
    | words("tien elf twaalf dertien veertien vijftien zestien zeventien achttien negentien")
    | {f"{one}en{ten}" for one in words("een vier vijf zes zeven acht negen") for ten in _TENS}
    | {f"{one}ën{ten}" for one in words("twee drie") for ten in _TENS},
    zeros=words("nul"),
    scales={"honderd": 2, "duizend": 3},
    repeats={"dubbel": 2, "dubbele": 2},
    number_names=words(
        "nummer telefoonnummer mobiel telefoon klantnummer rekeningnummer kaartnummer netnummer iban",
    ),
    code_names=words("code pin pincode postcode kamer toestel"),
    phone_digits=(10, 11),
    as_in=("van", "als in"),
    one_letter_words=words("u"),
    email_names=words("email e-mail mail gmail mailadres e-mailadres emailadres"),
    at_words=words("at apenstaartje"),
    dot_words=words("punt dot"),
    address_marks=words("underscore streepje laag"),
    months=words(
        "januari februari maart april mei juni juli augustus september oktober november december",
    ),
    birth_words=words("geboren geboortedatum verjaardag"),
)  # fmt: skip
