"""Days and times in words, for texts with `{part_of_day}`, `{hours_today}` and the like, by language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_engine.business_hours import BusinessHours, Opening

PART_VARIABLES: Final = ("part_of_day", "time_greeting")
HOURS_VARIABLES: Final = ("open_now", "hours_today", "next_opening")
_NOON: Final = 12
_EVENING: Final = 18
_MORNING: Final = 5


@dataclass(frozen=True, slots=True)
class DayWords:
    """One language. Times are spoken by the 24-hour clock unless `half_days` name two halves."""

    parts: tuple[str, str, str]
    """Morning, afternoon, evening."""
    greetings: tuple[str, str, str]
    open: str
    closed: str
    all_day: str
    span: str
    """From `{0}` to `{1}`."""
    and_: str
    today: str
    tomorrow: str
    weekdays: tuple[str, ...]
    at: str
    """`{0}` is a day, `{1}` a time."""
    half_days: tuple[str, str] | None = None

    def part(self, hour: int) -> int:
        return 2 if hour >= _EVENING or hour < _MORNING else int(hour >= _NOON)

    def clock(self, minutes: int) -> str:
        hour, minute = divmod(minutes % (24 * 60), 60)
        if self.half_days is None:
            return f"{hour}:{minute:02}"
        shown = f"{hour % 12 or 12}:{minute:02}" if minute else f"{hour % 12 or 12}"
        return f"{shown} {self.half_days[hour >= 12]}"

    def hours(self, openings: Sequence[Opening]) -> str:
        if not openings:
            return self.closed
        spans = [
            self.all_day
            if opening == Opening(0, 24 * 60)
            else self.span.format(self.clock(opening.start), self.clock(opening.end))
            for opening in openings
        ]
        return f" {self.and_} ".join([", ".join(spans[:-1]), spans[-1]] if len(spans) > 1 else spans)

    def moment(self, then: datetime, now: datetime) -> str:
        """`then`, in its own zone, as it is called `now`: today at 9 AM, Monday at 9 AM."""
        day, today = then.date(), now.astimezone(then.tzinfo).date()
        name = self.weekdays[day.weekday()]
        if day == today:
            name = self.today
        elif day == today + timedelta(days=1):
            name = self.tomorrow
        elif day - today >= timedelta(days=7):
            name = f"{name}, {day.day}.{day.month}." if self.half_days is None else f"{name}, {day:%B} {day.day}"
        return self.at.format(name, self.clock(60 * then.hour + then.minute))


DAY_WORDS: Final[dict[str, DayWords]] = {
    "en": DayWords(
        ("morning", "afternoon", "evening"), ("Good morning", "Good afternoon", "Good evening"), "open", "closed",
        "all day", "from {0} to {1}", "and", "today", "tomorrow",
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), "{0} at {1}", ("AM", "PM"),
    ),
    "de": DayWords(
        ("Morgen", "Tag", "Abend"), ("Guten Morgen", "Guten Tag", "Guten Abend"), "geöffnet", "geschlossen",
        "den ganzen Tag", "von {0} bis {1} Uhr", "und", "heute", "morgen",
        ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"), "{0} um {1} Uhr",
    ),
    "fr": DayWords(
        ("matin", "après-midi", "soir"), ("Bonjour", "Bonjour", "Bonsoir"), "ouvert", "fermé", "toute la journée",
        "de {0} à {1}", "et", "aujourd'hui", "demain",
        ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"), "{0} à {1}",
    ),
    "es": DayWords(
        ("mañana", "tarde", "noche"), ("Buenos días", "Buenas tardes", "Buenas noches"), "abierto", "cerrado",
        "todo el día", "de {0} a {1}", "y", "hoy", "mañana",
        ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"), "{0} a las {1}",
    ),
    "it": DayWords(
        ("mattina", "pomeriggio", "sera"), ("Buongiorno", "Buon pomeriggio", "Buonasera"), "aperto", "chiuso",
        "tutto il giorno", "dalle {0} alle {1}", "e", "oggi", "domani",
        ("lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato", "domenica"), "{0} alle {1}",
    ),
    "nl": DayWords(
        ("morgen", "middag", "avond"), ("Goedemorgen", "Goedemiddag", "Goedenavond"), "open", "gesloten",
        "de hele dag", "van {0} tot {1} uur", "en", "vandaag", "morgen",
        ("maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag", "zondag"), "{0} om {1} uur",
    ),
    "pt": DayWords(
        ("manhã", "tarde", "noite"), ("Bom dia", "Boa tarde", "Boa noite"), "aberto", "fechado", "o dia todo",
        "das {0} às {1}", "e", "hoje", "amanhã",
        ("segunda-feira", "terça-feira", "quarta-feira", "quinta-feira", "sexta-feira", "sábado", "domingo"),
        "{0} às {1}",
    ),
}  # fmt: skip


def words_of(language: str) -> DayWords | None:
    """Those of `en` for `en-US`; None for a language that is not here."""
    return DAY_WORDS.get(language.partition("-")[0])


def day_values(language: str, now: datetime, hours: BusinessHours | None) -> dict[str, str]:
    """The values of `PART_VARIABLES` and, where there are hours, of `HOURS_VARIABLES`. `now` is in the call's zone."""
    words = words_of(language) or DAY_WORDS["en"]
    part = words.part(now.hour)
    values = {"part_of_day": words.parts[part], "time_greeting": words.greetings[part]}
    if hours is not None:
        opens_at = hours.next_opening(now)
        values |= {
            "open_now": words.open if hours.open_at(now) else words.closed,
            "hours_today": words.hours(hours.on(now.astimezone(hours.zone).date())),
            "next_opening": words.moment(opens_at, now) if opens_at is not None else "",
        }
    return values


def every_part(language: str) -> list[dict[str, str]]:
    """All values that `PART_VARIABLES` can have, so that texts with them can be rendered ahead of any call."""
    words = words_of(language) or DAY_WORDS["en"]
    pairs = zip(words.parts, words.greetings, strict=True)
    return [dict(zip(PART_VARIABLES, pair, strict=True)) for pair in pairs]
