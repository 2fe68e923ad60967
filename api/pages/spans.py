"""Times that query strings ask for, and what is wrong with them; api.pages.ranges reads days."""

from datetime import date, datetime

from django.utils import timezone

from api.http.wording import time_in_words
from api.pages.query_form import AS_SENT, QueryForm, TimeField


class TimesQuery(QueryForm):
    """`since` and `until` are times in the zone of the page."""

    since = TimeField(label="From")
    until = TimeField(label="Until")


def find_trouble(since: date | None, until: date | None, *, now: date, until_label: str = "To") -> str:
    """Return why nothing can be between two days, or between two times; otherwise an empty text."""
    if since is not None and until is not None and since > until:
        return f"From ({_write(since)}) is after {until_label} ({_write(until)}). Change one of the two."
    if since is not None and since > now:
        return f"From ({_write(since)}) is in the future. It is now {_write(now)}."
    return ""


def find_trouble_of_times(form: QueryForm, *, now: datetime) -> str:
    """Return what is wrong with `since` and `until` of a form; otherwise an empty text."""
    for name, label in (("since", "From"), ("until", "Until")):
        if name in form.errors:
            example = f"{timezone.localtime(now):{AS_SENT}}"
            return f"{label} (“{form.raw(name)[:40]}”) is not a time. Write it as {example}."
    return find_trouble(form.values["since"], form.values["until"], now=now, until_label="Until")


def _write(day: date) -> str:
    if not isinstance(day, datetime):
        return f"{day}"
    return time_in_words(day, timezone.get_current_timezone()).rpartition(":")[0]
