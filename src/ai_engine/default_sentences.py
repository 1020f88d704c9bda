"""What an agent says by itself where its context says nothing, in the languages that turn-taking has words of.

English stands with the fields of `contexts.Context`; a language that is not here gets the English sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SENTENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "de": {
        "are_you_there": "Sind Sie noch da?",
        "filler": "Einen Moment, bitte.",
        "farewell": "Vielen Dank für Ihren Anruf. Auf Wiederhören.",
        "apology": "Entschuldigung, bei mir ist etwas schiefgegangen. Können Sie das bitte noch einmal sagen?",
        "giving_up": "Es tut mir leid, ich habe technische Schwierigkeiten. Ich verbinde Sie weiter.",
        "giving_up_and_hanging_up": "Es tut mir leid, ich habe technische Schwierigkeiten. Bitte rufen Sie später noch "
        "einmal an. Auf Wiederhören.",
        "reconnected": "Entschuldigung, die Verbindung war kurz unterbrochen. Wie kann ich Ihnen helfen?",
        "busy": "Es tut mir leid, alle Leitungen sind belegt. Bitte rufen Sie später noch einmal an. Auf Wiederhören.",
        "no_information": "Es tut mir leid, das weiß ich nicht, aber ich kann eine Nachricht für Sie aufnehmen.",
        "time_up": "Es tut mir leid, unsere Zeit ist um. Auf Wiederhören.",
    },
    "fr": {
        "are_you_there": "Vous êtes toujours là ?",
        "filler": "Un instant, s'il vous plaît.",
        "farewell": "Merci de votre appel. Au revoir.",
        "apology": "Excusez-moi, j'ai rencontré un problème. Pouvez-vous répéter, s'il vous plaît ?",
        "giving_up": "Je suis désolé, j'ai un problème technique. Je vous mets en relation.",
        "giving_up_and_hanging_up": "Je suis désolé, j'ai un problème technique. Merci de rappeler plus tard. "
        "Au revoir.",
        "reconnected": "Excusez-moi, nous avons été coupés un instant. Comment puis-je vous aider ?",
        "busy": "Je suis désolé, toutes nos lignes sont occupées. Merci de rappeler plus tard. Au revoir.",
        "no_information": "Je suis désolé, je n'ai pas cette information, mais je peux prendre un message.",
        "time_up": "Je suis désolé, notre temps est écoulé. Au revoir.",
    },
    "es": {
        "are_you_there": "¿Sigue usted ahí?",
        "filler": "Un momento, por favor.",
        "farewell": "Gracias por llamar. Adiós.",
        "apology": "Perdone, he tenido un problema. ¿Puede repetirlo, por favor?",
        "giving_up": "Lo siento, tengo un problema técnico. Le paso con alguien.",
        "giving_up_and_hanging_up": "Lo siento, tengo un problema técnico. Llame más tarde, por favor. Adiós.",
        "reconnected": "Perdone, se ha cortado un momento. ¿En qué puedo ayudarle?",
        "busy": "Lo siento, todas las líneas están ocupadas. Llame más tarde, por favor. Adiós.",
        "no_information": "Lo siento, no tengo esa información, pero puedo tomar nota de un mensaje.",
        "time_up": "Lo siento, se nos ha acabado el tiempo. Adiós.",
    },
    "it": {
        "are_you_there": "È ancora in linea?",
        "filler": "Un momento, per favore.",
        "farewell": "Grazie per la chiamata. Arrivederci.",
        "apology": "Mi scusi, ho avuto un problema. Può ripetere, per favore?",
        "giving_up": "Mi dispiace, ho un problema tecnico. La metto in comunicazione con qualcuno.",
        "giving_up_and_hanging_up": "Mi dispiace, ho un problema tecnico. Richiami più tardi, per favore. Arrivederci.",
        "reconnected": "Mi scusi, la linea è caduta per un momento. Come posso aiutarla?",
        "busy": "Mi dispiace, tutte le linee sono occupate. Richiami più tardi, per favore. Arrivederci.",
        "no_information": "Mi dispiace, non ho questa informazione, ma posso prendere un messaggio.",
        "time_up": "Mi dispiace, il nostro tempo è finito. Arrivederci.",
    },
    "nl": {
        "are_you_there": "Bent u er nog?",
        "filler": "Een moment, alstublieft.",
        "farewell": "Bedankt voor uw telefoontje. Tot ziens.",
        "apology": "Sorry, er ging bij mij iets mis. Kunt u dat nog eens zeggen, alstublieft?",
        "giving_up": "Het spijt me, ik heb een technisch probleem. Ik verbind u door.",
        "giving_up_and_hanging_up": "Het spijt me, ik heb een technisch probleem. Belt u later nog eens. Tot ziens.",
        "reconnected": "Sorry, de verbinding was even weg. Waarmee kan ik u helpen?",
        "busy": "Het spijt me, al onze lijnen zijn bezet. Belt u later nog eens. Tot ziens.",
        "no_information": "Het spijt me, dat weet ik niet, maar ik kan een bericht voor u aannemen.",
        "time_up": "Het spijt me, onze tijd is om. Tot ziens.",
    },
    "pt": {
        "are_you_there": "Ainda está em linha?",
        "filler": "Um momento, por favor.",
        "farewell": "Obrigado pela sua chamada. Até logo.",
        "apology": "Desculpe, tive um problema. Pode repetir, por favor?",
        "giving_up": "Desculpe, estou com um problema técnico. Vou transferir a sua chamada.",
        "giving_up_and_hanging_up": "Desculpe, estou com um problema técnico. Por favor, ligue mais tarde. Até logo.",
        "reconnected": "Desculpe, a ligação caiu por um momento. Em que posso ajudar?",
        "busy": "Desculpe, todas as nossas linhas estão ocupadas. Por favor, ligue mais tarde. Até logo.",
        "no_information": "Desculpe, não tenho essa informação, mas posso anotar um recado.",
        "time_up": "Desculpe, o nosso tempo acabou. Até logo.",
    },
}
LANGUAGES: Final = frozenset(_SENTENCES)
_HANGING_UP: Final = "giving_up_and_hanging_up"


def sentences(language: str, *, hangs_up: bool) -> dict[str, Any]:
    """By the context's key, those of `language` ("pt-BR"); none where English is to be said.

    `hangs_up`: who cannot be helped is not put through to anybody.
    """
    found = dict(_SENTENCES.get(language.partition("-")[0].lower(), {}))
    instead = found.pop(_HANGING_UP, None)
    if hangs_up and instead is not None:
        found["giving_up"] = instead
    return found
