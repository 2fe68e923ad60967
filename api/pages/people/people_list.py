"""People of a site: found by any identifier, looked at, exported and erased."""

from datetime import UTC, datetime

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST

from api.audit import note
from api.erasure import erase, message_sweep
from api.http.wording import count_of
from api.insight import people
from api.insight.export import export
from api.models import Erasure, Role, Site
from api.pages.access import show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.events.event_list import read_number
from api.pages.json_text import SHOWN, pretty, visible
from cohorts import merge, queries, search
from cohorts.personas import MOST_HISTORY
from cohorts.remote_data import LARGE_BYTES

NEWEST = 20
RECEIPTS = 50


@site_page()
def find_people(request: HttpRequest, site: Site) -> HttpResponseBase:
    """The search; one person found is shown at once."""
    text = request.GET.get("q", "").strip().replace("\0", "\ufffd")
    found = search.find_people(site.pk, text) if text else queries.newest(site.pk, limit=NEWEST)
    if text and len(found) == 1:
        return redirect(address(site, "person", found[0].value))
    return show(request, "pages/people/find.html", title="People", text=text, found=found, most=search.MOST_FOUND)


@site_page()
def show_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    person = _asked_for(request, site)
    public, full = people.remote_documents(site, person.asked)
    return show(
        request,
        "pages/people/person.html",
        title=f"Person {person.asked}",
        person=person,
        conversions=people.last_conversions(site, person.identities),
        changes=people.persona_changes(site, person.identities),
        listed=queries.listed_personas(site.pk, [fact.name for fact in person.personas]),
        most_changes=people.LAST_CHANGES,
        limits={**merge.MOST, "history": MOST_HISTORY},
        large_bytes=LARGE_BYTES,
        documents=[("Without a token", _pretty(public)), ("With a token", _pretty(full))],
        most_characters=SHOWN,
        most=people.MOST_SHOWN,
        last=people.LAST_CONVERSIONS,
    )


@site_page(Role.EDITOR)
def export_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Send all that is held of a person as one JSON file. The log has the export, not the person."""
    person = _asked_for(request, site)
    note(request, site, "Exported a person", None, {"identifiers": len(person.identities)})
    response = StreamingHttpResponse(export(site, person, now=datetime.now(UTC)), content_type="application/json")
    response["Content-Disposition"] = 'attachment; filename="person.json"'
    return response


@site_page(Role.OWNER)
def erase_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    """What will go; and, posted, it goes."""
    person = _asked_for(request, site)
    if request.method == "POST":
        try:
            receipt = erase.erase(site, person.asked, by=request.user.get_username(), now=datetime.now(UTC))
        except erase.TooManyIdentitiesError:
            most = f"{erase.MOST_IDENTITIES:,}"
            messages.error(request, f"More than {most} identifiers are linked: they cannot be one person’s.")
            return redirect(address(site, "person", person.asked))
        if receipt is None:  # another owner was faster
            return redirect("pages:erasures", site.sitecode)
        note(request, site, f"Erased a person: receipt {receipt.pk}", None, {"receipt": receipt.pk})
        messages.success(request, "Erased. The rest of the inbox is being searched.")
        return redirect("pages:erasure", site.sitecode, receipt.pk)
    return show(request, "pages/people/erase.html", title=f"Erase the person {person.asked}", person=person)


@site_page()
def list_erasures(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A page of receipts, the newest first."""
    receipts = site.erasures.order_by("-pk")
    before = read_number(request.GET.get("before"))
    if before is not None:
        receipts = receipts.filter(pk__lt=before)
    found = list(receipts[: RECEIPTS + 1])
    return show(
        request,
        "pages/people/erasures.html",
        title="Erased people",
        receipts=found[:RECEIPTS],
        next=found[RECEIPTS - 1].pk if len(found) > RECEIPTS else None,
    )


@site_page()
def show_erasure(request: HttpRequest, site: Site, erasure_id: int) -> HttpResponseBase:
    receipt = get_object_or_404(Erasure, site=site, pk=erasure_id)
    replaced = receipt.replaced or {}
    return show(
        request,
        "pages/people/erasure.html",
        title=f"Receipt {receipt.pk}",
        receipt=receipt,
        searched=[
            (stage.label.capitalize(), replaced.get(stage.name, 0))
            for stage in Erasure.Stage
            if stage != Erasure.Stage.DONE
        ],
        left=replaced.get(message_sweep.LEFT, 0),
        emptied=replaced.get(message_sweep.EMPTIED, 0),
    )


@site_page(Role.OWNER)
@require_POST
def allow_again(request: HttpRequest, site: Site, erasure_id: int) -> HttpResponseBase:
    """Events of the person are taken again."""
    receipt = get_object_or_404(Erasure, site=site, pk=erasure_id, finished_at__isnull=False)
    if not receipt.is_allowed_again:
        if not is_confirmed(request):
            return ask(
                request,
                title="Allow events of an erased person again",
                facts=[
                    (
                        f"{count_of(len(receipt.hashes), 'identifier')} of this person were erased on "
                        f"{receipt.created_at:%Y-%m-%d}."
                    ),
                    "Events that name one of them are dropped now. Then they are taken, and the person is back.",
                ],
                action="Allow events again",
                back=reverse("pages:erasure", args=[site.sitecode, receipt.pk]),
            )
        erase.allow_again(receipt)
        what = f"Allowed events of the erased person again: receipt {receipt.pk}"
        note(request, site, what, {"is_allowed_again": False}, {"is_allowed_again": True})
    messages.success(request, "Events that name this person are taken again.")
    return redirect("pages:erasure", site.sitecode, receipt.pk)


def _asked_for(request: HttpRequest, site: Site) -> people.Person:
    """The person under the parameter `id`; Http404 where there is none."""
    given = request.POST if request.method == "POST" else request.GET
    person = people.look_up(site, given.get("id", "").replace("\0", "\ufffd"))
    if person is None:
        raise Http404
    return person


def address(site: Site, page: str, id_: str) -> str:
    """Where a page about a person is."""
    return f"{reverse(f'pages:{page}', args=[site.sitecode])}?{urlencode({'id': id_})}"


def _pretty(document: object) -> str:
    """Return a document as JSON, of a long one the first SHOWN characters."""
    return visible(pretty(msgspec.json.decode(msgspec.json.encode(document, order="sorted")))[0])
