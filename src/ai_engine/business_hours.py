"""When a business is open: by weekday, in its own time zone, with holidays and days that are different.

All by the clock on its wall: at the end of summer time an hour that comes twice is open twice, at its beginning one
that is left out is not missed. Hours that run past midnight belong to the day they begin on, also on holidays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_RANGE: Final = re.compile(r"(\d{1,2}):(\d\d)\s*[-–]\s*(\d{1,2}):(\d\d)")
_YEARLY: Final = re.compile(r"(\d\d)-(\d\d)")
_FURTHEST_DAYS: Final = 370
"""So far ahead the next opening is looked for."""
_NEVER: Final = ("closed", "never", "")


@dataclass(frozen=True, slots=True)
class Opening:
    """From `start` to `end`, as minutes since midnight; an `end` up to `start` is on the next day."""

    start: int
    end: int

    @property
    def overnight(self) -> bool:
        return self.end <= self.start

    def __str__(self) -> str:
        return f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"


def _minutes(hour: str, minute: str) -> int:
    minutes = 60 * int(hour) + int(minute)
    if int(minute) > 59 or minutes > 24 * 60:
        raise ValueError(f"there is no {hour}:{minute}")
    return minutes


def _openings(value: Any) -> Any:
    if value is None or value is False:  # an empty value; YAML 1.1 reads `no` and `off` as false
        return ()
    if isinstance(value, str):
        value = () if value.strip().lower() in _NEVER else value.split(",")
    if not isinstance(value, list | tuple):
        raise ValueError("write hours as 09:00-12:30, several with commas between them, or closed")  # noqa: TRY004
    openings = sorted((_opening(part) for part in value), key=lambda opening: opening.start)
    for earlier, later in pairwise(openings):
        if earlier.overnight or later.start < earlier.end:
            raise ValueError(f"{earlier} and {later} overlap; join them")
    return tuple(openings)


def _opening(part: Any) -> Opening:
    if isinstance(part, Opening):
        return part
    found = _RANGE.fullmatch(part.strip()) if isinstance(part, str) else None
    if found is None:
        raise ValueError(f"{part!r} is no time of opening; write 09:00-12:30 in quotes, or closed")
    start, end = _minutes(found[1], found[2]), _minutes(found[3], found[4])
    if start in (24 * 60, end):
        raise ValueError(f"{part.strip()} opens for no time at all; the whole day is 00:00-24:00")
    return Opening(start, end)


Openings = Annotated[tuple[Any, ...], BeforeValidator(_openings)]


def _day(value: Any) -> Any:
    """A date, or (month, day) for one that comes every year."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str):
        if found := _YEARLY.fullmatch(value.strip()):
            month, day = int(found[1]), int(found[2])
            try:
                date(2024, month, day)  # a leap year
            except ValueError:
                raise ValueError(f"there is no {value}; every year is written month-day, like 12-25") from None
            return (month, day)
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            pass
    raise ValueError(f"{value!r} is no day; write 2026-12-25, or 12-25 for every year")


Day = Annotated[Any, BeforeValidator(_day)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name!r}; write one like Europe/Berlin or America/New_York") from None
    return name


class BusinessHours(BaseModel):
    """Opening times of a week, such as `monday: "09:00-12:30, 13:30-18:00"`. A day that is not named is closed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    time_zone: Annotated[str, AfterValidator(_zone)]
    """Of the business, like `Europe/Berlin`."""
    monday: Openings = ()
    """`09:00-12:30, 13:30-18:00`, or `closed`. `22:00-02:00` ends on the next day."""
    tuesday: Openings = ()
    wednesday: Openings = ()
    thursday: Openings = ()
    friday: Openings = ()
    saturday: Openings = ()
    sunday: Openings = ()
    holidays: tuple[Day, ...] = ()
    """Days that are closed whatever weekday they are: `2026-12-24`, or `12-25` for every year."""
    special_days: dict[Day, Openings] = {}
    """Days with hours of their own, as `2026-12-24: 09:00-12:00`. They win over `holidays`."""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def on(self, day: date) -> tuple[Opening, ...]:
        """What begins on that day, in order."""
        for special in (day, (day.month, day.day)):
            if special in self.special_days:
                return self.special_days[special]
        if day in self.holidays or (day.month, day.day) in self.holidays:
            return ()
        openings: tuple[Opening, ...] = getattr(self, WEEKDAYS[day.weekday()])
        return openings

    def open_at(self, moment: datetime) -> bool:
        """`moment` needs a time zone, any."""
        local = moment.astimezone(self.zone)
        minute = 60 * local.hour + local.minute
        for opening in self.on(local.date()):
            if opening.start <= minute and (opening.overnight or minute < opening.end):
                return True
        return any(o.overnight and minute < o.end for o in self.on(local.date() - timedelta(days=1)))

    def next_opening(self, moment: datetime) -> datetime | None:
        """When it opens next after `moment`, in its own zone; None if it does not within a year."""
        local = moment.astimezone(self.zone)
        for ahead in range(_FURTHEST_DAYS):
            day = local.date() + timedelta(days=ahead)
            later = [start for start in self._starts(day) if start > moment]
            if later:
                return min(later).astimezone(self.zone)
        return None

    def _starts(self, day: date) -> Iterable[datetime]:
        """In UTC; an opening in an hour that comes twice starts twice."""
        for opening in self.on(day):
            wall = datetime.combine(day, time(opening.start // 60, opening.start % 60))
            first, second = (wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            while second < first and second.astimezone(self.zone).replace(tzinfo=None) < wall:
                second += timedelta(minutes=1)  # the clocks leave that time out: it starts when they have passed it
            yield from (second,) if second < first else (first, second)
