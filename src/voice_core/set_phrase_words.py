"""How people ask for a person and call for help, by language. Patterns as `voice_core.set_phrases` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SetWords:
    """One language, lower case."""

    around: tuple[str, ...] = ()
    """Courtesies and hesitations that change nothing."""
    no: tuple[str, ...] = ()
    """Changes nothing when a mark follows it, and everything when none does."""
    joints: tuple[str, ...] = ()
    """A request may begin with these in the middle of a sentence."""
    about: tuple[str, ...] = ()
    """A request may go on with these and what it is about."""
    person_alone: tuple[str, ...] = ()
    persons: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    """`@` stands for one of `persons`."""
    emergency_alone: tuple[str, ...] = ()
    emergency: tuple[str, ...] = ()


_A_PERSON: Final = (
    "[a|an|the|some|any|your] [real|live|actual|human] (person|human being|human|operator|agent|representative|rep)",
    "[a|the|your] (receptionist|manager|supervisor)",
    "[a|an|some|one of your] [real|actual] (people|staff|employee|employees|colleagues)",
    "[a] (member of staff|staff member|team member)",
    "(someone|somebody|anyone|anybody) [real|human|else|there|in person]",
    "[the] (customer service|customer support|front desk|reception)",
)
_A_PERSON_ALONE: Final = (
    "[a|an|the] [real|live|actual|human] (person|human being|human|operator|agent|representative)",
    "[the] (receptionist|reception)",
    "[the] (customer service|customer support)",
    "[a] real (human|person)",
)
_ENGLISH: Final = SetWords(
    around=(
        "please", "thanks", "thank you [very much|so much]", "hello", "hi", "hey", "um", "uh", "uhm", "er", "erm",
        "hmm",
        "well", "okay", "ok", "alright", "yes", "yeah", "yep", "oh", "sorry", "excuse me", "pardon [me]", "right now",
        "right away", "now", "just", "actually", "immediately", "i said", "look", "listen", "if possible", "then",
        "good (morning|afternoon|evening|day)", "if you don't mind", "sir", "ma'am", "madam", "oh my god",
        "for (god's|heaven's) sake", "quick", "quickly", "instead", "maybe", "here", "today", "like i said",
    ),
    no=("no", "nope", "nah"),
    joints=("and", "but", "so", "because", "or"),
    about=("about", "regarding", "concerning", "because", "instead of", "rather than", "not", "who", "as soon as"),
    person_alone=_A_PERSON_ALONE,
    persons=_A_PERSON,
    requests=(
        "(can|could|may|might) (i|we) [please|just|possibly|maybe] (speak|talk|chat) [please|directly] (to|with) @",
        "(can|could|may) (i|we) [please|just] (have|get|reach) @",
        "(can|could|would|will) you [please|just] (connect|transfer|put|pass|hand|forward) (me|us) [please]"
        " [through|over|on] (to|with) @",
        "(can|could|would|will) you [please|just] (get|give) (me|us) @",
        "(i|we) [really|just|only] (want|need|would like|wish|wanna|would prefer|prefer|demand|have) [to]"
        " (speak|talk|chat) [directly] (to|with) @",
        "(i'd|we'd) [really|just|rather] [like|prefer|love] [to] (speak|talk|chat) [directly] (to|with) @",
        "(i|we) [really|just] (want|need|demand|would like) [a|an|the] [real|live|actual|human]"
        " (person|human being|human|operator|representative)",
        "(i|we) [really|just] (want|need) an agent",
        "(i'd|we'd) like [a|an|the] [real|live|human] (person|human being|human|operator|agent|representative)",
        "(let|have) me (speak|talk) (to|with) @",
        "(connect|transfer|put|pass|hand|forward) (me|us) [please] [through|over|on] (to|with) @",
        "(put me through|transfer me|connect me)",
        "(get|give) (me|us) @",
        "(speak|talk) (to|with) @",
        "is there @ [that] (i|we) (can|could) (speak|talk) (to|with)",
        "is there @ (there|available) [that] [i can talk to]",
    ),
    emergency_alone=(
        "[an|my] emergency", "[medical|real] emergency", "[an|the] ambulance",
        "help [me] [it's an|this is an] emergency",
        "help help [me|help]", "fire fire", "call for help",
    ),
    emergency=(
        "(this is|it's|it is|there's|there is|we have|i have|i've got|we've got) (a|an) [real|medical|absolute]"
        " [life-threatening] emergency",
        "[you need to|you must|someone|somebody|can you|could you] (call|get|send) [me|us] [an|the]"
        " (ambulance|police|fire brigade|fire department|paramedics|911|112|999|nine one one|one one two"
        "|nine nine nine)",
        "(i|we|he|she|they) (need|needs) (an ambulance|the police|a paramedic|paramedics|the fire department"
        "|the fire brigade)",
        "(i'm|i am|he's|he is|she's|she is) having (a|an) (heart attack|stroke|seizure|allergic reaction)",
        "(i think i'm|i think he's|i think she's) having (a|an) (heart attack|stroke|seizure)",
        "(i|he|she) (can't|cannot|can not) breathe",
        "(he|she) (isn't|is not) breathing", "(he's|she's) not breathing", "(he|she) stopped breathing",
        "(there's|there is) a fire [here]", "[my|the|our] (house|building|kitchen|car|shop) is on fire",
        "(he's|she's|he is|she is|someone is|somebody is) (unconscious|dying|bleeding to death)",
        "(i'm|i am) (dying|bleeding to death)",
        "i (want|am going|need) to (die|kill myself)", "(i'm going to|i want to) (kill myself|hurt myself|end my life)",
        "(i've been|i have been|he's been|she's been|someone has been) (shot|stabbed|attacked)",
        "(i've|he's|she's) (taken|had) an overdose",
    ),
)  # fmt: skip

_GERMAN: Final = SetWords(
    around=(
        "bitte", "danke [schön]", "vielen dank", "hallo", "guten (tag|morgen|abend)", "ähm", "äh", "hm", "also", "na",
        "ja", "okay", "ok", "oh", "entschuldigung", "entschuldigen sie", "jetzt", "sofort", "einfach", "mal", "doch",
        "gleich", "lieber", "schnell", "endlich",
    ),
    no=("nein", "nee", "nö"),
    joints=("und", "aber", "also", "weil", "oder", "denn"),
    about=("wegen", "über", "weil", "statt", "anstatt", "und nicht"),
    person_alone=(
        "[ein|einen|einem|eine|den|die] [echter|echten|echte|richtiger|richtigen] (mensch|menschen|mitarbeiter"
        "|mitarbeiterin|person)",
        "[die] (zentrale|vermittlung|operator|rezeption)", "[der|den] (kundendienst|kundenservice|operator)",
    ),
    persons=(
        "[ein|einen|einem|eine|einer|der|dem|den|die] [echter|echten|echte|richtigen|richtige|lebenden]"
        " (mensch|menschen|mitarbeiter|mitarbeiterin|person|operator|kollegen|kollegin)",
        "(jemand|jemanden|jemandem) [anderen|anderem|echtem]",
        "[der|den|dem] (kundendienst|kundenservice)", "[die|der] (zentrale|vermittlung|rezeption)",
    ),
    requests=(
        "(kann|könnte|dürfte|darf) ich [bitte|mal|vielleicht] [bitte|mal] mit @ (sprechen|reden)",
        "(können|könnten|würden) sie mich [bitte|mal] (mit|zu|an) @ (verbinden|durchstellen|weiterleiten)",
        "(verbinden|stellen|geben) sie (mich|mir) [bitte|mal|sofort] [mit|zu|an] @ [durch|weiter]",
        "ich (will|möchte|würde gerne|würde gern|muss) [bitte|jetzt|gerne|gern|lieber] [jetzt|sofort] mit @"
        " (sprechen|reden)",
        "ich (will|möchte|brauche) [jetzt|bitte] (einen|eine) [echten|echte|richtigen] (menschen|mitarbeiter|person"
        "|mitarbeiterin|operator)",
        "(mit|zu) @ (sprechen|verbinden)",
    ),
    emergency_alone=("[ein] notfall", "[medizinischer] notfall", "[einen] krankenwagen", "hilfe notfall",
    "hilfe hilfe"),
    emergency=(
        "(das|es|dies) ist ein [echter|medizinischer] notfall", "(wir haben|ich habe) [hier] einen notfall",
        "(rufen|schicken|holen) sie [bitte|sofort|schnell] (einen krankenwagen|den notarzt|einen notarzt|die polizei"
        "|die feuerwehr)",
        "(ich brauche|wir brauchen) [sofort|schnell] (einen krankenwagen|einen notarzt|den notarzt|die polizei"
        "|die feuerwehr)",
        "(er|sie|ich) (atmet nicht|atmet nicht mehr|bekomme keine luft|bekommt keine luft|kriege keine luft)",
        "es brennt [hier]", "(ich habe|er hat|sie hat) einen (herzinfarkt|schlaganfall)",
        "ich will (sterben|mich umbringen)",
    ),
)  # fmt: skip

_FRENCH: Final = SetWords(
    around=(
        "s'il vous plaît", "s'il te plaît", "merci [beaucoup]", "bonjour", "bonsoir", "allô", "euh", "bah", "ben",
        "alors",
        "oui", "d'accord", "ok", "oh", "pardon", "excusez-moi", "excusez moi", "désolé", "désolée", "maintenant",
        "tout de suite", "juste", "vite", "plutôt",
    ),
    no=("non",),
    joints=("et", "mais", "donc", "parce", "ou"),
    about=("à propos", "au sujet", "pour", "concernant", "parce", "qui", "plutôt", "et pas"),
    person_alone=(
        "[un|une|l] (opérateur|opératrice|humain|conseiller|conseillère|agent)", "(l'opérateur|l'opératrice)",
        "[une] [vraie] personne", "[un] être humain", "[le] (service client|standard)", "(quelqu'un) [de réel]",
    ),
    persons=(
        "[un|une|le|la|votre] [vrai|vraie] (opérateur|opératrice|humain|conseiller|conseillère|agent|personne"
        "|responsable"
        "|employé|standardiste)",
        "(l'opérateur|l'opératrice)", "[un] être humain", "quelqu'un [d'autre|de réel]",
        "[le|au] (service client|standard)",
    ),
    requests=(
        "(je peux|puis-je|pourrais-je|est-ce que je peux|je pourrais|on peut) parler (à|avec|au) @",
        "je (veux|voudrais|souhaite|souhaiterais|préfère|dois) [vraiment|juste] parler (à|avec|au) @",
        "(pouvez-vous|pourriez-vous|vous pouvez) me (passer|transférer|donner) [à|vers|au] @",
        "(passez-moi|donnez-moi|transférez-moi|mettez-moi) [à|vers|en relation avec|au] @",
        "je (veux|voudrais) (un opérateur|une opératrice|un humain|une vraie personne|un conseiller|une conseillère)",
        "(parler) (à|avec|au) @",
    ),
    emergency_alone=("[une] urgence", "[c'est] urgence", "[une] ambulance", "au secours", "à l'aide"),
    emergency=(
        "c'est une [vraie] urgence [médicale]", "(j'ai|nous avons|on a) une urgence [médicale|ici]",
        "(appelez|envoyez) [vite] (une ambulance|les pompiers|la police|le samu|le 15|le 112)",
        "(j'ai besoin|on a besoin|nous avons besoin) (d'une ambulance|de la police|des pompiers)",
        "(il|elle|je) ne (respire|peux) (plus|pas) [respirer]", "il y a le feu [ici]",
        "(je fais|il fait|elle fait) (une crise cardiaque|un infarctus|un avc)", "je veux (mourir|me tuer)",
    ),
)  # fmt: skip

_SPANISH: Final = SetWords(
    around=(
        "por favor", "gracias", "muchas gracias", "hola", "buenos días", "buenas [tardes|noches]", "eh", "este", "pues",
        "bueno", "sí", "vale", "ok", "oh", "perdón", "perdone", "disculpe", "lo siento", "ahora [mismo]", "ya", "solo",
        "rápido", "mejor",
    ),
    no=("no",),
    joints=("y", "pero", "así", "porque", "o"),
    about=("sobre", "acerca", "porque", "por", "para", "en vez", "que me"),
    person_alone=(
        "[un|una|el|la] (operador|operadora|agente|humano|recepcionista|representante)",
        "[una] persona [real|de verdad]",
        "[un] ser humano", "[el] (servicio|atención) al cliente",
    ),
    persons=(
        "[un|una|el|la|algún|alguna] (operador|operadora|agente|humano|recepcionista|representante|encargado"
        "|encargada)",
        "[una|alguna] persona [real|de verdad|humana]", "[un] ser humano", "alguien [más|real]",
        "[el] servicio al cliente", "atención al cliente",
    ),
    requests=(
        "(puedo|podría|podemos) hablar con @",
        "(quiero|quisiera|necesito|me gustaría|deseo|prefiero) hablar con @",
        "(puede|podría|me puede|me podría) (pasarme|comunicarme|ponerme|conectarme|pasar|comunicar|poner) (con|a) @",
        "(páseme|pásame|comuníqueme|póngame|conécteme|transfiérame) (con|a) @",
        "(quiero|necesito) (un operador|una operadora|un agente|un humano|una persona real|un representante)",
        "hablar con @",
    ),
    emergency_alone=("[una] emergencia", "[una] ambulancia", "socorro", "auxilio"),
    emergency=(
        "(esto es|es|tengo|tenemos|hay) una emergencia [médica|aquí]",
        "(llame|llamen|manden|envíen|mande) [a] (una ambulancia|la policía|los bomberos|al 112|al 911)",
        "(necesito|necesitamos) (una ambulancia|a la policía|la policía|a los bomberos)",
        "(no puedo|no puede|ya no) (respirar|respira)", "(él|ella) no respira", "hay [un] (fuego|incendio) [aquí]",
        "(me está dando|le está dando|tengo) un (infarto|ataque al corazón|derrame)",
        "(quiero|me quiero) (morir|matarme)",
    ),
)  # fmt: skip

_ITALIAN: Final = SetWords(
    around=(
        "per favore", "per piacere", "grazie [mille]", "ciao", "salve", "pronto", "buongiorno", "buonasera", "ehm",
        "eh",
        "beh", "allora", "sì", "va bene", "ok", "oh", "scusi", "mi scusi", "scusa", "adesso", "subito", "ora", "solo",
        "presto",
    ),
    no=("no",),
    joints=("e", "ma", "quindi", "perché", "o"),
    about=("per", "su", "riguardo", "perché", "invece", "che"),
    person_alone=(
        "[un|una|l] (operatore|operatrice|agente|umano|centralino|addetto)", "(l'operatore|un'operatrice)",
        "[una] persona [vera|reale]", "[un] essere umano", "[il] servizio clienti",
    ),
    persons=(
        "[un|una|il|la|vostro] (operatore|operatrice|agente|umano|addetto|responsabile|centralino|collega)",
        "(l'operatore|un'operatrice)", "[una] persona [vera|reale|umana]", "[un] essere umano", "qualcuno [di vero]",
        "[il] servizio clienti",
    ),
    requests=(
        "(posso|potrei|possiamo) parlare con @",
        "(voglio|vorrei|devo|preferisco|desidero) parlare con @",
        "(può|potrebbe|mi può|mi potrebbe) (passarmi|mettermi in contatto con|collegarmi con|passare) [a] @",
        "mi (passi|passa|metta in contatto con|colleghi con) @",
        "(voglio|vorrei) (un operatore|un'operatrice|una persona vera|un umano)",
        "parlare con @",
    ),
    emergency_alone=("(un'emergenza|emergenza)", "(un'ambulanza|ambulanza)", "aiuto emergenza", "aiuto aiuto",
    "soccorso"),
    emergency=(
        "(è|questa è|ho|abbiamo|c'è) un'emergenza [medica]",
        "(chiamate|chiami|mandate|mandi) (un'ambulanza|la polizia|i pompieri|il 112|il 118)",
        "(ho bisogno|abbiamo bisogno) (di un'ambulanza|della polizia|dei pompieri)",
        "(non riesco a|non riesce a) respirare", "(lui|lei) non respira", "non respira [più]",
        "c'è un incendio [qui]", "(ho|ha|sto avendo) un (infarto|ictus)", "voglio (morire|uccidermi)",
    ),
)  # fmt: skip

_DUTCH: Final = SetWords(
    around=(
        "alstublieft", "alsjeblieft", "graag", "dank u [wel]", "dankjewel", "bedankt", "hallo", "hoi",
        "goede (morgen|middag|avond)", "goedemorgen", "goedemiddag", "goedenavond", "eh", "ehm", "uh", "nou", "ja",
        "oké",
        "ok", "oh", "sorry", "pardon", "nu", "meteen", "even", "gewoon", "snel", "liever",
    ),
    no=("nee",),
    joints=("en", "maar", "dus", "want", "of", "omdat"),
    about=("over", "vanwege", "omdat", "want", "in plaats", "die"),
    person_alone=(
        "[een|de] [echte|echt] (medewerker|medewerkster|mens|persoon|telefoniste|operator)",
        "[de] (klantenservice|receptie)",
    ),
    persons=(
        "[een|de|uw] [echte|echt|levende] (medewerker|medewerkster|mens|persoon|telefoniste|operator|collega)",
        "iemand [anders]", "[de] (klantenservice|receptie|centrale)",
    ),
    requests=(
        "(kan|mag|zou|kunnen) (ik|we) [misschien|alstublieft|even] [met] @ (spreken|praten)",
        "(kan|mag) ik met @ (spreken|praten)",
        "ik (wil|zou) [graag|even|liever] [nu|graag] met @ [willen] (spreken|praten)",
        "(kunt|kan) u mij [alstublieft] (doorverbinden met|verbinden met) @",
        "(kunt|kan) u mij [alstublieft] met @ (doorverbinden|verbinden)",
        "(verbind mij|verbindt u mij) [door] met @ [door]",
        "ik (wil|wens) een [echte|echt] (medewerker|mens|persoon|operator)",
        "met @ (spreken|praten)",
    ),
    emergency_alone=("[een] noodgeval", "[een] (ambulance|ziekenwagen)", "help noodgeval", "help help"),
    emergency=(
        "(dit|het) is een [echt|medisch] noodgeval", "(ik heb|we hebben) [hier] een noodgeval",
        "(bel|stuur) [snel] (een ambulance|de politie|de brandweer|een ziekenwagen|112)",
        "(ik heb|we hebben) [snel] (een ambulance|de politie|de brandweer) nodig",
        "(hij|zij|ze) ademt niet [meer]", "ik krijg geen (adem|lucht)", "(er is|het is) brand [hier]",
        "(ik heb|hij heeft|zij heeft) een (hartaanval|beroerte)", "ik wil (dood|sterven)",
    ),
)  # fmt: skip

_PORTUGUESE: Final = SetWords(
    around=(
        "por favor", "obrigado", "obrigada", "olá", "oi", "alô", "bom dia", "boa (tarde|noite)", "é", "eh", "hum",
        "bem",
        "então", "sim", "tá", "ok", "ah", "desculpe", "desculpa", "com licença", "agora [mesmo]", "já", "só", "rápido",
    ),
    no=("não",),
    joints=("e", "mas", "então", "porque", "ou"),
    about=("sobre", "porque", "por", "para", "em vez", "que me"),
    person_alone=(
        "[um|uma|o|a] (atendente|operador|operadora|agente|humano|recepcionista)", "[uma] pessoa [real|de verdade]",
        "[um] ser humano",
    ),
    persons=(
        "[um|uma|o|a|algum|alguma] (atendente|operador|operadora|agente|humano|recepcionista|responsável|funcionário)",
        "[uma|alguma] pessoa [real|de verdade]", "[um] ser humano", "alguém [real]", "[o] serviço ao cliente",
    ),
    requests=(
        "(posso|poderia|podemos) falar com @",
        "[eu] (quero|queria|preciso|gostaria de|prefiro) falar com @",
        "(pode|poderia) me (passar|transferir|ligar) (para|com|a) @", "(me passe|me transfira|passe-me) (para|com|a) @",
        "[eu] (quero|preciso de) (um atendente|uma atendente|um operador|um humano|uma pessoa real)",
        "falar com @",
    ),
    emergency_alone=("[uma] emergência", "[uma] ambulância", "socorro"),
    emergency=(
        "(isto é|isso é|é|tenho|temos) uma emergência [médica]",
        "(chame|chamem|mande|mandem|liguem) [para] (uma ambulância|a polícia|os bombeiros|o 112|o 190|o 192)",
        "[eu] (preciso de|precisamos de) (uma ambulância|da polícia|dos bombeiros|polícia)",
        "não consigo respirar", "(ele|ela) não (respira|está respirando|está a respirar)", "há um incêndio [aqui]",
        "(estou tendo|ele está tendo|ela está tendo|estou a ter) um (infarto|enfarte|avc)", "quero (morrer|me matar)",
    ),
)  # fmt: skip

LANGUAGES: Final[dict[str, SetWords]] = {
    "en": _ENGLISH,
    "de": _GERMAN,
    "fr": _FRENCH,
    "es": _SPANISH,
    "it": _ITALIAN,
    "nl": _DUTCH,
    "pt": _PORTUGUESE,
}
