"""A message from the tool that asks for it to its file, the office and the model; the call is on virtual time."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ai_engine.conversation.decisions import HangUp, MessageTaken, Say
from ai_engine.media.wav_file import WavFile
from ai_engine.messages.call_messages import CallMessages, tone
from ai_engine.messages.desk import MessageDesk
from ai_engine.messages.outbox import DeliveryFailed
from ai_engine.messages.spool import Spool
from ai_engine.messages.voice_message import VoiceMessage
from ai_engine.tools.call_hooks import CallFacts
from ai_engine.tools.leave_message import make
from ai_engine.tools.message_sentences import SENTENCES, message_sentence
from ai_engine.tools.registry import ToolServices
from ai_engine.tools.tool import Later, ToolCallScope, ToolFailed
from tests.ai_engine.conversation.virtual_call import VirtualCall
from tests.ai_engine.no_call_control import NoCallControl
from voice_wire.audio import MULAW_8K, AudioFormat

LIMIT_S = 30
WORDS = "this is Ann please call me back about the bicycle"
FACTS = CallFacts("c1", "shop", "100", "Ann", "700", "en", {})
LEFT = f"until agent\npause 11\nsay {WORDS}\n"


class Office:
    """Takes messages; away until it is told to be there."""

    def __init__(self, *, there: bool = True) -> None:
        self.there = there
        self.taken: list[tuple[VoiceMessage, Path]] = []
        self.tries = 0

    async def deliver_message(self, message: VoiceMessage, sound: Path) -> None:
        self.tries += 1
        if not self.there:
            raise DeliveryFailed("away", retryable=True)
        self.taken.append((message, sound))


class Shop:
    """A call whose model has used the tool, over a folder of its own."""

    def __init__(self, home: Path, office: Office, **options: Any) -> None:
        self.home = home
        self.office = office
        self.call = VirtualCall("pause 0.3").run()
        self.notes: list[tuple[str, float]] = []
        self.spool = Spool(home / "outbox")
        self.desk = MessageDesk(home / "messages", self.spool, keep_days=1)
        self.messages = CallMessages(
            self.desk, self._to_conversation, FACTS, rate_hz=8000, line_format=MULAW_8K, report=self
        )
        self.tool = make("leave", {"deliver_to": ["office"], **options}, ToolServices())
        self.scope = ToolCallScope("c1", "shop", "100", "Ann", "700", "en", NoCallControl(), messages=self.messages)

    def message(self, file: str, seconds: float) -> None:
        self.notes.append((file, seconds))

    def _to_conversation(self, action: Callable[[Any, float], object]) -> None:
        action(self.call.conversation, self.call.now)

    async def leaves(self, script: str) -> str:
        """What the model is told after the caller did as `script` says."""
        result = await self.tool.run(self.scope, {})
        assert isinstance(result.then, Later)
        running = asyncio.create_task(result.then.run())
        await self.settle(lambda: (self.messages.taking and self.call.conversation.state == "message") or self._tick())
        for step in script.strip().splitlines():
            if not self.call.ended:
                self.call._step(step, 60)
        for taken in self.call.of(MessageTaken):
            self.messages.ended(taken)
        async with asyncio.timeout(LIMIT_S):
            told = await running
        assert told is not None
        return told

    def _tick(self) -> bool:
        if self.messages.taking:
            self.call.tick()
        return False

    async def settle(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                await asyncio.sleep(0.005)

    @property
    def said(self) -> list[str]:
        return [say.text for say in self.call.of(Say)]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    made: list[Shop] = []

    async def open_shop(office: Office, **options: Any) -> Shop:
        shop = Shop(tmp_path, office, **options)
        made.append(shop)
        await shop.desk.start({"office": office}.get)
        return shop

    yield open_shop
    for each in made:
        await each.messages.close()
        await each.desk.stop()


async def test_a_message_is_in_a_file_at_the_office_in_the_notes_and_known_to_the_model(
    shop: Callable[..., Any],
) -> None:
    office = Office()
    open_shop = await shop(office)
    told = await open_shop.leaves(f"{LEFT}pause 6")
    assert f"which is kept and will be passed on. It says: {WORDS}" in told
    await open_shop.settle(lambda: bool(office.taken) and open_shop.desk.waiting == 0)
    ((message, sound),) = office.taken
    assert (message.transcript, message.whole, message.call) == (WORDS, True, FACTS)
    with wave.open(str(sound)) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 8000)
        assert abs(file.getnframes() / 8000 - message.seconds) < 0.01
        samples = file.readframes(file.getnframes())
    assert max(samples) > 0
    assert open_shop.notes == [(message.file, message.seconds)]
    assert open_shop.spool.waiting() == []
    open_shop.call.advance(0.1)
    assert open_shop.said == [message_sentence("prompt", "en"), message_sentence("kept", "en")]


async def test_a_call_may_end_with_it(shop: Callable[..., Any]) -> None:
    open_shop = await shop(Office(), hang_up=True, kept="Bye.")
    await open_shop.leaves(f"{LEFT}key #\npause 1")
    open_shop.call.advance(3)
    assert open_shop.call.of(HangUp) == [HangUp("message left")]


async def test_one_who_says_nothing_is_told_so_and_so_is_the_model(shop: Callable[..., Any]) -> None:
    office = Office()
    open_shop = await shop(office)
    told = await open_shop.leaves("until agent\npause 33")
    assert told == "There is no message: the caller left none."
    open_shop.call.advance(0.1)
    assert message_sentence("nothing", "en") in open_shop.said
    assert (office.tries, open_shop.spool.waiting(), open_shop.notes) == (0, [], [])
    await open_shop.settle(lambda: not list(open_shop.home.glob("messages/*/*")))


async def test_a_caller_who_hangs_up_in_the_middle_has_left_one(shop: Callable[..., Any]) -> None:
    office = Office()
    open_shop = await shop(office)
    await open_shop.leaves(f"{LEFT}hangup")
    await open_shop.settle(lambda: bool(office.taken))
    assert office.taken[0][0].seconds > 2.5


async def test_a_full_disk_costs_the_sound_and_not_the_words_and_nobody_is_told_otherwise(
    shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(WavFile, "write", full)
    office = Office()
    open_shop = await shop(office)
    told = await open_shop.leaves(f"{LEFT}pause 6")
    assert told.startswith("The caller left a message, but its recording is not complete.")
    await open_shop.settle(lambda: bool(office.taken))
    assert (office.taken[0][0].transcript, office.taken[0][0].whole) == (WORDS, False)


async def test_neither_sound_nor_words_is_a_failure_that_the_caller_hears(
    shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_shop = await shop(office := Office())
    monkeypatch.setattr(open_shop.desk.folder, "lacks_room", lambda: "0 MB are free")
    told = await open_shop.leaves(f"until agent\npause 11\nfail stt\nsay {WORDS}\npause 6")
    assert "could not be recorded, for a technical reason" in told
    open_shop.call.advance(0.1)
    assert message_sentence("failed", "en") in open_shop.said
    assert (office.tries, open_shop.spool.waiting()) == (0, [])


async def test_an_outbox_that_cannot_be_written_leaves_no_caller_without_an_answer(
    shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    open_shop = await shop(Office())
    monkeypatch.setattr(Spool, "put", refused)
    monkeypatch.setattr(Spool, "remove", refused)
    assert await open_shop.leaves("until agent\npause 33") == "There is no message: the caller left none."
    open_shop.call.advance(0.1)
    assert message_sentence("nothing", "en") in open_shop.said


async def test_an_office_that_is_away_gets_it_from_the_next_engine(shop: Callable[..., Any], tmp_path: Path) -> None:
    office = Office(there=False)
    open_shop = await shop(office)
    await open_shop.leaves(f"{LEFT}pause 6")
    await open_shop.settle(lambda: office.tries == 1)
    open_shop.desk._outbox._stop_within_s = 0
    await open_shop.desk.stop()
    office.there = True
    await shop(office)
    await open_shop.settle(lambda: bool(office.taken))
    message, sound = office.taken[0]
    assert message.transcript == WORDS
    assert sound.exists()


async def test_an_engine_that_died_while_it_was_spoken_leaves_what_had_been_said(
    shop: Callable[..., Any], tmp_path: Path
) -> None:
    started = MessageDesk(tmp_path / "messages", Spool(tmp_path / "outbox"))
    begun = VoiceMessage(FACTS, datetime.now(UTC) - timedelta(seconds=9), 0.0, "", "", whole=False)
    await started.begin(begun, ("office",))
    _, file = started.folder.begin("c1", 8000, 1)
    file.write(bytes(2 * 8000 * 3))
    file.close()
    office = Office()
    open_shop = await shop(office)
    await open_shop.settle(lambda: bool(office.taken) and open_shop.desk.waiting == 0)
    message, sound = office.taken[0]
    assert (message.seconds, message.transcript, message.whole) == (3.0, "", False)
    assert sound.suffix == ".wav"
    assert open_shop.spool.waiting() == []


async def test_an_engine_that_died_before_a_second_message_does_not_deliver_the_first_again(
    shop: Callable[..., Any], tmp_path: Path
) -> None:
    started = MessageDesk(tmp_path / "messages", Spool(tmp_path / "outbox"))
    part, file = started.folder.begin("c1", 8000, 1)
    file.write(bytes(2 * 8000 * 3))
    file.close()
    started.folder.end(part)
    asked_at = datetime.now(UTC) + timedelta(seconds=9)
    await started.begin(VoiceMessage(FACTS, asked_at, 0.0, "", "", whole=False, number=2), ("office",))
    open_shop = await shop(office := Office())
    await open_shop.settle(lambda: open_shop.desk.waiting == 0)
    assert (office.taken, open_shop.spool.waiting()) == ([], [])


async def test_notes_that_were_spoilt_keep_no_engine_from_starting(shop: Callable[..., Any], tmp_path: Path) -> None:
    spool = Spool(tmp_path / "outbox")
    for number, message in enumerate((None, "", [], {}, {"call": None, "left_at": 1}, {"call": {}, "left_at": "x"})):
        spool.put(f"c{number}.message1.office", {"taker": "office", "message": message})
    open_shop = await shop(office := Office())
    assert (open_shop.desk.waiting, office.tries) == (0, 0)


async def test_deleting_a_call_deletes_its_messages(shop: Callable[..., Any]) -> None:
    open_shop = await shop(Office())
    await open_shop.leaves(f"{LEFT}pause 6")
    assert await asyncio.to_thread(open_shop.desk.delete_call, "c1") == 1
    assert not list(open_shop.home.glob("messages/*/*"))


async def test_a_call_without_a_folder_for_it_says_so() -> None:
    scope = ToolCallScope("c1", "shop", "", "", "700", "en", NoCallControl())
    with pytest.raises(ToolFailed, match="nothing was recorded"):
        await make("leave", {}, ToolServices()).run(scope, {})


def test_every_language_has_every_sentence() -> None:
    assert set(SENTENCES) == {"en", "de", "fr", "es", "it", "nl", "pt"}
    assert {frozenset(sentences) for sentences in SENTENCES.values()} == {frozenset(SENTENCES["en"])}


@pytest.mark.parametrize("line", [MULAW_8K, AudioFormat("linear16", 16000)])
def test_the_tone_is_short_and_in_the_lines_format(line: AudioFormat) -> None:
    assert 0.3 < line.duration_s(len(tone(line))) < 0.4
