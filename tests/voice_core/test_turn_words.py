"""The word lists: one per language, consistent in themselves, and what they make of typical utterances."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest

from voice_core.end_of_turn import Completeness, completeness
from voice_core.interruption import Interruption, Verdict
from voice_core.turn_words import UNLISTED
from voice_core.turn_words_by_language import LISTED, turn_words
from voice_core.words import is_answer, is_backchannel, is_firm_answer, is_greeting, tokens

EXAMPLES = {
    # backchannels | greetings | yes and no | other answers | open, with a mark all the same | open without one | plain
    "de": (
        "mhm|ja, genau|ach so|alles klar",
        "Hallo.|Guten Tag!|Grüß Gott",
        "Ja.|Nein, danke.|Genau.|Ja bitte",
        "Danke.|Das ist alles.|Vielen Dank.|Gern.",
        "Ich rufe an, weil.|Und.|Am.|Ähm.|Mein Name ist.|Können Sie.|Ich hätte gern.",
        "Ich möchte|einen Termin für|Ich habe eine|Wann ist",
        "Ich möchte einen Termin.|Rufen Sie mich bitte an.|Am Dienstag.",
    ),
    "en": (
        "uh-huh|I see|okay, great",
        "Hello.|Good morning!",
        "Yes.|No, thank you.|Exactly.",
        "Thanks.|That's all.|Of course.",
        "I am calling because.|And.|My.|Um.|My name is.|Could you.|I would like.",
        "I have|an appointment for|When is",
        "I want an appointment.|Please call me back.|On Tuesday.",
    ),
    "es": (
        "ajá|sí, claro|ya veo|muy bien|de acuerdo",
        "Hola.|Buenos días.",
        "Sí.|No, gracias.|Claro.|Sí, por favor.",
        "Gracias.|Nada más.|Eso es todo.|Vale.",
        "Llamo porque.|Y.|El.|Me llamo.|Me gustaría.|Quiero.|Con.",
        "¿Cuándo|una cita con usted|Ustedes tienen",
        "Quiero una cita.|Llámeme mañana.|El martes.",
    ),
    "fr": (
        "mhm|d'accord|je vois|très bien|ça marche",
        "Bonjour.|Bonsoir !|Allô",
        "Oui.|Non merci.|Exactement.|Oui, s'il vous plaît.",
        "Merci.|C'est tout, merci.|D'accord.",
        "J'appelle parce que.|Et.|Mon.|Euh.|Je m'appelle.|Je voudrais.|Est-ce que.",
        "un rendez-vous pour|Vous avez|À quelle",
        "Je veux un rendez-vous.|Rappelez-moi demain.|Mardi.",
    ),
    "it": (
        "mhm|sì, certo|ho capito|va bene",
        "Buongiorno.|Ciao!|Buona sera",
        "Sì.|No, grazie.|Esatto.|Sì, per favore.",
        "Grazie.|È tutto, grazie.|Va bene.",
        "Chiamo e.|Il mio nome è.|Mi chiamo.|Vorrei.|Con.|Ehm.",
        "un appuntamento da|Lei ha|Quando",
        "Voglio un appuntamento.|Mi richiami domani.|Martedì.",
    ),
    "nl": (
        "mhm|ja, precies|oké|ik snap het",
        "Hallo.|Goedemorgen!|Goede middag",
        "Ja.|Nee, dank u.|Precies.|Ja, graag.",
        "Bedankt.|Dat is alles, dank u.|Prima.",
        "Ik bel omdat.|En.|De.|Uhm.|Mijn naam is.|Kunt u.|Ik wil graag.",
        "een afspraak voor|Ik heb geen|Wanneer is",
        "Ik wil een afspraak.|Belt u mij op.|Op dinsdag.",
    ),
    "pt": (
        "aham|sim, claro|entendi|está bem",
        "Olá.|Bom dia!|Boa tarde",
        "Sim.|Não, obrigado.|Exato.|Sim, por favor.",
        "Obrigada.|É só isso, obrigado.|Está bem.",
        "Estou a ligar porque.|E.|O.|Meu nome é.|Eu queria.|Com.|Gostaria de.",
        "Quando|uma consulta até|Você tem",
        "Preciso de uma consulta.|Ligue-me amanhã.|Na terça.",
    ),
}
KINDS = ("backchannel", "greeting", "firm answer", "answer", "open", "open unmarked", "plain")
CASES = [
    (language, kind, text)
    for language, texts in EXAMPLES.items()
    for kind, joined in zip(KINDS, texts, strict=True)
    for text in joined.split("|")
]


@pytest.mark.parametrize(("language", "kind", "text"), CASES)
def test_typical_utterances(language, kind, text):
    words = turn_words(language)
    read = completeness(text, words)
    if kind == "backchannel":
        assert is_backchannel(text, words)
    elif kind == "greeting":
        assert is_greeting(text, words)
        assert read is Completeness.COMPLETE
    elif kind == "firm answer":
        assert is_firm_answer(text, words)
        assert read is Completeness.COMPLETE
    elif kind == "answer":
        assert is_answer(text, words)
        assert read is Completeness.COMPLETE
    elif kind == "plain":
        assert read is Completeness.PLAIN
    else:
        assert read is Completeness.OPEN


def test_every_language_has_examples():
    assert set(EXAMPLES) == set(LISTED)


@pytest.mark.parametrize("language", LISTED)
def test_every_list_of_a_language_is_filled(language):
    optional = {"zeros", "tens", "number_joins", "address_marks", "ordinals", "month_joins", "before_month", "listed"}
    optional |= {"needs_object", "object_words", "clause_words", "determiners", "verb_frames", "frame_verbs"}
    words = LISTED[language]
    empty = [f.name for f in dataclasses.fields(words) if f.name not in optional and not getattr(words, f.name)]
    assert empty == (["one_letter_words"] if language == "de" else [])
    assert len(words.months) >= 12
    assert words.firm_answers <= words.answers


@pytest.mark.parametrize("language", LISTED)
def test_listed_words_are_as_a_transcript_is_read(language):
    words = LISTED[language]
    entries = [getattr(words, f.name) for f in dataclasses.fields(words)]
    lists = [[*entry] for entry in entries if isinstance(entry, frozenset | dict)] + [[*words.open_tails]]
    listed = {word for words_in_it in lists for word in words_in_it}
    assert [word for word in sorted(listed) if " ".join(tokens(word)) != word] == []
    assert not words.never_last & words.answers, "what is an answer can be last"


@pytest.mark.parametrize(
    ("tag", "first"), [("de", "de"), ("de-AT", "de"), ("pt_BR", "pt"), ("EN-us", "en"), ("nl", "nl")]
)
def test_a_tag_names_its_language(tag, first):
    assert turn_words(tag) is LISTED[first]


def test_an_unknown_language_costs_time_and_no_words():
    assert turn_words("pl") is UNLISTED
    assert turn_words("") is UNLISTED
    assert completeness("Czy dzisiaj jest otwarte?", UNLISTED) is Completeness.COMPLETE
    interruption = Interruption(0.0, after_question=False, streaming=True, words=UNLISTED)
    interruption.transcript("nie")
    assert interruption.tick(0.9, speaking=False, voiced_until=0.5) is Verdict.COMMIT
    interruption = Interruption(0.0, after_question=False, streaming=True, words=UNLISTED)
    interruption.transcript("mhm")
    assert interruption.tick(0.9, speaking=False, voiced_until=0.5) is Verdict.RESUME


def test_accents_of_either_form_are_the_same():
    decomposed = unicodedata.normalize("NFD", "Sí, más.")
    assert tokens(decomposed) == ["sí", "más"]
    assert is_firm_answer(unicodedata.normalize("NFD", "sí"), turn_words("es"))


def test_yes_is_told_from_if_by_its_accent():
    assert is_firm_answer("sí", turn_words("es"))
    assert completeness("Si.", turn_words("es")) is Completeness.OPEN
    assert is_firm_answer("sì", turn_words("it"))
