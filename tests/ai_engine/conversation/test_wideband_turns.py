"""A conversation at 16 kHz is the one at 8 kHz: the same decisions at the same moments, twice the samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ai_engine.conversation import decisions as d
from ai_engine.media.transport import Frame
from ai_engine.providers.provider import AgentAudio, ProviderEvent
from tests.ai_engine.conversation.test_conversation import GREETING, QUESTION, SCENARIOS, Scenario
from tests.ai_engine.conversation.virtual_call import VirtualCall, VirtualTransport
from voice_wire.audio import MULAW_8K, PCM_16K, decode_mulaw, encode_mulaw

WIDE_FRAME = 640


class WideTransport(VirtualTransport):
    """`wire` holds what was sent as the 8 kHz it was made of, for the virtual caller's echo."""

    def __init__(self) -> None:
        super().__init__(PCM_16K)

    def transmit(self, now: float) -> bytes | None:
        frame = super().transmit(now)
        if frame is not None:
            assert len(frame) == WIDE_FRAME
            self.wire[-1] = (now, narrow(frame))
        return frame


def narrow(pcm: bytes) -> bytes:
    return encode_mulaw(np.frombuffer(pcm, np.int16)[::2])


class WideCall(VirtualCall):
    """The virtual call with each sample twice."""

    def __init__(self, script: str, **options: object) -> None:
        super().__init__(script, transport=WideTransport(), **options)  # type: ignore[arg-type]
        self.sent_to_stt: list[int] = []

    def _caller_frame(self, now: float) -> Frame:
        frame = super()._caller_frame(now)
        return Frame(np.frombuffer(frame.pcm, np.int16).repeat(2).tobytes(), frame.kind)

    def _receive(self, turn: int, audio: bytes) -> None:
        assert len(audio) % WIDE_FRAME == 0
        super()._receive(turn, np.frombuffer(audio, np.int16)[::2].tobytes())

    def _later(self, delay_s: float, turn: int, revision: int, then: Callable[[], ProviderEvent | None]) -> None:
        def wider() -> ProviderEvent | None:
            event = then()
            if isinstance(event, AgentAudio) and event.format == MULAW_8K:
                pcm = decode_mulaw(event.audio).repeat(2).tobytes()
                event = AgentAudio(event.turn, event.revision, pcm, PCM_16K, event.text)
            return event

        super()._later(delay_s, turn, revision, wider)

    def _check_frame(self, frame: bytes) -> None:
        super()._check_frame(narrow(frame))


def timed(call: VirtualCall) -> list[tuple[float, object]]:
    """What was decided and when; of caller audio how long it is."""
    rate_hz = call.transport.pcm_rate_hz
    return [
        (at, ("audio", decision.turn, len(decision.audio) / 2 / rate_hz))
        if isinstance(decision, d.SendAudio)
        else (at, decision)
        for at, decision in call.log
    ]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_wide_line_changes_no_decision(scenario: Scenario) -> None:
    narrow_call = VirtualCall(scenario.script, **scenario.call).run()
    wide_call = WideCall(scenario.script, **scenario.call).run()
    assert wide_call.steps_taken() == scenario.steps
    assert wide_call.history() == scenario.history
    assert timed(wide_call) == timed(narrow_call)


def test_the_look_back_before_a_turn_is_as_long() -> None:
    script = f"until quiet\npause 1\nsay {QUESTION}\nuntil agent"
    calls = [VirtualCall(script, greeting=GREETING), WideCall(script, greeting=GREETING)]
    sent_ms = []
    for call in calls:
        call.run()
        audio = b"".join(decision.audio for decision in call.of(d.SendAudio))
        sent_ms.append(len(audio) / 2 / call.transport.pcm_rate_hz * 1000)
    assert sent_ms[0] == sent_ms[1] > 1000
