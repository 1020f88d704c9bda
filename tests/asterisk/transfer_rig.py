"""Three telephones, an exchange that transfers between them, and a line to Asterisk that stops at a chosen request.

The model is a stand-in that always wants the tool that the test names: which words bring a real one to that is measured
elsewhere. All else is real: Asterisk, the telephones (baresip, registered), recognition, speech.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from agent_fixture import NO_FILLER, PATIENCE_S, Agent, Events, agent_events, asterisk_variables, eventually
from breakable import CuttableLine
from openai_stand_in import DONE, StandIn, delta

from tools.call import IncomingCall, SipCall, SipCaller, SipPhone
from tools.call.measure import levels
from tools.call.wav import RATE_HZ, Pcm
from tools.load_test.inventory import INVENTORY_VARIABLE
from tools.pbx_instance import Pbx
from tools.stack import Ports, Stack

CALLER, ANN, BEN = "6001", "6002", "6003"
CALLER_HZ, ANN_HZ = 700.0, 1300.0
ABOUT = "Bo wants to return a bicycle."
DEAD_AIR_S = 3.0
"""Nobody may hear nothing for longer. Idle machines have at most half a second, between the music and the agent's first
word; a fault makes silence for as long as it rings and the colleague is briefed."""
_PEOPLE = {
    "ann": {"extension": ANN, "endpoint": f"PJSIP/{ANN}", "dialplan_context": "parley-phones"},
    "ben": {"extension": BEN, "endpoint": f"PJSIP/{BEN}", "dialplan_context": "parley-phones"},
    "cleo": {"extension": CALLER, "endpoint": f"PJSIP/{CALLER}"},  # who only dials and is not registered
}
_ASK = {"destinations": _PEOPLE, "say": "One moment.", "decide_s": 20}
_TOOLS = {
    "ask": {"kind": "attended_transfer", "options": {**_ASK, "ring_s": 30}},
    "ask_briefly": {"kind": "attended_transfer", "options": {**_ASK, "ring_s": 3}},
    "put_through": {"kind": "blind_transfer", "options": {"destinations": _PEOPLE, "say": "One moment."}},
}
_CONTEXT = f"""\
greeting: Hello.
prompt: You are a telephone exchange.
provider: pipeline
tools: [{", ".join(_TOOLS)}]
"""
_INAUDIBLE = 30.0
"""RMS (of 32768) that mu-law's noise on silence stays below."""


class GatedLine(CuttableLine):
    """Can also hold one request back: everything before it has happened, and it has not."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.reached = threading.Event()
        self._at: bytes | None = None
        self._skip = 0
        self._gate = asyncio.Event()

    def hold(self, request: bytes, *, skip: int = 0) -> None:
        """The first request that contains `request`, after so many that do not count."""
        self.reached.clear()
        self._gate.clear()
        self._at, self._skip = request, skip

    def release(self) -> None:
        """It goes on, unless whoever sent it is gone."""
        self._at = None
        self._loop.call_soon_threadsafe(self._gate.set)

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, PATIENCE_S), "the request has not come"

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._flows.wait()
            if self._at is not None and self._at in data:
                self._skip -= 1
                if self._skip < 0:
                    self._at = None
                    self.reached.set()
                    await self._gate.wait()
                    if source.at_eof() or source.exception() is not None:
                        break
            sink.write(data)
            await sink.drain()
        sink.close()


class Exchange(Agent):
    """A whole agent whose model calls the tool that the test names, and what is left of it after a test."""

    def __init__(self, stack: Stack, pbx: Pbx, ari: GatedLine, model: Any) -> None:
        super().__init__(stack, pbx)
        self.ari = ari
        self._model = model
        self._inventory = stack.home / "inventory.json"
        self._tasks: dict[str, int] = {}
        self._mark = 0

    def wants(self, tool: str, destination: str) -> None:
        arguments = {"destination": destination, "about": ABOUT}
        if tool == "put_through":
            del arguments["about"]
        call = {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": tool, "arguments": json.dumps(arguments)},
        }
        self._model.script = [delta(role="assistant", tool_calls=[call]), delta("", "tool_calls"), DONE]

    async def start_engine(self) -> None:
        self.stack.engine.start()
        await self.ready()

    async def kill_engine(self) -> None:
        """As a crash would."""
        self.stack.engine.send_signal(signal.SIGKILL)
        assert await self.stack.engine.ended(PATIENCE_S)
        self._mark = self.stack.engine.log.stat().st_size

    async def logged_anew(self, event: str, **fields: str) -> None:
        """The engine writes such a line; it must be the test's own, and after the engine was killed the next one's."""

        async def read() -> bool:
            with self.stack.engine.log.open("rb") as log:
                log.seek(self._mark)
                lines = [json.loads(line) for line in log if line.startswith(b"{") and line.endswith(b"\n")]
            wanted = {"event": event, **fields}.items()
            return any(wanted <= {k: v for k, v in line.items() if isinstance(v, str)}.items() for line in lines)

        await eventually(read, bool)

    async def ready(self) -> None:
        await self.stack.engine.ready(f"{self.stack.engine_url}/ready", PATIENCE_S)

    async def whole(self) -> None:
        """Everything runs and nobody is on the line: what each test begins with."""
        self.ari.thaw()
        self.ari.release()
        if not self.stack.engine.running:
            await self.start_engine()
        await self.ready()
        await self.idle()
        self._tasks = await self._tasks_now()
        self._mark = self.stack.engine.log.stat().st_size

    async def idle(self) -> None:
        """Nothing is left in Asterisk, nor of the engine's calls and ports."""

        async def left() -> dict[str, Any]:
            health = await self.get("/health")
            found = {
                "calls": health["calls"],
                "ports": health["media"]["ports_in_use"],
                **await asyncio.to_thread(self.in_asterisk),
            }
            return {what: held for what, held in found.items() if held}

        await eventually(left, lambda held: not held)

    async def nothing_left(self, within_s: float = PATIENCE_S) -> None:
        """As `whole` found it, the engine's tasks, too."""
        await self.idle()
        await eventually(self._more_tasks, lambda more: not more, within_s)

    async def _more_tasks(self) -> dict[str, int]:
        now = await self._tasks_now()
        return {name: count for name, count in now.items() if count > self._tasks.get(name, 0)}

    async def _tasks_now(self) -> dict[str, int]:
        self._inventory.unlink(missing_ok=True)
        self.stack.engine.send_signal(signal.SIGUSR1)

        async def read() -> Any:
            return json.loads(self._inventory.read_text()) if self._inventory.exists() else None

        tasks: dict[str, int] = (await eventually(read, bool))["tasks"]
        # aiohttp has one for each connection that a page was asked over
        return {name: count for name, count in tasks.items() if not name.startswith("Task-")}

    async def empty(self) -> None:
        """Nothing is left in Asterisk, whether an engine runs or not."""

        async def left() -> dict[str, list[str]]:
            return {what: held for what, held in (await asyncio.to_thread(self.in_asterisk)).items() if held}

        await eventually(left, lambda held: not held)

    def in_asterisk(self) -> dict[str, list[str]]:
        """Names of channels, and what is in each bridge, that Asterisk has; asked past the line that can be cut."""
        found = self._ask_asterisk("channels"), self._ask_asterisk("bridges")
        return {
            "channels": [f"{one['name']} {one['state']} {one['dialplan']}" for one in found[0]],
            "bridges": [f"{one['id']} {one['channels']}" for one in found[1]],
        }

    def _ask_asterisk(self, what: str) -> list[dict[str, Any]]:
        manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
        manager.add_password(None, self.pbx.ari_url, self.pbx.ari_user, self.pbx.ari_password, is_authenticated=True)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(manager)
        )
        with opener.open(f"{self.pbx.ari_url}/ari/{what}", timeout=PATIENCE_S) as reply:
            found: list[dict[str, Any]] = json.load(reply)
            return found


@contextlib.contextmanager
def running_exchange(home: Path, pbx: Pbx) -> Iterator[Exchange]:
    contexts = home / "contexts"
    contexts.mkdir(parents=True)
    (contexts / "default.yaml").write_text(_CONTEXT)
    model = StandIn()  # type: ignore[no-untyped-call]
    llm = {"kind": "openai", "options": {"base_url": model.url, "model": "tiny"}}
    config = {
        **NO_FILLER,
        "providers": {"pipeline": {"kind": "pipeline", "options": {"small_model": False, "llm": llm}}},
        "tools": _TOOLS,
        "logging": {"format": "json"},
    }
    try:
        with GatedLine(pbx.http_port) as ari:
            stack = Stack(
                home / "agent",
                {**asterisk_variables(pbx), "ASTERISK_ARI_PORT": str(ari.port)},
                contexts=contexts,
                config=config,
                ports=Ports(),
                environment={INVENTORY_VARIABLE: str(home / "agent" / "inventory.json")},
                engine_module="tools.load_test.scripted_engine",
            )
            asyncio.run(stack.start())
            try:
                yield Exchange(stack, pbx, ari, model)
            finally:
                ari.release()
                asyncio.run(stack.stop())
    finally:
        model.stop()  # type: ignore[no-untyped-call]


class Scene:
    """A caller who has been greeted, two colleagues with telephones, and what the engine tells of it."""

    def __init__(self, exchange: Exchange, call: SipCall, ann: SipPhone, ben: SipPhone, events: Events) -> None:
        self.exchange = exchange
        self.call = call
        self.ann = ann
        self.ben = ben
        self.events = events
        self.asked_s = 0.0
        """When the caller was heard to be told to wait."""

    async def asks_for(self, destination: str, tool: str = "ask") -> None:
        """The caller asks for somebody and hears that he is to wait."""
        self.exchange.wants(tool, destination)
        await self.call.send_dtmf("5#")
        self.asked_s = await self.call.wait_for_agent(timeout_s=PATIENCE_S)

    async def rings(self, tool: str = "ask", destination: str = "ann") -> IncomingCall:
        """The same, and that telephone rings."""
        await self.asks_for(destination, tool)
        return await (self.ann if destination == "ann" else self.ben).rings(PATIENCE_S)

    async def briefed(self, tool: str = "ask") -> IncomingCall:
        """The same, and she has answered and heard what it is about."""
        leg = await self.rings(tool)
        await leg.answer(PATIENCE_S)
        await leg.wait_for_agent(1500, PATIENCE_S, since_s=leg.answered_s)
        return leg

    async def accepted(self) -> IncomingCall:
        leg = await self.briefed()
        await leg.send_dtmf("1")
        return leg

    async def told(self, words: str) -> None:
        """The agent has told the caller."""
        await self.events.next("agent_turn", lambda event: words in event["text"])

    async def ended(self) -> str:
        """The engine's part is over; its outcome."""
        outcome: str = (await self.events.next("call_ended"))["outcome"]
        return outcome

    def no_dead_air(self, until_s: float | None = None) -> None:
        """From the request on the caller has heard music, ringing or speech."""
        pcm = self.call.heard_since(self.asked_s)
        if until_s is not None:
            pcm = pcm[: int((until_s - self.asked_s) * RATE_HZ)]
        gap_s = longest_silence_s(pcm)
        print(f"longest silence {gap_s:.2f} s of {len(pcm) / RATE_HZ:.1f} s")
        assert gap_s < DEAD_AIR_S


@contextlib.asynccontextmanager
async def scene(exchange: Exchange) -> AsyncIterator[Scene]:
    await exchange.whole()
    pbx = exchange.pbx
    async with (
        SipCaller(user=CALLER, password=pbx.phone_password) as sip,
        sip.register(ANN, pbx.sip_domain) as ann,
        sip.register(BEN, pbx.sip_domain) as ben,
        agent_events(exchange) as events,
        sip.dial(pbx.sip_uri(700)) as call,
    ):
        await call.wait_for_agent(timeout_s=PATIENCE_S, since_s=call.dialled_s)
        await call.wait_for_silence(400)
        yield Scene(exchange, call, ann, ben, events)


async def talk(one: SipCall, other: SipCall) -> None:
    """Each hears the other's tone and nothing else."""
    one.surround(tone(CALLER_HZ))
    other.surround(tone(ANN_HZ))

    async def heard() -> tuple[float, float]:
        return purity(one.recording.agent, ANN_HZ), purity(other.recording.agent, CALLER_HZ)

    await eventually(heard, lambda shares: min(shares) > 0.8)
    one.surround(None)
    other.surround(None)


def tone(hz: float) -> Pcm:
    """One second, which can be repeated without a seam where `hz` is whole."""
    return (8000 * np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ)).astype(np.int16)


def purity(pcm: Pcm, hz: float) -> float:
    """How much of the last half second's energy is within 20 Hz of `hz`, 0 … 1."""
    samples = np.asarray(pcm[-4000:], np.float64)
    if len(samples) < 4000:
        return 0.0
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    near = np.abs(np.fft.rfftfreq(samples.size, 1 / RATE_HZ) - hz) < 20
    return float(spectrum[near].sum() / max(spectrum.sum(), 1.0))


def longest_silence_s(pcm: Pcm) -> float:
    quiet = np.concatenate(([0], (levels(pcm) < _INAUDIBLE).astype(int), [0]))
    steps = np.diff(quiet)
    return float(max(np.flatnonzero(steps == -1) - np.flatnonzero(steps == 1), default=0)) * 0.005


def likest(said: Pcm, heard: Pcm) -> float:
    """The greatest correlation of `said` with any stretch of `heard` of its length, 0 … 1."""
    wanted, within = said.astype(np.float64), heard.astype(np.float64)
    size = len(wanted) + len(within)
    products = np.fft.irfft(np.fft.rfft(within, size) * np.conj(np.fft.rfft(wanted, size)), size)[: len(within)]
    energy = np.concatenate(([0.0], np.cumsum(within**2)))
    ends = np.minimum(np.arange(len(within)) + len(wanted), len(within))
    norms = np.sqrt((energy[ends] - energy[: len(within)]) * (wanted**2).sum())
    return float(np.max(np.abs(products) / np.maximum(norms, 1e3), initial=0.0))
