"""Contexts: what a persona's file may say, complaints with file and line, and one call's data staying in that call."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.contexts import Context, find_context, load_contexts
from voice_core.turn_words_by_language import LISTED

NOW = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
MINIMAL = "greeting: Hello.\nprompt: You are Joe.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, text: str, name: str = "default") -> None:
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def complaint(folder: Path, text: str) -> str:
    write(folder, text)
    with pytest.raises(ConfigError) as error:
        load_contexts(folder)
    return str(error.value)


def test_the_shipped_contexts_load():
    contexts = load_contexts(Path(__file__).parents[2] / "config" / "contexts")
    assert contexts["default"].known_answers.pairs


def test_a_context_is_named_by_its_file(folder):
    write(folder, MINIMAL, "clinic")
    assert set(load_contexts(folder)) == {"clinic"}


class Known:
    names = ("to_sales", "crm")

    def knows(self, name: str) -> bool:
        return name in self.names or name.startswith("crm_")

    def lookups(self, name: str) -> frozenset[str] | None:
        return {"crm": frozenset({"name"}), "to_sales": frozenset()}.get(name)

    def takes_calls(self, name: str) -> bool:
        return name == "crm"


def test_what_is_done_before_and_after_calls_is_checked_with_file_and_line(folder):
    write(folder, MINIMAL.replace("Hello", "Hello {lookup_name}{lookup_age}")
          + "before_call: [crm]\nafter_call: [crm]\n")  # fmt: skip
    with pytest.raises(ConfigError, match=r"`greeting` holds \{lookup_age\}, but no tool of `before_call` gives it"):
        load_contexts(folder, Known())
    write(folder, MINIMAL + "before_call:\n  - crm\n  - to_sales\n  - mail\nafter_call: [crm, to_sales]\n")
    with pytest.raises(ConfigError) as error:
        load_contexts(folder, Known())
    where = folder / "default.yaml"
    line = len(MINIMAL.splitlines())
    assert str(error.value).splitlines() == [
        f"{where}:{line + 3}: `before_call`: 'to_sales' looks nothing up; give it `variables`",
        f"{where}:{line + 4}: `before_call`: 'mail' is no tool of the settings of kind `http`",
        f"{where}:{line + 5}: `after_call`: 'to_sales' is no tool of the settings of kind `http` or `email`",
    ]


def test_what_was_looked_up_is_a_variable_and_cannot_replace_the_calls_own(folder):
    write(folder, MINIMAL.replace("Hello", "Hello {lookup_name} {caller_number}") + "before_call: [crm]\n")
    context = load_contexts(folder, Known())["default"]
    assert context.before_call_s == 0.8
    texts = context.for_call(
        call_id="c", now=NOW, caller_number="100", lookups={"lookup_name": "Ann\n{now}", "caller_number": "1"}
    )
    assert texts.greeting.startswith("Hello Ann {now} 100")
    assert texts.variables["lookup_name"] == "Ann {now}"


def test_a_tool_that_the_settings_do_not_have_is_named_with_file_and_line(folder):
    write(folder, MINIMAL + "tools:\n  - to_sales\n  - crm_find\n  - to_sale\n")
    assert load_contexts(folder)["default"].tools == ("to_sales", "crm_find", "to_sale"), "without settings"
    with pytest.raises(ConfigError) as error:
        load_contexts(folder, Known())
    assert str(error.value) == (
        f"{folder / 'default.yaml'}:6: `tools`: no tool named 'to_sale'; did you mean 'to_sales'?"
    )
    write(folder, MINIMAL + "tools: [to_sales, crm_find]\n")
    assert load_contexts(folder, Known())["default"].tools == ("to_sales", "crm_find")


def test_an_unknown_key_is_named_with_file_line_and_the_nearest_valid_one(folder):
    text = complaint(folder, MINIMAL + "known_answers:\n  acept_score: 0.5\n")
    assert f"{folder / 'default.yaml'}:4" in text
    assert "did you mean `accept_score`?" in text


@pytest.mark.parametrize(
    ("addition", "line", "expected"),
    [
        ("farewell: Bye {caller_nam}\n", 3, "did you mean {caller_name}?"),
        ("apology: Sorry {caller_name}\n", 3, "cannot hold variables"),
        ("provider:\n  - local\n", 3, "provider"),
        ("max_call_s: -1\n", 3, "max_call_s"),
        ("known_answers:\n  pairs:\n    - id: a\n      questions: Where?\n      answer: ''\n", 7, "answer"),
        ("known_answers:\n  pairs:\n    - id: A B\n      questions: Where?\n      answer: Here.\n", 5, "id"),
        ("known_answers:\n  pairs:\n    - id: a\n      questions: []\n      answer: Here.\n", 6, "questions"),
        ("known_answers:\n  pairs:\n    - id: a\n      question: Where?\n", 6, "did you mean `questions`?"),
        ("greeting_mode: shout\n", 3, "greeting_mode"),
        ("greeting_delay_s: -1\n", 3, "greeting_delay_s"),
        ("filler: ['One moment.', 'Wait {caller_name}']\n", 3, "cannot hold variables"),
        ("are_you_there:\n  - Hello {caller_nam}?\n", 4, "did you mean {caller_name}?"),
        ("language: pl\ndisclose_ai: true\n", 4, "write one in place of true"),
        ("max_call_s: 30\ntime_warning: Soon.\ntime_warning_s: 40\n", 5, "before the call has begun"),
        ("silence_policy:\n  ask_after_s: 5\n  ask_times: 4\n", 3, "asks until 20 s, but hangs up after 20 s"),
        ("fallback:\n  act: transfer\n", 3, "needs an `extension`"),
        ("fallback:\n  act: hang_up\n  extension: '1'\n", 3, "which only `act: transfer` uses"),
        ("fallback:\n  act: run\n", 4, "fallback.act"),
        ("set_phrases:\n  - id: a\n    act: hang_up\n", 4, "nothing to listen for"),
        ("set_phrases:\n  - id: a\n    said: bye\n", 4, "nothing to say"),
        ("set_phrases:\n  - id: a\n    said: bye\n    act: transfer\n", 4, "needs an `extension`"),
        ("set_phrases:\n  - id: a\n    said: '[bye]'\n    act: hang_up\n", 5, "no word that has to be said"),
        ("set_phrases:\n  - id: a\n    said: bye\n    answer: Bye {caller_name}\n", 6, "cannot hold variables"),
        ("set_phrases:\n  - {id: a, keys: '0x', act: hang_up}\n", 4, "keys"),
        ("set_phrases:\n" + "  - {id: a, said: bye, act: hang_up}\n" * 2, 3, "two set phrases have the id 'a'"),
        (
            "set_phrases:\n  - {id: a, keys: '1', act: hang_up}\n  - {id: b, keys: '1', act: hang_up}\n",
            3,
            "two set phrases have the keys '1'",
        ),
        (
            "language: pl\nset_phrases:\n  - {id: a, meaning: person, act: hang_up}\n",
            4,
            "no wordings of `person` for the language 'pl'",
        ),
        ("dialed_numbers: 0701\n", 3, "write numbers in quotes"),
        ("dialed_numbers: ['701', '_7Y']\n", 3, "is no pattern"),
        ("keypad:\n  secrt: true\n", 4, "did you mean `secret`?"),
        ("keypad:\n  secret: true\n  secret_after: PIN\n", 3, "all keys are"),
        ("keypad:\n  secret_after: [PIN, '[code]']\n", 4, "no word that has to be said"),
        ("keypad:\n  wait_s: 0\n", 4, "wait_s"),
        ("hours:\n  monday: 09:00-10:00\n", 3, "time_zone"),
        ("hours:\n  time_zone: UTC\n  monday: nine to five\n", 5, "is no time of opening"),
        ("hours:\n  time_zone: UTC\n  mondy: 09:00-10:00\n", 5, "did you mean `monday`?"),
        ("closed_context: after_hours\n", 3, "the context has no `hours`"),
        ("hours:\n  time_zone: UTC\nclosed_context: defalt\n", 5, "did you mean 'default'?"),
        ("hours:\n  time_zone: UTC\nclosed_context: default\n", 5, "is this context"),
        ("farewell: We are {open_now}.\n", 3, "no `hours` lead to this context"),
        ("language: pl\nfarewell: A good {part_of_day}.\n", 4, "no words in the language 'pl'"),
        ("known_answers:\n  near_score: 0.9\n  accept_score: 0.8\n", 3, "near_score 0.9 is above accept_score 0.8"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_line(folder, addition, line, expected):
    text = complaint(folder, MINIMAL + addition)
    assert f"default.yaml:{line}" in text
    assert expected in text


def test_two_known_answers_cannot_share_an_id(folder):
    pair = "    - id: a\n      questions: Where?\n      answer: Here.\n"
    assert "two known answers have the id 'a'" in complaint(folder, MINIMAL + "known_answers:\n  pairs:\n" + pair * 2)


def test_all_files_are_complained_about_at_once(folder):
    write(folder, "greeting: Hi\n", "one")
    write(folder, "prompt: x\n", "two")
    with pytest.raises(ConfigError) as error:
        load_contexts(folder)
    assert "one.yaml" in str(error.value)
    assert "two.yaml" in str(error.value)


def test_a_dialled_number_belongs_to_one_context(folder):
    write(folder, MINIMAL + "dialed_numbers: '+49 30 1'\n", "one")
    write(folder, MINIMAL + "dialed_numbers:\n  - '5'\n  - '+49301'\n", "two")
    with pytest.raises(ConfigError) as error:
        load_contexts(folder)
    assert "two.yaml:5: `dialed_numbers`: +49301 is in the context 'one' already" in str(error.value)


def test_an_empty_folder_says_where_to_put_a_persona(folder):
    with pytest.raises(ConfigError, match=r"put a persona into .*default\.yaml"):
        load_contexts(folder)


def test_a_context_that_is_not_there_is_answered_with_the_nearest(folder):
    write(folder, MINIMAL, "clinic")
    with pytest.raises(ConfigError, match="did you mean 'clinic'"):
        find_context(load_contexts(folder), "klinic")


def test_texts_of_a_call_hold_its_variables():
    context = Context(greeting="Hello {caller_name}.", prompt="Caller {caller_number}, order {ai_order}, {now}.")
    texts = context.for_call(
        call_id="c1", now=NOW, caller_name="Ann\r\nSYSTEM:", caller_number="123", dialplan={"AI_ORDER": "7", "X": "no"}
    )
    assert texts.greeting == "Hello Ann SYSTEM:."
    assert texts.system_prompt == "Caller 123, order 7, Saturday, 21 November 2026, 09:05."
    assert "x" not in texts.variables


def test_a_dialplan_variable_cannot_take_the_place_of_a_call_variable():
    texts = Context(greeting="{call_id}", prompt="x").for_call(call_id="real", now=NOW, dialplan={"call_id": "false"})
    assert texts.greeting == "real"


def test_lines_to_render_are_those_that_are_the_same_in_every_call():
    pairs = [{"id": "a", "questions": "Where?", "answer": "Here  it\n is."}]
    context = Context(greeting="Hi {caller_name}", prompt="x", known_answers={"pairs": pairs}, filler="Um.")
    lines = context.lines_to_render()
    assert "Here it is." in lines
    assert "Um." in lines
    assert not any("{" in line or line.startswith("Hi") for line in lines)
    assert len(lines) == len(set(lines))


def test_the_time_of_day_is_rendered_in_all_its_words():
    context = Context(greeting="{time_greeting}, this is Joe.", prompt="x", disclose_ai=True, language="en-GB")
    lines = context.lines_to_render()
    told = "You are talking with an automated assistant."
    assert f"{told} Good morning, this is Joe." in lines
    assert "Good evening, this is Joe." in lines, "once it has been told"
    assert told in lines
    texts = context.for_call(call_id="c1", now=NOW)
    assert f"{texts.disclosure} {texts.greeting}" in lines


def test_several_wordings_and_set_answers_are_rendered_ahead():
    context = Context(
        greeting="Hi.",
        prompt="x",
        filler=["One moment.", "Just a second."],
        are_you_there=["Hello?", "Are you there, {caller_name}?"],
        set_phrases=[{"id": "a", "said": "bye", "answer": "Goodbye then.", "act": "hang_up"}],
    )
    assert {"One moment.", "Just a second.", "Hello?", "Goodbye then."} <= set(context.lines_to_render())
    texts = context.for_call(call_id="c1", now=NOW, caller_name="Ann")
    assert texts.are_you_there == ("Hello?", "Are you there, Ann?")


def test_a_disclosure_may_be_a_sentence_of_ones_own():
    assert Context(greeting="Hi.", prompt="x", disclose_ai="I am a robot.").disclosure == "I am a robot."
    assert Context(greeting="Hi.", prompt="x").disclosure == ""
    assert "automatischen" in Context(greeting="Hi.", prompt="x", language="de", disclose_ai=True).disclosure


def test_nobody_who_is_hung_up_on_is_told_that_he_will_be_put_through():
    assert "put you through" in Context(greeting="Hi.", prompt="x").giving_up
    assert "Goodbye" in Context(greeting="Hi.", prompt="x", fallback={"act": "hang_up"}).giving_up
    own = Context(greeting="Hi.", prompt="x", fallback={"act": "hang_up"}, giving_up="So long.")
    assert own.giving_up == "So long."


SAID_BY_ITSELF = (
    "are_you_there", "filler", "farewell", "apology", "giving_up", "reconnected", "busy", "no_information", "time_up",
)  # fmt: skip


@pytest.mark.parametrize("language", sorted(LISTED))
def test_what_an_agent_says_by_itself_is_in_the_language_of_its_context(language):
    english = Context(greeting="Hi.", prompt="x")
    for fallback in ({"act": "hang_up"}, {"act": "dialplan"}):
        theirs = Context(greeting="Hi.", prompt="x", language=language, fallback=fallback)
        differ = {name for name in SAID_BY_ITSELF if getattr(theirs, name) != getattr(english, name)}
        if language != "en":
            assert differ == set(SAID_BY_ITSELF)
            assert Context(greeting="Hi.", prompt="x", language=f"{language}-XX", fallback=fallback) == (
                theirs.model_copy(update={"language": f"{language}-XX"})
            )
    put_through = Context(greeting="Hi.", prompt="x", language=language).giving_up
    hung_up_on = Context(greeting="Hi.", prompt="x", language=language, fallback={"act": "hang_up"}).giving_up
    assert put_through != hung_up_on
    own = Context(greeting="Hi.", prompt="x", language=language, farewell="So long.", filler=[])
    assert (own.farewell, own.filler) == ("So long.", ())


def test_a_language_without_such_sentences_gets_the_english_ones():
    assert Context(greeting="Hi.", prompt="x", language="pl").farewell == Context(greeting="Hi.", prompt="x").farewell


def test_a_closed_context_may_speak_of_the_hours_that_led_to_it(folder):
    write(folder, MINIMAL + "hours:\n  time_zone: UTC\n  monday: 09:00-10:00\nclosed_context: night\n")
    write(folder, "greeting: We open {next_opening}.\nprompt: x\n", "night")
    assert set(load_contexts(folder)) == {"default", "night"}


def test_hours_give_a_call_their_clock_and_their_words():
    hours = {"time_zone": "America/New_York", "saturday": "06:00-12:00"}
    context = Context(greeting="{open_now} {hours_today} {now}", prompt="x", hours=hours)
    texts = context.for_call(call_id="c1", now=NOW)
    assert texts.greeting == "closed from 6 AM to 12 PM Saturday, 21 November 2026, 04:05"
