"""Conversion rates as pages show them: of how many visitors, and their change in percentage points."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from api.http.wording import count_of
from api.insight.rates import MOST_COUNTED, Rate, RateBase, find_base, is_too_many, load_seen, visitors_of
from api.models import Site
from api.pages.change import Card, FigureChange
from api.pages.ranges import Range
from api.templatetags.figures import share
from goals.models import Goal
from goals.reports.site_periods import MOST_READ
from goals.reports.visitors_seen import SeenVisitors
from goals.shown_names import show_goal_name

UNCOUNTED: Final = "The visitors of this period are being counted. Reload the page in a few seconds."
TOO_MANY: Final = (
    f"This period has too many conversions: there are no rates of more than {MOST_COUNTED:,}. Choose a shorter one."
)
# Of goals whose converting visitors a page does not read, as the column of visitors says.
NOT_READ: Final = f"Visitors are counted for up to {MOST_READ:,} conversions."
LEAST_POINTS: Final = 0.1
ABOVE_BASE_GOAL: Final = "Above 100 %: more visitors converted this goal than the base goal."
ABOVE_OLD: Final = "Above 100 %: the larger count is some minutes old."


@dataclass(frozen=True, slots=True)
class ShownRate:
    """A rate in a list, with both of its sides in the title."""

    text: str
    title: str


@dataclass(frozen=True, slots=True)
class BaseOfRange:
    """The base of the rates of a page, counted in its range and in the compared period."""

    words: str  # `seen`, after the number of visitors
    seen: Sequence[SeenVisitors | None]  # by period, the range first; None until they are counted
    goal: Goal | None = None  # None for all visitors seen
    uncounted: str = UNCOUNTED  # the reason in words if there is no count

    @property
    def sentence(self) -> str:
        """The visitors of whom the rates of the page are a part."""
        now = self.seen[0]
        return self.uncounted if now is None else f"Rates are of {count_of(now.visitors, 'visitor')} {self.words}."

    def rate(self, converting: int | None, place: int = 0) -> Rate | None:
        """Return the rate of these visitors in a period; None if either side is not counted."""
        seen = self.seen[place]
        return None if seen is None or converting is None else Rate(converting, seen.visitors)

    def show(self, goal: Goal, converting: int | None) -> ShownRate:
        """Return the rate of these visitors of a goal in the range."""
        rate = self.rate(converting)
        if rate is None:
            return ShownRate("–", NOT_READ if self.seen[0] else self.uncounted)
        return ShownRate(share(rate.value), self.describe(goal, rate))

    def describe(self, goal: Goal, rate: Rate) -> str:
        """Return both sides of a goal's rate in words, with the reason if it is above 100 %."""
        sides = f"{rate.converting:,} of {count_of(rate.base, 'visitor')} {self.words}."
        if rate.converting <= rate.base:
            return sides
        return f"{sides} {ABOVE_OLD if self.goal in {None, goal} else ABOVE_BASE_GOAL}"


def name_base(site: Site, base: RateBase) -> str:
    """Return which visitors the base has, in words. Pure."""
    if base.goal is None:
        return "seen"
    return f"who converted {show_goal_name(base.goal, template=site.goal_name_template)}"


def load_base(site: Site, range_: Range) -> BaseOfRange:
    """Return the base of a range, without the compared period. Two queries at most."""
    base = find_base(site)
    (seen,) = load_seen(site.pk, [base], range_.periods[:1], now=range_.now)
    return _describe_base(site, base, seen, range_)


def load_sides(
    site: Site, goal: Goal, range_: Range, *, starts: Sequence[datetime]
) -> tuple[BaseOfRange, Sequence[SeenVisitors | None]]:
    """Return both sides of a goal's rates by period: the base and the converting visitors. Three queries at most."""
    base = find_base(site)
    seen, converting = load_seen(site.pk, [base, visitors_of(goal)], range_.periods, starts=starts, now=range_.now)
    return _describe_base(site, base, seen, range_, starts=starts), converting


def _describe_base(
    site: Site,
    base: RateBase,
    seen: Sequence[SeenVisitors | None],
    range_: Range,
    *,
    starts: Sequence[datetime] = (),
) -> BaseOfRange:
    is_endless = seen[0] is None and is_too_many(site.pk, base, range_.periods[0], starts=starts)
    return BaseOfRange(name_base(site, base), seen, base.goal, TOO_MANY if is_endless else UNCOUNTED)


def make_rate_card(base: BaseOfRange, goal: Goal, converting: Sequence[int]) -> Card:
    """Return a goal's rate of converting visitors by period, beside that of the compared one if there is one. Pure."""
    now = base.rate(converting[0])
    before = base.rate(converting[1], 1) if len(converting) > 1 else None
    label = "Conversion rate"
    if now is None:
        return Card(label, "–", help=base.uncounted)
    if now.value is None or before is None or before.value is None:
        return Card(label, share(now.value), help=base.describe(goal, now))
    change = compare_shares(now.value, before.value)
    return Card(label, share(now.value), share(before.value), change, base.describe(goal, now))


def compare_shares(now: float, before: float) -> FigureChange:
    """Return the change between two rates in percentage points: a change in per cent of per cents misleads. Pure."""
    if now == before:
        return FigureChange("no change", "no change")
    rises = now > before
    sign, word = ("▲", "up") if rises else ("▼", "down")
    points = abs(now - before) * 100
    size = f"{points:,.1f}".removesuffix(".0") if points >= LEAST_POINTS else f"under {LEAST_POINTS}"
    return FigureChange(f"{sign} {size} points", f"{word} {size} percentage points", "good" if rises else "bad")
