"""A peer that has a few frames in hand: when they sound, and what becomes of those it is told to drop."""

from __future__ import annotations

import numpy as np
import pytest

from voice_core.playout import Playout
from voice_wire.audio import MULAW_8K, encode_mulaw

FRAME_S = 0.020
AHEAD = 3


def tone(ms: int) -> bytes:
    return encode_mulaw((8000 * np.sin(np.arange(8 * ms) / 3)).astype(np.int16))


class Peer:
    """Takes three frames ahead of what sounds; one begins to sound every 20 ms."""

    def __init__(self) -> None:
        self.playout = Playout(MULAW_8K, downstream_ms=80)
        self.now = 100.0
        self.hand: list[bytes] = []
        self.sounded: list[bytes] = []

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            while len(self.hand) < AHEAD:
                frame = self.playout.next_frame(self.now, ahead_s=(len(self.hand) + 1) * FRAME_S)
                if frame is None:
                    break
                self.hand.append(frame)
            if self.hand:
                self.sounded.append(self.hand.pop(0))
            self.now += FRAME_S


def test_a_frame_is_heard_after_it_sounded_and_not_after_it_was_sent() -> None:
    peer = Peer()
    peer.playout.play(1, tone(200), "one two three", peer.now)
    peer.playout.end_turn(1, peer.now)
    peer.tick()
    assert peer.playout.first_packet_at(1) == pytest.approx(100.02)
    assert peer.playout.heard_ms(1, 100.099) == 0
    assert peer.playout.heard_ms(1, 100.101) == 20
    assert peer.playout.heard_ms(1, 100.121) == 40
    peer.tick(10)
    assert not peer.playout.finished(1, 100.279)
    assert peer.playout.finished(1, 100.301)


def test_what_was_taken_back_sounds_later_and_once() -> None:
    peer, whole = Peer(), tone(400)
    peer.playout.play(1, whole, "one two three four", peer.now)
    peer.playout.end_turn(1, peer.now)
    peer.tick(5)
    assert peer.playout.take_back(len(peer.hand), peer.now)
    peer.hand.clear()
    assert peer.playout.heard_ms(1, peer.now + 1) == 100
    peer.tick(30)
    assert b"".join(peer.sounded) == whole
    assert peer.playout.finished(1, peer.now + 1)
    assert peer.playout.heard_ms(1, peer.now) == 400


def test_a_pause_fades_from_the_frame_that_sounded_last() -> None:
    peer, whole = Peer(), tone(400)
    peer.playout.play(1, whole, "one two three four", peer.now)
    peer.tick(5)
    assert peer.playout.take_back(len(peer.hand), peer.now)
    peer.playout.pause(peer.now)
    fade = peer.playout.next_frame(peer.now)
    assert fade is not None
    assert fade[:4] == whole[5 * 160 : 5 * 160 + 4]
    assert set(fade[80:]) == {0xFF}
    assert peer.playout.next_frame(peer.now) is None
    assert peer.playout.heard_ms(1, peer.now + 1) == 100


def test_a_flush_ends_the_turn_at_what_sounded() -> None:
    peer = Peer()
    peer.playout.play(1, tone(1000), "one two three four", peer.now)
    peer.tick(10)
    assert peer.playout.take_back(len(peer.hand), peer.now)
    peer.playout.flush(peer.now)
    assert peer.playout.next_frame(peer.now) is not None
    assert peer.playout.next_frame(peer.now) is None
    assert peer.playout.finished(1, peer.now + 1)
    assert peer.playout.heard_ms(1, peer.now + 1) == 200


def test_a_turn_that_was_taken_back_before_it_sounded_has_not_begun() -> None:
    """As where the peer has nothing in hand: what is flushed before its first frame may come anew."""
    peer = Peer()
    peer.playout.play(1, tone(60), "one", peer.now)
    peer.playout.end_turn(1, peer.now)
    peer.tick()
    peer.playout.play(2, tone(400), "two three four", peer.now)
    peer.tick()
    assert len(peer.hand) == 2
    assert peer.playout.last_frame_turn == 2
    assert peer.playout.first_packet_at(2) is not None
    assert peer.playout.take_back(1, peer.now)
    assert peer.playout.first_packet_at(2) is None
    assert peer.playout.first_packet_at(1) == pytest.approx(100.02)
    peer.playout.flush(peer.now)
    peer.playout.play(2, tone(100), "anew", peer.now)
    assert peer.playout.text(2) == "anew"
    begun_at = peer.now
    assert peer.playout.next_frame(begun_at, ahead_s=FRAME_S) is not None
    assert peer.playout.first_packet_at(2) == pytest.approx(begun_at + FRAME_S)


def test_the_end_of_a_turn_that_is_over_cannot_be_had_back() -> None:
    peer = Peer()
    peer.playout.play(1, tone(100), "one", peer.now)
    peer.playout.end_turn(1, peer.now)
    peer.tick(4)
    assert not peer.playout.take_back(len(peer.hand) + 9, peer.now)
    assert not peer.playout.take_back(len(peer.hand), peer.now)
    peer.tick(3)
    assert peer.playout.finished(1, peer.now + 1)
    assert peer.playout.heard_ms(1, peer.now + 1) == 100


def test_the_position_of_the_last_frame_goes_back_with_what_is_taken_back() -> None:
    peer = Peer()
    assert peer.playout.last_frame_position == 0
    peer.playout.play(1, tone(400), "one", peer.now)
    peer.tick(2)
    assert (peer.playout.last_frame_turn, peer.playout.last_frame_position) == (1, 4 * 160)
    assert peer.playout.take_back(2, peer.now)
    assert peer.playout.last_frame_position == 2 * 160


def test_what_the_peer_has_played_moves_what_it_has_not() -> None:
    """The peer stood still for 40 ms: marks tell, and what follows is heard later by as much."""
    peer = Peer()
    peer.playout.play(1, tone(1000), "one two three four", peer.now)
    peer.tick(3)
    late = peer.now + 0.04
    peer.playout.acknowledged(1, 2 * 160, late)
    assert peer.playout.heard_ms(1, late + 0.079) == 40
    assert peer.playout.heard_ms(1, late + 0.081) == 60
