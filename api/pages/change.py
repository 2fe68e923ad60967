"""Change of a figure to that of the compared period, in a sign and in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from api.pages.charts import Tone
from api.templatetags.figures import in_currency

FEW = 5  # a percentage of fewer says nothing


def write_number(value: Decimal | float) -> str:
    return f"{value:,}"


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A change as people read it, and as a screen reader says it."""

    text: str  # ▲ 12 %
    words: str  # up 12 %
    tone: Tone = ""


def compare(
    now: Decimal | float,
    before: Decimal | float,
    *,
    is_better_if_more: bool | None = True,
    write: Callable[[Decimal | float], str] = write_number,
) -> FigureChange:
    """Return the change between two figures. It is in per cent only of FEW or more, otherwise the difference. Pure.

    `is_better_if_more` gives the change its colour; it has none with None.
    """
    if now == before:
        return FigureChange("no change", "no change")
    rises = now > before
    tone: Tone = "" if is_better_if_more is None else "good" if rises == is_better_if_more else "bad"
    sign, word = ("▲", "up") if rises else ("▼", "down")
    if not before and now > 0:
        return FigureChange("new", "new, none before", tone)
    if before < FEW:
        difference = write(abs(now - before))  # type: ignore[operator]  # both are of one type
        return FigureChange(f"{sign} {difference}", f"{word} {difference}", tone)
    share = abs(float(now) - float(before)) / float(before) * 100
    size = f"{share:,.0f}" if share >= 1 else "under 1"
    return FigureChange(f"{sign} {size} %", f"{word} {size} %", tone)


@dataclass(frozen=True, slots=True)
class Card:
    """A figure with its label, and its change to the compared period."""

    label: str
    value: str
    before: str = ""  # the figure of the compared period; empty without a comparison
    change: FigureChange | None = None
    help: str = ""


def make_card(
    label: str,
    now: Decimal | float,
    before: Decimal | float | None,
    *,
    is_better_if_more: bool | None = True,
    write: Callable[[Decimal | float], str] = write_number,
    help_text: str = "",
) -> Card:
    """Return a figure beside that of the compared period, which is None without one. Pure."""
    if before is None:
        return Card(label, write(now), help=help_text)
    change = compare(now, before, is_better_if_more=is_better_if_more, write=write)
    return Card(label, write(now), write(before), change, help_text)


def make_revenue_card(now: Mapping[str, Decimal], before: Mapping[str, Decimal] | None, currency: str) -> Card:
    """Return the revenue in one currency beside that of the compared period, which is None without one. Pure.

    The amounts in other currencies are below it.
    """
    nothing = Decimal()
    others = (in_currency(amount, other) for other, amount in now.items() if other != currency)
    return make_card(
        "Revenue",
        now.get(currency, nothing),
        None if before is None else before.get(currency, nothing),
        write=lambda value: in_currency(Decimal(value), currency),
        help_text=", ".join(others),
    )
