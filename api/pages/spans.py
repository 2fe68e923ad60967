"""Periods that query strings ask for, by days or by times, and what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django import forms

from api.pages.query_form import DayField, QueryForm, TimeField
from goals.reports.series import SeriesStep

DAYS: Final = 30  # if the query string names none


class SpanQuery(QueryForm):
    """`from` and `to` are days in UTC, `step` is that of the chart."""

    to = DayField()
    step = forms.ChoiceField(choices=[(step, step) for step in SeriesStep], initial=SeriesStep.DAY)

    def __init__(self, query: Mapping[str, Any]) -> None:
        super().__init__(query)
        self.fields["from"] = DayField()  # a keyword of Python


class TimesQuery(QueryForm):
    """`since` and `until` are times in UTC."""

    since = TimeField(
        label="From, UTC", widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    )
    until = TimeField(
        label="Until, UTC", widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    )


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a goal's figures in UTC, the last one included, and the step of its chart."""

    first: date
    last: date
    step: SeriesStep
    now: datetime
    trouble: str = ""  # the reason why nothing is shown
    note: str = ""  # on what is shown instead

    @property
    def begin(self) -> datetime:
        return datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The end of the last day, or now if that is earlier."""
        midnight = datetime(self.last.year, self.last.month, self.last.day, tzinfo=UTC) + timedelta(days=1)
        return min(midnight, self.now)


def read_span(query: Mapping[str, str], *, now: datetime) -> Span:
    """Return the days that a query string asks for, otherwise the last 30, by day."""
    form = SpanQuery(query)
    today = now.astimezone(UTC).date()
    step, first, last = SeriesStep(form.values["step"]), form.values["from"], form.values["to"]
    last = last or (max(today, first) if first else today)
    first = first or last - timedelta(days=DAYS - 1)
    wrong = [f"{name.capitalize()} (“{form.raw(name)[:40]}”)" for name in ("from", "to") if name in form.errors]
    if wrong:
        verb = "is not a date" if len(wrong) == 1 else "are not dates"
        trouble = f"{' and '.join(wrong)} {verb}. Write {today}, for example."
    else:
        trouble = find_trouble(first, last, now=today)
    if trouble or last <= today:
        return Span(first, last, step, now, trouble)
    note = f"To ({last}) is in the future. Showing days up to today, {today} (UTC)."
    return Span(first, today, step, now, note=note)


def find_trouble(since: date | None, until: date | None, *, now: date, until_label: str = "To") -> str:
    """Return why nothing can be between two days, or between two times; otherwise an empty text."""
    if since is not None and until is not None and since > until:
        return f"From ({_write(since)}) is after {until_label} ({_write(until)}). Change one of the two."
    if since is not None and since > now:
        return f"From ({_write(since)}) is in the future. It is now {_write(now)} (UTC)."
    return ""


def find_trouble_of_times(form: QueryForm, *, now: datetime) -> str:
    """Return what is wrong with `since` and `until` of a form; otherwise an empty text."""
    for name, label in (("since", "From"), ("until", "Until")):
        if name in form.errors:
            return f"{label} (“{form.raw(name)[:40]}”) is not a time. Write it as {now:%Y-%m-%dT%H:%M}."
    return find_trouble(form.values["since"], form.values["until"], now=now, until_label="Until")


def _write(day: date) -> str:
    return f"{day:%Y-%m-%d %H:%M}" if isinstance(day, datetime) else f"{day}"
