"""Which turns ask for a person or for help, and which only have such words in them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_core.set_phrase_words import LANGUAGES
from voice_core.set_phrases import PatternError, SetPhrase, SetPhrases, check_pattern

BOTH = (SetPhrase("emergency", meaning="emergency"), SetPhrase("person", meaning="person", keys="0"))
PHRASES = {language: SetPhrases(BOTH, language) for language in LANGUAGES}

PERSON = """
Operator.
operator operator
Operator! Operator, please!
Um, the operator, please.
No, operator!
No. A human please.
A real person, please.
Agent.
Hello, representative please.
Human being.
Customer service, please.
Can I talk to a person?
Can I speak to someone?
Could I please speak with a real person?
May I speak to an operator please?
I want to talk to a human.
I want to speak to a human about my bill.
I need to speak with an agent because my bike was stolen.
I'd like to talk to somebody.
I'd rather talk to a real person.
I would like to speak to a representative, thank you.
I just want a human.
I need an operator.
I want an agent.
Let me talk to a person.
Let me speak to your manager.
Put me through to an operator.
Could you put me through to someone?
Can you connect me to a human please?
Please transfer me to an agent.
Transfer me.
Put me through, please.
Get me a real person.
Give me a human!
Speak to a human.
Is there someone I can talk to?
Is there a person I could speak to?
I don't understand you. Can I talk to a person?
That's not what I asked, I want to talk to a human.
I have tried three times and I want to speak to a real person now.
Oh for God's sake, operator!
Yes, thank you, but can I speak to someone real?
""".strip().splitlines()

EMERGENCY = """
Emergency!
It's an emergency.
This is an emergency, please.
This is a medical emergency.
Please help me. I need an ambulance.
My husband collapsed and I need an ambulance.
My husband collapsed, call an ambulance!
Call 911.
Please call nine one one!
Can you call the police?
She's not breathing.
I can't breathe.
I think I'm having a heart attack.
There's a fire.
The house is on fire!
I want to kill myself.
Help! Help!
Oh my God, send an ambulance right now.
""".strip().splitlines()

NEITHER = """
The operator manual is missing.
Where can I find the operator manual?
Do you have an operator's manual for the bike?
No operator please.
Operator? No!
I don't want to talk to a human.
I do not need an operator.
I'm a crane operator.
My father was an operator.
I am a real estate agent.
I need a travel agent for my trip.
I want an agent for my house sale.
What does the agent fee cost?
Are you a real person?
Are you a human?
Am I talking to a person?
Is this a person or a machine?
You sound like a real person.
How many people work there?
How much is it per person?
It's for one person.
A table for one person, please.
Two people.
I need a person to fix my bike.
I need someone to look at my brakes.
Can someone look at my bike today?
Is there someone at the shop on Sunday?
Who can I speak French with?
I spoke to somebody yesterday about the wheel.
I talked to an agent yesterday and he said it was ready.
Someone told me you repair chains.
Can I talk about the price?
I want to talk about my bike.
Can you tell the manager that I called?
Who is the manager?
Is the manager in today?
What is your customer service number?
Do you have good customer support?
I want to leave a message for Maria.
Can you connect the lights to the dynamo?
Could you put a new chain on?
Transfer the money to my account.
Can I pay by bank transfer?
I need help.
Can you help me?
Help me choose a helmet.
Where is the emergency exit?
Do you have an emergency number?
What do I do in an emergency?
Are you open for emergencies?
I had an emergency last week.
It's not an emergency.
This is not an emergency, no rush.
I need an emergency appointment for tomorrow.
Is there an emergency service at night?
The ambulance station is next door to you.
I work for the ambulance service.
I called the police about the stolen bike.
My bike was stolen and I told the police.
How hot is the fire in the pizza oven?
I can't breathe new life into it.
It has a fire engine on it.
Five.
Yes.
No.
Zero.
Thank you, goodbye.
Hello?
Can I speak to Maria?
A representative sample would be fine.
The human body.
Let me talk.
And the person who repaired it?
""".strip().splitlines()

OTHER_LANGUAGES = {
    "de": (
        ["Einen Mitarbeiter, bitte.", "Ich möchte mit einem Menschen sprechen.", "Nein, die Zentrale bitte!",
         "Kann ich bitte mit jemandem sprechen?", "Verbinden Sie mich bitte mit einem Mitarbeiter."],
        ["Das ist ein Notfall!", "Ich brauche sofort einen Krankenwagen.", "Rufen Sie die Polizei!"],
        ["Wie viele Mitarbeiter haben Sie?", "Ich bin ein Mensch.", "Was mache ich im Notfall?", "Wie viel pro Person?",
         "Ich möchte mit dem Rad fahren.", "Haben Sie einen Notdienst?",
         "Mit einem Mitarbeiter habe ich gestern gesprochen."],
    ),
    "fr": (
        ["Un conseiller, s'il vous plaît.", "Je voudrais parler à une vraie personne.", "Passez-moi un opérateur."],
        ["C'est une urgence !", "Appelez une ambulance.", "Au secours !"],
        ["Où est la sortie de secours ?", "C'est pour une personne seule.", "Je suis agent immobilier.",
         "Parlez-moi des prix."],
    ),
    "es": (
        ["Operadora, por favor.", "Quiero hablar con una persona.", "¿Puedo hablar con alguien?"],
        ["¡Es una emergencia!", "Necesito una ambulancia.", "No puedo respirar."],
        ["Una mesa para una persona.", "¿Tienen salida de emergencia?", "Soy agente de viajes.",
         "No quiero hablar con un operador."],
    ),
    "it": (
        ["Un operatore, per favore.", "Vorrei parlare con una persona vera.", "Mi passi il centralino."],
        ["È un'emergenza!", "Chiamate un'ambulanza.", "Non riesco a respirare."],
        ["Quanto costa a persona?", "Dov'è l'uscita di emergenza?", "Sono un operatore turistico."],
    ),
    "nl": (
        ["Een medewerker, alstublieft.", "Kan ik iemand spreken?", "Ik wil graag met een echte medewerker spreken."],
        ["Dit is een noodgeval!", "Bel een ambulance.", "Hij ademt niet meer."],
        ["Hoeveel medewerkers heeft u?", "Is er een noodnummer?", "Voor een persoon."],
    ),
    "pt": (
        ["Um atendente, por favor.", "Quero falar com uma pessoa.", "Posso falar com alguém?"],
        ["É uma emergência!", "Preciso de uma ambulância.", "Não consigo respirar."],
        ["Uma mesa para uma pessoa.", "Onde é a saída de emergência?", "Falei com um atendente ontem."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", PERSON)
def test_who_asks_for_a_person_is_understood(text):
    assert PHRASES["en"].match(text) == "person"


@pytest.mark.parametrize("text", EMERGENCY)
def test_who_calls_for_help_is_understood(text):
    assert PHRASES["en"].match(text) == "emergency"


@pytest.mark.parametrize("text", NEITHER)
def test_words_inside_an_unrelated_sentence_do_nothing(text):
    assert PHRASES["en"].match(text) is None


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_other_languages_have_their_own_words(language):
    phrases = PHRASES[language]
    for expected, texts in zip(("person", "emergency", None), OTHER_LANGUAGES[language], strict=True):
        assert {text: phrases.match(text) for text in texts} == dict.fromkeys(texts, expected)


def test_a_language_has_a_table_of_its_own_or_only_what_is_configured():
    assert set(OTHER_LANGUAGES) | {"en"} == set(LANGUAGES)
    phrases = SetPhrases([SetPhrase("x", said=("centrala",), meaning="person")], "pl")
    assert phrases.match("Centrala!") == "x"
    assert phrases.match("Operator.") is None


CUSTOM = SetPhrases(
    [
        SetPhrase("bye", said=("goodbye", "thank you", "[that is|that's] (all|everything)")),
        SetPhrase("desk", said=("[the] (workshop|mechanic)", "Tom [Becker]"), meaning="person", keys="0"),
        SetPhrase("menu", said=("main menu",), keys="*9"),
    ],
    "en-US",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thank you.", "bye"),
        ("Okay, thank you, goodbye!", "bye"),
        ("That's everything, thanks.", "bye"),
        ("That's everything I know.", None),
        ("The workshop, please.", "desk"),
        ("Can you put me through to the workshop?", "desk"),
        ("Can I speak to Tom?", "desk"),
        ("I'd like to talk to Tom Becker about my bike.", "desk"),
        ("Can I speak to a human?", "desk"),
        ("When does the workshop open?", None),
        ("Is Tom there today?", None),
        ("Main menu.", "menu"),
        ("The main menu of the restaurant.", None),
        ("", None),
        ("?!", None),
    ],
)
def test_configured_words_are_alone_or_asked_for(text, expected):
    assert CUSTOM.match(text) == expected


@pytest.mark.parametrize(
    ("keys", "expected"), [("0", "desk"), ("0#", "desk"), ("00", None), ("0171", None), ("*9", "menu"), ("#", None)]
)
def test_keys_mean_the_same_only_alone(keys, expected):
    assert CUSTOM.match_keys(keys) == expected


def test_the_first_phrase_that_fits_wins():
    phrases = SetPhrases([SetPhrase("a", said=("stop",)), SetPhrase("b", said=("stop",))])
    assert phrases.match("Stop!") == "a"


@pytest.mark.parametrize("pattern", ["", "[operator]", "[a|an]", "(one|", "one]", "[a [b]] c", "( | )", "?!", "[] a"])
def test_a_pattern_that_cannot_be_is_refused(pattern):
    with pytest.raises(PatternError):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["operator", "[the] (front desk|reception)", "it's me", "die Zentrale"])
def test_a_pattern_is_words_with_choices(pattern):
    check_pattern(pattern)


def test_every_built_in_pattern_can_be_read():
    for words in LANGUAGES.values():
        for pattern in (*words.around, *words.about, *words.person_alone, *words.persons, *words.emergency_alone):
            check_pattern(pattern)
        for pattern in (*words.requests, *words.emergency):
            check_pattern(pattern)


SOME_WORDS = ("please", "operator", "i", "want to", "speak to", "no", "um", "a", "human", "and", "help", "thank you")


@given(st.text(max_size=300))
def test_any_text_is_judged(text):
    assert PHRASES["en"].match(text) in (None, "person", "emergency")


@given(st.lists(st.sampled_from(SOME_WORDS)))
def test_the_judgement_does_not_depend_on_marks_at_the_end(words):
    text = " ".join(words)
    assert PHRASES["en"].match(text) == PHRASES["en"].match(text + "!")


@pytest.mark.parametrize("text", ["thank you " * 400, "i want to " * 300, "operator please " * 200 + "manual"])
def test_a_long_turn_costs_no_more_than_a_short_one(text):
    phrases, began = PHRASES["en"], time.process_time()
    phrases.match(text)
    assert time.process_time() - began < 1.0, "a hundred times what it takes"
