"""What telephony tools say where the configuration says nothing, in the languages that turn-taking has words of.

`{name}` is the destination as the agent calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SENTENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "putting_through": "I will put you through to {name}. One moment, please.",
        "asking": "I will see whether {name} can take your call. Please hold the line.",
        "busy": "I'm sorry, {name} is on another call. What would you like to do?",
        "no_answer": "I'm sorry, nobody answers at {name}. What would you like to do?",
        "declined": "I'm sorry, {name} cannot take your call at the moment. What would you like to do?",
        "failed": "I'm sorry, I cannot reach {name} at the moment. What would you like to do?",
        "farewell": "Thank you for calling. Goodbye.",
        "offer": "Press 1 to take the call, or 2 to decline it.",
        "connecting": "Thank you. I am connecting you.",
        "refused": "All right. Goodbye.",
        "callers_gone": "The caller has hung up in the meantime. Goodbye.",
    },
    "de": {
        "putting_through": "Ich verbinde Sie mit {name}. Einen Moment, bitte.",
        "asking": "Ich frage nach, ob {name} Zeit für Sie hat. Bitte bleiben Sie am Apparat.",
        "busy": "Bei {name} wird gerade gesprochen. Was möchten Sie tun?",
        "no_answer": "Bei {name} nimmt leider niemand ab. Was möchten Sie tun?",
        "declined": "Im Moment kann Ihr Anruf bei {name} leider nicht angenommen werden. Was möchten Sie tun?",
        "failed": "Ich kann {name} gerade nicht erreichen. Was möchten Sie tun?",
        "farewell": "Vielen Dank für Ihren Anruf. Auf Wiederhören.",
        "offer": "Drücken Sie die 1, um den Anruf anzunehmen, oder die 2, um ihn abzulehnen.",
        "connecting": "Danke. Ich verbinde.",
        "refused": "In Ordnung. Auf Wiederhören.",
        "callers_gone": "Der Anrufer hat inzwischen aufgelegt. Auf Wiederhören.",
    },
    "fr": {
        "putting_through": "Je vous mets en relation avec {name}. Un instant, s'il vous plaît.",
        "asking": "Je vérifie si {name} peut prendre votre appel. Ne quittez pas.",
        "busy": "Je suis désolé, {name} est déjà en ligne. Que souhaitez-vous faire ?",
        "no_answer": "Je suis désolé, personne ne répond chez {name}. Que souhaitez-vous faire ?",
        "declined": "Je suis désolé, {name} ne peut pas prendre votre appel. Que souhaitez-vous faire ?",
        "failed": "Je suis désolé, je n'arrive pas à joindre {name}. Que souhaitez-vous faire ?",
        "farewell": "Merci de votre appel. Au revoir.",
        "offer": "Appuyez sur 1 pour prendre l'appel, ou sur 2 pour le refuser.",
        "connecting": "Merci. Je vous mets en relation.",
        "refused": "Très bien. Au revoir.",
        "callers_gone": "L'appelant a raccroché entre-temps. Au revoir.",
    },
    "es": {
        "putting_through": "Le paso con {name}. Un momento, por favor.",
        "asking": "Voy a ver si {name} puede atenderle. No cuelgue, por favor.",
        "busy": "Lo siento, {name} está en otra llamada. ¿Qué desea hacer?",
        "no_answer": "Lo siento, nadie contesta en {name}. ¿Qué desea hacer?",
        "declined": "Lo siento, {name} no puede atenderle en este momento. ¿Qué desea hacer?",
        "failed": "Lo siento, no consigo hablar con {name}. ¿Qué desea hacer?",
        "farewell": "Gracias por llamar. Adiós.",
        "offer": "Pulse 1 para aceptar la llamada o 2 para rechazarla.",
        "connecting": "Gracias. Les pongo en comunicación.",
        "refused": "De acuerdo. Adiós.",
        "callers_gone": "Mientras tanto, la persona que llamaba ha colgado. Adiós.",
    },
    "it": {
        "putting_through": "La metto in comunicazione con {name}. Un momento, per favore.",
        "asking": "Verifico se {name} può rispondere. Resti in linea, per favore.",
        "busy": "Mi dispiace, {name} è su un'altra chiamata. Che cosa desidera fare?",
        "no_answer": "Mi dispiace, da {name} non risponde nessuno. Che cosa desidera fare?",
        "declined": "Mi dispiace, {name} non può rispondere in questo momento. Che cosa desidera fare?",
        "failed": "Mi dispiace, non riesco a raggiungere {name}. Che cosa desidera fare?",
        "farewell": "Grazie per la chiamata. Arrivederci.",
        "offer": "Prema 1 per accettare la chiamata o 2 per rifiutarla.",
        "connecting": "Grazie. Vi metto in comunicazione.",
        "refused": "Va bene. Arrivederci.",
        "callers_gone": "Nel frattempo il chiamante ha riagganciato. Arrivederci.",
    },
}

_ACCEPTS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("yes", "yeah", "yep", "sure", "okay", "ok", "of course", "put (him|her|them) through", "i will take it",
           "i'll take it", "go ahead", "connect (us|me)", "one"),
    "de": ("ja", "gerne", "klar", "okay", "in ordnung", "stell[en] [sie] durch", "verbinden [sie]", "eins"),
    "fr": ("oui", "d'accord", "bien sûr", "passez le moi", "je le prends", "un"),
    "es": ("sí", "si", "claro", "de acuerdo", "vale", "páselo", "uno"),
    "it": ("sì", "si", "certo", "va bene", "d'accordo", "lo passi", "uno"),
}  # fmt: skip
_DECLINES: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("no", "nope", "not now", "i can't", "i cannot", "i am busy", "i'm busy", "later", "two"),
    "de": ("nein", "jetzt nicht", "ich kann [jetzt|gerade] nicht", "keine zeit", "später", "zwei"),
    "fr": ("non", "pas maintenant", "je ne peux pas", "plus tard", "deux"),
    "es": ("no", "ahora no", "no puedo", "más tarde", "dos"),
    "it": ("no", "non ora", "non posso", "più tardi", "due"),
}


def sentence(key: str, language: str, name: str = "") -> str:
    """The sentence of that key; English where the language (``de``, ``de-AT``) has none."""
    sentences = _SENTENCES.get(language.partition("-")[0], _SENTENCES["en"])
    return sentences[key].replace("{name}", name)


def words_of_decision(language: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patterns (`voice_core.set_phrases`) by which a colleague takes a call, and by which he does not."""
    code = language.partition("-")[0]
    return _ACCEPTS.get(code, _ACCEPTS["en"]), _DECLINES.get(code, _DECLINES["en"])
