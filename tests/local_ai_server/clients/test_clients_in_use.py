"""Warm-up, live chat, conversations, tool regression and bench do what they say, against stand-in models."""

import asyncio
import json
import signal
import wave

import pytest
import yaml

from local_ai_server.clients import bench, conversation, tool_regression, warmup
from local_ai_server.clients.connection import UsageError
from local_ai_server.clients.tool_questions import DATA, QuestionsError, read_questions
from local_ai_server.smoke_test_ws import SENTENCE
from model_worker.errors import WorkerDied
from tests.local_ai_server.clients.client_stand_ins import TONE_MS, serving, speaking_services


def json_line(out):
    return json.loads(out.splitlines()[-1])


def generated(services):
    return [
        [(m["role"], m["content"]) for m in call.args["messages"]]
        for call in services.llm.calls
        if call.method == "generate"
    ]


def seconds_of(path):
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 16_000)
        return file.getnframes() / file.getframerate()


async def test_the_warm_up_reads_the_persona_in_and_tells_both_times(run_client, tmp_path):
    persona = tmp_path / "persona.yaml"
    persona.write_text(yaml.safe_dump({"greeting": "Hello.", "prompt": "You are Anna.\n"}))
    services = speaking_services()
    async with serving(services) as url:
        status, out, _ = await run_client(warmup.main, "--url", url, "--prompt-file", persona)
    assert status == 0
    assert [c.args["messages"] for c in services.llm.calls if c.method == "warm"] == [
        [{"role": "system", "content": "You are Anna."}]
    ]
    before, after = (c.args["session"] for c in services.llm.calls if c.method == "generate")
    assert before != after, "the second session alone was warmed"
    figures = json_line(out)
    assert figures["cached_tokens_after"] == 7
    for name in ("first_token", "tts", "stt"):
        assert figures[f"{name}_before_ms"] > 0
        assert figures[f"{name}_after_ms"] > 0


async def test_a_live_chat_keeps_its_history_until_it_is_reset(start_client, tmp_path):
    services = speaking_services()
    async with serving(services) as url, asyncio.timeout(60):
        process = await start_client("local_ai_server.clients.live", "--url", url, "--speak", "out.wav")
        out, errors = await process.communicate(b"Hello\nAgain\n/what\n/reset\nNew\n/quit\nNever\n")
    assert (process.returncode, errors) == (0, b"")
    assert out.count(b"agent> You said ") == 3
    assert b"/reset /quit" in out
    first, second, third = generated(services)
    answer = ("assistant", "You said Hello. Is there more?")
    assert first[1:] == [("user", "Hello")]
    assert second[1:] == [("user", "Hello"), answer, ("user", "Again")]
    assert third[1:] == [("user", "New")]
    assert seconds_of(tmp_path / "out.wav") == pytest.approx(len(services.tts.calls) * TONE_MS / 1000)


async def test_a_chat_may_be_read_from_a_file(start_client, tmp_path):
    (tmp_path / "chat.txt").write_text("Hello\nthere")
    services = speaking_services()
    async with serving(services) as url, asyncio.timeout(60):
        with (tmp_path / "chat.txt").open("rb") as chat:
            process = await start_client("local_ai_server.clients.live", "--url", url, stdin=chat)
            out, _ = await process.communicate()
    assert process.returncode == 0
    assert [turn[-1] for turn in generated(services)] == [("user", "Hello"), ("user", "there")]
    assert b"You said there." in out


async def test_ctrl_c_stops_an_answer_and_twice_ends_the_chat(start_client):
    services = speaking_services()
    services.llm.held = True
    async with serving(services) as url, asyncio.timeout(60):
        process = await start_client("local_ai_server.clients.live", "--url", url)
        process.stdin.write(b"Hello\n")
        await process.stdout.readuntil(b"agent> ")
        while not services.llm.calls:
            await asyncio.sleep(0.01)
        services.llm.calls[0].release(1)
        await process.stdout.readuntil(b"You said Hello. ")
        process.send_signal(signal.SIGINT)
        await process.stdout.readuntil(b"you> ")
        assert services.llm.calls[0].cancelled
        process.stdin.write(b"Go on\n")
        await process.stdout.readuntil(b"agent> ")
        while len(services.llm.calls) < 2:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        await process.stdout.readuntil(b"you> ")
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    said = ("assistant", "You said Hello.")
    assert generated(services)[1][1:] == [("user", "Hello"), said, ("user", "Go on")]


async def test_a_chat_ends_when_the_server_does(start_client):
    async with asyncio.timeout(60):
        async with serving(speaking_services()) as url:
            process = await start_client("local_ai_server.clients.live", "--url", url)
            await process.stdout.readuntil(b"you> ")
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"closed the connection" in errors


async def test_a_script_is_heard_answered_and_written_down(run_client, tmp_path):
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(4 * 8000))
    (tmp_path / "script.txt").write_text("# a comment\nHello there.\n\nsaid.wav\n")
    services = speaking_services()
    async with serving(services) as url:
        status, out, _ = await run_client(
            conversation.main, "--url", url, "script.txt", "--wav", "out.wav", "--transcript", "out.txt"
        )
    assert status == 0
    assert [len(call.body) for call in services.stt.calls] == [2 * 16 * TONE_MS, 2 * 16_000]
    answer = f"You said {SENTENCE}. Is there more?"
    assert generated(services)[1][1:] == [("user", SENTENCE), ("assistant", answer), ("user", SENTENCE)]
    turn = f"heard:  {SENTENCE}\nagent:  {answer}\n\n"
    assert (tmp_path / "out.txt").read_text() == f"caller: Hello there.\n{turn}caller: said.wav\n{turn}"
    assert seconds_of(tmp_path / "out.wav") == pytest.approx(1 + len(services.tts.calls) * TONE_MS / 1000)
    figures = json_line(out)
    assert (figures["turns"], figures["unheard"]) == (2, 0)
    assert figures["p50_turn_ms"] >= figures["p50_stt_ms"]


async def test_what_was_not_heard_is_not_answered(run_client, tmp_path):
    (tmp_path / "script.txt").write_text("Hello.\n")
    services = speaking_services(hears="")
    async with serving(services) as url:
        status, out, _ = await run_client(conversation.main, "--url", url, "script.txt")
    assert status == 0
    assert generated(services) == []
    assert json_line(out)["unheard"] == 1


@pytest.mark.parametrize(
    ("script", "words"),
    [(None, "No such file"), ("# nothing\n", "says nothing"), ("gone.wav\n", "gone.wav"), ("script.wav\n", "ffmpeg")],
)
async def test_a_script_that_cannot_be_played_is_a_wrong_use(script, words, tmp_path):
    if script is not None:
        (tmp_path / "script.txt").write_text(script)
        (tmp_path / "script.wav").write_text(script)
    with pytest.raises(UsageError, match=words):
        conversation.read_script(tmp_path / "script.txt")


async def test_a_model_that_knows_every_tool_is_all_right(run_client):
    services = speaking_services()
    async with serving(services) as url:
        status, out, _ = await run_client(
            tool_regression.main, "--url", url, "--every", "9", "--repeat", "2", "--min-right", "1", "--show"
        )
    questions = read_questions()
    figures = json_line(out)
    n = 2 * len(questions.utterances[::9])
    assert (status, figures["n"], figures["right"], figures["errors"]) == (0, n, 1.0, 0)
    assert figures["meant"] == figures["tool"] == figures["arguments"] > 0
    assert figures["not_meant"] == figures["left"] > 0
    assert out.count("\n") == n + 3
    asked = [call.args for call in services.llm.calls if call.method == "generate"]
    assert all(args["sampling"]["temperature"] == 0 for args in asked)
    assert questions.prompt in json.dumps(asked[0]["messages"], ensure_ascii=False)


async def test_too_few_that_are_right_fail_the_run(run_client, tmp_path):
    data = yaml.safe_load(DATA.read_text())
    data["utterances"] = [
        {"said": "Goodbye.", "tool": "hang_up"},
        {"said": "I'd like to leave a message.", "tool": "book_repair", "arguments": {"day": "monday"}},
    ]
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(data))
    async with serving(speaking_services()) as url:
        arguments = ["--url", url, "--set", "set.yaml", "--min-right"]
        status, out, _ = await run_client(tool_regression.main, *arguments, "0.6")
        assert status == 1
        assert "0.500 of at least 0.6" in out
        status, out, _ = await run_client(tool_regression.main, *arguments, "0.5")
    assert status == 0
    assert (json_line(out)["right"], json_line(out)["other"]) == (0.5, 1)


async def test_a_set_that_names_no_tool_of_its_own_is_refused(tmp_path):
    data = yaml.safe_load(DATA.read_text()) | {"utterances": [{"said": "Hi", "tool": "dance"}]}
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(QuestionsError, match="no tool is called dance"):
        read_questions(tmp_path / "set.yaml")


async def test_the_bench_measures_each_call_in_a_session_of_its_own(run_client):
    services = speaking_services()
    async with serving(services) as url:
        status, out, _ = await run_client(bench.main, "--url", url, "-n", "5", "-c", "2")
    line = json_line(out)
    assert (status, line["n"], line["c"], line["errors"]) == (0, 5, 2, {})
    for name in ("stt_final_ms", "llm_first_token_ms", "tts_first_audio_ms", "turn_ms"):
        figure = line["figures"][name]
        assert figure["n"] == 5
        assert 0 < figure["p50"] <= figure["p95"]
    assert len({call.args["session"] for call in services.llm.calls if call.method == "generate"}) == 5
    assert "llm_cold_ms" not in line["figures"]


async def test_double_ttfb_asks_twice_with_a_prompt_that_nobody_has_seen(run_client):
    services = speaking_services()
    async with serving(services) as url:
        status, out, _ = await run_client(bench.main, "--url", url, "--short", "--double-ttfb")
    assert status == 0
    figures = json_line(out)["figures"]
    assert figures["llm_cold_ms"]["n"] == figures["llm_cached_ms"]["n"] == figures["turn_ms"]["n"] == 2
    prompts = [call.args["messages"][0]["content"] for call in services.llm.calls if call.method == "generate"]
    assert sorted(map(prompts.count, set(prompts))) == [2, 2, 2], "two of each call's own, and one for the turns"
    assert "of 9 tokens of the prompt, 7 were in the cache" in out


async def test_the_bench_measures_what_there_is(run_client):
    async with serving(speaking_services(without=("llm",))) as url:
        status, out, _ = await run_client(bench.main, "--url", url, "--short")
    assert status == 0
    assert "not measured: llm: no llm here" in out
    assert set(json_line(out)["figures"]) == {"connect_ms", "stt_final_ms", "tts_first_audio_ms"}


async def test_answers_of_no_words_are_told_and_no_errors(run_client):
    services = speaking_services()
    services.llm.answer = lambda method, args, body: ([], {"finish_reason": "stop", "completion_tokens": 0})
    async with serving(services) as url:
        status, out, _ = await run_client(bench.main, "--url", url, "--short")
    assert status == 0
    assert json_line(out)["empty_answers"] == 2
    assert "turn_ms" not in json_line(out)["figures"]


async def test_errors_are_counted_by_kind_and_fail_the_bench(run_client):
    services = speaking_services()
    services.llm.error = WorkerDied("it ended")
    async with serving(services) as url:
        status, out, _ = await run_client(bench.main, "--url", url, "--short")
    assert status == 1
    assert "the last error: worker_failed: " in out
    assert json_line(out)["errors"] == {"worker_failed": 2}
