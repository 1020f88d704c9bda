"""One call of the scripted caller: its state, its speech, what it hears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from baresip import BaresipError, Call, Event, StackEvent, StaleHandleError

from tools.call.media import Media, Utterance
from tools.call.room import Room
from tools.call.surroundings import Beside
from tools.call.timeline import Track
from tools.call.wav import Pcm, read_wav, write_wav

LOOK_S = 0.010
"""How often a wait looks at what has been heard."""

CLOSE_TIMEOUT_S = 2.0

BY_CALLER = "hung up by the caller"
BY_FAR_END = "hung up by the far end"
BYE = "Connection reset by peer"
"""What baresip calls a BYE."""


class CallError(Exception):
    """Base of what a call can end a script with."""


class CallRefused(CallError):
    """The far end did not take the call: `status` is the SIP status, None for a transport failure."""

    def __init__(self, reason: str) -> None:
        head = reason.partition(" ")[0]
        self.status: int | None = int(head) if len(head) == 3 and head.isdigit() else None
        super().__init__(f"the call was not taken: {reason or 'no reason given'}")


class CallEnded(CallError):
    """The call ended while the script waited for something else."""


class WaitTimedOut(CallError):
    """What was waited for did not happen in time."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Both sides from the answer on, on one clock: sample n of each is `begin_s` + n/8000 of `time.monotonic`."""

    begin_s: float
    caller: Pcm
    agent: Pcm

    def save(self, path: str | Path) -> None:
        """Write a stereo WAV, 8 kHz: caller left, agent right."""
        write_wav(path, self.caller, self.agent)


class SipCall:
    """A call made by `SipCaller.dial`. All times are seconds of `time.monotonic`."""

    def __init__(self, call: Call, dialled_s: float) -> None:
        self._call = call
        self._media = Media(call)
        self.dialled_s = dialled_s
        self.ringing_s: float | None = None
        self.answered_s: float | None = None
        self.ended_s: float | None = None
        self.end_reason: str | None = None
        """Set with `ended`: `BY_CALLER`, `BY_FAR_END`, or the stack's own words (a SIP status, a transport error)."""
        self.established = asyncio.Event()
        """Answered, and audio flows both ways."""
        self.ended = asyncio.Event()
        self._we_hung_up = False

    # -- what the caller's loop tells ------------------------------------------------------------------------------

    def on_event(self, event: StackEvent) -> None:
        """An event of the SIP stack about this call."""
        if event.event in (Event.CALL_RINGING, Event.CALL_PROGRESS) and self.ringing_s is None:
            self.ringing_s = time.monotonic()
        elif event.event is Event.CALL_ESTABLISHED and self.answered_s is None:
            self.answered_s = time.monotonic()
        elif event.event is Event.CALL_CLOSED:
            reason = event.text or BY_FAR_END
            if self._we_hung_up:
                reason = BY_CALLER
            elif self.answered_s is not None and reason.startswith(BYE):
                reason = BY_FAR_END
            self._finish(reason)

    def poll(self) -> None:
        """Move audio; called every few milliseconds while the call lives."""
        if self.established.is_set():
            self._media.poll()
        elif self.answered_s is not None and self._media.ready():
            self.established.set()

    def _finish(self, reason: str) -> None:
        if self.ended.is_set():
            return
        self.ended_s = time.monotonic()
        self.end_reason = reason
        self._media.close()
        self.ended.set()

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def sip_call_id(self) -> str | None:
        """The SIP Call-ID, to find the call in other logs."""
        call_id: str | None = self._call.call_id
        return call_id

    @property
    def answer_ms(self) -> float | None:
        """From dialling to the answer."""
        return None if self.answered_s is None else (self.answered_s - self.dialled_s) * 1000

    async def wait_established(self, timeout_s: float = 30.0) -> None:
        """Wait for the answer. `CallRefused` when turned down; `WaitTimedOut`, and a hang-up, when nobody answers."""
        answered = asyncio.ensure_future(self.established.wait())
        ended = asyncio.ensure_future(self.ended.wait())
        try:
            await asyncio.wait((answered, ended), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answered.cancel()
            ended.cancel()
        if self.established.is_set():
            return
        if self.ended.is_set():
            raise CallRefused(self.end_reason or "")
        await self.hangup()
        hint = "" if self.ringing_s is not None else "; it did not even ring: is a PBX running there?"
        raise WaitTimedOut(f"nobody answered within {timeout_s:g} s{hint}")

    async def hangup(self) -> None:
        """End the call, ringing or answered; returns when the stack has let go of it. Harmless on an ended call."""
        if self.ended.is_set():
            return
        self._we_hung_up = True
        try:
            await self._call.hangup()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.ended.wait()
        except (StaleHandleError, TimeoutError):  # gone already, or the stack reports no end of a call it dropped
            self._finish(BY_CALLER)

    async def wait_ended(self, timeout_s: float) -> str:
        """Wait until either side has hung up and return the reason."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.ended.wait()
        except TimeoutError:
            raise WaitTimedOut(f"the call has not ended within {timeout_s:g} s") from None
        return self.end_reason or ""

    # -- speaking --------------------------------------------------------------------------------------------------

    def play(self, speech: Pcm | str | Path, *, at_s: float | None = None) -> Utterance:
        """Speak after what is already queued, not before `at_s`; in between the caller sends silence.

        `speech` is 8 kHz mono samples or a WAV file. Await `.sent()` of what is returned to know when it was said.
        """
        if self.ended.is_set():
            raise CallEnded(f"the call has ended: {self.end_reason}")
        utterance = Utterance(read_wav(speech) if isinstance(speech, str | Path) else speech, at_s)
        self._media.queue(utterance)
        return utterance

    def stop_speaking(self) -> None:
        """Break off: what is still queued is not said, up to 100 ms already handed to the stack are."""
        self._media.stop_speaking()

    def enter_room(self, *, loss_db: float, delay_ms: float) -> None:
        """From now on the agent's voice comes back, `delay_ms` (60 or more) after it was heard."""
        self._media.surroundings.room = Room(loss_db=loss_db, delay_ms=delay_ms)

    def surround(self, noise: Pcm | None) -> None:
        """From now on this noise lies under everything, again and again; None: no more."""
        self._media.surroundings.surround(noise)

    def play_beside(self, sound: Pcm) -> Beside:
        """From now on this sounds beside whatever the caller says: another voice, a dog, keys pressed as tones."""
        if self.ended.is_set():
            raise CallEnded(f"the call has ended: {self.end_reason}")
        beside = Beside(sound)
        self._media.surroundings.add(beside)
        return beside

    async def hold(self) -> None:
        """Put the far end on hold (a re-INVITE); nothing is sent until `resume`."""
        await self._renegotiate(self._call.hold)

    async def resume(self) -> None:
        """Take the call off hold."""
        await self._renegotiate(self._call.resume)

    async def _renegotiate(self, ask: Callable[[], Awaitable[None]]) -> None:
        if self.ended.is_set():
            raise CallEnded(f"the call has ended: {self.end_reason}")
        try:
            await ask()
        except StaleHandleError:
            raise CallEnded("the call has ended") from None
        except BaresipError as error:
            raise CallError(f"the call cannot be renegotiated: {error}") from error

    async def send_dtmf(self, digits: str) -> None:
        """Press keys (RFC 4733 events), 100 ms each."""
        try:
            await self._call.send_dtmf(digits)
        except StaleHandleError:
            raise CallEnded("the call has ended") from None
        except BaresipError as error:
            raise CallError(f"the keys {digits} could not be sent: {error}") from error

    # -- listening -------------------------------------------------------------------------------------------------

    async def wait_for_agent(
        self, min_voiced_ms: float = 100, timeout_s: float = 10.0, *, since_s: float | None = None
    ) -> float:
        """Wait until the agent has spoken `min_voiced_ms` since `since_s` (default: now); return when it began to."""
        since_s = time.monotonic() if since_s is None else since_s

        def spoken() -> float | None:
            voiced_ms, first_s = self._media.ear.voiced_since(since_s)
            return first_s if voiced_ms >= min_voiced_ms else None

        return await self._wait_for(spoken, timeout_s, f"{min_voiced_ms:g} ms of speech from the agent")

    async def wait_for_silence(self, silence_ms: float = 700, timeout_s: float = 30.0) -> float:
        """Wait until the agent has been quiet for `silence_ms`; return when it fell silent (the answer's time if it
        never spoke)."""

        def quiet() -> float | None:
            quiet_since_s = self._media.ear.last_voiced_s or self.answered_s or self.dialled_s
            return quiet_since_s if (time.monotonic() - quiet_since_s) * 1000 >= silence_ms else None

        return await self._wait_for(quiet, timeout_s, f"{silence_ms:g} ms of silence from the agent")

    def voiced_since(self, since_s: float) -> tuple[float, float | None]:
        """Milliseconds that the agent has spoken after `since_s`, and when the first of it began."""
        return self._media.ear.voiced_since(since_s)

    @property
    def agent_quiet_s(self) -> float:
        """How long the agent has been quiet; since the answer if it never spoke."""
        return time.monotonic() - (self._media.ear.last_voiced_s or self.answered_s or self.dialled_s)

    async def _wait_for(self, look: Callable[[], float | None], timeout_s: float, what: str) -> float:
        deadline_s = time.monotonic() + timeout_s
        while (found := look()) is None:
            if self.ended.is_set():
                raise CallEnded(f"waiting for {what}, but the call has ended: {self.end_reason}")
            if time.monotonic() >= deadline_s:
                raise WaitTimedOut(f"{what} did not come within {timeout_s:g} s")
            await asyncio.sleep(LOOK_S)
        return found

    def heard_since(self, since_s: float) -> Pcm:
        """What the agent's side sounded like from `since_s` to now."""
        return self._media.heard.render(since_s, self._now())

    @property
    def recording(self) -> Recording:
        """Both sides from the answer to now (or to the end)."""
        begin_s = self.answered_s if self.answered_s is not None else self.dialled_s
        end_s = max(self._now(), begin_s)
        return Recording(begin_s, self._media.sent.render(begin_s, end_s), self._media.heard.render(begin_s, end_s))

    def save(self, path: str | Path) -> None:
        """Write the recording as a stereo WAV: caller left, agent right."""
        self.recording.save(path)

    @property
    def tracks(self) -> tuple[Track, Track]:
        """The caller's and the agent's track, for measurements on absolute times."""
        return self._media.sent, self._media.heard

    def _now(self) -> float:
        return self.ended_s if self.ended_s is not None else time.monotonic()
