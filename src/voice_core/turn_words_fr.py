"""French words of turn-taking. An elided word ("l'", "qu'") at the end of a text stands there as its letters."""

from __future__ import annotations

from typing import Final

from voice_core.turn_words import TurnWords, words

_FIRM: Final = words("oui non ouais si exact exactement correct stop jamais tout à fait voilà")
_TENS: Final = words("vingt trente quarante cinquante soixante septante huitante octante nonante")
_ONES: Final = words("deux trois quatre cinq six sept huit neuf")
_TEENS: Final = words("dix onze douze treize quatorze quinze seize dix-sept dix-huit dix-neuf")

FRENCH: Final = TurnWords(
    backchannels=words(
        "mhm mm mmm hm hmm hum ah oh ok okay oui ouais d'accord bien bon très je vois comprends exactement voilà super",
        "parfait vraiment intéressant euh ben ça marche entendu",
    ),
    greetings=words("bonjour bonsoir salut allô allo coucou"),
    firm_answers=_FIRM - words("tout à fait"),
    answers=_FIRM
    - words("à")
    | words("d'accord ok okay merci rien aucun aucune personne peut-être parfait entendu volontiers revoir bien sûr"),
    around_answers=words("au de s'il vous plaît plait te c'est ça beaucoup très à pas du tout bon madame monsieur"),
    corrections=words("pardon excusez désolé désolée non attendez attends stop"),
    never_last=words(
        "et ou mais parce car lorsque puisque quoique ni que qu un une des du au aux mon ma",
        "mes ton ta tes son sa ses notre nos votre vos leurs je j tu de d chez vers dès",
        "euh ben c'est j'ai j'aimerais voudrais veux cherche l s n m t jusqu lorsqu puisqu ce chaque",
    ),
    seldom_last=words(
        "le la les l'a en dans avec pour sans sur sous entre par à depuis pendant après avant ces cet cette leur il",
        "elle on nous vous ils elles est sont était êtes suis ai as a ont avez avons peut peux peuvent pouvez pourrait",
        "pourriez dois doit faut quand donc comment où qui quel quelle quels quelles combien quoi comme plus aussi",
        "alors très quelque quelques si y",
    ),
    open_tails=(
        "est-ce que", "est-ce qu", "pouvez-vous", "pourriez-vous", "je voudrais", "j'aimerais", "je veux", "je peux",
        "mon nom est", "je m'appelle", "numéro est", "numéro c'est", "adresse est", "adresse c'est", "il y a",
        "y a-t-il", "avez-vous", "un moment", "un instant", "une seconde", "attendez", "à quelle heure", "j'ai besoin",
        "besoin de", "née le", "né le", "parce que", "sorte de", "genre de",
    ),
    units=_ONES | words("un"),
    two_digits=_TEENS
    | words("vingt-et-un quatre-vingts quatre-vingt quatre-vingt-un")
    | {f"{ten}-{one}" for ten in _TENS for one in _ONES}
    | {f"soixante-{teen}" for teen in _TEENS}
    | {f"quatre-vingt-{ones}" for ones in _TEENS | _ONES},
    tens=_TENS,
    zeros=words("zéro"),
    number_joins=words("plus et"),
    scales={"cent": 2, "cents": 2, "mille": 3},
    repeats={"double": 2, "triple": 3},
    number_names=words("numéro téléphone portable mobile carte compte indicatif iban"),
    code_names=words("code pin postal chambre poste"),
    phone_digits=(10, 11),
    as_in=("comme",),
    one_letter_words=words("a à y l d j c m n s t"),
    email_names=words("email e-mail mail gmail courriel mèl"),
    at_words=words("arobase arobas at"),
    dot_words=words("point"),
    address_marks=words("tiret underscore bas"),
    months=words(
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    ),
    birth_words=words("né née naissance anniversaire"),
)  # fmt: skip
