"""What tools do with a call's line, as requests to Asterisk; an attended transfer from the hold music to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from ai_engine import transfer_legs
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.dispatch import Lane
from ai_engine.asterisk.errors import AriError, AriNotFound
from ai_engine.asterisk.events import (
    Channel,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelHangupRequest,
    Event,
    StasisEnd,
    StasisStart,
)
from ai_engine.asterisk.ids import OwnIds
from ai_engine.briefing import Persona
from ai_engine.call_control import TelephoneControl
from ai_engine.call_line import CallLine
from ai_engine.conversation.conversation import Conversation
from ai_engine.destinations import Target
from ai_engine.media.line_choice import LineChoice
from ai_engine.tools.call_control import Consultation
from ai_engine.tools.tool import ToolFailed
from ai_engine.transfer import Happened, Result

PATIENCE_S = 30.0
LEG = "parley-a-call1-callee1-leg"
MEDIA = "parley-a-call1-callee1-media"
ANN = Target("ann", "Ann", "601", "", "PJSIP/601")
ASKED = Consultation(ANN, "Bo wants a bicycle. Press 1.", ring_s=20, decide_s=60)
HELD = ["POST /bridges/parley-a-call1-bridge/removeChannel", "GET /asterisk/modules/res_musiconhold.so"]
BEGUN = [*HELD, "POST /channels/c1/moh", f"POST /channels/{LEG}"]
BACK = ["DELETE /channels/c1/moh", "POST /bridges/parley-a-call1-bridge/addChannel"]
JOINING = [
    "POST /channels/c1/variable",
    f"POST /channels/{LEG}/continue",
    "DELETE /channels/c1/moh",
    "POST /channels/c1/continue",
]
HANG_UP = f"DELETE /channels/{LEG}"


class Asterisk:
    """Notes each request and answers it."""

    app = "parley"
    connected = True
    connection = 1

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.params: dict[str, Any] = {}
        self.slow = ""
        """What is answered only when `go_on` is set."""
        self.go_on = asyncio.Event()
        self.answers: dict[str, Any] = {"GET /asterisk/modules/res_musiconhold.so": {"status": "Running"}}

    async def request(self, method: str, path: str, *, params: Any = None, **_: Any) -> Any:
        await asyncio.sleep(0)
        request = f"{method} {path}"
        self.asked.append(request)
        self.params[request] = params
        if request == self.slow:
            await self.go_on.wait()
        answer = self.answers.get(request)
        if isinstance(answer, AriError):
            raise answer
        if request.startswith("POST /channels/parley-") and answer is None:
            return {"id": LEG, "name": "PJSIP/601-1", "state": "Down"}
        return answer


class BriefingOnPaper:
    """`Briefing`, written down."""

    made: ClassVar[list[BriefingOnPaper]] = []

    def __init__(self, leg_id: str, callee: str, *, text: str, on_happened: Callable[[Happened], None], **_: Any):
        self.done: list[str] = [f"for {callee}: {text}"]
        self.ids = frozenset((MEDIA, f"parley-a-{leg_id}-bridge"))
        self.events: list[Event] = []
        self._on_happened = on_happened
        self.made.append(self)

    def prepare(self) -> None:
        self.done.append("prepare")

    async def begin(self) -> None:
        self.done.append("begin")

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def key(self, digit: str) -> None:
        self._on_happened(Happened.ACCEPTED if digit == "1" else Happened.DECLINED)

    def say_caller_is_gone(self) -> None:
        self.done.append("tell")
        self._on_happened(Happened.PARTED)

    async def close(self) -> None:
        self.done.append("close")


class FakeLane:
    def __init__(self) -> None:
        self.adopted: list[str] = []

    def adopt(self, resource_id: str) -> None:
        self.adopted.append(resource_id)


class Held:
    """A call with a control, and what becomes of both."""

    def __init__(self) -> None:
        self.asterisk = Asterisk()
        self.lane = FakeLane()
        self.said: list[str] = []
        self.consulted: list[tuple[Result, bool]] = []
        services = SimpleNamespace(ari=self.asterisk, ids=OwnIds("a"), media=None)
        self.line = CallLine(
            "call1",
            "c1",
            ari=cast(AriClient, self.asterisk),
            ids=services.ids,
            lane=cast(Lane, self.lane),
            media=cast(Any, None),
        )
        self.control = TelephoneControl(
            "call1",
            self.line,
            Channel("c1", "PJSIP/700-1", "Up", 'Bo "x', "0401", "from-phones"),
            services=cast(Any, services),
            lane=cast(Lane, self.lane),
            to_conversation=self._to_conversation,
            on_consulted=lambda _target, result, lost: self.consulted.append((result, lost)),
        )
        persona = Persona(cast(Any, SimpleNamespace(language="en")), "x", cast(Any, None))
        self.control.connected(persona, LineChoice("rtp", "ulaw"))
        self.asking: asyncio.Task[None] | None = None

    def _to_conversation(self, action: Callable[[Conversation, float], object]) -> None:
        conversation = SimpleNamespace(say=lambda text, _now: self.said.append(text))
        if action in (Conversation.hold, Conversation.unhold):
            self.said.append(f"<{action.__name__}>")
        else:
            action(cast(Conversation, conversation), 0.0)

    async def consult(self) -> None:
        self.asking = asyncio.create_task(self.control.consult(ASKED))
        await self.until(BEGUN)

    async def until(self, asked: list[str]) -> None:
        """Until exactly that was asked of Asterisk."""
        async with asyncio.timeout(PATIENCE_S):
            while self.asterisk.asked != asked:
                await asyncio.sleep(0.005)

    async def ends(self, result: Result, asked: list[str], *, said: list[str], lost: bool = False) -> None:
        assert self.asking is not None
        async with asyncio.timeout(PATIENCE_S):
            await self.asking
        assert self.consulted == [(result, lost)]
        assert self.asterisk.asked == asked
        assert self.said == said
        assert not self.control.consulting
        assert self.control.reserved_ids == frozenset()
        assert BriefingOnPaper.made[-1].done[-1] == "close"

    def callee(self, make: type[Any], *more: Any) -> bool:
        return self.control.takes(make(Channel(LEG, "PJSIP/601-1", "Up"), *more))

    def caller(self, make: type[Any], *more: Any) -> bool:
        return self.control.takes(make(Channel("c1", "PJSIP/700-1", "Up"), *more))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    BriefingOnPaper.made.clear()
    monkeypatch.setattr(transfer_legs, "Briefing", BriefingOnPaper)
    return Held()


async def test_a_colleague_who_accepts_and_the_caller_become_the_dialplans(held: Held) -> None:
    await held.consult()
    assert held.control.consulting
    assert held.control.reserved_ids == {LEG, MEDIA, "parley-a-call1-callee1-bridge"}
    assert held.lane.adopted == [LEG]
    assert held.asterisk.params[f"POST /channels/{LEG}"] == {
        "endpoint": "PJSIP/601",
        "app": "parley",
        "appArgs": "parley-leg",
        "timeout": 20,
        "originator": "c1",
        "callerId": '"Bo x" <0401>',
    }
    assert held.callee(StasisStart)
    async with asyncio.timeout(PATIENCE_S):
        while BriefingOnPaper.made[0].done[-1] != "begin":
            await asyncio.sleep(0.005)
    assert held.callee(ChannelDtmfReceived, "1", 100)
    await held.until([*BEGUN, *JOINING])
    assert held.asterisk.params["POST /channels/c1/variable"] == {"variable": "PARLEY_PEER", "value": "PJSIP/601-1"}
    assert held.asterisk.params["POST /channels/c1/continue"] == {
        "context": "parley-join",
        "extension": "s",
        "priority": 1,
    }
    assert held.callee(StasisEnd)
    await held.ends(Result.TRANSFERRED, [*BEGUN, *JOINING], said=["<hold>"])
    assert not held.line.caller_in_stasis
    assert BriefingOnPaper.made[0].done[:3] == [f"for {LEG}: Bo wants a bicycle. Press 1.", "prepare", "begin"]


@pytest.mark.parametrize(
    ("cause", "result", "said"),
    [
        (17, Result.BUSY, "I'm sorry, Ann is on another call. What would you like to do?"),
        (19, Result.NO_ANSWER, "I'm sorry, nobody answers at Ann. What would you like to do?"),
        (20, Result.UNREACHABLE, "I'm sorry, I cannot reach Ann at the moment. What would you like to do?"),
    ],
)
async def test_the_caller_is_back_and_told_why(held: Held, cause: int, result: Result, said: str) -> None:
    await held.consult()
    assert held.callee(ChannelDestroyed, cause)
    await held.ends(result, [*BEGUN, *BACK], said=["<hold>", "<unhold>", said])
    assert held.callee(ChannelDestroyed, 16)  # late news of the leg is none of the caller's


async def test_a_colleague_who_declines_is_hung_up_on_when_the_caller_is_back(held: Held) -> None:
    await held.consult()
    held.callee(StasisStart)
    held.callee(ChannelDtmfReceived, "2", 100)
    told = "I'm sorry, Ann cannot take your call at the moment. What would you like to do?"
    await held.ends(Result.DECLINED, [*BEGUN, *BACK, HANG_UP], said=["<hold>", "<unhold>", told])


async def test_a_caller_who_hangs_up_while_it_rings(held: Held) -> None:
    await held.consult()
    assert not held.caller(ChannelHangupRequest)  # the call itself has to know, too
    await held.control.close(caller_is_there=False)
    assert held.asterisk.asked == [*BEGUN, HANG_UP]
    assert held.control.reserved_ids == frozenset()


async def test_who_leaves_for_the_dialplan_has_not_hung_up(held: Held) -> None:
    held.asterisk.slow = "POST /channels/c1/continue"
    await held.consult()
    held.callee(StasisStart)
    held.callee(ChannelDtmfReceived, "1", 100)
    await held.until([*BEGUN, *JOINING])
    assert held.callee(StasisEnd)
    assert held.caller(StasisEnd)
    assert not held.line.caller_in_stasis
    held.asterisk.go_on.set()
    await held.ends(Result.TRANSFERRED, [*BEGUN, *JOINING], said=["<hold>"])


async def test_who_leaves_for_the_dialplan_when_the_colleague_has_just_hung_up_has_not_hung_up_either(
    held: Held,
) -> None:
    held.asterisk.slow = "POST /channels/c1/continue"
    await held.consult()
    held.callee(StasisStart)
    held.callee(ChannelDtmfReceived, "1", 100)
    await held.until([*BEGUN, *JOINING])
    held.callee(ChannelHangupRequest)
    assert held.caller(StasisEnd), "the dialplan gives him back to us in a call of its own"
    assert not held.line.caller_in_stasis
    held.asterisk.go_on.set()
    await held.ends(Result.CALLEE_LEFT, [*BEGUN, *JOINING], said=["<hold>"])


async def test_a_caller_who_hangs_up_at_the_merge(held: Held) -> None:
    held.asterisk.slow = "POST /channels/c1/continue"
    held.asterisk.answers[held.asterisk.slow] = AriNotFound(404, "POST", "/x", "Channel not found")
    await held.consult()
    held.callee(StasisStart)
    held.callee(ChannelDtmfReceived, "1", 100)
    await held.until([*BEGUN, *JOINING])
    assert not held.caller(ChannelHangupRequest)
    assert not held.caller(StasisEnd)
    asyncio.get_running_loop().call_later(0.05, held.asterisk.go_on.set)
    await held.control.close(caller_is_there=False)
    assert held.asterisk.asked == [*BEGUN, *JOINING, HANG_UP]


async def test_the_engine_that_stops_takes_the_caller_back_without_a_word(held: Held) -> None:
    await held.consult()
    held.control.stop()
    await held.ends(Result.CANCELLED, [*BEGUN, *BACK, HANG_UP], said=["<hold>", "<unhold>"])


async def test_a_call_that_ends_waits_for_the_callers_return(held: Held) -> None:
    await held.consult()
    await held.control.close(caller_is_there=True)
    assert held.asterisk.asked == [*BEGUN, *BACK, HANG_UP]
    await held.control.close(caller_is_there=True)


async def test_without_music_the_caller_hears_ringing(held: Held) -> None:
    held.asterisk.answers["GET /asterisk/modules/res_musiconhold.so"] = AriNotFound(404, "GET", "/x", "unknown")
    held.asking = asyncio.create_task(held.control.consult(ASKED))
    ringing = f"POST /channels/c1/play/{LEG}-ringing"
    begun = [*HELD, ringing, f"POST /channels/{LEG}"]
    await held.until(begun)
    assert held.asterisk.params[ringing] == {"media": "tone:ring;tonezone=us"}
    held.control.stop()
    back = [f"DELETE /playbacks/{LEG}-ringing", BACK[1]]
    await held.ends(Result.CANCELLED, [*begun, *back, HANG_UP], said=["<hold>", "<unhold>"])


async def test_a_caller_who_cannot_be_brought_back_is_told_to_the_call(held: Held) -> None:
    held.asterisk.answers[BACK[1]] = AriError(422, "POST", "/x", "Channel not in Stasis application")
    await held.consult()
    held.callee(ChannelDestroyed, 17)
    await held.ends(Result.FAILED, [*BEGUN, *BACK], said=["<hold>"], lost=True)


async def test_a_new_connection_to_asterisk_means_that_something_was_missed(held: Held) -> None:
    await held.consult()
    held.asterisk.connection = 2
    told = "I'm sorry, I cannot reach Ann at the moment. What would you like to do?"
    await held.ends(Result.FAILED, [*BEGUN, *BACK, HANG_UP], said=["<hold>", "<unhold>", told])


async def test_a_fault_of_ours_sends_the_caller_to_the_fallback(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: BriefingOnPaper) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(BriefingOnPaper, "prepare", broken)
    held.asking = asyncio.create_task(held.control.consult(ASKED))
    await held.ends(Result.FAILED, [*BEGUN[:-1], HANG_UP], said=["<hold>"], lost=True)


async def test_what_the_briefing_made_is_told_to_it(held: Held) -> None:
    await held.consult()
    assert held.control.takes(StasisStart(Channel(MEDIA, "UnicastRTP/1", "Up")))
    assert [event.channel_id for event in BriefingOnPaper.made[0].events] == [MEDIA]
    held.control.stop()
    assert held.asking is not None
    await held.asking


async def test_a_second_transfer_has_ids_of_its_own(held: Held) -> None:
    await held.consult()
    held.callee(ChannelDestroyed, 17)
    assert held.asking is not None
    await held.asking
    held.asking = asyncio.create_task(held.control.consult(ASKED))
    second = LEG.replace("callee1", "callee2")
    await held.until([*BEGUN, *BACK, *BEGUN[:-1], f"POST /channels/{second}"])
    await held.control.close(caller_is_there=True)


async def test_a_colleague_is_told_by_the_briefing_that_the_caller_hung_up(held: Held) -> None:
    await held.consult()
    held.callee(StasisStart)
    briefing = BriefingOnPaper.made[-1]
    async with asyncio.timeout(PATIENCE_S):
        while briefing.done[-1] != "begin":
            await asyncio.sleep(0.005)
    held.caller(ChannelHangupRequest)
    await held.control.close(caller_is_there=False)
    assert "tell" in briefing.done
    assert held.asterisk.asked == [*BEGUN, HANG_UP]


async def test_a_telephone_that_is_being_rung_when_all_is_cancelled_is_hung_up_on(held: Held) -> None:
    held.asterisk.slow = f"POST /channels/{LEG}"
    await held.consult()
    (task,) = (task for task in asyncio.all_tasks() if task.get_name().startswith("consult-"))
    task.cancel()
    await asyncio.sleep(0)
    assert HANG_UP not in held.asterisk.asked, "Asterisk would make it all the same, and nobody know of it"
    held.asterisk.go_on.set()
    await asyncio.wait((task,), timeout=PATIENCE_S)
    assert held.asterisk.asked[-1] == HANG_UP
    assert held.asking is not None
    await asyncio.gather(held.asking, return_exceptions=True)


async def test_of_a_caller_who_has_gone_nobody_is_asked(held: Held) -> None:
    held.line.caller_in_stasis = False
    await held.control.consult(ASKED)
    assert held.asterisk.asked == []


# --- what the other tools ask -----------------------------------------------------------------------------------------


async def test_keys_are_sent_with_pauses(held: Held) -> None:
    await held.control.send_dtmf("12w#")
    assert held.asterisk.asked == ["POST /channels/c1/dtmf"] * 2
    assert held.asterisk.params["POST /channels/c1/dtmf"]["dtmf"] == "#"


async def test_an_extension_is_looked_for_in_the_calls_own_context(held: Held) -> None:
    held.asterisk.answers["GET /channels/c1/variable"] = {"value": "0"}
    assert not await held.control.dialplan_has("600")
    assert held.asterisk.params["GET /channels/c1/variable"] == {"variable": "DIALPLAN_EXISTS(from-phones,600,1)"}
    held.asterisk.answers["GET /channels/c1/variable"] = {"value": ""}
    assert await held.control.dialplan_has("600", "internal")


async def test_a_telephone_is_asked_for_by_its_device_or_its_hint(held: Held) -> None:
    held.asterisk.answers["GET /deviceStates/PJSIP%2F601"] = {"state": "INUSE"}
    assert await held.control.extension_status(ANN) == "busy"
    held.asterisk.answers["GET /channels/c1/variable"] = {"value": "NOT_INUSE"}
    assert await held.control.extension_status(Target("sales", "sales", "600", "")) == "available"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AriNotFound(404, "POST", "/x", "Channel not found"), "not on the line any more"),
        (AriError(500, "POST", "/x", "a secret"), "refused"),
    ],
)
async def test_what_asterisk_refuses_becomes_words_for_the_model(held: Held, error: AriError, words: str) -> None:
    held.asterisk.answers["POST /channels/c1/dtmf"] = error
    with pytest.raises(ToolFailed, match=words):
        await held.control.send_dtmf("1")
