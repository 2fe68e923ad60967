"""Frame of every page: the menu and the switcher of sites, without inline styles, which the CSP refuses."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from api.pages.access import current_site, list_sites

# Title, icon (Material Symbols), name of the page's URL.
MENU = (
    ("Home", "home", "home"),
    ("Goals", "flag", "goals"),
    ("Events", "stream", "events"),
    ("Delivery", "monitoring", "delivery"),
    ("Why not?", "help", "why"),
    ("People", "person_search", "people"),
    ("Personas", "groups", "personas"),
    ("Segments", "filter_alt", "segments"),
    ("Groups", "apartment", "groups"),
    ("Event tester", "science", "tester"),
    ("Set-up guide", "menu_book", "guide"),
    ("Settings", "settings", "settings"),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the menu: the pages of the current site, and the tables for administrators."""
    site = current_site(request)
    if site is None:
        if request.user.is_superuser or not request.user.is_authenticated:
            return []  # the theme lists the tables
        home = {"title": "Home", "icon": "home", "link": reverse("home"), "active": request.path == reverse("home")}
        return [{"title": "No site", "items": [home]}]
    items: list[dict[str, Any]] = [
        {"title": title, "icon": icon, "link": reverse(f"pages:{name}", args=[site.sitecode])}
        for title, icon, name in MENU
    ]
    for item in items:  # all addresses begin with that of Home
        item["active"] = request.path == item["link"] or (
            item["title"] != "Home" and request.path.startswith(item["link"])
        )
    groups: list[dict[str, Any]] = [{"title": site.name, "items": items}]
    if request.user.is_superuser:
        tables = reverse("tables")
        link = {"title": "All tables", "icon": "database", "link": tables, "active": request.path == tables}
        groups.append({"title": "Administration", "separator": True, "items": [link]})
    return groups


def dropdown(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the switcher: the sites of this user."""
    if not request.user.is_authenticated:
        return []
    return [
        {
            "icon": "public",
            "title": f"{site.name} ({site.sitecode})",
            "link": reverse("pages:home", args=[site.sitecode]),
        }
        for site in list_sites(request)
    ]


def subheader(request: HttpRequest) -> str:
    """Return the name and code of the current site."""
    site = current_site(request) if request.user.is_authenticated else None
    return f"{site.name} · {site.sitecode}" if site else ""


def leave_out_inline_style(_: HttpRequest) -> dict[str, Any]:
    """Return empty values for the theme's inline colours: api/colors.css has the colours."""
    return {"colors": None, "border_radius": None}
