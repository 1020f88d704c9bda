"""Italian words of turn-taking. The accents tell "sì" (yes) from "si" (oneself), and "è" (is) from "e" (and)."""

from __future__ import annotations

from typing import Final

from voice_core.turn_words import TurnWords, words

_FIRM: Final = words("sì no certo esatto esattamente giusto corretto stop mai")
_STEMS: Final = words("vent trent quarant cinquant sessant settant ottant novant")
_VOWELS: Final = {stem: "i" if stem == "vent" else "a" for stem in _STEMS}

ITALIAN: Final = TurnWords(
    backchannels=words(
        "mhm mm mmm hm hmm ah oh ok okay sì certo bene va capisco ho capito vedo esatto giusto perfetto davvero",
        "interessante ecco eh ehm già allora benissimo ottimo d'accordo",
    ),
    greetings=words("ciao salve buongiorno buonasera buon giorno buona sera pronto"),
    firm_answers=_FIRM,
    answers=_FIRM
    | words(
        "ok okay grazie prego bene niente nulla nessuno nessuna forse d'accordo arrivederci ciao perfetto volentieri",
        "certamente basta assolutamente va",
    ),
    around_answers=words("per favore mille molte è tutto così molto di più a posto bene signora signore sì no"),
    corrections=words("scusi scusa scusate no aspetti aspetta fermo"),
    never_last=words(
        "e ed o oppure ma se mentre né il gli un mio tuo suo nostro del dello della",
        "dei degli delle al allo alla ai agli alle nel nello nella nei nelle sul sulla dal dalla dai di con per in",
        "tra fra vorrei voglio cerco che ehm ogni l mi ti",
    ),
    seldom_last=words(
        "la le i lo uno una mia sua suoi sue a da su perché anche questo questa questi queste quello quella quel io",
        "lei noi loro è sono era ha hanno ho hai avete avrei può possono posso potrebbe potrei devo deve come",
        "quando dove chi quale quali quanto quanta cosa più solo allora poi molto si ci eh chiamo dalle bisogno",
    ),
    open_tails=(
        "mi può", "può dirmi", "potrebbe", "mi potrebbe", "vorrei sapere", "mi piacerebbe", "il mio nome è",
        "mi chiamo", "numero è", "telefono è", "email è", "indirizzo è", "mail è", "un momento", "un attimo",
        "un secondo", "ho bisogno di", "devo", "nato il", "nata il", "tipo di", "a che ora", "c'è", "ci sono", "cioè",
    ),
    units=words("uno due tre quattro cinque sei sette otto nove"),
    two_digits=words(
        "dieci undici dodici tredici quattordici quindici sedici diciassette diciotto diciannove",
        "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    )
    | {f"{stem}{one}" for stem in _STEMS for one in ("uno", "otto")}
    | {
        f"{stem}{vowel}{one}"
        for stem, vowel in _VOWELS.items()
        for one in ("due", "tre", "tré", "quattro", "cinque", "sei", "sette", "nove")
    },
    zeros=words("zero"),
    number_joins=words("plus più e"),
    scales={"cento": 2, "mille": 3, "mila": 3},
    repeats={"doppio": 2, "triplo": 3},
    number_names=words("numero telefono cellulare carta conto prefisso iban"),
    code_names=words("codice pin cap postale stanza camera interno"),
    phone_digits=(9, 11),
    as_in=("come", "di"),
    one_letter_words=words("a e i o è"),
    email_names=words("email e-mail mail gmail posta"),
    at_words=words("chiocciola at"),
    dot_words=words("punto"),
    address_marks=words("trattino underscore basso"),
    months=words(
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    ),
    birth_words=words("nato nata nascita compleanno"),
)  # fmt: skip
