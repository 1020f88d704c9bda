"""Spanish. Mexico and others write decimals with a point; the figure shows which."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from spoken_forms.language import Currency, Half, Language, Signs, metric_units, on_24_hours

_EURO: Final = Currency("euro", "euros", "céntimo", "céntimos")
_DOLLAR: Final = Currency("dólar", "dólares", "centavo", "centavos")
_POUND: Final = Currency("libra", "libras", "penique", "peniques")
_FEMININE: Final = re.compile(r"(?:as?|ci[óo]n(?:es)?|dad(?:es)?|noches?|veces|vez)$")
_MASCULINE: Final = re.compile(r"(?:d[íi]as?|problemas?|programas?|mapas?|kilos?)$")
_NOT_NOUNS: Final = frozenset({
    "a", "la", "las", "para", "una", "otra", "hasta", "hacia",
})  # fmt: skip
_ORDINALS: Final = ("", "primero", "segundo", "tercero", "cuarto", "quinto", "sexto", "séptimo", "octavo", "noveno",
                    "décimo")  # fmt: skip


class Spanish(Language):
    code = "es"
    library_code = "es"
    spaced_thousands = True
    decimal = "coma"
    signs = Signs(
        at="arroba", dot="punto", dash="guion", underscore="guion bajo", slash="barra", plus="más", minus="menos",
        equals="igual a", times="por", and_="y", or_="o", to="a", per="por", number="número", about="unos",
        section="sección", extension="extensión", degrees="grados",
    )  # fmt: skip

    months = ("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre",
              "noviembre", "diciembre")  # fmt: skip
    month_abbreviations: ClassVar = {
        "ene": 1, "feb": 2, "mar": 3, "abr": 4, "may": 5, "jun": 6, "jul": 7, "ago": 8, "sep": 9, "sept": 9,
        "oct": 10, "nov": 11, "dic": 12,
    }  # fmt: skip
    date_leads = frozenset({"el", "del", "al", "hasta", "desde"})
    day_before_month = r"\.?[ºo]?\sde\s"
    year_after_month = r",?\s(?:del?\s)?"
    weekdays: ClassVar = {
        "lun": "lunes", "mar": "martes", "mié": "miércoles", "jue": "jueves", "vie": "viernes", "sáb": "sábado",
        "dom": "domingo", "L": "lunes", "M": "martes", "X": "miércoles", "J": "jueves", "V": "viernes",
        "S": "sábado", "D": "domingo",
    }  # fmt: skip

    half = r"[ap]\.\s?m\.?|[ap]m\.?"
    clock_word = r"horas|hrs?\.?|h\b\.?"
    clock_letter = r"h"
    clock_lead = r"las?"

    units = metric_units(
        kilometres=("kilómetro", "kilómetros"),
        metres=("metro", "metros"),
        grams=("gramo", "gramos"),
        litres=("litro", "litros"),
        hours=("hora", "horas"),
        minutes=("minuto", "minutos"),
        prefixes=("kilo", "centí", "mili", "mega"),
        celsius=("grado centígrado", "grados centígrados"),
        fahrenheit=("grado Fahrenheit", "grados Fahrenheit"),
        percent="por ciento",
        per_hour="por hora",
        square=("metro cuadrado", "metros cuadrados"),
        others={
            "mm": ("milímetro", "milímetros"),
            "mg": ("miligramo", "miligramos"),
            "ml": ("mililitro", "mililitros"),
            "W": ("vatio", "vatios"),
            "kW": ("kilovatio", "kilovatios"),
            "kWh": ("kilovatio hora", "kilovatios hora"),
            "V": ("voltio", "voltios"),
            "°": ("grado", "grados"),
            "mi": ("milla", "millas"),
        },
    )
    currencies: ClassVar = {
        "€": _EURO, "EUR": _EURO, "euro": _EURO, "euros": _EURO, "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR,
        "dólar": _DOLLAR, "dólares": _DOLLAR, "£": _POUND, "GBP": _POUND, "libras": _POUND,
        "MXN": Currency("peso", "pesos", "centavo", "centavos"), "¥": Currency("yen", "yenes"),
        "peso": Currency("peso", "pesos", "centavo", "centavos"), "CHF": Currency("franco suizo", "francos suizos"),
        "pesos": Currency("peso", "pesos", "centavo", "centavos"),
    }  # fmt: skip
    magnitudes: ClassVar = {"mil": "mil", "millón": "millón", "millones": "millones", "M": "millones",
                            "mill.": "millones"}  # fmt: skip
    magnitude_link = " de "
    fractions: ClassVar = {
        (1, 2): "un medio", (1, 3): "un tercio", (2, 3): "dos tercios", (1, 4): "un cuarto", (3, 4): "tres cuartos",
        (1, 5): "un quinto", (1, 8): "un octavo", (1, 10): "un décimo",
    }  # fmt: skip
    and_a_half = "y medio"

    ordinal_suffix = r"(\.?(?:er\b|[ºª]))"
    abbreviations: ClassVar = {
        "Sr.": "señor", "Sra.": "señora", "Srta.": "señorita", "Sres.": "señores", "Dr.": "doctor", "Dra.": "doctora",
        "Dr": "doctor", "Dra": "doctora", "Dña.": "doña", "Ud.": "usted", "Uds.": "ustedes",
        "p. ej.": "por ejemplo", "p.ej.": "por ejemplo", "aprox.": "aproximadamente", "Av.": "avenida",
        "Avda.": "avenida", "C/": "calle", "tel.": "teléfono", "Tel.": "teléfono", "tfno.": "teléfono",
        "EE. UU.": "Estados Unidos", "EE.UU.": "Estados Unidos", "Prof.": "profesor", "Profa.": "profesora",
        "Pza.": "plaza", "Ing.": "ingeniero", "Lic.": "licenciado", "máx.": "máximo", "mín.": "mínimo",
        "izq.": "izquierda", "dcha.": "derecha",
    }  # fmt: skip
    closing_abbreviations: ClassVar = {"etc.": "etcétera", "Cía.": "compañía", "dpto.": "departamento"}
    before_numbers: ClassVar = {
        "núm.": "número", "Núm.": "número", "n.º": "número", "N.º": "número", "nº": "número", "Nº": "número",
        "n°": "número", "N°": "número", "№": "número", "No.": "número", "pág.": "página", "págs.": "páginas",
        "ext.": "extensión", "art.": "artículo", "km.": "kilómetro", "apto.": "apartamento", "hab.": "habitación",
    }  # fmt: skip
    codes = (
        r"código(?: postal| de \w{1,20})?|C\.?P\.?|clave|PIN|pin|número de (?:cuenta|pedido|reserva|teléfono|cliente"
        r"|factura)|pedido|vuelo|extensión|teléfono"
    )

    def cardinal(self, n: int, noun: str = "") -> str:
        words = re.sub(r"uno(?= mil)", "ún", super().cardinal(n)) if n >= 21000 else super().cardinal(n)
        words = words.replace(" y ún", " y un").replace("ciento ún", "ciento un")
        return self.agree(words, n, noun) if noun else words

    def agree(self, words: str, n: int, noun: str) -> str:
        noun = noun.lower()
        if noun in _NOT_NOUNS:
            return words
        if _FEMININE.search(noun) and not _MASCULINE.search(noun):
            return re.sub(r"uno$", "una", words).replace("cientos", "cientas").replace("quinientos", "quinientas")
        if len(noun) < 3 or noun in ("para", "con"):
            return words
        return re.sub(r"veintiuno$", "veintiún", re.sub(r"\buno$", "un", words))

    def ordinal(self, n: int, suffix: str, before: str, after: str) -> str:
        if not 1 <= n <= 10:
            return self.cardinal(n)
        word = _ORDINALS[n]
        if suffix.endswith(("ª", "a")):
            return f"{word[:-1]}a"
        return word[:-1] if suffix.endswith("er") or (n in (1, 3) and after and suffix[-1] in "º°") else word

    def join_money(self, major: str, minor: str, cents: int) -> str:
        return f"{major} con {self.cardinal(cents)}"

    def clock(self, hour: int, minute: int, half: Half, *, word: str) -> str:
        if half is not None and 1 <= hour <= 12:
            on_24 = on_24_hours(hour, half)
            part = "de la mañana" if on_24 < 12 else "del mediodía" if on_24 == 12 else ""
            part = part or ("de la tarde" if on_24 < 20 else "de la noche")
            words = self.cardinal(hour, "horas")
            return f"{words} y {self.cardinal(minute)} {part}" if minute else f"{words} {part}"
        words = self.cardinal(hour, "horas")
        if minute:
            return f"{words} y {self.cardinal(minute)}"
        return f"{words} {'hora' if hour == 1 else 'horas'}" if word or hour > 12 or hour == 0 else words

    def date(self, day: int, month: int, year: int | None, before: str) -> str:
        first = "primero" if day == 1 else self.cardinal(day)
        said = f"{first} de {self.months[month - 1]}"
        return f"{said} de {self.year(year)}" if year is not None else said
