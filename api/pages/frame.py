"""Frame around every page: the menu, the switcher of sites and the bell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.urls import reverse

from api.models import Alert, Site

MOST_ALERTS: Final = 20

# Groups of (title, name of the page's URL and of its icon). Those of UNDER belong to the entry above them.
MENU: Final = (
    (("Home", "home"),),
    (
        ("Goals", "goals"),
        ("People", "people"),
        ("Personas", "personas"),
        ("Segments", "segments"),
        ("Groups", "groups"),
    ),
    (("Events", "events"), ("Delivery", "delivery"), ("Tester", "tester"), ("Why not?", "why")),
    (("Set-up", "guide"), ("Settings", "settings")),
)
KEYS: Final = {"home": "h", "goals": "g", "people": "p", "events": "e", "delivery": "d", "settings": "s"}  # after g
UNDER: Final = frozenset({"personas", "segments", "groups"})


@dataclass(frozen=True, slots=True)
class MenuItem:
    """An entry of the menu."""

    title: str
    icon: str
    link: str
    is_current: bool
    is_under: bool = False
    key: str = ""  # of the keyboard, after g


@dataclass(frozen=True, slots=True)
class Frame:
    """Menu, switcher and bell; without a site it has the menu only."""

    menu: Sequence[Sequence[MenuItem]]
    site: Site | None = None
    sites: Sequence[Site] = ()
    alerts: Sequence[Alert] = ()  # that are firing, the oldest first
    alerts_page: str = ""


def build_frame(site: Site | None, sites: Sequence[Site], *, path: str, may_own: bool) -> Frame:
    """Return the frame of a page at this path. One query if there is a site."""
    if site is None:
        home = reverse("home")
        return Frame([[MenuItem("Home", "home", home, path == home)]])
    firing = site.alerts.filter(is_enabled=True, firing_since__isnull=False).order_by("firing_since")
    # Only owners may open the alerts; Delivery shows their figures to everybody.
    alerts_page = reverse(f"pages:{'settings-alerts' if may_own else 'delivery'}", args=[site.sitecode])
    return Frame(list_menu(site, path), site, sites, list(firing[:MOST_ALERTS]), alerts_page)


def list_menu(site: Site, path: str) -> list[list[MenuItem]]:
    """Return the groups of the menu; the entry whose address begins `path` is the current one."""
    home = reverse("pages:home", args=[site.sitecode])

    def item(title: str, name: str) -> MenuItem:
        link = reverse(f"pages:{name}", args=[site.sitecode])
        is_current = path == link or (link != home and path.startswith(link))
        return MenuItem(title, name, link, is_current, name in UNDER, KEYS.get(name, ""))

    return [[item(*entry) for entry in group] for group in MENU]
