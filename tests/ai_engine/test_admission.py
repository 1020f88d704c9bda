"""Who is taken, and what becomes of the others, as a table."""

import pytest

from ai_engine.admission import Admission, Load, Reason, Treatment, WhenFull

FREE = Load(started=True, stopping=False, calls=1, messages=0, ports_left=10)
FULL = Load(started=True, stopping=False, calls=2, messages=0, ports_left=10)
NO_PORTS = Load(started=True, stopping=False, calls=1, messages=0, ports_left=0)
TELLING = Load(started=True, stopping=False, calls=2, messages=3, ports_left=10)
STOPPING = Load(started=True, stopping=True, calls=0, messages=0, ports_left=10)
STARTING = Load(started=False, stopping=False, calls=0, messages=0, ports_left=10)
WITHOUT_PORTS = Load(started=True, stopping=False, calls=1, messages=0, ports_left=None)


def admission(when_full: WhenFull = "dialplan") -> Admission:
    return Admission(max_calls=2, when_full=when_full, max_messages=3)


@pytest.mark.parametrize(
    ("load", "reason", "room"),
    [
        (FREE, None, 1),
        (FULL, Reason.FULL, 0),
        (NO_PORTS, Reason.NO_PORT, 0),
        (WITHOUT_PORTS, None, 1),
        (STOPPING, Reason.STOPPING, 0),
        (STARTING, Reason.STARTING, 0),
    ],
)
def test_a_call_is_taken_where_there_is_room(load: Load, reason: Reason | None, room: int) -> None:
    assert admission().refusal(load) is reason
    assert admission().room(load) == room


@pytest.mark.parametrize(
    ("when_full", "load", "answered", "cut_off", "expected"),
    [
        ("dialplan", FULL, False, False, Treatment.DIALPLAN),
        ("message", FULL, False, False, Treatment.MESSAGE),
        ("message", FULL, True, False, Treatment.MESSAGE),
        ("message", TELLING, False, False, Treatment.DIALPLAN),
        ("message", NO_PORTS, False, False, Treatment.DIALPLAN),
        ("message", FULL, True, True, Treatment.DIALPLAN),
        ("message", STOPPING, False, False, Treatment.DIALPLAN),
        ("message", STARTING, False, False, Treatment.DIALPLAN),
        ("busy", FULL, False, False, Treatment.BUSY),
        ("busy", NO_PORTS, False, False, Treatment.BUSY),
        ("busy", FULL, True, False, Treatment.DIALPLAN),
        ("busy", STOPPING, False, False, Treatment.DIALPLAN),
        ("busy", FULL, True, True, Treatment.DIALPLAN),
    ],
)
def test_nobody_who_is_not_taken_is_left_silent(
    when_full: WhenFull, load: Load, answered: bool, cut_off: bool, expected: Treatment
) -> None:
    chosen = admission(when_full)
    reason = chosen.refusal(load)
    assert reason is not None
    assert chosen.treatment(reason, load, answered=answered, cut_off=cut_off) is expected
