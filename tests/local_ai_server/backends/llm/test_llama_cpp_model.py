"""llama.cpp with the embedded model, by either binding: slots, prefix cache, cancels, schemas, prompts that fit."""

import importlib.util
import json
import random
import threading
import time

import pytest

from local_ai_server.backends.llm.chat_request import CANARY
from local_ai_server.catalog import ModelMissing, find_model
from tests.long_answer import LENGTH, SIXTY_WORDS, STORY, WORDS

pytestmark = pytest.mark.models

PARALLEL = 4
CONTEXT = 768
DEADLINE_S = 60
PERSONA = {"role": "system", "content": "You answer the phone of a shop that is open from nine to five. " * 12}
GREEDY = {"temperature": 0.0}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "type": "object",
        "properties": {"answer": {"enum": ["yes", "no"]}, "count": {"enum": [0, 1, 2, 3]}},
        "required": ["answer", "count"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def gguf():
    try:
        return str(find_model("SmolLM2-135M-Instruct-Q8_0"))
    except ModelMissing as missing:
        pytest.skip(str(missing))


def load(binding, gguf, **settings):
    if binding == "xllamacpp":
        from local_ai_server.backends.llm.llama_cpp import LlamaCppModel as Model
    else:
        from local_ai_server.backends.llm.llama_cpp_python import LlamaCppPythonModel as Model
    model = Model()
    model.load(model_path=gguf, context_tokens=CONTEXT, parallel=PARALLEL, **settings)
    return model


def need(binding):
    module = {"xllamacpp": "xllamacpp", "llama-cpp-python": "llama_cpp"}[binding]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the binding {binding} is not installed")


@pytest.fixture(scope="module", params=["xllamacpp", "llama-cpp-python"])
def either(request, gguf):
    need(request.param)
    return load(request.param, gguf, prompt_form="chat")


@pytest.fixture(scope="module")
def llama(gguf):
    need("xllamacpp")
    return load("xllamacpp", gguf, prompt_form="chat")


def run(model, text="Hello, when are you open?", *, cancelled=None, **args):
    """(the text, what `generate` returned)."""
    messages = args.pop("messages", [PERSONA, {"role": "user", "content": text}])
    generation = model.generate(b"", cancelled or threading.Event(), messages=messages, **args)
    pieces = []
    while True:
        try:
            header, _ = next(generation)
        except StopIteration as end:
            return "".join(pieces), end.value[0]
        pieces.append(header["text"])


class Talk(threading.Thread):
    """One generation on a thread of its own, as a worker's call thread runs it."""

    def __init__(self, model, text, *, session, sampling, response_format=None):
        super().__init__(daemon=True)
        self.cancelled = threading.Event()
        self.began = threading.Event()
        self.error = None
        self.pieces = []
        self.result = None
        self._generation = model.generate(
            b"",
            self.cancelled,
            messages=[PERSONA, {"role": "user", "content": text}],
            session=session,
            sampling=sampling,
            response_format=response_format,
        )
        self.start()

    @property
    def text(self):
        return "".join(self.pieces)

    def run(self):
        try:
            while not self.cancelled.is_set():
                header, _ = next(self._generation)
                self.pieces.append(header["text"])
                self.began.set()
        except StopIteration as end:
            self.result = end.value[0]
        except Exception as error:
            self.error = error
        finally:
            self._generation.close()
            self.began.set()

    def ended(self):
        self.join(DEADLINE_S)
        assert not self.is_alive()
        assert self.error is None
        return self


def test_the_canary_sings(either):
    method, args = CANARY
    _, result = run(either, messages=args["messages"], sampling=args["sampling"])
    assert method == "generate"
    assert 0 < result["completion_tokens"] <= 2


def test_a_schema_holds(either):
    for question in ("Are you open?", "How many people work there?", "Write a long poem."):
        text, result = run(either, question, response_format=SCHEMA, sampling={"max_tokens": 60})
        answer = json.loads(text)
        assert set(answer) == {"answer", "count"}
        assert answer["answer"] in ("yes", "no")
        assert answer["count"] in range(4)
        assert result["finish_reason"] == "stop"


def test_a_range_of_numbers_holds(llama):
    """(llama-cpp-python's converter passes over ranges.)"""
    number = {"type": "integer", "minimum": 10, "maximum": 12}
    schema = {"type": "object", "properties": {"n": number}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": schema}
    assert json.loads(run(llama, "How many?", response_format=wanted)[0])["n"] in (10, 11, 12)


def test_any_json_object_can_be_asked_for(either):
    text, _ = run(either, response_format={"type": "json_object"}, sampling={"max_tokens": 200, **GREEDY})
    assert text.startswith("{")


def test_max_tokens_and_the_reason_for_the_end_are_told(either):
    text, result = run(either, messages=[PERSONA, *STORY], response_format=SIXTY_WORDS, sampling={"max_tokens": 5})
    assert text
    assert result["finish_reason"] == "length"
    assert result["completion_tokens"] <= 5
    assert result["prompt_tokens"] > 100


def test_a_stop_ends_the_text_before_it(either):
    whole, _ = run(either, sampling={"max_tokens": 12, **GREEDY})
    word = whole.split()[2]
    cut, result = run(either, sampling={"max_tokens": 12, "stop": [word], **GREEDY})
    assert word not in cut
    assert result["finish_reason"] == "stop"


def test_a_seed_repeats_and_temperature_varies(either):
    def sampled(**sampling):
        return run(either, "Tell me a story.", sampling={"max_tokens": 24, "temperature": 1.5, **sampling})[0]

    assert len({sampled(seed=seed) for seed in range(4)}) > 1


def test_all_sampling_overrides_are_taken(either):
    sampling = {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.1,
        "seed": 7,
        "max_tokens": 8,
        "sanitize_output": True,
    }
    assert run(either, sampling=sampling)[1]["completion_tokens"] <= 8


def test_a_conversation_beyond_the_context_loses_its_oldest_turns(either):
    turns = [
        {"role": role, "content": f"{role} says something in turn {turn}, and it goes on for quite a while. " * 3}
        for turn in range(20)
        for role in ("user", "assistant")
    ]
    messages = [PERSONA, *turns, {"role": "user", "content": "Are you still there?"}]
    text, result = run(either, messages=messages, session="long", sampling={"max_tokens": 8})
    assert text
    assert result["dropped_messages"] > 0
    assert result["prompt_tokens"] < CONTEXT


def test_a_cancelled_answer_ends_early_and_the_next_one_is_whole(either):
    cancelled = threading.Event()
    generation = either.generate(
        b"", cancelled, messages=[PERSONA, *STORY], response_format=SIXTY_WORDS, sampling={"max_tokens": 400}
    )
    said = next(generation)[0]["text"]
    cancelled.set()
    said += "".join(header["text"] for header, _ in generation)
    assert sum(said.count(word) for word in WORDS) < LENGTH
    assert json.loads(run(either, response_format=SCHEMA, sampling={"max_tokens": 60})[0])


def test_a_warmed_prompt_is_read_once(llama):
    warmed, _ = llama.warm(b"", threading.Event(), messages=[PERSONA], session="warm")
    assert warmed["completion_tokens"] == 0
    _, result = run(llama, session="warm", sampling={"max_tokens": 2})
    assert result["cached_tokens"] > 0.8 * (warmed["prompt_tokens"] - 16)
    assert result["cached_tokens"] > 100


def test_each_session_finds_its_own_history(llama):
    """Continued in turn, each finds all but its newest line: the others have not taken its slot."""
    histories = {
        name: [PERSONA, {"role": "user", "content": f"My name is {name}. {'I like to talk. ' * 10}"}]
        for name in ("Anna", "Ben", "Cleo", "Dan")
    }
    for round_ in range(3):
        for name, history in histories.items():
            answer, result = run(llama, messages=history, session=name, sampling={"max_tokens": 8, **GREEDY})
            if round_:
                new = result["prompt_tokens"] - result["cached_tokens"]
                assert new < 60, (name, round_, result)
            history += [{"role": "assistant", "content": answer}, {"role": "user", "content": "And then?"}]
    for name in histories:
        llama.forget(b"", threading.Event(), session=name)


def test_more_sessions_than_slots_are_served(llama):
    talks = [
        Talk(llama, f"Question {n}: when are you open?", session=f"s{n}", sampling={"max_tokens": 12, **GREEDY})
        for n in range(PARALLEL + 3)
    ]
    assert all(talk.ended().text for talk in talks)


def test_one_is_cancelled_and_the_others_are_undisturbed(llama):
    """Its slot takes another session at once; each of the others says its own words, all of them, and no one else's."""
    own = [("wave", "ship"), ("bread", "cake"), ("wheel", "brake"), ("leaf", "tree")][:PARALLEL]

    def words_of(n):
        schema = {"type": "array", "items": {"enum": list(own[n])}, "minItems": 20, "maxItems": 20}
        return {"type": "json_schema", "json_schema": schema}

    talks = [
        Talk(llama, STORY[0]["content"], session=f"c{n}", sampling={"max_tokens": 200}, response_format=words_of(n))
        for n in range(PARALLEL)
    ]
    assert all(talk.began.wait(DEADLINE_S) for talk in talks)
    talks[0].cancelled.set()
    talks[0].ended()
    fifth = Talk(llama, "Are you open?", session="fifth", sampling={"max_tokens": 60}, response_format=SCHEMA)
    assert set(json.loads(fifth.ended().text)) == {"answer", "count"}
    for n in range(1, PARALLEL):
        said = json.loads(talks[n].ended().text)
        assert len(said) == 20
        assert set(said) <= set(own[n])
    for n in range(PARALLEL):
        llama.forget(b"", threading.Event(), session=f"c{n}")
    llama.forget(b"", threading.Event(), session="fifth")


def test_a_cancel_is_obeyed_while_a_long_prompt_is_read(llama):
    """Not only after the whole prompt: the rest of it stays unread."""
    cancelled = threading.Event()
    words = " ".join(f"item {n} costs {n * 7} coins" for n in range(60))
    read = []
    original = llama._server

    class Watched:
        def handle_chat_completions(self, request, take):
            def watching(chunk):
                progress = json.loads(chunk).get("prompt_progress") if isinstance(chunk, str) else None
                if progress:
                    read.append((progress["processed"], progress["total"]))
                    if 0 < progress["processed"] < progress["total"]:
                        cancelled.set()
                return take(chunk)

            original.handle_chat_completions(request, watching)

    llama._server = Watched()
    try:
        text, _ = run(llama, words, cancelled=cancelled, session="long prompt")
    finally:
        llama._server = original
    assert cancelled.is_set()
    assert text == ""
    assert read[-1][0] < read[-1][1]


def test_many_interrupts_at_random_times_leave_every_slot_sound(llama):
    chance = random.Random(20261121)
    sampling = {"max_tokens": 40, **GREEDY}
    expected = run(llama, "Where is the shop?", session="before", sampling={"max_tokens": 12, **GREEDY})[0]
    for _ in range(5):
        talks = [
            Talk(
                llama,
                f"Tell me about {chance.randrange(1000)} {'things ' * chance.randrange(60)}",
                session=f"r{chance.randrange(6)}",
                sampling=sampling,
                response_format=chance.choice([None, SCHEMA]),
            )
            for _ in range(PARALLEL)
        ]
        for talk in chance.sample(talks, PARALLEL - 1):
            talk.began.wait(chance.choice([0, 0.01, 0.05, 0.2]))
            talk.cancelled.set()
        for talk in talks:
            talk.ended()
    finals = [
        Talk(llama, "Are you open?", session=f"r{n}", sampling={"max_tokens": 60}, response_format=SCHEMA)
        for n in range(PARALLEL)
    ]
    for final in finals:
        assert set(json.loads(final.ended().text)) == {"answer", "count"}
    again = run(llama, "Where is the shop?", session="before", sampling={"max_tokens": 12, **GREEDY})[0]
    assert again[:16] == expected[:16]


def test_an_impossible_schema_is_refused_and_harms_nobody(llama):
    from local_ai_server.backends.llm.errors import LlmRefused

    broken = {"type": "json_schema", "json_schema": {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}}
    with pytest.raises(LlmRefused):
        run(llama, response_format=broken)
    assert json.loads(run(llama, response_format=SCHEMA, sampling={"max_tokens": 60})[0])


def test_no_port_is_opened_for_others(llama):
    """The library's own HTTP server listens on a unix socket in a directory of this user alone."""
    from pathlib import Path

    assert llama._socket_path.startswith(str(llama._directory))
    assert Path(llama._directory).stat().st_mode & 0o077 == 0
    listening = {
        line.split()[9]
        for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    ours = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = fd.readlink().name
        except OSError:
            continue
        if target.startswith("socket:["):
            ours.add(target[8:-1])
    assert not listening & ours


def test_the_next_token_comes_while_another_session_reads_its_prompt(llama):
    """Continuous batching: a long prompt does not hold up who is being answered until all of it is read."""
    talking = Talk(
        llama, "Tell me a long story.", session="talker", sampling={"max_tokens": 400}, response_format=SIXTY_WORDS
    )
    assert talking.began.wait(DEADLINE_S)
    before = len(talking.pieces)
    reader = Talk(llama, "word " * 400, session="reader", sampling={"max_tokens": 1, **GREEDY})
    until = time.monotonic() + DEADLINE_S
    while reader.is_alive() and time.monotonic() < until:
        time.sleep(0.005)
    during = len(talking.pieces) - before
    reader.ended()
    talking.cancelled.set()
    talking.ended()
    assert during >= 3
