"""Portuguese, as written in Portugal and, where it differs, in Brazil."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from spoken_forms.language import Currency, Half, Language, Signs, metric_units, on_24_hours
from spoken_forms.number_words import number_words

_EURO: Final = Currency("euro", "euros", "cêntimo", "cêntimos")
_DOLLAR: Final = Currency("dólar", "dólares", "centavo", "centavos")
_POUND: Final = Currency("libra", "libras", "pêni", "pence")
_REAL: Final = Currency("real", "reais", "centavo", "centavos")
_FEMININE: Final = re.compile(r"(?:as?|[çs](?:ão|ões)|dades?|noites?|vez|vezes)$")
_MASCULINE: Final = re.compile(r"(?:dias?|problemas?|programas?|mapas?)$")
_FUNCTION_WORDS: Final = frozenset({
    "a", "as", "e", "o", "os", "ou", "para", "na", "da", "das", "nas",
})  # fmt: skip


class Portuguese(Language):
    code = "pt"
    library_code = "pt"
    spaced_thousands = True
    decimal = "vírgula"
    signs = Signs(
        at="arroba", dot="ponto", dash="hífen", underscore="sublinhado", slash="barra", plus="mais", minus="menos",
        equals="igual a", times="vezes", and_="e", or_="ou", to="a", per="por", number="número", about="cerca de",
        section="secção", extension="extensão", degrees="graus",
    )  # fmt: skip

    months = ("janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro",
              "novembro", "dezembro")  # fmt: skip
    month_abbreviations: ClassVar = {
        "jan": 1, "fev": 2, "mar": 3, "abr": 4, "mai": 5, "jun": 6, "jul": 7, "ago": 8, "set": 9, "out": 10,
        "nov": 11, "dez": 12,
    }  # fmt: skip
    date_leads = frozenset({"em", "dia", "até"})
    day_before_month = r"\.?[ºo]?\sde\s"
    year_after_month = r",?\s(?:de\s)?"
    weekdays: ClassVar = {
        "seg": "segunda", "ter": "terça", "qua": "quarta", "qui": "quinta", "sex": "sexta", "sáb": "sábado",
        "dom": "domingo", "Seg": "segunda", "Ter": "terça", "Qua": "quarta", "Qui": "quinta", "Sex": "sexta",
        "Sáb": "sábado", "Dom": "domingo",
    }  # fmt: skip

    clock_word = r"horas|hs?\b"
    clock_letter = r"h"
    clock_lead = r"às"

    units = metric_units(
        kilometres=("quilómetro", "quilómetros"),
        metres=("metro", "metros"),
        grams=("grama", "gramas"),
        litres=("litro", "litros"),
        hours=("hora", "horas"),
        minutes=("minuto", "minutos"),
        prefixes=("quilo", "centí", "mili", "mega"),
        celsius=("grau Celsius", "graus Celsius"),
        fahrenheit=("grau Fahrenheit", "graus Fahrenheit"),
        percent="por cento",
        per_hour="por hora",
        square=("metro quadrado", "metros quadrados"),
        others={
            "mm": ("milímetro", "milímetros"),
            "ml": ("mililitro", "mililitros"),
            "°": ("grau", "graus"),
            "kg": ("quilo", "quilos"),
            "mg": ("miligrama", "miligramas"),
            "kWh": ("quilowatt-hora",) * 2,
        },
    )
    currencies: ClassVar = {
        "€": _EURO, "EUR": _EURO, "euro": _EURO, "euros": _EURO, "R$": _REAL, "BRL": _REAL, "real": _REAL,
        "reais": _REAL, "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR, "dólar": _DOLLAR, "dólares": _DOLLAR,
        "£": _POUND, "GBP": _POUND, "libras": _POUND, "CHF": Currency("franco suíço", "francos suíços"),
        "¥": Currency("iene", "ienes"),
    }  # fmt: skip
    magnitudes: ClassVar = {"mil": "mil", "milhão": "milhão", "milhões": "milhões", "mi": "milhões",
                            "bilhão": "bilhão", "bilhões": "bilhões", "bi": "bilhões"}  # fmt: skip
    magnitude_link = " de "
    fractions: ClassVar = {
        (1, 2): "um meio", (1, 3): "um terço", (2, 3): "dois terços", (1, 4): "um quarto", (3, 4): "três quartos",
        (1, 5): "um quinto", (1, 8): "um oitavo", (1, 10): "um décimo",
    }  # fmt: skip
    and_a_half = "e meio"

    ordinal_suffix = r"(\.?[ºª])"
    abbreviations: ClassVar = {
        "Sr.": "senhor", "Sra.": "senhora", "Sr.ª": "senhora", "Srta.": "senhorita", "Dr.": "doutor",
        "Dra.": "doutora", "Dr.ª": "doutora", "Eng.": "engenheiro", "Prof.": "professor", "Profa.": "professora",
        "p. ex.": "por exemplo", "p.ex.": "por exemplo", "aprox.": "aproximadamente", "Av.": "avenida",
        "tel.": "telefone", "Tel.": "telefone", "telef.": "telefone", "Exmo.": "excelentíssimo",
        "máx.": "máximo", "mín.": "mínimo", "Pça.": "praça",
    }  # fmt: skip
    closing_abbreviations: ClassVar = {
        "etc.": "et cetera",
        "Cia.": "companhia",
        "Lda.": "limitada",
        "Ltda.": "limitada",
    }
    before_numbers: ClassVar = {
        "n.º": "número", "N.º": "número", "nº": "número", "Nº": "número", "n°": "número", "№": "número",
        "núm.": "número", "pág.": "página", "págs.": "páginas", "art.": "artigo", "ap.": "apartamento",
        "apto.": "apartamento", "ext.": "extensão", "r.": "ramal",
    }  # fmt: skip
    codes = (
        r"código(?: postal| de \w{1,20})?|CEP|senha|PIN|pin|número (?:de|da|do) (?:conta|pedido|reserva|telefone"
        r"|cliente|fatura)|pedido|voo|ramal|extensão|telefone"
    )

    def agree(self, words: str, n: int, noun: str) -> str:
        noun = noun.lower()
        if noun in _FUNCTION_WORDS or not _FEMININE.search(noun) or _MASCULINE.search(noun):
            return words
        words = re.sub(r"\bum$", "uma", re.sub(r"\bdois$", "duas", words))
        return re.sub(r"entos\b", "entas", re.sub(r"\bdois mil\b", "duas mil", words))

    def ordinal(self, n: int, suffix: str, before: str, after: str) -> str:
        word = number_words(n, "pt", "ordinal")
        return " ".join(f"{part[:-1]}a" for part in word.split()) if suffix.endswith("ª") else word

    def clock(self, hour: int, minute: int, half: Half, *, word: str) -> str:
        hour = on_24_hours(hour, half)
        said = self.cardinal(hour, "horas")
        if minute:
            return f"{said} e {self.cardinal(minute)}"
        return f"{said} {'hora' if hour == 1 else 'horas'}"

    def date(self, day: int, month: int, year: int | None, before: str) -> str:
        said = f"{'primeiro' if day == 1 else self.cardinal(day)} de {self.months[month - 1]}"
        return f"{said} de {self.year(year)}" if year is not None else said


class BrazilianPortuguese(Portuguese):
    code = "pt-BR"
    library_code = "pt_BR"
    units: ClassVar = Portuguese.units | {"km": ("quilômetro", "quilômetros"),
                                          "km/h": ("quilômetro por hora", "quilômetros por hora")}  # fmt: skip
    currencies: ClassVar = Portuguese.currencies | dict.fromkeys(
        ("€", "EUR", "euro", "euros"), Currency("euro", "euros", "centavo", "centavos")
    )
