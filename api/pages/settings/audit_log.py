"""The audit log of a site."""

from typing import Final

from django import forms
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.models import AuditEntry, Role, Site
from api.pages.access import show, site_page
from api.pages.query_form import IdField
from api.pages.spans import TimesQuery, find_trouble_of_times

PAGE: Final = 50


class AuditQuery(TimesQuery):
    """The filters of the audit log; `before` says where the page before ended."""

    who = forms.CharField()
    what = forms.CharField()
    before = IdField()


@site_page(Role.OWNER)
def list_audit_entries(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the audit log, newest first, in pages that begin below an entry's number."""
    entries = AuditEntry.objects.filter(site=site).order_by("-pk")
    query = AuditQuery(request.GET)
    given = query.values
    lookups = {
        "pk__lt": given["before"],
        "who": given["who"],
        "what__icontains": given["what"],
        "at__gte": given["since"],
        "at__lt": given["until"],
    }
    filters = {name: value for name, value in lookups.items() if value not in (None, "")}
    entries = entries.filter(**filters)
    page = list(entries[: PAGE + 1])
    older = request.GET.copy()
    older["before"] = str(page[PAGE - 1].pk) if len(page) > PAGE else ""
    return show(
        request,
        "pages/settings/changes.html",
        title="Audit log",
        tab="settings-changes",
        entries=page[:PAGE],
        older=older.urlencode() if older["before"] else "",
        asked=given,
        trouble=find_trouble_of_times(query, now=timezone.now()),
        is_narrowed=bool(filters.keys() - {"pk__lt"}),
    )
