"""The admin pages of the door: sites, credentials, sources and their rules, and the inbox."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from admin_pages import Noted
from api.admin import credentials, inbox, members, rules, sites, sources
from api.audit import note
from api.models import Site

__all__ = ["credentials", "inbox", "members", "rules", "sites", "sources"]


def keep(request: HttpRequest, row: Any, what: str, before: Any, after: Any) -> None:
    """Put what a person changed in these tables into the log of each site that it concerns; of users, of none."""
    if isinstance(row, Site):
        concerned: list[Site | None] = [row]
    elif hasattr(row, "sites"):
        concerned = [*row.sites.all()] or [None]
    else:
        concerned = [getattr(row, "site", None)]
    for site in concerned:
        note(request, site, what, before, after)


Noted.keep = staticmethod(keep)
admin.site.site_header = admin.site.site_title = "Goalpost"
admin.site.site_url = None  # there is no other site to view
admin.site.index_title = "What came in, what it did, and who may send and read"
