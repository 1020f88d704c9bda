"""`openai_compatible` against a stand-in that fails in every way a server can, and against llama.cpp's own server."""

import json
import threading
import time

import pytest
from pydantic import SecretStr

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.llm.errors import (
    LlmBusy,
    LlmMisconfigured,
    LlmRefused,
    LlmTimeout,
    LlmUnavailable,
)
from local_ai_server.backends.llm.openai_compatible import BACKEND, Options
from local_ai_server.backends.llm.openai_model import OpenAiModel
from local_ai_server.backends.options import OptionsError
from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.prompts import PromptTooLong
from model_worker.errors import CallFailed, WorkerUnavailable
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec
from tests.long_answer import LENGTH, SIXTY_WORDS, STORY, WORDS
from tests.openai_stand_in import DONE, DROP, HANG, HELLO, USAGE, StandIn, delta

QUESTION = [{"role": "user", "content": "Hello?"}]
DEADLINE_S = 30


@pytest.fixture
def server():
    stand_in = StandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def load(server):
    loaded = []

    def load_one(**settings):
        model = OpenAiModel()
        loaded.append(model)
        model.load(**{"base_url": server.url, "first_token_s": DEADLINE_S, **settings})
        return model

    yield load_one
    for model in loaded:
        model.unload()


def run(model, messages=QUESTION, *, cancelled=None, **args):
    generation = model.generate(b"", cancelled or threading.Event(), messages=messages, **args)
    pieces = []
    while True:
        try:
            pieces.append(next(generation)[0]["text"])
        except StopIteration as end:
            return "".join(pieces), end.value[0]


# --- the good way


def test_an_answer_is_streamed_with_its_figures(server, load):
    text, result = run(load())
    assert text == "Hello there"
    assert result["finish_reason"] == "stop"
    assert (result["prompt_tokens"], result["cached_tokens"], result["completion_tokens"]) == (42, 40, 3)
    assert server.asked[0]["stream"] is True
    assert server.asked[0]["model"] == "tiny"


def test_a_connection_is_kept_for_the_next_question(server, load):
    model = load()
    for _ in range(3):
        run(model)
    assert server.connections == 1


@pytest.mark.parametrize("cut", [1, 7, 64])
def test_events_may_be_cut_anywhere(server, load, cut):
    whole = b"".join(
        f"data: {e if isinstance(e, str) else json.dumps(e)}\r\n\r\n".encode() for e in [delta("Grüße, "), *HELLO]
    )
    server.script = [b": keep-alive\n\n", *(whole[i : i + cut] for i in range(0, len(whole), cut))]
    assert run(load())[0] == "Grüße, Hello there"


def test_a_server_that_does_not_stream_is_read_as_a_whole(server, load):
    whole = {"choices": [{"message": {"content": "All at once."}, "finish_reason": "stop"}], "usage": USAGE["usage"]}
    server.script = (200, {}, json.dumps(whole))
    text, result = run(load())
    assert text == "All at once."
    assert result["cached_tokens"] == 40


def test_a_stream_may_end_without_the_last_word(server, load):
    server.script = [delta("Hi"), delta("", "length")]
    text, result = run(load())
    assert (text, result["finish_reason"]) == ("Hi", "length")


def test_thoughts_are_never_spoken(server, load):
    server.script = [
        delta(reasoning_content="Let me see."),
        delta("<thi"),
        delta("nk>secret "),
        delta("plans</th"),
        delta("ink>\n\nYes, "),
        delta("we do."),
        delta("", "stop"),
        DONE,
    ]
    assert run(load())[0] == "Yes, we do."


def test_a_model_whose_template_opens_the_thought_is_known_by_its_name(server, load):
    server.models["data"][0]["id"] = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    server.script = [delta("I should greet."), delta("</think>Hello."), delta("", "stop"), DONE]
    assert run(load())[0] == "Hello."
    server.script = [delta("Hello, no thought at all."), delta("", "stop"), DONE]
    assert run(load())[0] == "Hello, no thought at all."
    server.script = [delta("I think and think"), delta("", "length"), DONE]
    assert run(load())[0] == ""
    server.script = [delta(reasoning_content="hm"), delta("Hello."), delta("", "stop"), DONE]
    assert run(load())[0] == "Hello."


def test_thinking_is_switched_off_where_the_server_can(server, load):
    run(load())
    assert server.asked[0]["chat_template_kwargs"] == {"enable_thinking": False}
    run(load(thinking=True))
    assert "chat_template_kwargs" not in server.asked[1]


def test_a_schema_and_tools_are_passed_on_and_calls_come_back(server, load):
    call = {"index": 0, "id": "x", "function": {"name": "transfer", "arguments": ""}}
    server.script = [
        delta(tool_calls=[call]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"to":'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ' "sales"}'}}]),
        delta("", "tool_calls"),
        DONE,
    ]
    tools = [{"type": "function", "function": {"name": "transfer"}}]
    schema = {"type": "object", "properties": {}}
    text, result = run(load(), tools=tools, response_format={"type": "json_schema", "json_schema": schema})
    assert text == ""
    assert result["tool_calls"] == [{"name": "transfer", "arguments": '{"to": "sales"}'}]
    assert result["finish_reason"] == "tool_calls"
    assert server.asked[0]["tools"] == tools
    assert server.asked[0]["response_format"]["json_schema"]["schema"] == schema


SAMPLING = {
    "temperature": 0.2,
    "top_k": 5,
    "min_p": 0.1,
    "repetition_penalty": 1.2,
    "seed": 1,
    "max_tokens": 9,
    "stop": ("X",),
    "top_p": None,
}


@pytest.mark.parametrize(
    ("owner", "named"),
    [
        ("vllm", {"top_k", "min_p", "repetition_penalty", "max_tokens"}),
        ("llamacpp", {"top_k", "min_p", "repeat_penalty", "max_tokens"}),
        ("tensorrt_llm", {"top_k", "min_p", "repetition_penalty", "max_tokens"}),
        ("library", {"max_tokens"}),
        ("openai", {"max_completion_tokens"}),
        ("someone", {"max_tokens"}),
    ],
)
def test_each_server_is_asked_in_its_own_words(server, load, owner, named):
    server.models["data"][0]["owned_by"] = owner
    run(load(), sampling=SAMPLING)
    asked = set(server.asked[0])
    varied = {"top_k", "min_p", "repetition_penalty", "repeat_penalty", "max_tokens", "max_completion_tokens"}
    assert asked & varied == named
    assert {"temperature", "seed", "stop"} <= asked
    assert not {"top_p", "sanitize_output"} & asked


def test_a_warm_up_is_paid_for_only_where_prompts_are_kept(server, load):
    model = load()
    model.warm(b"", threading.Event(), messages=QUESTION)
    assert server.asked[-1]["max_tokens"] == 1
    server.models["data"][0]["owned_by"] = "openai"
    load().warm(b"", threading.Event(), messages=QUESTION)
    assert len(server.asked) == 1


def test_a_long_conversation_is_cut_to_the_window_that_the_server_states(server, load):
    server.models["data"][0]["max_model_len"] = 512
    turns = [{"role": r, "content": "something is said " * 5} for _ in range(30) for r in ("user", "assistant")]
    _, result = run(load(), [*turns, *QUESTION])
    assert result["dropped_messages"] > 0
    assert len(server.asked[0]["messages"]) < 20


# --- choosing the server and the model


def test_a_model_that_is_not_there_is_named_with_those_that_are(load):
    with pytest.raises(LlmMisconfigured, match=r"'big'.*tiny"):
        load(model="big")


def test_a_server_that_lists_nothing_needs_a_model_by_name(server, load):
    server.models_status, server.models = 404, {"detail": "Not Found"}
    with pytest.raises(LlmMisconfigured, match="LOCAL_LLM_API_MODEL"):
        load()
    assert run(load(model="mine"))[0] == "Hello there"


def test_what_is_no_such_server_is_told(server, load):
    server.models = ["not", "a", "listing"]
    with pytest.raises(LlmMisconfigured, match="LOCAL_LLM_API_BASE_URL"):
        load()


def test_nothing_there_is_told_with_the_address():
    model = OpenAiModel()
    with pytest.raises(LlmUnavailable, match=r"http://127\.0\.0\.1:9/v1/models.*LOCAL_LLM_API_BASE_URL"):
        model.load(base_url="http://127.0.0.1:9/v1")


def test_a_server_that_is_still_starting_is_waited_for(server, load):
    server.models_status = 503
    threading.Timer(0.3, lambda: setattr(server, "models_status", 200)).start()
    assert run(load(start_wait_s=DEADLINE_S))[0] == "Hello there"


def test_a_key_is_sent_and_never_told(server, load):
    server.key = "sk-secret"
    assert run(load(api_key="sk-secret"))[0] == "Hello there"
    with pytest.raises(LlmMisconfigured, match="LOCAL_LLM_API_KEY") as refused:
        load(api_key="sk-wrong-one")
    assert "sk-wrong-one" not in str(refused.value)


def test_the_plan_needs_an_address_and_hides_the_key():
    with pytest.raises(BackendUnusable, match="LOCAL_LLM_API_BASE_URL"):
        BACKEND.plan(Options(), Machine())
    options = Options.from_environment({"LOCAL_LLM_API_BASE_URL": "http://gpu:8000/v1/", "LOCAL_LLM_API_KEY": "s3cret"})
    assert options.api_key == SecretStr("s3cret")
    assert "s3cret" not in repr(options)
    plan = BACKEND.plan(options, Machine())
    assert plan.load["base_url"] == "http://gpu:8000/v1"
    assert "s3cret" not in str(plan.traits)


def test_a_keys_line_end_is_no_part_of_it():
    # HTTP refuses a header with one, and its refusal quotes the header.
    options = Options.from_environment({"LOCAL_LLM_API_KEY": " s3cret\n"})
    assert options.api_key == SecretStr("s3cret")
    with pytest.raises(OptionsError, match="LOCAL_LLM_API_KEY") as refused:
        Options.from_environment({"LOCAL_LLM_API_KEY": "s3\ncret"})
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["gpu:8000", "ftp://gpu/v1", "http://user:key@gpu/v1", "http:///v1"])
def test_an_address_that_cannot_be_is_refused(url):
    with pytest.raises(OptionsError, match="LOCAL_LLM_API_BASE_URL"):
        Options.from_environment({"LOCAL_LLM_API_BASE_URL": url})


# --- failures


def body(message):
    return json.dumps({"error": {"message": message}})


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ((401, {}, body("bad key")), LlmMisconfigured, "LOCAL_LLM_API_KEY"),
        ((404, {}, body("The model `x` does not exist")), LlmMisconfigured, "does not exist"),
        ((429, {"retry-after": "7"}, body("Too many")), LlmBusy, "7 s"),
        ((500, {}, "<html>oops</html>"), LlmUnavailable, "500.*oops"),
        ((503, {}, '{"detail": "starting"}'), LlmUnavailable, "starting"),
        ((400, {}, body("unknown field 'top_k'")), LlmRefused, "top_k"),
        ((400, {}, body("This model's maximum context length is 512 tokens")), PromptTooLong, "512"),
        ([delta("Hel"), "{not json", DONE], LlmUnavailable, "no chunk"),
        ([delta("Hel"), "[1, 2]", DONE], LlmUnavailable, "no chunk"),
        ([delta("Hel"), {"choices": ["x"]}, DONE], LlmUnavailable, "none"),
        ([delta("Hel"), {"error": {"message": "CUDA out of memory"}}], LlmUnavailable, "CUDA out of memory"),
        ([delta("Hel"), DROP], LlmUnavailable, "broke off"),
        ([delta("Hel")], LlmUnavailable, "hung up"),
        ([b"data: " + b"x" * (1024 * 1024 + 10)], LlmUnavailable, "more than"),
    ],
)
def test_a_failure_is_told_for_what_it_is_and_the_next_answer_is_whole(server, load, script, error, words):
    model = load()
    server.script = script
    with pytest.raises(error, match=words):
        run(model)
    server.script = HELLO
    assert run(model)[0] == "Hello there"


@pytest.mark.parametrize("script", [[HANG], [delta("Hel"), HANG], [*([b": waiting\n\n", 0.02] * 40), HANG]])
def test_silence_has_an_end(server, load, script):
    model = load(first_token_s=0.3)
    server.script = script
    with pytest.raises(LlmTimeout, match="LOCAL_LLM_API_TIMEOUT"):
        run(model)
    assert server.hung_up.wait(DEADLINE_S)


@pytest.mark.parametrize("script", [[HANG], [delta("Hel"), HANG]])
def test_a_cancel_closes_the_stream_at_once(server, load, script):
    """While it waits for the headers, and between two tokens: long before any time limit."""
    model = load(first_token_s=3600)
    server.script = script
    cancelled = threading.Event()
    threading.Timer(0.1, cancelled.set).start()
    began = time.monotonic()
    run(model, cancelled=cancelled)
    assert server.hung_up.wait(DEADLINE_S)
    assert time.monotonic() - began < DEADLINE_S
    server.script = HELLO
    assert run(model)[0] == "Hello there"


def test_an_answer_that_is_left_alone_closes_its_stream(server, load):
    server.script = [delta("Hel"), HANG]
    generation = load(first_token_s=3600).generate(b"", threading.Event(), messages=QUESTION)
    next(generation)
    generation.close()
    assert server.hung_up.wait(DEADLINE_S)


def test_a_connection_that_the_server_closed_meanwhile_is_made_anew(server, load):
    model = load()
    server.script = [delta("a"), delta("", "stop"), DONE]
    run(model)
    server.script = HELLO
    for _ in range(3):
        assert run(model)[0] == "Hello there"


# --- as a worker


async def test_in_its_worker_it_serves_refuses_and_is_cancelled(server):
    spec = WorkerSpec(
        model=BACKEND.model,
        settings={"base_url": server.url, "first_token_s": 3600},
        canary=BACKEND.canary,
        concurrency=4,
    )
    link = WorkerLink(spec)
    await link.start()
    try:
        async with link.call("generate", {"messages": QUESTION}) as answers:
            assert "".join([header["text"] async for header, _ in answers]) == "Hello there"
        server.script = (429, {"retry-after": "3"}, body("Too many"))
        with pytest.raises(CallFailed) as refused:
            await link.request("generate", {"messages": QUESTION})
        assert refused.value.kind == "LlmBusy"
        server.script = [delta("Hel"), HANG]
        async with link.call("generate", {"messages": QUESTION}) as answers:
            assert (await anext(answers))[0]["text"] == "Hel"
        assert server.hung_up.wait(DEADLINE_S)
    finally:
        await link.stop()


async def test_a_worker_without_its_server_does_not_start_and_says_why():
    link = WorkerLink(WorkerSpec(model=BACKEND.model, settings={"base_url": "http://127.0.0.1:9/v1"}))
    with pytest.raises(WorkerUnavailable, match="LOCAL_LLM_API_BASE_URL"):
        await link.start()


# --- llama.cpp's own server


@pytest.fixture(scope="module")
def llama_server():
    xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with xllamacpp")
    try:
        gguf = find_model("SmolLM2-135M-Instruct-Q8_0")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel, params.n_ctx = 2, 2 * 1024
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 1, 2
    params.api_keys = ["sesame"]
    params.ui, params.fit_params, params.swa_full, params.cache_ram_mib, params.verbosity = False, False, True, 0, 0
    server = xllamacpp.Server(params)
    return f"{server.listening_address.rstrip('/')}/v1", server


@pytest.mark.models
def test_a_real_server_is_recognised_and_answers(llama_server):
    model = OpenAiModel()
    model.load(base_url=llama_server[0], api_key="sesame", start_wait_s=DEADLINE_S)
    try:
        found, _ = model.describe(b"", threading.Event())
        assert found["vendor"] == "llama-server"
        persona = {"role": "system", "content": "You answer the phone of a shop. " * 20}
        schema = {"type": "object", "properties": {"open": {"enum": ["yes", "no"]}}, "required": ["open"]}
        wanted = {"type": "json_schema", "json_schema": schema}
        text, _ = run(model, [persona, *QUESTION], response_format=wanted, sampling={"max_tokens": 40, "top_k": 10})
        assert json.loads(text)["open"] in ("yes", "no")
        text, result = run(model, [persona, *QUESTION], sampling={"max_tokens": 6, "temperature": 0.0})
        assert text
        assert result["completion_tokens"] <= 6
        assert result["prompt_tokens"] > 100
        assert result["cached_tokens"] > 100
        cancelled = threading.Event()
        story = model.generate(b"", cancelled, messages=STORY, response_format=SIXTY_WORDS)
        said = next(story)[0]["text"]
        cancelled.set()
        said += "".join(header["text"] for header, _ in story)
        assert sum(said.count(word) for word in WORDS) < LENGTH
        assert json.loads(run(model, response_format=wanted, sampling={"max_tokens": 40})[0])
    finally:
        model.unload()


@pytest.mark.models
def test_a_real_server_refuses_a_wrong_key(llama_server):
    model = OpenAiModel()
    with pytest.raises(LlmMisconfigured, match="LOCAL_LLM_API_KEY"):
        model.load(base_url=llama_server[0], api_key="wrong")
        run(model)
