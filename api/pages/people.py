"""People of a site: found by any identifier, looked at, exported and erased."""

from datetime import UTC, datetime

import msgspec
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from api.insight import people
from api.models import Membership, Site
from api.pages.access import show, site_page
from cohorts import finding

Role = Membership.Role
NEWEST = 20


@site_page()
def find_people(request: HttpRequest, site: Site) -> HttpResponseBase:
    """The search; one person found is shown at once."""
    text = request.GET.get("q", "").strip().replace("\0", "\ufffd")
    found = finding.find_by_any(site.pk, text) if text else finding.newest(site.pk, limit=NEWEST)
    if text and len(found) == 1:
        return redirect(address(site, "person", found[0].value))
    return show(request, "pages/people/find.html", title="People", text=text, found=found)


@site_page()
def show_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    person = _asked_for(request, site)
    public, full = people.remote_documents(site, person.asked)
    return show(
        request,
        "pages/people/person.html",
        title=person.asked,
        person=person,
        conversions=people.last_conversions(site, person.identities),
        documents=[("Without a token", _pretty(public)), ("With a token", _pretty(full))],
        last=people.LAST_CONVERSIONS,
    )


@site_page(Role.EDITOR)
def export_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    """All that is held of a person, in one JSON file."""
    person = _asked_for(request, site)
    held = people.export(site, person, now=datetime.now(UTC))
    response = HttpResponse(msgspec.json.format(msgspec.json.encode(held)), content_type="application/json")
    response["Content-Disposition"] = 'attachment; filename="person.json"'
    return response


def _asked_for(request: HttpRequest, site: Site) -> people.Person:
    """The person under the parameter `id`; Http404 where there is none."""
    person = people.look_up(site, request.GET.get("id", "").replace("\0", "\ufffd"))
    if person is None:
        raise Http404
    return person


def address(site: Site, page: str, id_: str) -> str:
    """Where a page about a person is."""
    return f"{reverse(f'pages:{page}', args=[site.sitecode])}?{urlencode({'id': id_})}"


def _pretty(document: object) -> str:
    return msgspec.json.format(msgspec.json.encode(document, order="sorted")).decode()
