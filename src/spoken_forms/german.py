"""German."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from spoken_forms.language import Currency, Half, Language, Signs, metric_units, on_24_hours
from spoken_forms.number_words import number_words

_EURO: Final = Currency("Euro", "Euro", "Cent", "Cent")
_DOLLAR: Final = Currency("Dollar", "Dollar", "Cent", "Cent")
_POUND: Final = Currency("Pfund", "Pfund", "Penny", "Pence")
_FRANC: Final = Currency("Franken", "Franken", "Rappen", "Rappen")
_TAKES_N: Final = frozenset({
    "am", "im", "zum", "vom", "beim", "zur", "den", "dem", "des", "ab", "bis", "und", "oder", "seit", "einem", "einer",
    "jedem", "jeden", "jeder", "nach",
})  # fmt: skip
_TAKES_E: Final = frozenset({
    "der", "die", "das",
})  # fmt: skip
_FEMININE: Final = re.compile(r"(?:e|ung|heit|keit|schaft|tät|ion|Nacht|Million|Person)$")


class German(Language):
    code = "de"
    library_code = "de"
    decimal = "Komma"
    signs = Signs(
        at="ät", dot="Punkt", dash="Bindestrich", underscore="Unterstrich", slash="Schrägstrich", plus="plus",
        minus="minus", equals="gleich", times="mal", and_="und", or_="oder", to="bis", per="pro", number="Nummer",
        about="etwa", section="Paragraf", extension="Durchwahl", degrees="Grad",
    )  # fmt: skip

    months = ("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober",
              "November", "Dezember")  # fmt: skip
    month_abbreviations: ClassVar = {
        "jan": 1, "jän": 1, "feb": 2, "mär": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9,
        "okt": 10, "nov": 11, "dez": 12,
    }  # fmt: skip
    date_leads = frozenset({"am", "bis", "zum", "vom", "ab", "seit", "den"})
    day_before_month = r"\.\s?"
    weekdays: ClassVar = {
        "Mo": "Montag", "Di": "Dienstag", "Mi": "Mittwoch", "Do": "Donnerstag", "Fr": "Freitag", "Sa": "Samstag",
        "So": "Sonntag",
    }  # fmt: skip

    clock_word = r"Uhr|h"
    clock_lead = r"um|gegen|von|bis|ab|zwischen"

    units = metric_units(
        kilometres=("Kilometer", "Kilometer"),
        metres=("Meter", "Meter"),
        grams=("Gramm", "Gramm"),
        litres=("Liter", "Liter"),
        hours=("Stunde", "Stunden"),
        minutes=("Minute", "Minuten"),
        celsius=("Grad Celsius", "Grad Celsius"),
        fahrenheit=("Grad Fahrenheit",) * 2,
        percent="Prozent",
        per_hour="pro Stunde",
        square=("Quadratmeter", "Quadratmeter"),
        others={
            "cm": ("Zentimeter", "Zentimeter"),
            "mm": ("Millimeter", "Millimeter"),
            "kg": ("Kilogramm", "Kilogramm"),
            "mg": ("Milligramm", "Milligramm"),
            "ml": ("Milliliter", "Milliliter"),
            "qm": ("Quadratmeter",) * 2,
            "Std.": ("Stunde", "Stunden"),
            "Min.": ("Minute", "Minuten"),
            "W": ("Watt", "Watt"),
            "V": ("Volt", "Volt"),
            "kW": ("Kilowatt", "Kilowatt"),
            "kWh": ("Kilowattstunde", "Kilowattstunden"),
            "°": ("Grad", "Grad"),
            "GB": ("Gigabyte", "Gigabyte"),
            "MB": ("Megabyte", "Megabyte"),
            "Stk.": ("Stück", "Stück"),
        },
    )
    currencies: ClassVar = {
        "€": _EURO, "EUR": _EURO, "Euro": _EURO, "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR, "Dollar": _DOLLAR,
        "£": _POUND, "GBP": _POUND, "Pfund": _POUND, "CHF": _FRANC, "SFr.": _FRANC, "Fr.": _FRANC, "Franken": _FRANC,
        "¥": Currency("Yen", "Yen"), "ct": Currency("Cent", "Cent"),
    }  # fmt: skip
    magnitudes: ClassVar = {
        "Mio.": "Millionen", "Mio": "Millionen", "Mrd.": "Milliarden", "Mrd": "Milliarden", "Millionen": "Millionen",
        "Milliarden": "Milliarden", "Million": "Million", "Tsd.": "tausend", "T": "tausend",
    }  # fmt: skip
    fractions: ClassVar = {
        (1, 2): "ein halb", (1, 3): "ein Drittel", (2, 3): "zwei Drittel", (1, 4): "ein Viertel",
        (3, 4): "drei Viertel", (1, 5): "ein Fünftel", (1, 8): "ein Achtel", (1, 10): "ein Zehntel",
    }  # fmt: skip
    and_a_half = "einhalb"

    ordinal_suffix = r"(\.)(?=\s+(?!Uhr\b)[^\W\d_]|[.!?,;:]*\s*$|[!?,;:])"
    abbreviations: ClassVar = {
        "z. B.": "zum Beispiel", "z.B.": "zum Beispiel", "d. h.": "das heißt", "d.h.": "das heißt",
        "u. a.": "unter anderem", "u.a.": "unter anderem", "i. d. R.": "in der Regel", "i.d.R.": "in der Regel",
        "bzw.": "beziehungsweise", "ca.": "circa", "Dr.": "Doktor", "Prof.": "Professor", "Hr.": "Herr",
        "Hrn.": "Herrn", "Fr.": "Frau", "St.": "Sankt", "Tel.": "Telefon", "tel.": "telefonisch", "evtl.": "eventuell",
        "ggf.": "gegebenenfalls", "inkl.": "inklusive", "zzgl.": "zuzüglich", "max.": "maximal", "min.": "mindestens",
        "vgl.": "vergleiche", "o. Ä.": "oder Ähnliches", "o.Ä.": "oder Ähnliches",
        "z. T.": "zum Teil", "z.T.": "zum Teil", "u. U.": "unter Umständen", "exkl.": "exklusive",
        "geb.": "geboren", "Jh.": "Jahrhundert", "Dipl.": "Diplom", "Ing.": "Ingenieur",
    }  # fmt: skip
    closing_abbreviations: ClassVar = {
        "usw.": "und so weiter", "etc.": "et cetera", "Str.": "Straße", "str.": "straße", "Pl.": "Platz",
        "u. v. m.": "und vieles mehr", "u.v.m.": "und vieles mehr",
    }  # fmt: skip
    before_numbers: ClassVar = {
        "Nr.": "Nummer", "Nrn.": "Nummern", "№": "Nummer", "Art.": "Artikel", "S.": "Seite", "Abs.": "Absatz",
        "Kap.": "Kapitel", "Hausnr.": "Hausnummer", "Zi.": "Zimmer", "Durchw.": "Durchwahl",
    }  # fmt: skip
    codes = (
        r"PLZ|Postleitzahl|Code|PIN|Pin|Kontonummer|Bestellnummer|Kundennummer|Rechnungsnummer|Buchungsnummer"
        r"|Vorgangsnummer|Telefonnummer|Rufnummer|Flug|Durchwahl|Türcode|Zugangscode|Bestätigungscode"
    )

    def agree(self, words: str, n: int, noun: str) -> str:
        if n != 1:
            return words
        if noun in {"Uhr", "mal"} or (noun.endswith(("er", "es")) and noun.islower()):
            return "ein"
        if noun[0].isupper():
            return "eine" if _FEMININE.search(noun) else "ein"
        return "eine" if noun.endswith("e") and len(noun) > 3 else words

    def ordinal(self, n: int, suffix: str, before: str, after: str) -> str:
        first = number_words(n, "de", "ordinal")
        word = before.lower()
        if word in _TAKES_N:
            return f"{first}n"
        return first if word in _TAKES_E or not word else f"{first}r" if word in ("ein", "kein", "mein") else first

    def year(self, n: int) -> str:
        return number_words(n, "de", "year")

    def is_year(self, n: int) -> bool:
        return 1100 <= n < 2000

    def after_the_point(self, digits: str) -> str:
        return self.digits(digits)

    def join_money(self, major: str, minor: str, cents: int) -> str:
        return f"{major} {self.cardinal(cents)}"

    def clock(self, hour: int, minute: int, half: Half, *, word: str) -> str:
        said = f"{self.cardinal(on_24_hours(hour, half), 'Uhr')} Uhr"
        return f"{said} {self.cardinal(minute)}" if minute else said

    def date(self, day: int, month: int, year: int | None, before: str) -> str:
        word = before.lower()
        the = "" if word in _TAKES_N or word in _TAKES_E else "der "
        said = f"{the}{self.ordinal(day, '.', word, '')} {self.months[month - 1]}"
        return f"{said} {self.year(year)}" if year is not None else said
