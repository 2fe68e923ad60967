"""Times that query strings ask for, and what is wrong with them; api.pages.ranges reads days."""

from datetime import date, datetime

from django import forms

from api.pages.query_form import QueryForm, TimeField


class TimesQuery(QueryForm):
    """`since` and `until` are times in UTC."""

    since = TimeField(
        label="From, UTC", widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    )
    until = TimeField(
        label="Until, UTC", widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    )


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
