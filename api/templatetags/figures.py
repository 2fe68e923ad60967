"""How pages write figures: `{% load figures %}`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from django import template

from api.events.reasons import sentence_of
from api.http.wording import count_of
from api.models import Site

register = template.Library()

SPARK_WIDTH, SPARK_HEIGHT = 96, 24  # of .gp-spark


@register.filter
def number(value: int | None) -> str:
    """`1,234,567`."""
    return "" if value is None else f"{value:,}"


@register.filter
def count(value: int | None, nouns: str) -> str:
    """Return `1 goal` or `1,234 goals` for `goal`, `2 identities` for `identity,identities`."""
    noun, _, plural = nouns.partition(",")
    return "" if value is None else count_of(value, noun, plural)


@register.filter
def amount(value: Decimal | None) -> str:
    """A sum with two decimals, or with as many as it needs: `1,234.50`."""
    if value is None:
        return ""
    whole, _, parts = f"{value:,f}".partition(".")
    return f"{whole}.{parts.rstrip('0').ljust(2, '0')}"


@register.filter
def money(revenue: Mapping[str, Decimal]) -> list[str]:
    """Revenue by currency, each as `1,234.50 EUR`."""
    return [f"{amount(total)} {currency}" for currency, total in revenue.items()]


@register.filter
def when(value: datetime | None) -> str:
    """A time as `2026-11-22 13:05:07`, of UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if value else ""


@register.filter
def sentence(reason: str, site: Site) -> str:
    """The reason of a message in words."""
    return sentence_of(reason, site)


@register.filter
def spark(values: Sequence[int]) -> str:
    """The points of a polyline over these values, in a box of 96 by 24."""
    step, top = SPARK_WIDTH / max(1, len(values) - 1), max([*values, 1])
    return " ".join(
        f"{place * step:.1f},{SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / top:.1f}"
        for place, value in enumerate(values)
    )
