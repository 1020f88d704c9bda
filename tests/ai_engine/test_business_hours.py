"""Open or closed, by weekday, holiday, past midnight and when the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ai_engine.business_hours import BusinessHours, Opening
from ai_engine.day_words import DAY_WORDS, day_values, every_part, words_of

BERLIN = ZoneInfo("Europe/Berlin")
WEEK: dict[str, Any] = {
    "time_zone": "Europe/Berlin",
    **dict.fromkeys(("monday", "tuesday", "wednesday", "thursday"), "09:00-12:30, 13:30-18:00"),
    "friday": "9:00-18:00",
    "saturday": "22:00-02:00",
    "sunday": "closed",
    "holidays": ["12-25", date(2026, 12, 28)],
    "special_days": {"2026-12-24": "09:00-11:00", "01-01": "closed"},
}
HOURS = BusinessHours(**WEEK)


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-23 08:59", False),  # a Monday
        ("2026-11-23 09:00", True),
        ("2026-11-23 12:29", True),
        ("2026-11-23 12:30", False),
        ("2026-11-23 13:30", True),
        ("2026-11-23 18:00", False),
        ("2026-11-21 21:59", False),  # a Saturday
        ("2026-11-21 22:00", True),
        ("2026-11-21 23:59", True),
        ("2026-11-22 00:00", True),  # past midnight
        ("2026-11-22 01:59", True),
        ("2026-11-22 02:00", False),
        ("2026-11-22 22:30", False),
        ("2026-12-25 10:00", False),  # a Friday, and every year's holiday
        ("2027-12-25 23:00", False),  # a Saturday, and a holiday
        ("2027-12-26 01:00", False),  # what did not open yesterday is not open past midnight
        ("2026-12-28 10:00", False),
        ("2027-12-28 10:00", True),  # that was only once
        ("2026-12-24 10:30", True),
        ("2026-12-24 11:00", False),
        ("2027-01-01 10:00", False),
    ],
)
def test_open_by_the_clock_on_the_wall(moment, is_open):
    assert HOURS.open_at(berlin(moment)) is is_open
    assert HOURS.open_at(berlin(moment).astimezone(UTC)) is is_open


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-11-23 08:00", "2026-11-23 09:00"),
        ("2026-11-23 12:45", "2026-11-23 13:30"),
        ("2026-11-23 19:00", "2026-11-24 09:00"),
        ("2026-11-22 03:00", "2026-11-23 09:00"),
        ("2026-11-23 10:00", "2026-11-23 13:30"),  # open now: the next time it opens
        ("2026-12-24 12:00", "2026-12-26 22:00"),
        ("2026-12-27 12:00", "2026-12-29 09:00"),
    ],
)
def test_the_next_opening(moment, opens):
    assert HOURS.next_opening(berlin(moment)) == berlin(opens)


def test_a_business_that_never_opens_has_no_next_opening():
    assert BusinessHours(time_zone="UTC").next_opening(datetime.now(UTC)) is None


NIGHT = BusinessHours(time_zone="Europe/Berlin", sunday="02:30-04:00")


def test_an_hour_that_the_clocks_leave_out_is_opened_after():
    """On 29 March 2026 the clocks go from 2:00 to 3:00."""
    opens = NIGHT.next_opening(berlin("2026-03-29 01:00"))
    assert opens is not None
    assert opens.astimezone(UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert (opens.hour, opens.minute) == (3, 0)
    assert NIGHT.open_at(berlin("2026-03-29 03:00")), "the wall says three: it is open"


def test_an_hour_that_comes_twice_is_open_twice():
    """On 25 October 2026 the clocks go from 3:00 back to 2:00."""
    moments = [datetime(2026, 10, 25, 0, 15, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(6)]
    assert [NIGHT.open_at(moment) for moment in moments] == [False, True, False, True, True, True]
    assert not NIGHT.open_at(datetime(2026, 10, 25, 3, 0, tzinfo=UTC))
    again = NIGHT.next_opening(berlin("2026-10-25 02:15", fold=1))
    assert again is not None
    assert again.astimezone(UTC) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("monday", "nine to five", "is no time of opening"),
        ("monday", 540, "write hours as"),
        ("monday", "09:00-25:00", "there is no 25:00"),
        ("monday", "09:60-10:00", "there is no 09:60"),
        ("monday", "09:00-09:00", "the whole day is 00:00-24:00"),
        ("monday", "09:00-13:00, 12:00-18:00", "overlap"),
        ("monday", "22:00-02:00, 23:00-24:00", "overlap"),
        ("time_zone", "Europe/Berln", "unknown time zone"),
        ("time_zone", "../etc/passwd", "unknown time zone"),
        ("holidays", ["25.12."], "is no day"),
        ("holidays", ["02-30"], "there is no 02-30"),
        ("special_days", {"2026-12-24": "noon"}, "is no time of opening"),
        ("mondy", "09:00-10:00", "Extra inputs"),
    ],
)
def test_what_cannot_be_is_told(key, value, complaint):
    with pytest.raises(ValidationError, match=complaint):
        BusinessHours(**{**{"time_zone": "UTC"}, key: value})


@pytest.mark.parametrize("value", [None, False, "", "closed", "Closed", []])
def test_closed_is_written_in_several_ways(value):
    assert BusinessHours(time_zone="UTC", monday=value).monday == ()


def test_a_whole_day_and_a_list():
    hours = BusinessHours(time_zone="UTC", monday="00:00-24:00", tuesday=["14:00-15:00", "9:00–10:00"])
    assert hours.monday == (Opening(0, 1440),)
    assert [str(opening) for opening in hours.tuesday] == ["09:00-10:00", "14:00-15:00"]


@given(
    st.integers(0, 2 * 365 * 24 * 60).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))
)
def test_what_opens_next_is_closed_before_and_open_after(moment):
    opens = HOURS.next_opening(moment)
    assert opens is not None
    assert opens > moment
    assert HOURS.open_at(opens)
    assert not HOURS.open_at(opens - timedelta(minutes=1)) or HOURS.on(opens.date())[0].start == 0
    if not HOURS.open_at(moment):
        for minutes in range(0, int((opens - moment).total_seconds() // 60), 97):
            assert not HOURS.open_at(moment + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("moment", "values"),
    [
        (
            "2026-11-23 08:00",
            {"part_of_day": "morning", "time_greeting": "Good morning", "open_now": "closed",
             "hours_today": "from 9 AM to 12:30 PM and from 1:30 PM to 6 PM", "next_opening": "today at 9 AM"},
        ),
        (
            "2026-11-27 14:00",
            {"part_of_day": "afternoon", "time_greeting": "Good afternoon", "open_now": "open",
             "hours_today": "from 9 AM to 6 PM", "next_opening": "tomorrow at 10 PM"},
        ),
        (
            "2026-11-22 19:00",
            {"part_of_day": "evening", "time_greeting": "Good evening", "open_now": "closed", "hours_today": "closed",
             "next_opening": "tomorrow at 9 AM"},
        ),
        (
            "2026-12-24 12:00",
            {"part_of_day": "afternoon", "time_greeting": "Good afternoon", "open_now": "closed",
             "hours_today": "from 9 AM to 11 AM", "next_opening": "Saturday at 10 PM"},
        ),
    ],
)  # fmt: skip
def test_the_day_in_words(moment, values):
    assert day_values("en-US", berlin(moment), HOURS) == values


def test_the_day_in_other_words():
    values = day_values("de", berlin("2026-11-23 08:00"), HOURS)
    assert values["hours_today"] == "von 9:00 bis 12:30 Uhr und von 13:30 bis 18:00 Uhr"
    assert values["next_opening"] == "heute um 9:00 Uhr"
    assert values["time_greeting"] == "Guten Morgen"


def test_a_day_far_ahead_has_its_date():
    hours = BusinessHours(time_zone="UTC", special_days={"2026-12-24": "00:00-24:00"})
    now = datetime(2026, 12, 1, 3, 0, tzinfo=UTC)
    assert day_values("en", now, hours)["next_opening"] == "Thursday, December 24 at 12 AM"
    assert day_values("de", now, hours)["next_opening"] == "Donnerstag, 24.12. um 0:00 Uhr"
    assert day_values("en", datetime(2026, 12, 24, tzinfo=UTC), hours)["hours_today"] == "all day"
    assert day_values("en", now, BusinessHours(time_zone="UTC"))["next_opening"] == ""


def test_an_unknown_language_has_english_words_and_says_so():
    assert words_of("pl") is None
    assert day_values("pl", berlin("2026-11-23 08:00"), None) == {
        "part_of_day": "morning",
        "time_greeting": "Good morning",
    }


@pytest.mark.parametrize("language", DAY_WORDS)
def test_every_language_has_all_its_words(language):
    words = DAY_WORDS[language]
    assert len(words.weekdays) == 7
    assert len(every_part(language)) == 3
    assert words.clock(13 * 60 + 5) == ("1:05 PM" if language == "en" else "13:05")
    assert "9" in words.span.format(words.clock(540), words.clock(1020))
