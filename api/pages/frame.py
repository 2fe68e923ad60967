"""Frame around every page: the menu, the switcher of sites and the bell."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.urls import reverse

from api.models import Alert, Site

MOST_ALERTS: Final = 20
MOST_COUNTED: Final = 100  # failed events

# Groups of (title, name of the page's URL and of its icon). Those of UNDER belong to the entry above them.
MENU: Final = (
    (("Home", "home"),),
    (
        ("Goals", "goals"),
        ("Experiments", "experiments"),
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
    count: str = ""  # of what needs attention there, and in words
    count_words: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """Menu, switcher and bell; without a site it has the menu only."""

    menu: Sequence[Sequence[MenuItem]]
    site: Site | None = None
    sites: Sequence[Site] = ()
    alerts: Sequence[Alert] = ()  # that are firing, the oldest first
    loud: int = 0  # of them, those that are neither acknowledged nor snoozed
    alerts_page: str = ""


# One query for both, because every page asks. Without a firing alert it is one row without an id.
TROUBLE: Final = """
SELECT a.*, f.failed
  FROM (SELECT count(*) AS failed FROM (
          SELECT FROM api_message WHERE site_id = %(site)s AND status = 'failed' LIMIT %(counted)s) AS those) AS f
  LEFT JOIN api_alert a ON a.site_id = %(site)s AND a.is_enabled AND a.firing_since IS NOT NULL
 ORDER BY a.firing_since, a.id LIMIT %(most)s
"""


def build_frame(site: Site | None, sites: Sequence[Site], *, path: str, may_own: bool, now: datetime) -> Frame:
    """Return the frame of a page at this path. One query if there is a site."""
    if site is None:
        home = reverse("home")
        return Frame([[MenuItem("Home", "home", home, path == home)]])
    rows = list(Alert.objects.raw(TROUBLE, {"site": site.pk, "counted": MOST_COUNTED, "most": MOST_ALERTS}))
    firing = [alert for alert in rows if alert.pk is not None]
    loud = sum(not alert.is_quiet(now) for alert in firing)
    # Only owners may open the alerts; Delivery shows their figures to everybody.
    alerts_page = reverse(f"pages:{'settings-alerts' if may_own else 'delivery'}", args=[site.sitecode])
    menu = list_menu(site, path, failed=rows[0].failed)  # type: ignore[attr-defined]  # of the query
    return Frame(menu, site, sites, firing, loud, alerts_page)


def list_menu(site: Site, path: str, *, failed: int) -> list[list[MenuItem]]:
    """Return the groups of the menu; the entry whose address begins `path` is the current one.

    Delivery has the number of failed events; the bell has the alerts.
    """
    count = f"{MOST_COUNTED - 1}+" if failed >= MOST_COUNTED else str(failed)
    words = f"{count} failed {'event' if failed == 1 else 'events'}"
    counts = {"delivery": (count, words)} if failed else {}
    home = reverse("pages:home", args=[site.sitecode])

    def item(title: str, name: str) -> MenuItem:
        link = reverse(f"pages:{name}", args=[site.sitecode])
        is_current = path == link or (link != home and path.startswith(link))
        return MenuItem(title, name, link, is_current, name in UNDER, KEYS.get(name, ""), *counts.get(name, ()))

    return [[item(*entry) for entry in group] for group in MENU]
