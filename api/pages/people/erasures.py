"""Erasure of people, and its receipts."""

from datetime import UTC, datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from api.erasure import erase, message_sweep
from api.http.wording import count_of
from api.models import Erasure, Role, Site
from api.models.audit import write_audit
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.people.person import get_person
from api.pages.query_form import read_id

RECEIPTS = 50


@site_page(Role.OWNER)
def erase_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show what an erasure deletes; on POST erase the person."""
    person = get_person(request, site)
    if request.method == "POST":
        try:
            receipt = erase.erase(site, person.asked, by=request.user.get_username(), now=datetime.now(UTC))
        except erase.TooManyIdentitiesError:
            most = f"{erase.MOST_IDENTITIES:,}"
            messages.error(request, f"Not erased: more than {most} identifiers are linked, which can’t be one person.")
            return redirect(page_of(site, "person", id=person.asked))
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
