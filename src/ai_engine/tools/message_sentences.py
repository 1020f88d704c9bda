"""What is said around a message where the configuration says nothing, in the languages of `default_sentences`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

MessageSentence = Literal["prompt", "once_more", "kept", "nothing", "failed", "review"]

SENTENCES: Final[Mapping[str, Mapping[MessageSentence, str]]] = {
    "en": {
        "prompt": "Please leave your message after the tone. When you have finished, press the hash key or just wait.",
        "once_more": "I'm sorry, I didn't hear anything. Please speak after the tone.",
        "kept": "Thank you, I have your message. Is there anything else?",
        "nothing": "I'm sorry, I still didn't hear anything, so there is no message. What else can I do for you?",
        "failed": "I'm sorry, your message could not be recorded. Please call again later.",
        "review": "To keep your message, press 1 or just wait. To record it again, press 2.",
    },
    "de": {
        "prompt": "Bitte sprechen Sie Ihre Nachricht nach dem Ton. Am Ende drücken Sie die Raute oder warten einfach.",
        "once_more": "Ich habe leider nichts gehört. Bitte sprechen Sie nach dem Ton.",
        "kept": "Vielen Dank, ich habe Ihre Nachricht. Kann ich sonst noch etwas für Sie tun?",
        "nothing": "Ich habe leider wieder nichts gehört, es gibt also keine Nachricht. Was kann ich sonst tun?",
        "failed": "Ihre Nachricht konnte leider nicht aufgenommen werden. Bitte rufen Sie später noch einmal an.",
        "review": "Zum Behalten drücken Sie die 1 oder warten einfach. Für eine neue Aufnahme drücken Sie die 2.",
    },
    "fr": {
        "prompt": "Laissez votre message après le signal. Pour finir, appuyez sur dièse ou attendez simplement.",
        "once_more": "Je suis désolé, je n'ai rien entendu. Parlez après le signal, s'il vous plaît.",
        "kept": "Merci, j'ai bien votre message. Puis-je faire autre chose pour vous ?",
        "nothing": "Je suis désolé, je n'ai toujours rien entendu ; il n'y a donc pas de message. Que puis-je faire ?",
        "failed": "Je suis désolé, votre message n'a pas pu être enregistré. Rappelez plus tard, s'il vous plaît.",
        "review": "Pour garder le message, appuyez sur 1 ou attendez. Pour recommencer, appuyez sur 2.",
    },
    "es": {
        "prompt": "Deje su mensaje después de la señal. Al terminar, pulse almohadilla o simplemente espere.",
        "once_more": "Lo siento, no he oído nada. Hable después de la señal, por favor.",
        "kept": "Gracias, tengo su mensaje. ¿Puedo hacer algo más por usted?",
        "nothing": "Lo siento, sigo sin oír nada, así que no hay mensaje. ¿Qué más puedo hacer por usted?",
        "failed": "Lo siento, no se ha podido grabar su mensaje. Llame más tarde, por favor.",
        "review": "Para guardar el mensaje, pulse 1 o simplemente espere. Para grabarlo de nuevo, pulse 2.",
    },
    "it": {
        "prompt": "Lasci il messaggio dopo il segnale. Alla fine prema cancelletto o semplicemente attenda.",
        "once_more": "Mi dispiace, non ho sentito nulla. Parli dopo il segnale, per favore.",
        "kept": "Grazie, ho il suo messaggio. Posso fare altro per lei?",
        "nothing": "Mi dispiace, non ho ancora sentito nulla, quindi non c'è nessun messaggio. Che altro posso fare?",
        "failed": "Mi dispiace, non è stato possibile registrare il messaggio. Richiami più tardi, per favore.",
        "review": "Per tenere il messaggio prema 1 o semplicemente attenda. Per registrarlo di nuovo prema 2.",
    },
    "nl": {
        "prompt": "Spreek uw bericht in na de toon. Druk daarna op het hekje, of wacht gewoon even.",
        "once_more": "Sorry, ik heb niets gehoord. Spreekt u na de toon, alstublieft.",
        "kept": "Dank u wel, ik heb uw bericht. Kan ik nog iets voor u doen?",
        "nothing": "Sorry, ik hoor nog steeds niets, dus er is geen bericht. Wat kan ik verder voor u doen?",
        "failed": "Het spijt me, uw bericht kon niet worden opgenomen. Belt u later nog eens.",
        "review": "Druk op 1 om het bericht te bewaren, of wacht even. Druk op 2 om het opnieuw in te spreken.",
    },
    "pt": {
        "prompt": "Deixe a sua mensagem depois do sinal. No fim, prima cardinal ou espere simplesmente.",
        "once_more": "Desculpe, não ouvi nada. Fale depois do sinal, por favor.",
        "kept": "Obrigado, tenho a sua mensagem. Posso ajudar em mais alguma coisa?",
        "nothing": "Desculpe, continuo sem ouvir nada, por isso não há mensagem. Em que mais posso ajudar?",
        "failed": "Desculpe, não foi possível gravar a sua mensagem. Por favor, ligue mais tarde.",
        "review": "Para guardar a mensagem, prima 1 ou espere. Para gravar de novo, prima 2.",
    },
}


def message_sentence(key: MessageSentence, language: str) -> str:
    """English where the language (``de``, ``de-AT``) has none."""
    return SENTENCES.get(language.partition("-")[0].lower(), SENTENCES["en"])[key]
