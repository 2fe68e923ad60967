"""The audit log of a site."""

from typing import Any, Final

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.models import AuditEntry, Role, Site
from api.pages.access import page_of, show, site_page
from api.pages.query_form import IdField
from api.pages.spans import TimesQuery, find_trouble_of_times

PAGE: Final = 50


class AuditQuery(TimesQuery):
    """The filters of the audit log; `before` says where the page before ended."""

    who = forms.CharField()
    what = forms.CharField()
    before = IdField()

    @property
    def lookups(self) -> dict[str, Any]:
        """The filters as Django's lookups."""
        given = self.values
        lookups = {
            "who": given["who"],
            "what__icontains": given["what"],
            "at__gte": given["since"],
            "at__lt": given["until"],
        }
        return {name: value for name, value in lookups.items() if value not in (None, "")}


@site_page(Role.OWNER)
def list_audit_entries(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the audit log, newest first, in pages that begin below an entry's number."""
    query = AuditQuery(request.GET)
    entries = find_entries(site, query)
    before = query.values["before"]
    page = list((entries if before is None else entries.filter(pk__lt=before))[: PAGE + 1])
    older, filters = request.GET.copy(), request.GET.copy()
    filters.pop("before", None)
    older["before"] = str(page[PAGE - 1].pk) if len(page) > PAGE else ""
    return show(
        request,
        "pages/settings/changes.html",
        title="Audit log",
        tab="settings-changes",
        entries=page[:PAGE],
        older=older.urlencode() if older["before"] else "",
        asked=query.values,
        trouble=find_trouble_of_times(query, now=timezone.now()),
        is_narrowed=bool(query.lookups),
        csv=f"{page_of(site, 'settings-changes-export')}?{filters.urlencode()}",
    )


def find_entries(site: Site, query: AuditQuery) -> QuerySet[AuditEntry]:
    """Return the entries that pass the filters, newest first, of all pages."""
    return AuditEntry.objects.filter(site=site, **query.lookups).order_by("-pk")
