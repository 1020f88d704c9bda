"""What one language says where something is written in figures, signs or short. Subclasses fill it in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from spoken_forms.figures import Figure, read_figure
from spoken_forms.number_words import MAX_DIGITS, number_words

Half = Literal["am", "pm"] | None


@dataclass(frozen=True, slots=True)
class Currency:
    """Names of a currency and of its hundredth part, which may be empty."""

    one: str
    many: str
    cent: str = ""
    cents: str = ""


@dataclass(frozen=True, slots=True)
class Signs:
    """How signs are called: in an address, in front of a figure, between words."""

    at: str
    dot: str
    dash: str
    underscore: str
    slash: str
    plus: str
    minus: str
    equals: str
    times: str
    and_: str
    or_: str
    to: str
    per: str
    number: str
    about: str
    section: str
    extension: str
    degrees: str
    """After a figure of more than one."""


class Language:
    """One language; instances hold nothing but its tables."""

    code: ClassVar[str]
    library_code: ClassVar[str]
    """`num2words`' name of it."""
    decimal_comma: ClassVar[bool] = True
    spaced_thousands: ClassVar[bool] = False
    decimal: ClassVar[str]
    """What the decimal mark is called."""
    signs: ClassVar[Signs]

    months: ClassVar[tuple[str, ...]]
    month_abbreviations: ClassVar[dict[str, int]]
    """In small letters and without a stop → 1 to 12. In text they need a day beside them."""
    month_first: ClassVar[bool] = False
    """11/21/2026."""
    date_leads: ClassVar[frozenset[str]]
    """Words after which 9/11 is a date, and no fraction or score."""
    day_before_month: ClassVar[str]
    """What stands between the day's figure and the month's name, as a pattern."""
    year_after_month: ClassVar[str] = r"\s"
    weekdays: ClassVar[dict[str, str]]
    """Short as it is written, without a stop → whole."""
    sure_weekdays: ClassVar[frozenset[str]] = frozenset()
    """Of them those that are no other word: whole even where they stand alone."""

    half: ClassVar[str] = r"[ap]\.\s?m\.?|pm\.?"
    """The pattern of a.m. and p.m., where it is not a word of the language."""
    clock_word: ClassVar[str] = r"(?!)"
    """What may follow a time and belongs to it (Uhr)."""
    clock_letter: ClassVar[str] = r"(?!)"
    """What stands between hours and minutes, as in 17h45, or after hours alone."""
    clock_lead: ClassVar[str] = r"(?!)"
    """Words after which 9.30 is a time."""

    units: ClassVar[dict[str, tuple[str, str]]]
    """A unit's sign → one of it, several."""
    currencies: ClassVar[dict[str, Currency]]
    """By sign, code and name."""
    magnitudes: ClassVar[dict[str, str]]
    """Large numbers' names, also short, as they may stand between a figure and a currency → the name."""
    magnitude_link: ClassVar[str] = " "
    """Between such a name and the currency's."""
    fractions: ClassVar[dict[tuple[int, int], str]]
    """(1, 2): one half."""
    and_a_half: ClassVar[str]
    """2 1/2 is two `and_a_half`."""

    ordinal_suffix: ClassVar[str] = r"(?!)"
    """What an ordinal's figure ends with, as a pattern with one group."""
    abbreviations: ClassVar[dict[str, str]]
    """Written with its stops → said. Those that may end a sentence are in `closing_abbreviations`."""
    closing_abbreviations: ClassVar[dict[str, str]]
    before_numbers: ClassVar[dict[str, str]]
    """Only where a figure follows: No. 5."""
    codes: ClassVar[str]
    """Names of what is read digit by digit, as a pattern: code, account, postcode."""
    rooms: ClassVar[str] = r"(?!)"
    """Names of what is read in pairs of digits."""

    # Numbers

    def cardinal(self, n: int, noun: str = "") -> str:
        """`noun`: the word counted, whose gender some languages want."""
        return self.agree(number_words(n, self.library_code), n, noun) if noun else number_words(n, self.library_code)

    def agree(self, words: str, n: int, noun: str) -> str:
        """`words` as they stand before `noun`."""
        return words

    def ordinal(self, n: int, suffix: str, before: str, after: str) -> str:
        """`suffix`: what `ordinal_suffix` caught; `before`, `after`: the words beside."""
        return number_words(n, self.library_code, "ordinal")

    def year(self, n: int) -> str:
        return self.cardinal(n)

    def is_year(self, n: int) -> bool:
        """Whether a bare figure of four digits is said as `year` would."""
        return False

    def digits(self, text: str) -> str:
        """The digits of `text` one by one."""
        return " ".join(self.cardinal(int(digit)) for digit in text if digit.isdigit())

    def quantity(self, text: str, noun: str = "") -> str | None:
        """The figure `text` in words, counting `noun`; None where it is no quantity."""
        figure = read_figure(text, decimal_comma=self.decimal_comma)
        return None if figure is None else self.figure(figure, noun)

    def figure(self, figure: Figure, noun: str = "") -> str:
        whole = figure.whole
        if len(whole) > MAX_DIGITS or (len(whole) > 1 and whole[0] == "0"):
            said = self.digits(whole)
        else:
            said = self.cardinal(int(whole), "" if figure.fraction else noun)
        if not figure.fraction:
            return said
        foreign = figure.mark == "." and self.decimal_comma
        return f"{said} {self.signs.dot if foreign else self.decimal} {self.after_the_point(figure.fraction)}"

    def after_the_point(self, digits: str) -> str:
        """Two digits are one number to most; where more follow, or a zero leads, digits."""
        return self.digits(digits) if len(digits) > 2 or digits[0] == "0" else self.cardinal(int(digits))

    def count(self, figure: Figure, one: str, many: str) -> str:
        """The figure and the right form of what it counts."""
        singular = figure.whole.strip("0") == "1" and not figure.fraction
        noun = one if singular and figure.whole == "1" else many
        return f"{self.figure(figure, noun)} {noun}"

    def money(self, figure: Figure, currency: Currency) -> str:
        if len(figure.fraction) != 2 or not currency.cents:
            return self.count(figure, currency.one, currency.many)
        cents = int(figure.fraction)
        minor = self.count(Figure(str(cents)), currency.cent, currency.cents) if cents else ""
        if not figure.whole.strip("0") and cents:
            return minor
        major = self.count(Figure(figure.whole), currency.one, currency.many)
        return self.join_money(major, minor, cents) if minor else major

    def join_money(self, major: str, minor: str, cents: int) -> str:
        """`minor`: the hundredths with their name, `cents` how many."""
        return f"{major} {self.signs.and_} {minor}"

    def over(self, a: int, b: int) -> str:
        """The fraction `a`/`b`; empty where it has no name."""
        return self.fractions.get((a, b), "")

    # Times and dates

    def clock(self, hour: int, minute: int, half: Half, *, word: str) -> str:
        """A time of day; `word`: what `clock_word` caught."""
        raise NotImplementedError

    def date(self, day: int, month: int, year: int | None, before: str) -> str:
        """A date written in figures."""
        raise NotImplementedError

    def named_date(self, day: int, month: int, year: int | None, before: str, *, day_first: bool) -> str:
        """A date written with the month's name."""
        return self.date(day, month, year, before)

    def pairs(self, digits: str) -> str:
        """A room's or a house's number."""
        return self.cardinal(int(digits))


def on_24_hours(hour: int, half: Half) -> int:
    """`hour` of a clock with halves."""
    if half is None or not 1 <= hour <= 12:
        return hour
    return hour % 12 + (12 if half == "pm" else 0)


def metric_units(
    *,
    kilometres: tuple[str, str],
    metres: tuple[str, str],
    grams: tuple[str, str],
    litres: tuple[str, str],
    hours: tuple[str, str],
    minutes: tuple[str, str],
    prefixes: tuple[str, str, str, str] = ("kilo", "centi", "milli", "mega"),
    celsius: tuple[str, str],
    fahrenheit: tuple[str, str],
    percent: str,
    per_hour: str,
    square: tuple[str, str],
    others: dict[str, tuple[str, str]],
) -> dict[str, tuple[str, str]]:
    """The units all languages share, named alike: (one, several) of each."""
    kilo, centi, milli, mega = prefixes

    def with_prefix(prefix: str, names: tuple[str, str]) -> tuple[str, str]:
        return prefix + names[0], prefix + names[1]

    return {
        "%": (percent, percent),
        "°C": celsius,
        "°F": fahrenheit,
        "km": kilometres,
        "km/h": (f"{kilometres[0]} {per_hour}", f"{kilometres[1]} {per_hour}"),
        "m": metres,
        "cm": with_prefix(centi, metres),
        "mm": with_prefix(milli, metres),
        "m²": square,
        "m2": square,
        "g": grams,
        "kg": with_prefix(kilo, grams),
        "mg": with_prefix(milli, grams),
        "l": litres,
        "L": litres,
        "ml": with_prefix(milli, litres),
        "h": hours,
        "min": minutes,
        "min.": minutes,
        "W": ("watt", "watt"),
        "kW": (f"{kilo}watt", f"{kilo}watt"),
        "V": ("volt", "volt"),
        "GB": ("gigabyte", "gigabyte"),
        "MB": (f"{mega}byte", f"{mega}byte"),
        **others,
    }
