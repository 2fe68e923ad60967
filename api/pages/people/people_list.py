"""People of a site: search, one person, export, erasure and its receipts."""

from datetime import UTC, datetime

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST

from api.erasure import erase, message_sweep
from api.http.wording import count_of
from api.insight import people, person_visits, segments
from api.insight.export import export
from api.models import Erasure, Role, Site
from api.models.audit import write_audit
from api.pages.access import get_in_site, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.json_text import SHOWN, pretty, visible
from api.pages.people.segment_pickers import load_names
from api.pages.query_form import read_id
from cohorts import merge, queries, search
from cohorts.personas import MOST_HISTORY
from cohorts.remote_data import LARGE_BYTES
from cohorts.segments.conditions import Conditions
from cohorts.segments.sentences import describe

NEWEST_PEOPLE = 20
RECEIPTS = 50


@site_page()
def find_people(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Search people; a single result leads to its page."""
    text = request.GET.get("q", "").strip()
    people = search.find_people(site.pk, text) if text else queries.newest(site.pk, limit=NEWEST_PEOPLE)
    if text and len(people) == 1:
        return redirect(page_of(site, "person", people[0].value))
    return show(request, "pages/people/find.html", title="People", text=text, people=people, most=search.MOST_FOUND)


@site_page()
def show_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    person = _get_person(request, site)
    public, full = people.documents_of(site, person)
    visits, exposures = person_visits.last_visits(site, person.identities)
    return show(
        request,
        "pages/people/person.html",
        title=f"Person {person.asked}",
        person=person,
        conversions=people.last_conversions(site, person.identities),
        changes=people.persona_changes(site, person.identities),
        visits=visits,
        custom_data=person_visits.list_custom_data(site, person.identities),
        exposures=exposures,
        listed=queries.listed_personas(site.pk, [fact.name for fact in person.personas]),
        most_changes=people.LAST_CHANGES,
        limits={**merge.MOST_VALUES, "history": MOST_HISTORY},
        large_bytes=LARGE_BYTES,
        keys=list(full),
        documents=[("Without a token", _format_json(public)), ("With a token", _format_json(full))],
        most_characters=SHOWN,
        most=people.MOST_SHOWN,
        last=people.LAST_CONVERSIONS,
    )


@site_page()
def explain_segments(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show for each segment whether a person is in it, by which conditions, since when and until when."""
    id_ = request.GET.get("id", "")
    reasons = segments.explain(site, id_, now=datetime.now(UTC))
    if reasons is None:
        raise Http404
    names = load_names(site.pk, [conditions_of(reason) for reason in reasons], template=site.goal_name_template)
    return show(
        request,
        "pages/people/segments.html",
        title=f"Segments of {id_}",
        asked=id_,
        rows=[
            (reason, [[(describe(each.condition, names), each) for each in group] for group in reason.groups])
            for reason in reasons
        ],
    )


def conditions_of(reason: segments.SegmentReason) -> Conditions:
    return tuple(tuple(each.condition for each in group) for group in reason.groups)


@site_page(Role.EDITOR)
def export_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Send all data of a person as one JSON file. The audit log names the export, not the person."""
    person = _get_person(request, site)
    write_audit(request.user, site, "Exported a person", None, {"identifiers": len(person.identities)})
    response = StreamingHttpResponse(export(site, person, now=datetime.now(UTC)), content_type="application/json")
    response["Content-Disposition"] = 'attachment; filename="person.json"'
    return response


@site_page(Role.OWNER)
def erase_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show what an erasure deletes; on POST erase the person."""
    person = _get_person(request, site)
    if request.method == "POST":
        try:
            receipt = erase.erase(site, person.asked, by=request.user.get_username(), now=datetime.now(UTC))
        except erase.TooManyIdentitiesError:
            most = f"{erase.MOST_IDENTITIES:,}"
            messages.error(request, f"Not erased: more than {most} identifiers are linked, which can’t be one person.")
            return redirect(page_of(site, "person", person.asked))
        if receipt is None:  # another request erased the person meanwhile
            return redirect("pages:erasures", site.sitecode)
        write_audit(request.user, site, f"Erased a person: receipt {receipt.pk}", None, {"receipt": receipt.pk})
        messages.success(request, "Erased. The other events and tables are being searched.")
        return redirect("pages:erasure", site.sitecode, receipt.pk)
    return show(request, "pages/people/erase.html", title=f"Erase the person {person.asked}", person=person)


@site_page()
def list_erasures(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List receipts, newest first."""
    receipts = site.erasures.order_by("-pk")
    before = read_id(request.GET.get("before"))
    if before is not None:
        receipts = receipts.filter(pk__lt=before)
    rows = list(receipts[: RECEIPTS + 1])
    return show(
        request,
        "pages/people/erasures.html",
        title="Erased people",
        receipts=rows[:RECEIPTS],
        next=rows[RECEIPTS - 1].pk if len(rows) > RECEIPTS else None,
    )


@site_page()
def show_erasure(request: HttpRequest, site: Site, erasure_id: int) -> HttpResponseBase:
    receipt = get_in_site(Erasure, site, erasure_id)
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
        left=replaced.get(message_sweep.LEFT_EVENTS, 0),
        emptied=replaced.get(message_sweep.EMPTIED, 0),
    )


@site_page(Role.OWNER)
@require_POST
def allow_again(request: HttpRequest, site: Site, erasure_id: int) -> HttpResponseBase:
    """Allow events of an erased person again, after a confirmation."""
    receipt = get_in_site(Erasure, site, erasure_id, finished_at__isnull=False)
    if not receipt.is_allowed_again:
        if not is_confirmed(request):
            return ask(
                request,
                title="Allow events again",
                facts=[
                    f"{count_of(len(receipt.hashes), 'identifier')} erased on {receipt.created_at:%Y-%m-%d %H:%M} UTC.",
                    "Events with one of them are dropped now. If you allow them, the person can come back.",
                ],
                action="Allow events again",
                back=reverse("pages:erasure", args=[site.sitecode, receipt.pk]),
            )
        erase.allow_again(receipt)
        what = f"Allowed events of the erased person again: receipt {receipt.pk}"
        write_audit(request.user, site, what, {"is_allowed_again": False}, {"is_allowed_again": True})
    messages.success(request, "Events of this person are accepted again.")
    return redirect("pages:erasure", site.sitecode, receipt.pk)


def _get_person(request: HttpRequest, site: Site) -> people.Person:
    """Return the person with the identifier `id` of the request. Raises Http404."""
    person = people.look_up(site, (request.POST if request.method == "POST" else request.GET).get("id", ""))
    if person is None:
        raise Http404
    return person


def page_of(site: Site, page: str, id_: str) -> str:
    """Return the address of a page of a person."""
    return f"{reverse(f'pages:{page}', args=[site.sitecode])}?{urlencode({'id': id_})}"


def _format_json(document: object) -> str:
    """Return a document as JSON, at most SHOWN characters of it."""
    return visible(pretty(msgspec.json.decode(msgspec.json.encode(document, order="sorted")))[0])
