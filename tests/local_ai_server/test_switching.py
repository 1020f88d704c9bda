"""Switching while requests run, with workers that are functions: what is answered, by whom, and what is left behind."""

import asyncio
import json
from pathlib import Path

import pytest
from fake_services import FakeLink, ListClient, generates, make_session, settle, speaks, transcribes

from local_ai_server.backends.backend import BackendUnusable, Plan
from local_ai_server.backends.registry import backend
from local_ai_server.errors import ServeError
from local_ai_server.memory import MIB
from local_ai_server.service import Place, Service
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from local_ai_server.switching import Switcher
from model_worker.errors import WorkerDied, WorkerUnavailable
from model_worker.spec import Priority
from voice_wire.messages import SwitchModel

ANSWERS = {"stt": transcribes, "llm": generates, "tts": speaks}
NAMES = {"stt": "faster_whisper", "llm": "llama_cpp", "tts": "piper"}
SLOTS = {"stt": 1, "llm": 2, "tts": 1}


class SwitchedLink(FakeLink):
    """Starts when `loads` is set, and ends what is in flight when it is stopped, as `WorkerLink` does."""

    def __init__(self, kind, name):
        super().__init__(ANSWERS[kind])
        self.name = name
        self.state = "stopped"
        self.loads = asyncio.Event()
        self.loads.set()
        self.fails = False
        self.stops = 0

    async def start(self):
        self.state = "starting"
        try:
            await self.loads.wait()
        except asyncio.CancelledError:
            self.state = "stopped"
            raise
        if self.fails:
            self.state, self.reason = "failed", f"no canary of {self.name} sang"
            self.error = WorkerUnavailable(self.reason)
            raise self.error
        self.state, self.error = "ready", None

    async def stop(self, *, drain_s=5.0):
        self.stops += 1
        self.state = "stopped"
        self.die()
        await asyncio.sleep(0)
        return 0

    def die(self):
        self.error = WorkerDied(f"{self.name} ended")
        for call in self.calls:
            call.release()


class FakeBoard(Switchboard):
    """A switchboard whose services run on `SwitchedLink`s. A model's path says how it behaves."""

    def __init__(self, *, free_mib=10_000, without=(), **settings):
        self.links = []
        self.unusable = set()
        self.failing = set()
        self.holding = set()
        self.needs_mib = 300
        services = {}
        settings = Settings.model_validate(settings)
        absent = {kind: ServeError(f"{kind}_unavailable", f"no {kind}", retryable=False) for kind in without}
        super().__init__({}, absent=absent, settings=settings)
        for kind in ("stt", "llm", "tts"):
            if kind not in without:
                services[kind] = self._make(kind, backend(kind, NAMES[kind]), backend(kind, NAMES[kind]).options())
                services[kind].link.state = "ready"
        self._services = services
        self.free_mib = free_mib
        self._switcher = Switcher(self, reserve_bytes=100 * MIB, free=lambda: self.free_mib * MIB)

    def plan(self, target):
        if target.backend.name in self.unusable:
            raise BackendUnusable(f"{target.backend.name} is not installed; run: pip install it")
        return self._plan(target.backend, target.options)

    def _plan(self, chosen, options):
        voices = {"voices": [chosen.name]} if chosen.kind == "tts" else {}
        return Plan(
            load=options.model_dump(mode="json"),
            model_path=Path("m"),
            concurrency=SLOTS[chosen.kind],
            memory_bytes=self.needs_mib * MIB,
            traits={"context_tokens": 768} | voices,
        )

    def build(self, target, plan, *, idle):
        service = self._make(target.backend.kind, target.backend, target.options)
        if target.backend.kind in self.failing:
            service.link.fails = True
        if target.backend.kind in self.holding:
            service.link.loads.clear()
        return service

    def _make(self, kind, chosen, options):
        link = SwitchedLink(kind, f"{kind}{len(self.links)}")
        self.links.append(link)
        plan = self._plan(chosen, options)
        return Service(chosen, link, options=options, plan=plan, max_waiting=8, held_s=self._settings.switch_wait_s)

    def link(self, kind):
        return self.find(kind).link

    def alive(self):
        """Workers that have a process."""
        return {link.name for link in self.links if link.state in ("starting", "ready")}


@pytest.fixture
async def board():
    board = FakeBoard()
    yield board
    await board.stop()
    assert not board.alive()


TTS = {"tts_config": {"speed": 1.3}}
LLM = {"llm_config": {"context_tokens": 512}}
STT = {"stt_config": {"language": "de"}}


def switch(board, seen=None, **fields):
    tell = (lambda p: seen.append((p.backend_type, p.stage))) if seen is not None else lambda p: None
    return asyncio.create_task(board.switch(SwitchModel.model_validate(fields), on_progress=tell))


async def within(awaitable, seconds=20):
    return await asyncio.wait_for(awaitable, seconds)


async def until(met, seconds=20):
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0)


async def speak(service, text, place=None, **args):
    async with service.call("speak", {"text": text, **args}, place=place or Place(Priority.FINAL)) as answers:
        return [body async for _, body in answers], answers.service


def session_on(board):
    client = ListClient()

    class Services:
        switchboard = board

    session = make_session(Services, client)
    session.receive('{"type": "auth", "protocol_version": 3}')
    return session, client


def ask(session, request_id, **fields):
    message = {"type": "tts_request", "request_id": request_id, "text": "One. Two. Three.", "stream": True} | fields
    session.receive(json.dumps(message))


async def test_requests_in_flight_end_on_the_old_and_the_next_run_on_the_new(board):
    old = board.find("tts")
    old.link.held = True
    session, client = session_on(board)
    ask(session, "a")
    await until(lambda: old.link.calls)
    old.link.calls[0].release(1)
    await client.until(client.audio)
    seen = []
    switching = switch(board, seen, **TTS)
    await until(lambda: board.find("tts") is not old)
    ask(session, "b")
    assert (await client.end_of("b")).type == "done"
    assert not switching.done()
    assert not client.ends("a")
    old.link.calls[0].release()
    assert (await client.end_of("a")).type == "done"
    answer = await within(switching)
    assert (answer.status, answer.changed) == ("success", ["tts_config.speed"])
    assert seen == [("tts", s) for s in ("loading", "routing", "draining", "stopping", "done")]
    assert [stage["stage"] for stage in answer.stages] == [stage for _, stage in seen]
    assert (old.link.state, len(old.link.calls), len(board.link("tts").calls)) == ("stopped", 1, 1)
    assert board.find("tts").options.speed == 1.3
    await session.close()


async def test_those_that_wait_move_in_their_order_even_where_the_new_queue_is_full(board):
    old = board.find("tts")
    old.link.held = True
    waiting = [asyncio.create_task(speak(old, f"{i}.")) for i in range(9)]  # one runs, eight wait: all there may
    await until(lambda: old.waiting == 8)
    switching = switch(board, **TTS)
    ends = await within(asyncio.gather(*waiting[1:]))
    assert [bodies for bodies, _ in ends] == [[f"{i}".encode()] for i in range(1, 9)]
    assert {service for _, service in ends} == {board.find("tts")}
    assert [call.args["text"] for call in board.link("tts").calls] == [f"{i}." for i in range(1, 9)]
    old.link.calls[0].release()
    await within(asyncio.gather(switching, waiting[0]))


async def test_a_handle_from_before_the_switch_reaches_the_new_service(board):
    old = board.find("tts")
    await within(switch(board, **TTS))
    bodies, service = await speak(old, "Hello.")
    assert bodies == [b"Hello"]
    assert service is board.find("tts")


async def test_a_voice_of_the_old_engine_gives_way_to_the_new_engines_own(board):
    old = board.find("tts")
    await within(switch(board, tts_backend="kokoro"))
    await speak(old, "Hello.", voice="piper")
    assert "voice" not in board.link("tts").calls[0].args
    await speak(old, "Hello.", voice="kokoro")
    assert board.link("tts").calls[1].args["voice"] == "kokoro"


async def test_a_client_that_has_not_heard_of_the_switch_is_spoken_for_all_the_same(board):
    session, client = session_on(board)
    await within(switch(board, tts_backend="kokoro"))
    ask(session, "a", voice="piper")
    assert (await client.end_of("a")).type == "done"
    ask(session, "b", voice="nobody")
    end = await client.end_of("b")
    assert (end.type, end.code) == ("error", "invalid_message")
    await session.close()


@pytest.mark.parametrize("handed_out", [0, 1])
async def test_past_the_drain_deadline_what_sent_nothing_is_run_again(board, handed_out):
    old = board.find("tts")
    old.link.held = True
    session, client = session_on(board)
    ask(session, "a")
    await until(lambda: old.link.calls)
    old.link.calls[0].release(handed_out)
    await client.until(lambda: len(client.audio()) == handed_out)
    answer = await within(switch(board, drain_deadline_s=0, **TTS))
    assert answer.status == "success", answer.message
    assert "outlasted" in answer.message
    end = await client.end_of("a")
    if handed_out:
        assert (end.type, end.code, end.retryable) == ("error", "worker_failed", True)
    else:
        assert end.type == "done"
        assert len(client.audio()) == 3
    await session.close()


async def test_an_utterance_is_decoded_again_by_the_new_worker(board):
    old = board.find("stt")
    old.link.held = True

    async def transcribe():
        async with old.call("transcribe", {}, b"12345", place=Place(Priority.FINAL)) as answers:
            return (await answers.finish())[0]["text"], answers.service

    decoding = asyncio.create_task(transcribe())
    await until(lambda: old.link.calls)
    await within(switch(board, drain_deadline_s=0, **STT))
    assert await within(decoding) == ("5 bytes", board.find("stt"))


async def test_an_old_worker_that_dies_while_it_drains_costs_nothing_that_has_sent_nothing(board):
    old = board.find("llm")
    old.link.held = True

    async def generate(text):
        args = {"messages": [{"role": "user", "content": text}]}
        async with old.call("generate", args, place=Place(Priority.FINAL)) as answers:
            return "".join([header["text"] async for header, _ in answers])

    asking = [asyncio.create_task(generate(text)) for text in ("hello", "you")]
    await until(lambda: len(old.link.calls) == 2)
    switching = switch(board, **LLM)
    await until(lambda: board.find("llm") is not old)
    old.link.die()
    assert await within(asyncio.gather(*asking)) == ["You said hello.", "You said you."]
    assert (await within(switching)).status == "success"


async def test_an_utterance_that_a_streaming_engine_hears_stays_where_it_began(board):
    old = board.find("stt")
    old.link.answer = lambda method, args, body: ([], {"text": method})

    async def part(method, **args):
        async with old.call(method, {"stream": "s1", **args}, place=Place(Priority.LIVE)) as answers:
            await answers.finish()
            return answers.service

    assert await part("feed") is old
    switching = switch(board, **STT)
    await until(lambda: board.find("stt") is not old)
    await settle()
    assert await part("feed") is old
    assert await part("finish", keep=True) is old
    assert not switching.done()
    assert await part("finish") is old
    await within(switching)
    assert old.link.state == "stopped"
    with pytest.raises(ServeError) as caught:
        await part("feed")
    assert caught.value.retryable


@pytest.mark.parametrize("stop_then_start", [False, True])
async def test_what_cannot_load_leaves_the_old_model_serving(board, stop_then_start):
    old = board.find("tts")
    old_options = old.options
    board.failing.add("tts")
    build, seen = board.build, []

    def fails_once(target, plan, *, idle):
        service = build(target, plan, idle=idle)
        board.failing.clear()
        return service

    board.build = fails_once
    answer = await within(switch(board, seen, stop_then_start=stop_then_start, **TTS))
    assert (answer.status, answer.code) == ("error", "switch_failed")
    assert "no canary of tts3 sang" in answer.message
    assert seen[-1] == ("tts", "rolled_back" if stop_then_start else "failed")
    assert board.find("tts").options == old_options
    assert (board.find("tts") is old) is not stop_then_start
    assert await speak(old, "Still here.") == ([b"Still here"], board.find("tts"))
    assert len(board.alive()) == 3


async def test_two_kinds_are_switched_together_or_not_at_all(board):
    before = {kind: board.find(kind) for kind in ("stt", "llm", "tts")}
    board.failing.add("llm")
    answer = await within(switch(board, **TTS, **LLM))
    assert (answer.status, answer.code) == ("error", "switch_failed")
    assert {kind: board.find(kind) for kind in before} == before
    assert len(board.alive()) == 3
    board.failing.clear()
    answer = await within(switch(board, **TTS, **LLM))
    assert answer.changed == ["tts_config.speed", "llm_config.context_tokens"]
    assert len(board.alive()) == 3


async def test_nothing_is_done_where_nothing_differs(board):
    await within(switch(board, **TTS))
    n_links = len(board.links)
    answer = await within(switch(board, tts_backend="piper", **TTS))
    assert (answer.status, answer.changed) == ("no_change", [])
    assert len(board.links) == n_links
    assert (await within(board.reload(("tts",)))).status == "success"
    assert len(board.links) == n_links + 1


async def test_a_dry_run_looks_at_everything_and_changes_nothing(board):
    before = board.find("tts")
    answer = await within(switch(board, dry_run=True, tts_backend="kokoro"))
    assert (answer.status, answer.changed) == ("success", ["tts_backend", "tts_model_path"])
    assert answer.memory["needed"] == 300 * MIB
    board.unusable.add("kokoro")
    answer = await within(switch(board, dry_run=True, tts_backend="kokoro"))
    assert (answer.status, answer.code) == ("error", "backend_unavailable")
    assert "pip install" in answer.message
    board.free_mib = 200
    assert (await within(switch(board, dry_run=True, **TTS))).code == "not_enough_memory"
    assert (await within(switch(board, dry_run=True, tts_backend="mouth"))).code == "unknown_backend"
    assert board.find("tts") is before
    assert len(board.alive()) == 3


async def test_without_memory_for_both_the_old_can_be_stopped_first(board):
    board.free_mib = 350
    old = board.find("tts")
    answer = await within(switch(board, **TTS))
    assert (answer.status, answer.code) == ("error", "not_enough_memory")
    assert "300 MiB" in answer.message
    assert "350 MiB" in answer.message
    assert board.find("tts") is old
    old.link.rss = 80 * MIB
    answer = await within(switch(board, **TTS))
    assert "stop_then_start" in answer.message
    answer = await within(switch(board, stop_then_start=True, **TTS))
    assert answer.status == "success", answer.message
    assert answer.memory["old_rss_before"] == 80 * MIB
    assert board.find("tts").options.speed == 1.3


async def test_requests_wait_while_the_old_is_stopped_and_the_new_one_loads(board):
    old = board.find("tts")
    old.link.held = True
    first = asyncio.create_task(speak(old, "First."))
    await until(lambda: old.link.calls)
    board.holding.add("tts")
    switching = switch(board, stop_then_start=True, **TTS)
    await until(lambda: board.find("tts") is not old)
    second = asyncio.create_task(speak(board.find("tts"), "Second."))
    await settle()
    assert old.link.stops == 0
    old.link.calls[0].release()
    await until(lambda: board.link("tts").state == "starting")
    assert old.link.state == "stopped"
    assert not second.done()
    board.link("tts").loads.set()
    assert (await within(switching)).status == "success"
    assert (await within(first))[0] == [b"First"]
    assert (await within(second))[0] == [b"Second"]


async def test_a_request_waits_no_longer_than_it_may():
    board = FakeBoard(LOCAL_SWITCH_WAIT=0.01)
    board.holding.add("tts")
    switching = switch(board, stop_then_start=True, **TTS)
    await until(lambda: board.link("tts").state == "starting")
    with pytest.raises(ServeError) as caught:
        await within(speak(board.find("tts"), "Hello."))
    assert (caught.value.code, caught.value.retryable) == ("tts_unavailable", True)
    await board.stop()
    assert (await within(switching)).code == "switch_failed"
    assert not board.alive()


async def test_where_old_and_new_both_cannot_start_requests_learn_why(board):
    board.failing.add("tts")
    board.holding.add("tts")
    switching = switch(board, stop_then_start=True, **TTS)
    await until(lambda: board.link("tts").state == "starting")
    waiting = asyncio.create_task(speak(board.find("tts"), "Hello."))
    await settle()
    board.holding.clear()
    board.link("tts").loads.set()
    answer = await within(switching)
    assert "could not be started again" in answer.message
    with pytest.raises(ServeError, match="no canary of tts4 sang"):
        await within(waiting)
    assert "tts" in board.not_ready
    board.failing.clear()
    assert (await within(board.reload(("tts",)))).status == "success"
    assert not board.not_ready


async def test_a_second_switch_is_told_that_one_is_at_work(board):
    board.holding.add("tts")
    switching = switch(board, **TTS)
    await until(lambda: len(board.links) == 4 and board.links[3].state == "starting")
    assert (await within(switch(board, **LLM))).code == "switch_in_progress"
    assert (await within(board.reload(("llm",)))).code == "switch_in_progress"
    assert (await within(switch(board, dry_run=True, **LLM))).status == "success"
    board.links[3].loads.set()
    assert (await within(switching)).status == "success"
    board.holding.clear()
    assert (await within(switch(board, **LLM))).status == "success"


async def test_a_switch_that_is_cancelled_while_it_loads_undoes_itself(board):
    board.holding.add("tts")
    old = board.find("tts")
    switching = switch(board, **TTS)
    await until(lambda: len(board.links) == 4 and board.links[3].state == "starting")
    switching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(switching)
    assert board.find("tts") is old
    assert len(board.alive()) == 3
    board.holding.clear()
    assert (await within(switch(board, **TTS))).status == "success"


@pytest.mark.parametrize("stop_then_start", [False, True])
async def test_past_the_routing_it_goes_on_without_its_caller(board, stop_then_start):
    old = board.find("tts")
    old.link.held = True
    speaking = asyncio.create_task(speak(old, "Hello."))
    await until(lambda: old.link.calls)
    switching = switch(board, stop_then_start=stop_then_start, **TTS)
    await until(lambda: board.find("tts") is not old)
    switching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(switching)
    old.link.calls[0].release()
    assert (await within(speaking))[0] == [b"Hello"]
    await until(lambda: old.link.state == "stopped" and board.link("tts").state == "ready")
    assert (await within(speak(old, "Again.")))[0] == [b"Again"]


STAGES = ["loading", "draining", "stopped first"]


@pytest.mark.parametrize("stage", STAGES)
async def test_the_end_of_the_server_leaves_no_worker_behind(stage):
    board = FakeBoard()
    old = board.find("tts")
    if stage == "draining":
        old.link.held = True
        speaking = asyncio.create_task(speak(old, "Hello."))
        await until(lambda: old.link.calls)
    else:
        board.holding.add("tts")
    switching = switch(board, stop_then_start=stage == "stopped first", **TTS)
    await until(lambda: len(board.links) == 4 and board.links[3].state != "stopped")
    if stage == "draining":
        await until(lambda: board.find("tts") is not old)
    await within(board.stop())
    assert not board.alive()
    answer = await within(switching)
    assert (answer.status, answer.message) == ("error", "the server is stopping")
    if stage == "draining":
        await within(asyncio.gather(speaking, return_exceptions=True))
    assert (await within(switch(board, **LLM))).message == "the server is stopping"


async def test_subscribers_hear_of_each_change_whatever_another_of_them_raises(board):
    loop, raised = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))
    seen, late = [], []

    def breaks(news):
        raise RuntimeError("subscriber")

    board.subscribe(breaks)
    board.subscribe(seen.append)
    unsubscribe = board.subscribe(late.append)
    assert (await within(switch(board, stt_backend="vosk"))).status == "success"
    await settle()
    unsubscribe()
    unsubscribe()
    await within(switch(board, tts_backend="kokoro"))
    await settle()
    assert [str(error) for error in raised] == ["subscriber"] * 2
    assert [(n.backend_type, n.backend) for n in seen] == [("stt", "vosk"), ("tts", "kokoro")]
    assert (seen[0].stt_backend, seen[0].needs_gating) == ("vosk", False)
    assert seen[1].tts_voices == ("kokoro",)
    assert len(late) == 1


async def test_what_did_not_start_is_loaded_by_a_reload(board):
    degraded = FakeBoard(without=("llm",), LOCAL_AI_MODE="minimal")
    assert (await within(degraded.reload(("stt", "tts")))).status == "success"
    assert degraded.find("llm") is None
    assert (await within(degraded.reload(("stt", "llm", "tts")))).status == "success"
    assert degraded.find("llm") is None  # minimal mode loads what is there
    degraded.failing.add("llm")
    assert (await within(degraded.reload(("llm",)))).code == "switch_failed"
    with pytest.raises(ServeError, match="no llm"):
        degraded.service("llm")
    degraded.failing.clear()
    assert (await within(degraded.reload(("llm",)))).status == "success"
    assert degraded.find("llm").ready
    await degraded.stop()
    assert not degraded.alive()


async def test_what_is_switched_off_stays_off():
    board = FakeBoard(without=("tts",), ENABLE_TTS=False)
    board._absent["tts"] = ServeError("tts_unavailable", "tts is switched off here (ENABLE_TTS=false)")
    answer = await within(switch(board, **TTS))
    assert (answer.status, answer.code) == ("error", "tts_unavailable")
    assert "ENABLE_TTS" in answer.message
    assert (await within(board.reload(("tts",)))).code == "tts_unavailable"
    await board.stop()


async def test_the_new_language_model_has_read_the_prompts_of_those_who_talk(board):
    session, client = session_on(board)
    hello = {"role": "user", "content": "hello"}
    fields = {"type": "llm_request", "text": "", "messages": [hello]}
    ask(session, "a", **fields)
    await client.end_of("a")
    seen = []
    await within(switch(board, seen, **LLM))
    assert [stage for _, stage in seen] == ["loading", "warming", "routing", "draining", "stopping", "done"]
    ask(session, "b", **fields)
    assert (await client.end_of("b")).type == "done"
    warm, answer = board.link("llm").calls
    assert (warm.method, warm.args["messages"], warm.args["session"]) == ("warm", [hello], answer.args["session"])
    await within(switch(board, llm_config={"context_tokens": 600}))
    assert [call.method for call in board.link("llm").calls] == ["warm"]
    await session.close()
    assert [call.method for call in board.link("llm").calls] == ["warm", "forget"]
    await within(switch(board, **LLM))
    assert not board.link("llm").calls


async def test_a_session_that_ends_while_prompts_are_read_is_not_kept(board):
    sessions = [session_on(board) for _ in range(2)]
    for n, (session, client) in enumerate(sessions):
        ask(session, "a", type="llm_request", text="", messages=[{"role": "user", "content": f"hello {n}"}])
        await client.end_of("a")
    old = board.find("llm")

    def tell(progress):
        if progress.stage == "warming":
            old.prompts.pop(sessions[1][0].key)  # as `forget` does

    message = SwitchModel(**LLM)
    assert (await within(asyncio.create_task(board.switch(message, on_progress=tell)))).status == "success"
    assert [call.args["session"] for call in board.link("llm").calls] == [sessions[0][0].key]
    assert list(board.find("llm").prompts) == [sessions[0][0].key]


async def test_a_worker_that_ends_before_it_is_used_is_not_used(board):
    session, client = session_on(board)
    ask(session, "a", type="llm_request", messages=[{"role": "user", "content": "hello"}])
    await client.end_of("a")
    old, make = board.find("llm"), board.build

    def frail(target, plan, *, idle):
        service = make(target, plan, idle=idle)

        def dies(method, args, body):
            service.link.state, service.link.reason = "restarting", "it closed its socket"
            raise WorkerDied("it closed its socket")

        service.link.answer = dies
        return service

    board.build = frail
    answer = await within(switch(board, **LLM))
    assert (answer.code, board.find("llm")) == ("switch_failed", old)
    assert len(board.alive()) == 3
    await session.close()
