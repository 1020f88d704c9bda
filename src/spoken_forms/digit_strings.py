"""Figures that are no quantity: telephone numbers, codes, postcodes, rooms. Read digit by digit, in groups."""

from __future__ import annotations

import re
from typing import Final

from spoken_forms.figures import NOT_INSIDE
from spoken_forms.language import Language
from spoken_forms.passes import Pass

_TELEPHONE: Final = re.compile(
    r"(?<![\w.,/@:-])(?P<plus>\+\s?)?\(?[0-9][0-9 \u00a0\u202f()./–-]{3,28}[0-9](?!\w)(?![.,:/][0-9])(?!\s?%)"
)
_ABOUT_TELEPHONES: Final = re.compile(
    r"(?i)\b(?:call|dial|phone|ring|text|fax|tel|whatsapp|telephone|mobile|cell|telefon|anruf|rufen|mobil|handy|nummer"
    r"|teléfono|llam|marque|móvil|appel|téléphone|composez|telefono|chiam|cellulare|ligue|telefone|celular|bel|telefoon)"
)
_SHORT_NUMBER: Final = re.compile(
    r"(?<!\w)((?i:call|dial|phone|ring|text|wählen sie|rufen sie|llame al|marque el|appelez le|composez le|chiami il"
    r"|chiamare il|ligue para o|bel))\s([0-9]{3})(?![\w])(?![.,:/-][0-9])"
)
"""112, 911 and their like."""
_SHAPES: Final = frozenset(
    {(3, 4), (3, 3, 4), (1, 3, 3, 4), (3, 3, 3), (4, 4), (2, 4, 4), (2, 5, 4), (5, 4), (3, 2, 2, 2), (4, 3, 3),
     (1, 3, 4), (2, 2, 2, 2, 2), (3, 3, 2, 2)}
)  # fmt: skip
"""Lengths of the groups in which numbers are written that begin with neither + nor 0."""
_CITY_CODE: Final = {
    "de": r"[0-9]{5}(?=\s[A-ZÄÖÜ][a-zäöü])", "fr": r"[0-9]{5}(?=\s[A-ZÉÎ])", "es": r"[0-9]{5}(?=\s[A-ZÁÉÍÓÚ])",
    "it": r"[0-9]{5}(?=\s[A-Z])", "pt": r"[0-9]{4,5}-[0-9]{3}", "nl": r"[1-9][0-9]{3}(?=\s[A-Z]{2}\b)",
    "en": r"(?<=\b[A-Z]{2}\s)[0-9]{5}(?:-[0-9]{4})?",
}  # fmt: skip
_STREET: Final = re.compile(
    rf"{NOT_INSIDE}([0-9]{{3,4}})(?=\s(?:[A-Z][\w.]{{0,20}}\s){{1,3}}"
    r"(?:St|Street|Ave|Avenue|Road|Rd|Blvd|Boulevard|Drive|Dr|Lane|Ln|Way|Court|Ct|Place|Pl|Square)\b)"
)


def passes(language: Language) -> list[Pass]:
    signs = language.signs

    def telephone(match: re.Match[str]) -> str | None:
        text = match[0]
        groups = [group for group in re.split(r"[^0-9]+", text) if group]
        if not _is_telephone(match, groups, language):
            return None
        said = ", ".join(grouped(language, group) for group in groups)
        return f"{signs.plus} {said}" if match["plus"] else said

    def code(match: re.Match[str]) -> str | None:
        digits = sum(character.isdigit() for character in match["code"])
        if digits < 3:
            return None
        return match["name"] + match["between"].replace("#", "") + spelled(language, match["code"])

    def marked(match: re.Match[str]) -> str:
        digits = match[1]
        n = grouped(language, digits) if len(digits) > 4 or digits[0] == "0" else language.cardinal(int(digits))
        return f"{signs.number} {n}"

    def postcode(match: re.Match[str]) -> str | None:
        return None if match[0].endswith("000") else ", ".join(grouped(language, part) for part in match[0].split("-"))

    def serial(match: re.Match[str]) -> str:
        joint = "-" if match[1] == "A" else " "
        return f"{match[1]}{joint}{grouped(language, match[2])}"

    def short_number(match: re.Match[str]) -> str:
        return f"{match[1]} {language.digits(match[2])}"

    names = rf"(?<!\w)(?P<name>(?i:{language.codes}))"
    between = r"(?P<between>(?:\s(?:is|ist|lautet|es|est|è|é|nummer|number|no\.?))?\s?[:#]?\s?)"
    found = [
        Pass(re.compile(rf"{names}{between}(?P<code>[A-Z0-9](?:-?[A-Z0-9]){{2,30}})(?![\w-])(?![.,:/][0-9])"), code),
        Pass(_TELEPHONE, telephone),
        Pass(_SHORT_NUMBER, short_number),
        Pass(re.compile(r"(?<![\w#&])#\s?([0-9]{1,12})(?![\w])(?![.,:][0-9])"), marked),
        Pass(re.compile(r"(?<![\w-])([A-Z]{1,4})-?([0-9]{3,12})(?!\w)(?![.,:/-][0-9])"), serial),
        Pass(re.compile(rf"{NOT_INSIDE}(?:{_CITY_CODE[language.code[:2]]})(?![\w-])"), postcode),
    ]
    if language.rooms != r"(?!)":
        room = re.compile(rf"(?<!\w)((?i:{language.rooms})\s)([0-9]{{3,4}})(?!\w)(?![.,:][0-9])")
        found.insert(0, Pass(room, lambda match: match[1] + language.pairs(match[2])))
        found.insert(1, Pass(_STREET, lambda match: language.pairs(match[1])))
    return found


def grouped(language: Language, digits: str) -> str:
    """Digits, with a short pause after each three or four."""
    if len(digits) <= 4:
        return language.digits(digits)
    if len(digits) == 8:
        return f"{language.digits(digits[:4])}, {language.digits(digits[4:])}"
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    if len(groups[-1]) == 1:
        groups[-2:] = [groups[-2] + groups[-1]]
    return ", ".join(map(language.digits, groups))


def spelled(language: Language, code: str) -> str:
    """Letters as they are, digits one by one."""
    pieces = re.findall(r"[0-9]+|[A-Z]+", code)
    return ", ".join(grouped(language, piece) if piece.isdigit() else piece for piece in pieces)


def _is_telephone(match: re.Match[str], groups: list[str], language: Language) -> bool:
    text, digits = match[0], "".join(groups)
    if not 5 <= len(digits) <= 24:
        return False
    separators = set(re.findall(r"[^0-9+()]", text))
    if separators == {"."} and (len(groups) == 2 or (language.decimal_comma and _are_thousands(groups))):
        return False
    if match["plus"] or text.startswith("("):
        return len(digits) >= 7
    if separators - {" ", "\u00a0", "\u202f"} == set() and language.spaced_thousands and _are_thousands(groups):
        return len(digits) == 9 and digits[0] in "6789" and " " in separators
    if digits[0] == "0" and len(digits) >= 7:
        return True
    if _ABOUT_TELEPHONES.search(match.string[max(0, match.start() - 30) : match.start()]):
        return True
    if len(groups) == 1:
        return len(digits) >= 7 and not digits.endswith("000")
    if len(groups) > 2 and all(len(group) == 4 for group in groups[:-1]):
        return True  # a card's or an account's
    return tuple(map(len, groups)) in _SHAPES and len(separators) <= 2 and "/" not in separators


def _are_thousands(groups: list[str]) -> bool:
    return len(groups) > 1 and all(len(group) == 3 for group in groups[1:]) and groups[0][0] != "0"
