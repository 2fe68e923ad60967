"""Filters that write figures, times and reasons: `{% load figures %}`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from django import template

from api.events.reasons import sentence_of
from api.http.wording import count_of, duration_of
from api.models import Site

register = template.Library()

SPARK_WIDTH, SPARK_HEIGHT = 96, 24  # of .gp-spark
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
def in_currency(total: Decimal, currency: str | None) -> str:
    """Return an amount of money: `EUR 1,234.50`."""
    return f"{amount(total)} ({UNKNOWN})" if currency == "XXX" else f"{currency or ''} {amount(total)}".strip()


@register.filter
def percent(rate: float | None) -> str:
    """Return `97.5 %`, never 100 % if it is less; `–` if there is no rate."""
    if rate is None:
        return "–"
    return "100 %" if rate >= 100 else f"{min(rate, 99.9):.1f}".removesuffix(".0") + " %"  # noqa: PLR2004


@register.filter
def duration(seconds: float | None) -> str:
    """Return `162 ms`, `6 min` or `8.7 days`."""
    return "" if seconds is None else duration_of(seconds)


@register.filter
def when(value: datetime | None) -> str:
    """Return a time in UTC as `2026-11-22 13:05:07`."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if value else ""


@register.filter
def sentence(reason: str, site: Site) -> str:
    return sentence_of(reason, site)


@register.filter
def spark(values: Sequence[int]) -> str:
    """Return the points of a polyline over these values, in a box of 96 by 24."""
    step, top = SPARK_WIDTH / max(1, len(values) - 1), max([*values, 1])
    return " ".join(
        f"{place * step:.1f},{SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / top:.1f}"
        for place, value in enumerate(values)
    )
