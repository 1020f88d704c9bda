"""English: American by default; `en-GB` and others write the day first."""

from __future__ import annotations

from typing import ClassVar, Final

from spoken_forms.language import Currency, Half, Language, Signs, metric_units, on_24_hours
from spoken_forms.number_words import number_words

_DOLLAR: Final = Currency("dollar", "dollars", "cent", "cents")
_EURO: Final = Currency("euro", "euros", "cent", "cents")
_POUND: Final = Currency("pound", "pounds", "penny", "pence")


class English(Language):
    code = "en"
    library_code = "en"
    decimal_comma = False
    decimal = "point"
    signs = Signs(
        at="at", dot="dot", dash="dash", underscore="underscore", slash="slash", plus="plus", minus="minus",
        equals="equals", times="times", and_="and", or_="or", to="to", per="per", number="number", about="about",
        section="section", extension="extension", degrees="degrees",
    )  # fmt: skip

    months = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December")  # fmt: skip
    month_abbreviations: ClassVar = {
        "jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9, "oct": 10,
        "nov": 11, "dec": 12,
    }  # fmt: skip
    month_first = True
    date_leads = frozenset({"on", "by", "until", "till", "from", "before", "after", "since", "through", "due"})
    day_before_month = r"(?:st|nd|rd|th)?\s(?:of\s)?"
    year_after_month = r",?\s"
    weekdays: ClassVar = {
        "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
        "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
    }  # fmt: skip
    sure_weekdays = frozenset({"Mon", "Tue", "Tues", "Thu", "Thur", "Thurs", "Fri"})

    half = r"[ap]\.\s?m\.?|[ap]m\.?"
    clock_word = r"o['’]clock"

    units = metric_units(
        kilometres=("kilometer", "kilometers"),
        metres=("meter", "meters"),
        grams=("gram", "grams"),
        litres=("liter", "liters"),
        hours=("hour", "hours"),
        minutes=("minute", "minutes"),
        celsius=("degree Celsius", "degrees Celsius"),
        fahrenheit=("degree Fahrenheit", "degrees Fahrenheit"),
        percent="percent",
        per_hour="per hour",
        square=("square meter", "square meters"),
        others={
            "mi": ("mile", "miles"),
            "mph": ("mile per hour", "miles per hour"),
            "lb": ("pound", "pounds"),
            "lbs": ("pound", "pounds"),
            "oz": ("ounce", "ounces"),
            "ft": ("foot", "feet"),
            "sq ft": ("square foot", "square feet"),
            "sq. ft.": ("square foot", "square feet"),
            "hr": ("hour", "hours"),
            "hrs": ("hour", "hours"),
            "mins": ("minute", "minutes"),
            "kWh": ("kilowatt hour", "kilowatt hours"),
            "°": ("degree", "degrees"),
        },
    )
    currencies: ClassVar = {
        "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR, "dollar": _DOLLAR, "dollars": _DOLLAR,
        "€": _EURO, "EUR": _EURO, "euro": _EURO, "euros": _EURO, "Euro": _EURO,
        "£": _POUND, "GBP": _POUND, "pound": _POUND, "pounds": _POUND,
        "¥": Currency("yen", "yen"), "JPY": Currency("yen", "yen"), "₹": Currency("rupee", "rupees", "paisa", "paise"),
        "CHF": Currency("Swiss franc", "Swiss francs", "centime", "centimes"), "¢": Currency("cent", "cents"),
        "C$": Currency("Canadian dollar", "Canadian dollars", "cent", "cents"),
        "R$": Currency("real", "reais", "centavo", "centavos"),
    }  # fmt: skip
    magnitudes: ClassVar = {
        "thousand": "thousand", "million": "million", "billion": "billion", "trillion": "trillion", "k": "thousand",
        "K": "thousand", "M": "million", "mn": "million", "m": "million", "bn": "billion", "B": "billion",
    }  # fmt: skip
    fractions: ClassVar = {
        (1, 2): "one half", (1, 3): "one third", (2, 3): "two thirds", (1, 4): "one quarter",
        (3, 4): "three quarters", (1, 5): "one fifth", (1, 8): "one eighth", (3, 8): "three eighths",
        (5, 8): "five eighths", (1, 10): "one tenth",
    }  # fmt: skip
    and_a_half = "and a half"

    ordinal_suffix = r"(st|nd|rd|th)"
    abbreviations: ClassVar = {
        "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Mr": "Mister", "Mrs": "Missus", "Prof.": "Professor",
        "e.g.": "for example", "i.e.": "that is", "approx.": "approximately", "vs.": "versus", "vs": "versus",
        "Sgt.": "Sergeant", "Capt.": "Captain", "Lt.": "Lieutenant", "Gov.": "Governor", "Sen.": "Senator",
        "Mt.": "Mount", "Ft.": "Fort", "incl.": "including", "excl.": "excluding", "tel.": "telephone",
        "Tel.": "telephone", "min.": "minimum", "max.": "maximum", "w/o": "without", "w/": "with",
        "a.k.a.": "also known as", "cf.": "compare", "PO Box": "P.O. Box", "appt.": "appointment",
        "c/o": "care of", "N/A": "not available", "n/a": "not available",
    }  # fmt: skip
    closing_abbreviations: ClassVar = {
        "etc.": "et cetera", "Inc.": "Incorporated", "Ltd.": "Limited", "Co.": "Company", "Corp.": "Corporation",
        "Ave.": "Avenue", "Rd.": "Road", "Blvd.": "Boulevard", "Ln.": "Lane", "Hwy.": "Highway", "Jr.": "Junior",
        "Sr.": "Senior", "dept.": "department", "Dept.": "Department", "Apt.": "apartment", "Bldg.": "building",
    }  # fmt: skip
    before_numbers: ClassVar = {
        "No.": "number", "no.": "number", "Nos.": "numbers", "nos.": "numbers", "№": "number", "Nr.": "number",
        "ext.": "extension", "Ext.": "extension", "p.": "page", "pp.": "pages", "Apt.": "apartment", "vol.": "volume",
        "fig.": "figure", "Fig.": "Figure", "ca.": "around", "c.": "around", "est.": "established",
        "Rm.": "room", "Ste.": "suite",
    }  # fmt: skip
    codes = (
        r"(?:zip|post|postal|area|access|door|security|confirmation|verification|booking|country|dialling)\s?code"
        r"|postcode|zip|code|pin|passcode|account(?: number)?|(?:order|booking|reference|confirmation|ticket|case|phone"
        r"|telephone|flight|tracking|invoice|reservation|customer|member) number|flight|ref|reference|extension"
    )
    rooms = r"room|rooms|flat|apartment|suite|unit|gate|route|highway|bus|interstate|house number|box"

    def year(self, n: int) -> str:
        if 2000 <= n <= 2009:
            return "two thousand" + (f" {self.cardinal(n - 2000)}" if n > 2000 else "")
        return number_words(n, "en", "year").replace("oh-", "oh ")

    def is_year(self, n: int) -> bool:
        return (1100 <= n < 2000 and n % 1000 != 0) or 2010 <= n < 2100

    def after_the_point(self, digits: str) -> str:
        return self.digits(digits)

    def pairs(self, digits: str) -> str:
        """A room's or a house's number: two oh four, twelve thirty-four."""
        if len(digits) not in (3, 4) or digits.startswith("0") or digits.endswith("00"):
            return self.cardinal(int(digits)) if len(digits) <= 4 and digits[0] != "0" else self.digits(digits)
        head, tail = digits[:-2], digits[-2:]
        last = f"oh {self.cardinal(int(tail))}" if tail[0] == "0" else self.cardinal(int(tail))
        return f"{self.cardinal(int(head))} {last}"

    def clock(self, hour: int, minute: int, half: Half, *, word: str) -> str:
        on_24 = on_24_hours(hour, half)
        if half is None and (hour > 12 or hour == 0):
            half = "pm" if 12 <= hour < 24 else "am"
        said = [self.cardinal((on_24 - 1) % 12 + 1)]
        if minute:
            said.append(f"oh {self.cardinal(minute)}" if minute < 10 else self.cardinal(minute))
        elif half is None:
            said.append("o'clock")
        if half is not None:
            said.append("a.m." if half == "am" else "p.m.")
        return " ".join(said)

    def date(self, day: int, month: int, year: int | None, before: str) -> str:
        return self.named_date(day, month, year, before, day_first=not self.month_first)

    def named_date(self, day: int, month: int, year: int | None, before: str, *, day_first: bool) -> str:
        ordinal, name = number_words(day, "en", "ordinal"), self.months[month - 1]
        the = "" if before.lower() == "the" else "the "
        said = f"{the}{ordinal} of {name}" if day_first else f"{name} {ordinal}"
        return f"{said}, {self.year(year)}" if year is not None else said


class BritishEnglish(English):
    """And that of other countries that write the day first."""

    code = "en-GB"
    month_first = False
