"""Filters that write figures, times and reasons: `{% load figures %}`."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from django import template
from django.contrib.messages.storage.base import Message
from django.utils import timezone
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from api.events.reasons import sentence_of
from api.http.wording import (
    RELATIVE,
    ago_in_words,
    count_of,
    duration_of,
    replace_times,
    stamp_of,
    time_in_words,
    time_with_zone,
    weekday_in_words,
)
from api.models import Site

register = template.Library()

SPARK_WIDTH, SPARK_HEIGHT = 96, 24  # of .gp-spark
LEAST_SHARE: Final = 0.01  # per cent
UNKNOWN: Final = "unknown currency"  # XXX in ISO 4217


@register.filter
def number(value: int | None) -> str:
    """Return `1,234,567`."""
    return "" if value is None else f"{value:,}"


@register.filter
def count(value: int | None, nouns: str) -> str:
    """Return `1 goal` or `1,234 goals` for `goal`, `2 identities` for `identity,identities`."""
    noun, _, plural = nouns.partition(",")
    return "" if value is None else count_of(value, noun, plural)


@register.filter
def amount(value: Decimal | None) -> str:
    """Return a sum with two decimals, or with more if it has more: `1,234.50`."""
    if value is None:
        return ""
    whole, _, parts = f"{value:,f}".partition(".")
    return f"{whole}.{parts.rstrip('0').ljust(2, '0')}"


@register.filter
def money(revenue: Mapping[str, Decimal]) -> list[str]:
    """Return revenue by currency, each as `EUR 1,234.50`."""
    return [in_currency(total, currency) for currency, total in revenue.items()]


@register.filter
def apart(revenue: Mapping[str, Decimal], currency: str) -> tuple[str, list[str]]:
    """Return the amount in a currency, otherwise the first one, and the amounts in other currencies."""
    shown = currency if currency in revenue else next(iter(revenue), "")
    others = [in_currency(total, name) for name, total in revenue.items() if name != shown]
    return (in_currency(revenue[shown], shown) if shown in revenue else "", others)


@register.filter
def in_currency(total: Decimal, currency: str | None) -> str:
    """Return an amount of money: `EUR 1,234.50`."""
    return f"{amount(total)} ({UNKNOWN})" if currency == "XXX" else f"{currency or ''} {amount(total)}".strip()


@register.filter
def code(text: str | None) -> SafeString:
    """Return a sentence with its words in backticks as code. Safe markup stays as it is."""
    parts = re.split("`([^`]+)`", conditional_escape(text or ""))
    marked = (f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
    return mark_safe("".join(marked))  # noqa: S308 - every part is escaped


@register.filter
def share(part: float | None) -> str:
    """Return a part of 1 as `4.2 %`, `0.35 %` or `140 %`, never 100 % if it is less; `–` if there is none."""
    if part is None:
        return "–"
    value = part * 100
    if 0 < value < LEAST_SHARE:
        return f"under {LEAST_SHARE} %"
    text = f"{value:,.2f}" if value < 1 else f"{min(value, 99.9) if value < 100 else value:,.1f}"  # noqa: PLR2004
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


@register.filter
def duration(seconds: float | None) -> str:
    """Return `162 ms`, `6 min` or `8.7 days`."""
    return "" if seconds is None else duration_of(seconds)


@register.filter
def when(value: datetime | None) -> str:
    """Return a time in the zone of the page: `26 Nov 2026, 07:55:10`."""
    return write_time(value, time_in_words(value, timezone.get_current_timezone())) if value else ""


@register.filter
def ago(value: datetime | None) -> str:
    """Return a time of a list as `3 min ago`, with the time in its title. api/times.js keeps it right."""
    if value is None:
        return ""
    zone, now = timezone.get_current_timezone(), timezone.now()
    text = ago_in_words(value, zone, now=now)
    seconds = round((now - value).total_seconds(), 3)
    moves = format_html(' data-ago="{}"', seconds) if abs(now - value) < RELATIVE else ""
    return write_time(value, text, format_html(' class="gp-ago" title="{}"{}', time_with_zone(value, zone), moves))


@register.filter
def clock(value: datetime | None) -> str:
    """Return the time of day in the zone of the page, for lists with a line for each day: `07:55:10`."""
    if value is None:
        return ""
    zone = timezone.get_current_timezone()
    text = time_in_words(value, zone)
    return write_time(value, text.rpartition(" ")[2], format_html(' title="{}"', time_with_zone(value, zone)))


@register.filter
def weekday(value: datetime | date | None) -> str:
    """Return a day, that of a time in the zone of the page: `Thursday, 26 Nov 2026`."""
    if isinstance(value, datetime):
        value = timezone.localtime(value)
    return weekday_in_words(value) if value else ""


@register.filter
def in_zone(text: str) -> str:
    """Return a sentence whose times, which are in UTC, are written in the zone of the page."""
    return mark_safe(replace_times(conditional_escape(text), when))  # noqa: S308 - the text is escaped, times have no marks


def write_time(value: datetime, text: str, attributes: str = "") -> SafeString:
    """Return a `<time>` element."""
    return format_html('<time datetime="{}"{}>{}</time>', stamp_of(value), attributes, text)


@register.filter
def sentence(reason: str, site: Site) -> str:
    return sentence_of(reason, site)


@register.filter
def undo_of(message: Message) -> dict[str, Any] | None:
    """Return the form of a message's button Undo (api.pages.undo), None without one."""
    found: dict[str, Any] | None = json.loads(message.extra_tags) if message.extra_tags else None
    return found


@register.filter
def spark(values: Sequence[int]) -> str:
    """Return the points of a polyline over these values, in a box of 96 by 24."""
    step, top = SPARK_WIDTH / max(1, len(values) - 1), max([*values, 1])
    return " ".join(
        f"{place * step:.1f},{SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / top:.1f}"
        for place, value in enumerate(values)
    )
