"""French."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from spoken_forms.language import Currency, Half, Language, Signs, metric_units, on_24_hours
from spoken_forms.number_words import number_words

_EURO: Final = Currency("euro", "euros", "centime", "centimes")
_DOLLAR: Final = Currency("dollar", "dollars", "cent", "cents")
_POUND: Final = Currency("livre", "livres", "penny", "pence")
_FRANC: Final = Currency("franc suisse", "francs suisses", "centime", "centimes")
_FEMININE: Final = re.compile(
    r"(?:(?:heure|minute|seconde|journée|semaine|année|nuit|fois|personne|place|chambre|livre|page|table|ligne|voiture"
    r"|carte|adresse|pièce|réservation|option|question)s?|tions?|tés?)$"
)


class French(Language):
    code = "fr"
    library_code = "fr"
    spaced_thousands = True
    decimal = "virgule"
    signs = Signs(
        at="arobase", dot="point", dash="tiret", underscore="tiret bas", slash="barre oblique", plus="plus",
        minus="moins", equals="égale", times="fois", and_="et", or_="ou", to="à", per="par", number="numéro",
        about="environ", section="paragraphe", extension="poste", degrees="degrés",
    )  # fmt: skip

    months = ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre",
              "novembre", "décembre")  # fmt: skip
    month_abbreviations: ClassVar = {
        "janv": 1, "févr": 2, "fév": 2, "avr": 4, "juil": 7, "sept": 9, "oct": 10, "nov": 11, "déc": 12,
    }  # fmt: skip
    date_leads = frozenset({"le", "du", "au"})
    day_before_month = r"(?:er)?\s"
    weekdays: ClassVar = {
        "lun": "lundi", "mar": "mardi", "mer": "mercredi", "jeu": "jeudi", "ven": "vendredi", "sam": "samedi",
        "dim": "dimanche",
    }  # fmt: skip

    clock_word = r"heures?"
    clock_letter = r"h"

    units = metric_units(
        kilometres=("kilomètre", "kilomètres"),
        metres=("mètre", "mètres"),
        grams=("gramme", "grammes"),
        litres=("litre", "litres"),
        hours=("heure", "heures"),
        minutes=("minute", "minutes"),
        celsius=("degré Celsius", "degrés Celsius"),
        prefixes=("kilo", "centi", "milli", "méga"),
        fahrenheit=("degré Fahrenheit", "degrés Fahrenheit"),
        percent="pour cent",
        per_hour="par heure",
        square=("mètre carré", "mètres carrés"),
        others={
            "°": ("degré", "degrés"),
            "kWh": ("kilowattheure", "kilowattheures"),
            "Go": ("gigaoctet", "gigaoctets"),
            "Mo": ("mégaoctet", "mégaoctets"),
            "mn": ("minute", "minutes"),
        },
    )
    currencies: ClassVar = {
        "€": _EURO, "EUR": _EURO, "euro": _EURO, "euros": _EURO, "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR,
        "dollars": _DOLLAR, "£": _POUND, "GBP": _POUND, "livres": _POUND, "CHF": _FRANC, "¥": Currency("yen", "yens"),
    }  # fmt: skip
    magnitudes: ClassVar = {"mille": "mille", "million": "million", "millions": "millions", "milliard": "milliard",
                            "milliards": "milliards", "M": "millions", "Md": "milliards"}  # fmt: skip
    magnitude_link = " d'"
    fractions: ClassVar = {
        (1, 2): "un demi", (1, 3): "un tiers", (2, 3): "deux tiers", (1, 4): "un quart", (3, 4): "trois quarts",
        (1, 5): "un cinquième", (1, 8): "un huitième", (1, 10): "un dixième",
    }  # fmt: skip
    and_a_half = "et demi"

    ordinal_suffix = r"(ère|re|er|ème|eme|nde|nd|e)"
    abbreviations: ClassVar = {
        "M.": "monsieur", "MM.": "messieurs", "Mme": "madame", "Mmes": "mesdames", "Mlle": "mademoiselle",
        "Dr": "docteur", "Dr.": "docteur", "Pr": "professeur", "p. ex.": "par exemple",
        "p.ex.": "par exemple", "c.-à-d.": "c'est-à-dire", "env.": "environ", "bd": "boulevard", "Bd": "boulevard",
        "av.": "avenue", "Av.": "avenue", "tél.": "téléphone", "Tél.": "téléphone", "St-": "Saint-", "Ste-": "Sainte-",
        "S.V.P.": "s'il vous plaît", "svp": "s'il vous plaît", "max.": "maximum", "min.": "minimum",
        "R.V.": "rendez-vous", "RDV": "rendez-vous", "rdv": "rendez-vous", "apr.": "après",
        "av. J.-C.": "avant Jésus-Christ",
    }  # fmt: skip
    closing_abbreviations: ClassVar = {"etc.": "et cetera", "Cie": "compagnie"}
    before_numbers: ClassVar = {"n°": "numéro", "N°": "numéro", "nº": "numéro", "no": "numéro", "n°s": "numéros",
                                "№": "numéro", "p.": "page", "art.": "article", "ch.": "chambre"}  # fmt: skip
    codes = (
        r"code(?: postal| d'accès)?|CP|PIN|numéro de (?:compte|commande|réservation|téléphone|client|dossier|facture)"
        r"|poste|vol|téléphone"
    )

    def agree(self, words: str, n: int, noun: str) -> str:
        return re.sub(r"\bun$", "une", words) if _FEMININE.search(noun.lower()) else words

    def ordinal(self, n: int, suffix: str, before: str, after: str) -> str:
        if n == 1:
            return "première" if suffix in ("re", "ère") else "premier"
        if suffix in ("nd", "nde") and n == 2:
            return "second" if suffix == "nd" else "seconde"
        return number_words(n, "fr", "ordinal")

    def join_money(self, major: str, minor: str, cents: int) -> str:
        return f"{major} {self.cardinal(cents)}"

    def clock(self, hour: int, minute: int, half: Half, *, word: str) -> str:
        hour = on_24_hours(hour, half)
        said = f"{self.cardinal(hour, 'heures')} {'heure' if hour in (0, 1) else 'heures'}"
        return f"{said} {self.cardinal(minute, 'minutes')}" if minute else said

    def date(self, day: int, month: int, year: int | None, before: str) -> str:
        said = f"{'premier' if day == 1 else self.cardinal(day)} {self.months[month - 1]}"
        return f"{said} {self.year(year)}" if year is not None else said
