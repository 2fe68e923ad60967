"""Every page that a person sees: of a site full of everything, of an empty one, and the tables of the admin."""

from typing import Final

from django.urls import resolve, reverse

from api.models import Message, Site
from api.pages.guide import WAYS
from tests.bench.looks import Look, looks

# Files, and what a page's script asks for.
NO_PAGES: Final = {"events-rows", "goals-export", "guide-heard", "person-export"}
# More than the first look at a page.
STATES: Final = {
    "goals search, none",
    "goal union",
    "goal usual",
    "goal-breakdown largest, property",
    "people search, none",
    "why answered",
    "events outcome dead",
    "events of nobody",
    "delivery 14d",
}


def tour(site: Site, empty: Site) -> dict[str, str]:
    """The address of each page, by a name for it; `site` is filled by tests.bench.seed."""
    found: dict[str, str] = {}
    for look in looks(site):
        name = look.what.partition(" ")[0]
        if look.is_api or name in NO_PAGES:
            continue
        if is_table(look) or name not in found or look.what in STATES:
            found[name if name not in found else look.what] = look.address
            if needs_nothing_but_the_site(look):
                found[f"empty {name}"] = look.address.replace(site.sitecode, empty.sitecode)
    dead = Message.objects.filter(site=site, status="dead")[0]
    found["event dead"] = reverse("pages:event", args=[site.sitecode, dead.pk])
    found |= {f"guide-way {way.name}": reverse("pages:guide-way", args=[site.sitecode, way.name]) for way in WAYS}
    found["form of a site"] = reverse("admin:api_site_change", args=[site.pk])
    found["form of a source"] = reverse("admin:api_source_change", args=[dead.source_id])
    return found


def is_table(look: Look) -> bool:
    return look.what.startswith("table ") and "," not in look.what


def needs_nothing_but_the_site(look: Look) -> bool:
    place = resolve(look.address) if "?" not in look.address else None
    return place is not None and place.namespace == "pages" and set(place.kwargs) == {"sitecode"}
