"""Italian."""

from __future__ import annotations

from typing import ClassVar, Final

from spoken_forms.language import Currency, Half, Language, Signs, metric_units, on_24_hours
from spoken_forms.number_words import number_words

_EURO: Final = Currency("euro", "euro", "centesimo", "centesimi")
_DOLLAR: Final = Currency("dollaro", "dollari", "centesimo", "centesimi")
_POUND: Final = Currency("sterlina", "sterline", "penny", "pence")
_FUNCTION_WORDS: Final = frozenset({
    "a", "e", "o", "di", "da", "in", "con", "su", "per", "al", "alla", "alle", "tra", "fra", "che", "non", "ed",
})  # fmt: skip


class Italian(Language):
    code = "it"
    library_code = "it"
    spaced_thousands = True
    decimal = "virgola"
    signs = Signs(
        at="chiocciola", dot="punto", dash="trattino", underscore="trattino basso", slash="barra", plus="più",
        minus="meno", equals="uguale", times="per", and_="e", or_="o", to="a", per="a", number="numero", about="circa",
        section="paragrafo", extension="interno", degrees="gradi",
    )  # fmt: skip

    months = ("gennaio", "febbraio", "marzo", "aprile", "maggio", "giugno", "luglio", "agosto", "settembre",
              "ottobre", "novembre", "dicembre")  # fmt: skip
    month_abbreviations: ClassVar = {
        "gen": 1, "feb": 2, "mar": 3, "apr": 4, "mag": 5, "giu": 6, "lug": 7, "ago": 8, "set": 9, "sett": 9,
        "ott": 10, "nov": 11, "dic": 12,
    }  # fmt: skip
    date_leads = frozenset({"il", "dal", "al", "del"})
    day_before_month = r"[º°]?\s"
    weekdays: ClassVar = {
        "lun": "lunedì", "mar": "martedì", "mer": "mercoledì", "gio": "giovedì", "ven": "venerdì", "sab": "sabato",
        "dom": "domenica",
    }  # fmt: skip

    clock_word = r"h\b"
    clock_lead = r"ore|alle|dalle"

    units = metric_units(
        kilometres=("chilometro", "chilometri"),
        metres=("metro", "metri"),
        grams=("grammo", "grammi"),
        litres=("litro", "litri"),
        hours=("ora", "ore"),
        minutes=("minuto", "minuti"),
        prefixes=("chilo", "centi", "milli", "mega"),
        celsius=("grado Celsius", "gradi Celsius"),
        fahrenheit=("grado Fahrenheit", "gradi Fahrenheit"),
        percent="per cento",
        per_hour="all'ora",
        square=("metro quadrato", "metri quadrati"),
        others={
            "kW": ("kilowatt", "kilowatt"),
            "kWh": ("kilowattora", "kilowattora"),
            "°": ("grado", "gradi"),
            "mq": ("metro quadrato", "metri quadrati"),
        },
    )
    currencies: ClassVar = {
        "€": _EURO, "EUR": _EURO, "euro": _EURO, "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR, "dollari": _DOLLAR,
        "£": _POUND, "GBP": _POUND, "sterline": _POUND, "CHF": Currency("franco svizzero", "franchi svizzeri"),
        "¥": Currency("yen", "yen"),
    }  # fmt: skip
    magnitudes: ClassVar = {"mila": "mila", "milione": "milione", "milioni": "milioni", "mln": "milioni",
                            "miliardo": "miliardo", "miliardi": "miliardi", "mld": "miliardi"}  # fmt: skip
    magnitude_link = " di "
    fractions: ClassVar = {
        (1, 2): "un mezzo", (1, 3): "un terzo", (2, 3): "due terzi", (1, 4): "un quarto", (3, 4): "tre quarti",
        (1, 5): "un quinto", (1, 8): "un ottavo", (1, 10): "un decimo",
    }  # fmt: skip
    and_a_half = "e mezzo"

    ordinal_suffix = r"([ºª])"
    abbreviations: ClassVar = {
        "Sig.": "signor", "sig.": "signor", "Sig.ra": "signora", "sig.ra": "signora", "Sig.na": "signorina",
        "Dott.": "dottor", "dott.": "dottor", "Dott.ssa": "dottoressa", "dott.ssa": "dottoressa", "Dr.": "dottor",
        "Prof.": "professor", "prof.": "professor", "Prof.ssa": "professoressa", "Ing.": "ingegner",
        "Avv.": "avvocato", "p.es.": "per esempio", "p. es.": "per esempio", "ad es.": "ad esempio",
        "es.": "esempio", "ca.": "circa", "tel.": "telefono", "Tel.": "telefono", "cell.": "cellulare",
        "P.zza": "piazza", "p.zza": "piazza", "V.le": "viale", "max.": "massimo", "min.": "minimo",
        "C.so": "corso", "c.so": "corso", "app.to": "appuntamento",
    }  # fmt: skip
    closing_abbreviations: ClassVar = {"ecc.": "eccetera", "etc.": "eccetera"}
    before_numbers: ClassVar = {"n.": "numero", "N.": "numero", "nr.": "numero", "n°": "numero", "N°": "numero",
                                "nº": "numero", "№": "numero", "pag.": "pagina", "int.": "interno",
                                "art.": "articolo", "cap.": "capitolo"}  # fmt: skip
    codes = (
        r"CAP|codice(?: \w{1,20})?|PIN|numero (?:di conto|d'ordine|di prenotazione|di telefono|cliente|di pratica)"
        r"|interno|volo|telefono"
    )

    def agree(self, words: str, n: int, noun: str) -> str:
        noun = noun.lower()
        if n != 1 or noun in _FUNCTION_WORDS:
            return words
        return "una" if noun.endswith(("a", "ione", "tà", "notte")) else "un"

    def ordinal(self, n: int, suffix: str, before: str, after: str) -> str:
        word = number_words(n, "it", "ordinal")
        return f"{word[:-1]}a" if suffix in "ªa" else word

    def join_money(self, major: str, minor: str, cents: int) -> str:
        return f"{major} e {self.cardinal(cents)}"

    def clock(self, hour: int, minute: int, half: Half, *, word: str) -> str:
        hour = on_24_hours(hour, half)
        said = "mezzanotte" if hour == 0 else "una" if hour == 1 else self.cardinal(hour)
        return f"{said} e {self.cardinal(minute)}" if minute else said

    def date(self, day: int, month: int, year: int | None, before: str) -> str:
        said = f"{'primo' if day == 1 else self.cardinal(day)} {self.months[month - 1]}"
        return f"{said} {self.year(year)}" if year is not None else said
