"""Noises of the line over the agent, judged by the real voice-activity network: none of them takes the turn.

Levels are 10 to 30 dB below a caller at -20 dBFS. Nothing is granted to the echo threshold: the agent's sound is taken
to come back at -60 dB, so that the network and the words alone decide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.media.transport import Frame, FrameKind
from tests.ai_engine.conversation.virtual_call import ScriptedProvider, VirtualCall
from tools.line_noise import SOUNDS, example
from tools.scenarios.real_sound import RealSound, RealSoundError

pytestmark = pytest.mark.models

QUESTION = "When?"
REPLY = "We are open from nine to five on weekdays, and on Saturday we close at one in the afternoon."
CALLER_DBFS = -20.0
WORDLESS = ConversationSettings(echo_return_loss_db=60.0)


@pytest.fixture(scope="module")
def sound() -> Iterator[RealSound]:
    try:
        with RealSound() as real:
            yield real
    except RealSoundError as missing:
        pytest.skip(str(missing))


class NoisyCall(VirtualCall):
    """The scripted caller is told by the truth; from when the agent speaks, the line's noise by the network."""

    def __init__(self, noise: np.ndarray, network, **options) -> None:
        super().__init__(f"pause 0.3\nsay {QUESTION}\nuntil agent\nuntil quiet", **options)
        self._noise = np.tile(noise, 4)
        self._network = network
        self._sample = 0
        self._judged: list[tuple[float, float]] = []

    def _caller_frame(self, now: float) -> Frame:
        if not self.seen_sounding:
            return super()._caller_frame(now)
        frame = Frame(self._noise[self._sample : self._sample + 160].tobytes(), FrameKind.SPEECH)
        self._sample += 160
        self._judged = self._network(frame.pcm, now)
        return frame

    def _receive(self, turn: int, audio: bytes) -> None:
        if not self.seen_sounding:  # there are no words in the noise
            super()._receive(turn, audio)

    def _voice_activity(self, now: float) -> None:
        if not self.seen_sounding:
            super()._voice_activity(now)
            return
        for probability, at in self._judged:
            self.conversation.speech_probability(probability, at, now)
        self._judged = []


@pytest.mark.parametrize("name", [*SOUNDS, "silence"])
@pytest.mark.parametrize(("snr_db", "streaming"), [(10, False), (10, True), (30, False)])
def test_no_noise_takes_the_turn(sound, name, snr_db, streaming):
    noise = example(name, 6.0, CALLER_DBFS - snr_db).pcm
    call = NoisyCall(
        noise,
        sound.network(),
        settings=WORDLESS,
        provider=ScriptedProvider(replies={QUESTION: REPLY}, streaming=streaming),
    ).run()
    assert "barge_in" not in call.states()
    assert call.states().count("resumed") <= 1, "and hardly anything of it even pauses the agent"
    assert call.history()[-1] == f"assistant: {REPLY}"
