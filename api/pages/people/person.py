"""A person of a site: what is known, the segments with their reasons, the export."""

from datetime import UTC, date, datetime
from itertools import groupby
from typing import Final

import msgspec
from django import forms
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.utils.http import urlencode

from api.insight import people, person_visits, segments
from api.insight.export import export
from api.insight.person_rows import describe_person
from api.insight.timeline import (
    MOST_SKIPPED,
    MOST_SPELLED,
    SEARCHED_EVENTS,
    Moment,
    MomentKind,
    TimelinePlace,
    load_timeline,
)
from api.models import Role, Site
from api.models.audit import write_audit
from api.pages.access import show, site_page
from api.pages.json_text import SHOWN, pretty, visible
from api.pages.people.segment_pickers import load_names
from api.pages.query_form import PlaceTimeField, QueryForm
from cohorts import merge, queries
from cohorts.personas import MOST_HISTORY
from cohorts.remote_data import LARGE_BYTES
from cohorts.segments.conditions import Conditions
from cohorts.segments.listing import load_segments
from cohorts.segments.sentences import describe

LABELS: Final = {
    MomentKind.CONVERSION: "Conversions",
    MomentKind.EVENT: "Other events",
    MomentKind.PAGE: "Page views",
    MomentKind.EXPOSURE: "Exposures",
    MomentKind.PERSONA: "Personas",
    MomentKind.SEGMENT: "Segments",
    MomentKind.LINK: "Links",
}


class TimelineQuery(QueryForm):
    """The person, the kinds of moments, and where the page of them begins."""

    id = forms.CharField(max_length=255, strip=False)
    kind = forms.MultipleChoiceField(choices=list(LABELS.items()))
    before = PlaceTimeField()
    skip = forms.IntegerField(min_value=0, max_value=MOST_SKIPPED)

    @property
    def place(self) -> TimelinePlace | None:
        before = self.values["before"]
        return None if before is None else TimelinePlace(before, self.values["skip"] or 0)

    @property
    def kept(self) -> str:
        """Return the query string of the first page."""
        return urlencode([("id", self.values["id"]), *(("kind", kind) for kind in self.values["kind"])])

    def link_to(self, place: TimelinePlace) -> str:
        return f"{self.kept}&{urlencode({'before': place.before.isoformat(), 'skip': str(place.skip)})}"


@site_page()
def show_person(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show a person: name, audiences, traits, and all that happened in one timeline."""
    person, query = get_person(request, site), TimelineQuery(request.GET)
    public, full = people.documents_of(site, person)
    visits = person_visits.last_visits(site, person.identities)
    kinds = frozenset(MomentKind(kind) for kind in query.values["kind"]) or frozenset(MomentKind)
    timeline = load_timeline(site, person, kinds=kinds, place=query.place)
    traits = {fact.name: fact.value for fact in person.traits}
    root = next((each for each in person.identities if each.parent_value is None), person.identities[0])
    row = describe_person(root.kind, root.value, traits)
    return show(
        request,
        "pages/people/person.html",
        title=row.label,
        person=person,
        row=row,
        timeline=timeline,
        days=[(day, list(moments)) for day, moments in groupby(timeline.moments, key=day_of)],
        place=query.place,
        kinds=[(kind, label, kind in kinds and len(kinds) < len(MomentKind)) for kind, label in LABELS.items()],
        kept=query.kept,
        older="" if timeline.next is None else query.link_to(timeline.next),
        segments=load_segments(site.pk, [identity.pk for identity in person.identities], now=datetime.now(UTC)),
        visits=visits,
        custom_data=person_visits.list_custom_data(site, person.identities),
        listed=queries.listed_personas(site.pk, [fact.name for fact in person.personas]),
        limits={**merge.MOST_VALUES, "history": MOST_HISTORY},
        large_bytes=LARGE_BYTES,
        searched=SEARCHED_EVENTS,
        most_skipped=MOST_SKIPPED,
        most_spelled=MOST_SPELLED,
        keys=list(full),
        documents=[("Without a token", _format_json(public)), ("With a token", _format_json(full))],
        most_characters=SHOWN,
        most=people.MOST_SHOWN,
    )


def day_of(moment: Moment) -> date:
    """Return the day of a moment in the zone of the page, in UTC if that has no such day."""
    try:
        return timezone.localtime(moment.at).date()
    except OverflowError:
        return moment.at.date()


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
    person = get_person(request, site)
    write_audit(request.user, site, "Exported a person", None, {"identifiers": len(person.identities)})
    response = StreamingHttpResponse(export(site, person, now=datetime.now(UTC)), content_type="application/json")
    response["Content-Disposition"] = 'attachment; filename="person.json"'
    return response


def get_person(request: HttpRequest, site: Site) -> people.Person:
    """Return the person with the identifier `id` of the request. Raises Http404."""
    person = people.look_up(site, (request.POST if request.method == "POST" else request.GET).get("id", ""))
    if person is None:
        raise Http404
    return person


def _format_json(document: object) -> str:
    """Return a document as JSON, at most SHOWN characters of it."""
    return visible(pretty(msgspec.json.decode(msgspec.json.encode(document, order="sorted")))[0])
