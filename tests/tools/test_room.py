"""The echo of a hands-free telephone: as quiet and as late as it was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from tools.call.room import Room
from tools.call.wav import RATE_HZ


def ramp(begin: int, count: int) -> np.ndarray:
    return (100 * np.arange(begin, begin + count)).astype(np.int16)


@pytest.mark.parametrize("delay_ms", [60, 100, 300])
def test_what_was_heard_comes_back_late_and_quiet(delay_ms: int) -> None:
    room, begin_s = Room(loss_db=20.0, delay_ms=delay_ms), 1000.0
    for packet in range(20):
        room.hear(ramp(packet * 160 % 300, 160), begin_s + packet * 0.02)
    heard = np.concatenate([ramp(packet * 160 % 300, 160) for packet in range(20)])
    echo = room.echo(begin_s + delay_ms / 1000, 160)
    assert np.allclose(echo, np.rint(heard[:160] * 0.1), atol=1)
    assert not room.echo(begin_s + delay_ms / 1000 - 0.02, 160).any()


def test_silence_comes_back_where_nothing_was_heard() -> None:
    room = Room(loss_db=6.0, delay_ms=60)
    assert not room.echo(5.0, 160).any()
    room.hear(ramp(1, 160), 10.0)
    room.hear(ramp(1, 160), 10.5)  # nothing came in between
    assert not room.echo(10.3, 160).any()
    assert room.echo(10.56, 160).any()
    assert len(room.echo(99.0, RATE_HZ)) == RATE_HZ
