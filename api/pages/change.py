"""Change of a figure to that of the compared period, in a sign and in words."""

from dataclasses import dataclass

from api.pages.charts import Tone

FEW = 5  # a percentage of fewer says nothing


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A change as people read it, and as a screen reader says it."""

    text: str  # ▲ 12 %
    words: str  # up 12 %
    tone: Tone = ""


def compare(now: float, before: float, *, is_better_if_more: bool | None = True) -> FigureChange:
    """Return the change between two figures. It is in per cent only of FEW or more. Pure.

    `is_better_if_more` gives the change its colour; it has none with None.
    """
    if now == before:
        return FigureChange("no change", "no change")
    rises = now > before
    tone: Tone = "" if is_better_if_more is None else "good" if rises == is_better_if_more else "bad"
    sign, word = ("▲", "up") if rises else ("▼", "down")
    if not before:
        return FigureChange("new", "new, none before", tone)
    if before < FEW:
        difference = f"{abs(now - before):,.2f}".rstrip("0").rstrip(".")
        return FigureChange(f"{sign} {difference}", f"{word} {difference}", tone)
    share = abs(now - before) / before * 100
    size = f"{share:,.0f}" if share >= 1 else "under 1"
    return FigureChange(f"{sign} {size} %", f"{word} {size} %", tone)
