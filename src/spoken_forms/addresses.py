"""E-mail and web addresses: info@example.com is said info at example dot com."""

from __future__ import annotations

import re
from typing import Final

from spoken_forms.language import Language
from spoken_forms.passes import Pass

_EMAIL: Final = re.compile(r"(?<![\w.+%@-])(?:mailto:)?([\w.+%-]{1,64})@([\w-]{1,63}(?:\.[\w-]{1,63}){1,6})(?![\w@])")
_LINK: Final = re.compile(r"(?<![\w@])(?:https?://|www\.)[^\s<>\"'”»]{1,2000}", re.IGNORECASE)
_DOMAINS: Final = (
    "com|org|net|info|biz|edu|gov|io|ai|app|dev|shop|eu|de|at|ch|es|mx|fr|be|it|pt|br|nl|uk|us|ca|ie|au|nz|online|me"
)
_BARE: Final = re.compile(
    rf"(?<![\w.@/-])(?:[a-zA-Z0-9-]{{1,63}}\.){{1,4}}(?:{_DOMAINS})(?![\w@-])(?!\.\w)(?:/[^\s<>\"'”»]{{0,2000}})?"
)
_STOPS: Final = ".,;:!?)]}…"
_PIECE: Final = re.compile(r"[0-9]+|[^\W\d_]+|.", re.DOTALL)


def passes(language: Language) -> list[Pass]:
    signs = language.signs
    silent = dict.fromkeys(":#?~", "")
    names = silent | {
        ".": signs.dot, "-": signs.dash, "_": signs.underscore, "/": signs.slash, "+": signs.plus, "@": signs.at,
        "=": signs.equals, "&": signs.and_, "%": language.units["%"][0],
    }  # fmt: skip

    def spelled(address: str) -> str:
        words: list[str] = []
        for piece in _PIECE.findall(address):
            if piece.isascii() and piece.isdigit():
                words.append(language.digits(piece) if len(piece) > 2 else language.cardinal(int(piece)))
            else:
                words.append(names.get(piece, piece))
        return " ".join(filter(None, words))

    def host(name: str) -> str:
        """A country's two letters stand in capitals, so that they are read as letters; in its own language as it is."""
        head, _, country = name.lower().rpartition(".")
        if len(country) == 2 and head and country != language.code[:2]:
            return f"{spelled(head)} {signs.dot} {country.upper()}"
        return spelled(name.lower())

    def email(match: re.Match[str]) -> str:
        return f"{spelled(match[1])} {signs.at} {host(match[2])}"

    def link(match: re.Match[str]) -> str | None:
        whole = match[0].rstrip(_STOPS)
        rest = match[0][len(whole) :]
        bare = re.sub(r"^https?://", "", whole, flags=re.IGNORECASE)
        if not bare:
            return None
        site, slash, path = bare.rstrip("/").partition("/")
        said = host(site)
        if said.lower().startswith("www "):
            said = "www" + said[3:]
        return (f"{said} {signs.slash} {spelled(path)}" if slash else said) + rest

    return [Pass(_EMAIL, email), Pass(_LINK, link), Pass(_BARE, link)]
