"""Dutch."""

from __future__ import annotations

from typing import ClassVar, Final

from spoken_forms.language import Currency, Half, Language, Signs, metric_units, on_24_hours
from spoken_forms.number_words import number_words

_EURO: Final = Currency("euro", "euro", "cent", "cent")
_DOLLAR: Final = Currency("dollar", "dollar", "cent", "cent")
_POUND: Final = Currency("pond", "pond", "penny", "pence")


class Dutch(Language):
    code = "nl"
    library_code = "nl"
    decimal = "komma"
    signs = Signs(
        at="apenstaartje", dot="punt", dash="streepje", underscore="underscore", slash="schuine streep", plus="plus",
        minus="min", equals="is", times="keer", and_="en", or_="of", to="tot", per="per", number="nummer",
        about="ongeveer", section="paragraaf", extension="toestel", degrees="graden",
    )  # fmt: skip

    months = ("januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september", "oktober",
              "november", "december")  # fmt: skip
    month_abbreviations: ClassVar = {
        "jan": 1, "feb": 2, "mrt": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9, "okt": 10,
        "nov": 11, "dec": 12,
    }  # fmt: skip
    date_leads = frozenset({"op", "tot", "vanaf"})
    day_before_month = r"(?:e|de|ste)?\s"
    weekdays: ClassVar = {
        "ma": "maandag", "di": "dinsdag", "wo": "woensdag", "do": "donderdag", "vr": "vrijdag", "za": "zaterdag",
        "zo": "zondag",
    }  # fmt: skip

    clock_word = r"uur|u\b\.?"
    clock_lead = r"om|van|tot|vanaf"

    units = metric_units(
        kilometres=("kilometer", "kilometer"),
        metres=("meter", "meter"),
        grams=("gram", "gram"),
        litres=("liter", "liter"),
        hours=("uur", "uur"),
        minutes=("minuut", "minuten"),
        celsius=("graad Celsius", "graden Celsius"),
        fahrenheit=("graad Fahrenheit", "graden Fahrenheit"),
        percent="procent",
        per_hour="per uur",
        square=("vierkante meter", "vierkante meter"),
        others={"kWh": ("kilowattuur", "kilowattuur"), "°": ("graad", "graden")},
    )
    currencies: ClassVar = {
        "€": _EURO, "EUR": _EURO, "euro": _EURO, "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR, "dollar": _DOLLAR,
        "£": _POUND, "GBP": _POUND, "CHF": Currency("Zwitserse frank", "Zwitserse frank"), "¥": Currency("yen", "yen"),
    }  # fmt: skip
    magnitudes: ClassVar = {
        "mln.": "miljoen", "mln": "miljoen", "miljoen": "miljoen", "mld.": "miljard", "mld": "miljard",
        "miljard": "miljard", "duizend": "duizend",
    }  # fmt: skip
    fractions: ClassVar = {
        (1, 2): "een half", (1, 3): "een derde", (2, 3): "twee derde", (1, 4): "een kwart", (3, 4): "driekwart",
        (1, 5): "een vijfde", (1, 8): "een achtste", (1, 10): "een tiende",
    }  # fmt: skip
    and_a_half = "en een half"

    ordinal_suffix = r"(ste|de|e)"
    abbreviations: ClassVar = {
        "dhr.": "de heer", "Dhr.": "De heer", "mevr.": "mevrouw", "Mevr.": "Mevrouw", "mw.": "mevrouw",
        "Mw.": "Mevrouw", "bijv.": "bijvoorbeeld", "bv.": "bijvoorbeeld", "d.w.z.": "dat wil zeggen",
        "o.a.": "onder andere", "ca.": "circa", "a.u.b.": "alstublieft", "i.v.m.": "in verband met",
        "t/m": "tot en met", "m.b.t.": "met betrekking tot", "dr.": "dokter", "Dr.": "Dokter", "prof.": "professor",
        "Prof.": "Professor", "tel.": "telefoon", "Tel.": "Telefoon", "incl.": "inclusief", "excl.": "exclusief",
        "evt.": "eventueel", "max.": "maximaal", "min.": "minimaal", "St.": "Sint", "ong.": "ongeveer",
        "t.a.v.": "ter attentie van", "z.s.m.": "zo snel mogelijk",
    }  # fmt: skip
    closing_abbreviations: ClassVar = {"enz.": "enzovoort", "etc.": "et cetera", "e.d.": "en dergelijke",
                                       "str.": "straat"}  # fmt: skip
    before_numbers: ClassVar = {"nr.": "nummer", "Nr.": "Nummer", "nrs.": "nummers", "№": "nummer",
                                "blz.": "bladzijde", "art.": "artikel", "hs.": "huis"}  # fmt: skip
    codes = (
        r"(?:toegangs|bevestigings|beveiligings)?code|pincode|postcode|(?:rekening|bestel|klant|order|factuur"
        r"|boekings|reserverings|telefoon)nummer|toestel|vlucht"
    )

    def year(self, n: int) -> str:
        return number_words(n, "nl", "year").replace(" honderd", "honderd").replace("honderd ", "honderd")

    def is_year(self, n: int) -> bool:
        return 1100 <= n < 2000

    def join_money(self, major: str, minor: str, cents: int) -> str:
        return f"{major} {self.cardinal(cents)}"

    def clock(self, hour: int, minute: int, half: Half, *, word: str) -> str:
        said = f"{self.cardinal(on_24_hours(hour, half))} uur"
        return f"{said} {self.cardinal(minute)}" if minute else said

    def date(self, day: int, month: int, year: int | None, before: str) -> str:
        said = f"{self.cardinal(day)} {self.months[month - 1]}"
        return f"{said} {self.year(year)}" if year is not None else said
