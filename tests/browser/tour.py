"""Every page that a person sees: of a site full of everything, of an empty one, and the tables of the admin."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.urls import resolve, reverse
from playwright.sync_api import Page, expect

from api.models import Message, Site
from api.pages.guide import INTEGRATIONS, REFERENCE
from tests.bench.looks import Look, looks
from tests.pages.catalogue import PAGES

# More than the first look at a page.
STATES: Final = {
    "goals search, none",
    "goal union",
    "goal usual",
    "goal-breakdown largest, property",
    "people search, none",
    "why answered",
    "events outcome failed",
    "events of nobody",
    "delivery 7d",
}


def stay(_: Page) -> None:
    """Nothing is to be done on a page that is there at once."""


def run_dry(page: Page) -> None:
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("Step by step").click()
    expect(page.get_by_role("heading", name="Identity")).to_be_visible()


def make_secret(page: Page) -> None:
    page.get_by_label("Name").fill("Reports of the board")
    page.get_by_role("button", name=re.compile("^Create (token|credential)$")).click()
    expect(page.get_by_text("You won't see this again")).to_be_visible()


def try_rule(page: Page) -> None:
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("button", name="Save")).to_be_visible()


def rename(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("Purchase")


def open_table(page: Page) -> None:
    page.get_by_text("As a table").first.click()


@dataclass(frozen=True, slots=True)
class Stop:
    """A page, and the actions there before it is checked."""

    address: str
    act: Callable[[Page], None] = stay


ACTS: Final = [
    ("tester", "dry run", run_dry),
    ("settings-credentials", "secret", make_secret),
    ("settings-tokens", "secret", make_secret),
    ("settings-rule", "tried", try_rule),
    ("goal-edit", "renamed", rename),
    ("delivery", "as a table", open_table),
]


def tour(site: Site, empty: Site) -> dict[str, Stop]:
    """Every page, by a name for it; `site` is filled by tests.bench.seed."""
    stops = {name: Stop(address) for name, address in addresses(site, empty).items()}
    return stops | {f"{name} {done}": Stop(stops[name].address, act) for name, done, act in ACTS}


def addresses(site: Site, empty: Site) -> dict[str, str]:
    found: dict[str, str] = {}
    for look in looks(site):
        name = look.what.partition(" ")[0]
        if look.is_api or (name in PAGES and not PAGES[name].is_page):
            continue
        if is_table(look) or name not in found or look.what in STATES:
            found[name if name not in found else look.what] = look.address
            if needs_nothing_but_the_site(look):
                found[f"empty {name}"] = look.address.replace(site.sitecode, empty.sitecode)
    for name in ("delivery", "reconciliation", "people", "why"):  # the looks at them carry a query
        found[f"empty {name}"] = reverse(f"pages:{name}", args=[empty.sitecode])
    failed = Message.objects.filter(site=site, status="failed")[0]
    found["event failed"] = reverse("pages:event", args=[site.sitecode, failed.pk])
    found |= {
        f"guide-way {page.name}": reverse("pages:guide-way", args=[site.sitecode, page.name])
        for page in (*INTEGRATIONS, *REFERENCE)
    }
    found["components"] = reverse("components")
    found["form of a new site"] = reverse("site-new")
    return found


def is_table(look: Look) -> bool:
    return look.what.startswith("table ") and "," not in look.what


def needs_nothing_but_the_site(look: Look) -> bool:
    place = resolve(look.address) if "?" not in look.address else None
    return place is not None and place.namespace == "pages" and set(place.kwargs) == {"sitecode"}
