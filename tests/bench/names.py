"""Names for the goals of a seeded site: usual, long, foreign and odd ones."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

FIRST = (  # the largest goal first
    ("track", "Clicked on Checkout"),
    ("track", "Added to Cart"),
    ("track", "Order Completed"),
    ("track", "Signed Up"),
    ("page", "Pricing"),
    ("track", "注文が完了しました"),
    ("track", "Оформление заказа"),
    ("track", "تم تسجيل الدخول"),
    ("screen", "Onboarding"),
    ("track", "Viewed order 100234"),
    ("track", "Viewed order 100235"),
    ("track", "Opened invoice 3f2b8c1e-9d4a-4c55-8a57-0f6f3f1d2b7a"),
    ("track", "A name that somebody wrote as a whole sentence to be very sure what it is about, " * 3),
    ("track", "NoSpacesAtAllButAVeryLongNameThatDoesNotWrapAnywhereBecauseItIsOneWord_" * 3),
    ("track", "<script>alert('Buy & “win”')</script>"),
    ("page", "Größentabelle – Übersicht"),
)
VERBS = ("Clicked on", "Viewed", "Opened", "Closed", "Started", "Completed", "Shared", "Saved", "Removed", "Searched")
THINGS = (
    *("banner", "basket", "button", "calendar", "chat", "coupon", "filter", "form", "gallery", "invoice", "lesson"),
    *("menu", "newsletter", "offer", "photo", "plan", "poll", "product", "profile", "quiz", "report", "review"),
    *("search", "survey", "team", "ticket", "tour", "video", "voucher", "wishlist", "workspace"),
)
PLACES = (
    *("home page", "landing page", "checkout", "product page", "category page", "search page", "account", "app"),
    *("blog", "help centre", "sidebar", "footer", "header", "e-mail", "push message", "dashboard", "settings"),
    *("trial", "wizard", "partner site", "store", "kiosk", "tablet", "watch", "television", "car", "forum"),
    *("archive", "calendar", "library", "lobby", "market", "office", "outlet", "portal", "showroom", "studio"),
)
TAGS = (
    *("checkout", "growth", "onboarding", "retention", "mobile", "web", "newsletter", "quarterly review", "billing"),
    *("to be cleaned up", "Ünïcödé", "重要", "campaign-summer", "campaign-winter", "experiment", "partners"),
)
PERSONAS = ("big_spenders", "likely_to_churn", "newsletter_readers", "trial_ended", "vip", "常連客")
PLANS = ("free", "team", "business", "enterprise")


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """Type and name of an event that has its own goal."""

    type: str
    name: str


def events(count: int, *, number: int) -> list[NamedEvent]:
    """Return `count` different events, at most about 12,000. The same number gives the same events."""
    return [*itertools.islice(_events(random.Random(number)), count)]


def _events(dice: random.Random) -> Iterator[NamedEvent]:
    yield from itertools.starmap(NamedEvent, FIRST)
    usual = [f"{verb} {thing} in {place}" for verb, thing, place in itertools.product(VERBS, THINGS, PLACES)]
    dice.shuffle(usual)
    for name in usual:
        yield NamedEvent(dice.choices(("track", "page", "screen"), (8, 1, 1))[0], name)
