"""A version-2 client's audio: whole, in pieces or in one message of minutes, it comes to the same utterances."""

import asyncio
import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_ai_server.incoming_audio import SLICE_BYTES, Heard, IncomingAudio
from local_ai_server.utterances import UtteranceSplitter
from voice_wire.messages import ProtocolError

RATE_HZ = 16_000


def speech(seconds):
    return np.random.default_rng(1).normal(0, 3000, round(seconds * RATE_HZ)).astype("<i2").tobytes()


def quiet(seconds):
    return bytes(2 * round(seconds * RATE_HZ))


class Ear:
    def __init__(self, silence_ms=200):
        self.utterances, self.errors = [], []
        self.audio = IncomingAudio(
            max_utterance_s=30,
            silence_ms=silence_ms,
            on_speech=lambda pcm, heard, begins: None,
            on_utterance=self.utterances.append,
            on_error=self.errors.append,
        )

    def hear(self, data, request_id=None):
        self.audio.receive(Heard(data, RATE_HZ, "stt", request_id))

    async def until(self, met):
        async with asyncio.timeout(20):
            while not met():
                await asyncio.sleep(0.005)


@pytest.fixture
async def ear():
    ear = Ear()
    yield ear
    await ear.audio.close()


TALK = b"".join(speech(1) + quiet(0.5) for _ in range(8)) + quiet(1)


async def test_a_long_message_is_what_its_pieces_are(ear):
    for at in range(0, len(TALK), 640):
        ear.hear(TALK[at : at + 640])
    in_pieces = [u.pcm.tobytes() for u in ear.utterances]
    assert len(in_pieces) == 8
    for data in (TALK, base64.b64encode(TALK).decode()):
        whole = Ear()
        whole.hear(data)
        assert not whole.utterances, "it is not taken in at once"
        await whole.until(lambda whole=whole: len(whole.utterances) == 8)
        assert [u.pcm.tobytes() for u in whole.utterances] == in_pieces
        await whole.audio.close()


async def test_others_have_their_turn_while_a_long_message_is_taken_in(ear):
    n_slices = len(TALK) * 4 // 3 // SLICE_BYTES
    ear.hear(base64.b64encode(TALK).decode())
    turns = 0
    while len(ear.utterances) < 8:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= n_slices


async def test_what_comes_meanwhile_waits_behind_it(ear):
    ear.hear(TALK, "long")
    ear.hear(speech(0.5) + quiet(0.5), "short")
    await ear.until(lambda: len(ear.utterances) >= 9)
    assert [u.request_id for u in ear.utterances][:9] == ["long"] * 8 + ["short"]


async def test_rubbish_deep_in_a_long_message_is_one_error_and_no_audio(ear):
    text = base64.b64encode(TALK).decode()
    ear.hear(text[: SLICE_BYTES + 10] + "!" + text[SLICE_BYTES + 11 :], "bad")
    ear.hear(speech(0.5) + quiet(0.5), "good")
    await ear.until(lambda: ear.utterances)
    assert [(error.code, error.request_id) for error in ear.errors] == [("invalid_message", "bad")]
    assert [u.request_id for u in ear.utterances] == ["good"]


async def test_a_client_that_sends_more_than_can_be_taken_in_is_told(ear, monkeypatch):
    monkeypatch.setattr("local_ai_server.incoming_audio._MAX_WAITING_BYTES", len(TALK) + 10)
    ear.hear(TALK)
    with pytest.raises(ProtocolError) as caught:
        ear.hear(TALK, "r")
    assert (caught.value.code, caught.value.request_id) == ("message_too_large", "r")


BAD = [b"\x00", "AAA", "AA==", "AAAAA===", "A=AA", "!!!!AAAA", "AAAé", "====", "AAA=AAAA"]


@pytest.mark.parametrize("data", BAD)
async def test_what_is_no_audio_is_refused(ear, data):
    with pytest.raises(ProtocolError) as caught:
        ear.hear(data)
    assert caught.value.code == "invalid_message"


async def test_closing_ends_what_is_at_work():
    ear = Ear()
    ear.hear(TALK)
    await asyncio.sleep(0)
    await ear.audio.close()
    await asyncio.sleep(0.3)
    assert len(ear.utterances) < 8


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 40_000), max_size=12), st.integers(0, 2**31))
def test_however_audio_is_cut_the_utterances_are_the_same(cuts, seed):
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.integers(0, 2, 40), RATE_HZ // 10) * 3000
    pcm = (rng.normal(0, 1, loud.size) * np.maximum(loud, 5)).astype(np.int16)
    whole = UtteranceSplitter(RATE_HZ, silence_ms=200, max_s=2)
    pieces = UtteranceSplitter(RATE_HZ, silence_ms=200, max_s=2)
    expected = whole.feed(pcm)
    found = [utterance for piece in np.split(pcm, np.cumsum(cuts)) for utterance in pieces.feed(piece)]
    assert [u.tobytes() for u in found] == [u.tobytes() for u in expected]
    assert pieces.flush().tobytes() == whole.flush().tobytes()
