"""A peer that buffers and says what it has played: its word counts, and the estimate steps in where it does not come.

A script has one thing a line, `SECONDS WHAT …`: `deliver TURN S` (the transport takes that much sound of the turn and
hands it to the peer), `take TURN S` (it has taken it and not handed it on), `handed TURN S` (now it has), `ack TURN S`
(the peer has played the turn up to there), `ack TURN all`, `end TURN`, `pause`, `resume`, `flush`; and what must hold:
`heard TURN S`, `finished TURN`, `unfinished TURN`, `speaking`, `silent`, `idle`, `busy`.
The peer's estimate has a tail of 200 ms; acknowledged sound is heard 80 ms after the acknowledgement.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_core.playout import Playout
from voice_wire.audio import MULAW_8K, PCM_16K

SCRIPTS = {
    "the acknowledgement comes in time": """
        0.0 deliver 1 1.0
        0.0 end 1
        0.5 ack 1 0.5
        0.57 heard 1 0.36
        0.59 heard 1 0.5
        1.0 ack 1 1.0
        1.05 unfinished 1
        1.09 finished 1
        1.09 idle
    """,
    "it never comes: the estimate is the watchdog": """
        0.0 deliver 1 1.0
        0.0 end 1
        1.19 unfinished 1
        1.21 finished 1
        1.21 idle
    """,
    "it stops coming: the estimate goes on from the last": """
        0.0 deliver 1 1.0
        0.0 end 1
        0.5 ack 1 0.5
        1.19 unfinished 1
        1.21 finished 1
    """,
    "it comes late: what follows is later by as much": """
        0.0 deliver 1 2.0
        0.0 end 1
        0.9 ack 1 0.5
        0.99 heard 1 0.7
        2.2 unfinished 1
        2.59 unfinished 1
        2.61 finished 1
    """,
    "it comes after the watchdog: heard stays heard": """
        0.0 deliver 1 1.0
        0.0 end 1
        1.3 finished 1
        1.4 ack 1 1.0
        1.4 finished 1
        1.4 heard 1 1.0
        1.4 idle
    """,
    "the peer began late: the next turn is moved too": """
        0.0 deliver 1 1.0
        0.0 end 1
        0.0 deliver 2 1.0
        0.0 end 2
        1.6 ack 1 1.0
        1.69 finished 1
        2.75 unfinished 2
        2.81 finished 2
    """,
    "out of order": """
        0.0 deliver 1 1.0
        0.0 end 1
        0.6 ack 1 0.6
        0.61 ack 1 0.4
        0.69 heard 1 0.6
        0.7 ack 1 0.6
        1.21 finished 1
    """,
    "lost, but a later turn's says that the earlier one was played": """
        0.0 deliver 1 0.4
        0.0 end 1
        0.0 deliver 2 0.4
        0.0 end 2
        0.5 ack 2 0.1
        0.59 finished 1
        0.59 heard 2 0.1
    """,
    "before the transport's own report": """
        0.0 take 1 0.2
        0.0 end 1
        0.05 ack 1 0.2
        0.05 unfinished 1
        0.06 handed 1 0.2
        0.13 unfinished 1
        0.15 finished 1
    """,
    "what was taken and not handed on is not finished": """
        0.0 take 1 0.2
        0.0 end 1
        3.0 unfinished 1
        3.0 speaking
        3.0 busy
        3.0 handed 1 0.2
        3.41 finished 1
        3.41 silent
    """,
    "of all that was delivered": """
        0.0 deliver 1 1.0
        0.3 ack 1 all
        0.39 heard 1 1.0
        0.39 unfinished 1
        0.4 end 1
        0.4 finished 1
    """,
    "for a turn that was flushed": """
        0.0 deliver 1 1.0
        0.0 end 1
        0.5 flush
        0.6 ack 1 1.0
        0.75 heard 1 0.5
        0.75 finished 1
        0.75 idle
    """,
    "for a flushed turn, while the next one sounds": """
        0.0 deliver 1 1.0
        0.5 flush
        0.6 deliver 2 0.4
        0.6 end 2
        0.9 ack 1 1.0
        1.19 unfinished 2
        1.21 finished 2
    """,
    "for a turn nobody knows": """
        0.0 deliver 1 0.2
        0.0 end 1
        0.1 ack 7 1.0
        0.39 unfinished 1
        0.41 finished 1
    """,
    "of more than there is": """
        0.0 deliver 1 0.2
        0.0 end 1
        0.1 ack 1 9.0
        0.19 finished 1
    """,
    "while the peer is paused, of what it had played": """
        0.0 deliver 1 1.0
        0.0 end 1
        0.5 pause
        0.52 ack 1 0.5
        0.61 heard 1 0.5
        5.0 heard 1 0.5
        5.0 resume
        5.69 unfinished 1
        5.71 finished 1
    """,
    "flushed with the report still under way": """
        0.0 take 1 0.5
        0.02 flush
        0.03 handed 1 0.5
        0.03 finished 1
        2.0 heard 1 0
        2.0 idle
    """,
    "a flush with nothing queued": """
        0.0 flush
        0.0 idle
        0.1 deliver 1 0.2
        0.1 end 1
        0.6 finished 1
        0.7 flush
        0.7 finished 1
        0.7 heard 1 0.2
    """,
}


class Peer:
    def __init__(self, **knobs):
        self.playout = Playout(MULAW_8K, paced=False, tail_ms=200, **knobs)

    def do(self, now, verb, turn=0, amount="0"):
        playout, turn = self.playout, int(turn)
        n_bytes = 0 if amount == "all" else round(8000 * float(amount))
        match verb:
            case "take" | "deliver":
                playout.play(turn, b"\x10" * n_bytes, "words", now)
                for _ in range(n_bytes // 160):
                    assert playout.next_frame(now) is not None
                if verb == "deliver":
                    playout.delivered(turn, n_bytes, now)
            case "handed":
                playout.delivered(turn, n_bytes, now)
            case "ack":
                playout.acknowledged(turn, None if amount == "all" else n_bytes, now)
            case "end":
                playout.end_turn(turn, now)
            case "pause" | "resume" | "flush":
                getattr(playout, verb)(now)
            case "heard":
                assert playout.heard_ms(turn, now) == pytest.approx(1000 * float(amount), abs=21)
            case "finished" | "unfinished":
                assert playout.finished(turn, now) is (verb == "finished")
            case "speaking" | "silent":
                assert playout.speaking(now) is (verb == "speaking")
            case "idle" | "busy":
                assert playout.idle(now) is (verb == "idle")
            case _:
                raise ValueError(verb)


@pytest.mark.parametrize("name", SCRIPTS)
def test_acknowledgement(name):
    peer = Peer()
    for line in SCRIPTS[name].strip().splitlines():
        at, verb, *rest = line.split()
        try:
            peer.do(200.0 + float(at), verb, *rest)
        except AssertionError as wrong:
            raise AssertionError(f"at {line.strip()!r}") from wrong


def test_halves_of_samples_are_no_sound_of_their_own():
    playout = Playout(PCM_16K, paced=False, tail_ms=0)
    playout.play(1, bytes([0, 0x20]) * 320 + b"\x00", "words", 200.0)
    playout.end_turn(1, 200.0)
    assert playout.next_frame(200.0) is not None
    assert playout.next_frame(200.0) is None
    playout.delivered(1, 640, 200.0)
    assert playout.finished(1, 200.1)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "take", "handed", "ack", "ack", "ack", "end", "pause", "resume", "flush"]),
        st.integers(1, 4),
        st.sampled_from(["0.02", "0.1", "0.5", "all"]),
        st.sampled_from([0.0, 0.02, 0.3, 1.5, -0.1, -9.0]),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(ACTIONS)
def test_whatever_a_peer_says_in_whatever_order_nothing_is_unheard_and_all_comes_to_an_end(actions):
    playout = Playout(MULAW_8K, paced=False, tail_ms=200)
    now, heard, taken = 200.0, {}, dict.fromkeys(range(1, 5), 0)
    for verb, turn, amount, seconds in actions:
        now += seconds
        n_bytes = 800 if amount == "all" else round(8000 * float(amount))
        match verb:
            case "deliver" | "take":
                playout.play(turn, b"\x10" * n_bytes, "words", now)
                while playout.next_frame(now) is not None:
                    taken[playout.last_frame_turn] += 160
                    if verb == "deliver":
                        playout.delivered(playout.last_frame_turn, 160, now)
            case "handed":
                playout.delivered(turn, n_bytes, now)
            case "ack":
                playout.acknowledged(turn, None if amount == "all" else n_bytes, now)
            case "end":
                playout.end_turn(turn, now)
            case _:
                getattr(playout, verb)(now)
        for number in taken:
            heard_ms = playout.heard_ms(number, now)
            assert heard.get(number, 0.0) <= heard_ms <= taken[number] / 8
            heard[number] = heard_ms
    playout.resume(now)
    while playout.next_frame(now) is not None:
        pass
    for turn in taken:
        playout.end_turn(turn, now)
        playout.delivered(turn, 10**6, now)
    assert playout.idle(now + 10**6), "stuck"
