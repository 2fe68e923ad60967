"""Segments of a site: their list, one segment with its members, removal."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.http.wording import count_of
from api.insight import segments
from api.insight.segments import SegmentReport
from api.models import Role, Site
from api.models.site_days import day_of, start_of_day
from api.pages.access import get_in_site, may, page_of, show, site_page
from api.pages.charts import Chart, Series
from api.pages.confirm import ask, is_confirmed
from api.pages.people.segment_pickers import load_names
from api.pages.query_form import IdField, PlaceTimeField, QueryForm
from api.remote_data.sdk_segments import explain_withheld
from api.remote_data.segment_changes import delete_segment
from cohorts import remote_data, search
from cohorts.segment_tables import Segment
from cohorts.segments import listing
from cohorts.segments.conditions import read_conditions
from cohorts.segments.listing import ChangesOfDay
from cohorts.segments.saving import MOST_SEGMENTS, SegmentError
from cohorts.segments.sentences import describe_conditions
from goals.flags.usage import find_flags_by_segment

DAYS: Final = 30  # of the chart of entries and exits


class MembersPlace(QueryForm):
    """The end of the page before."""

    after = IdField()


class HistoryPlace(QueryForm):
    """The time and the id of the last change of the page before."""

    before = PlaceTimeField()
    id = IdField()


@site_page()
def list_segments(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List segments by name with their sizes and what uses them."""
    rows = segments.find_segments(site.pk)
    flags = find_flags_by_segment(site.pk) if rows else {}
    return show(
        request,
        "pages/segments/list.html",
        title="Segments",
        rows=[(row, flags.get(row.segment.pk, ())) for row in segments.report(site.pk, rows, now=timezone.now())],
        is_full=len(rows) >= MOST_SEGMENTS,
        most=MOST_SEGMENTS,
    )


@site_page()
def show_segment(request: HttpRequest, site: Site, segment_id: int) -> HttpResponseBase:
    """Show a segment: its size, its conditions and what uses it."""
    segment = get_in_site(Segment, site, segment_id)
    conditions = read_conditions(segment.conditions)
    return show(
        request,
        "pages/segments/segment.html",
        title=segment.name,
        tab="segment",
        segment=segment,
        report=segments.report_one(segment, now=timezone.now()),
        groups=describe_conditions(conditions, load_names(site.pk, [conditions], template=site.goal_name_template)),
        flags=find_flags_by_segment(site.pk).get(segment.pk, ()),
        key=remote_data.SEGMENTS,
        withheld=explain_withheld(site.pk).get(segment.pk, ""),
    )


@site_page()
def list_members(request: HttpRequest, site: Site, segment_id: int) -> HttpResponseBase:
    """Show a page of the members of a segment, or those whom a search finds."""
    segment = get_in_site(Segment, site, segment_id)
    now, after = timezone.now(), MembersPlace(request.GET).values["after"]
    text = request.GET.get("q", "").strip()
    if text:
        people = search.find_people(site.pk, text)
        page = listing.find_members(segment, {row.pk: (row.kind, row.value) for row in people}, now=now)
    else:
        page = listing.list_members(segment, after=after, now=now)
    return show(
        request,
        "pages/segments/members.html",
        title=segment.name,
        tab="segment-members",
        segment=segment,
        text=text,
        csv=page_of(site, "people-export", segment=str(segment.pk)) if may(request, Role.EDITOR) else "",
        members=page,
        after=after,
        most=listing.MOST_SCANNED,
        most_found=search.MOST_FOUND,
    )


@site_page()
def show_history(request: HttpRequest, site: Site, segment_id: int) -> HttpResponseBase:
    """Show the entries into a segment and the exits, newest first, and their number by day."""
    segment = get_in_site(Segment, site, segment_id)
    now, place = timezone.now(), HistoryPlace(request.GET).values
    before = (place["before"], place["id"]) if place["before"] and place["id"] is not None else None
    days = listing.count_changes(segment, since=begin_of_chart(site, now), zone=site.time_zone)
    changes = listing.list_changes(segment, before=before, limit=listing.PAGE + 1)
    older = QueryDict(mutable=True)
    if len(changes) > listing.PAGE:
        last = changes[listing.PAGE - 1]
        older.update({"before": last.at.isoformat(), "id": str(last.id)})
    return show(
        request,
        "pages/segments/history.html",
        title=segment.name,
        tab="segment-history",
        segment=segment,
        changes=changes[: listing.PAGE],
        older=older.urlencode(),
        chart=draw_changes(days, today=day_of(site, now)),
    )


@site_page(Role.EDITOR)
@require_POST
def remove_segment(request: HttpRequest, site: Site, segment_id: int) -> HttpResponseBase:
    """Delete a segment that nothing uses, after a confirmation."""
    segment = get_in_site(Segment, site, segment_id)
    page = reverse("pages:segment", args=[site.sitecode, segment.pk])
    report = segments.report_one(segment, now=timezone.now())
    if uses := name_uses(report, find_flags_by_segment(site.pk).get(segment.pk, ())):
        messages.error(request, f"Not deleted. These use the segment: {uses}. Change them first.")
        return redirect(page)
    if not is_confirmed(request):
        return ask(
            request,
            title=f"Delete the segment “{segment.name}”",
            facts=[
                f"{count_of(report.members, 'person is', 'people are')} in it.",
                "Remote data and common no longer list it, so that experiments that target it reach no one.",
            ],
            warning="Its members, entries and exits are deleted, too. This can't be undone.",
            action="Delete segment",
            back=page,
        )
    try:
        delete_segment(segment, actor=request.user, now=timezone.now())
    except SegmentError as error:
        messages.error(request, f"Not deleted. {error}")
        return redirect(page)
    messages.success(request, f"Segment “{segment.name}” deleted.")
    return redirect("pages:segments", site.sitecode)


def name_uses(report: SegmentReport, flags: Sequence[str]) -> str:
    """Return all that needs a segment, empty if nothing does."""
    return ", ".join(
        [
            *(f"segment “{each.name}”" for each in report.dependents),
            *(f"flag “{key}”" for key in flags),
            *(f"custom data {index}" for index in report.custom_data),
        ]
    )


def begin_of_chart(site: Site, now: datetime) -> datetime:
    """Return the start of the first day that `draw_changes` draws: a part of a day would look like a rise."""
    return start_of_day(site, day_of(site, now) - timedelta(days=DAYS - 1))


def draw_changes(days: Sequence[ChangesOfDay], *, today: date) -> Chart | None:
    """Return the chart of entries and exits of the last days, None without any."""
    if not days:
        return None
    by_day: Mapping[str, ChangesOfDay] = {each.day.isoformat(): each for each in days}
    shown = [today - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]
    labels = [day.isoformat() for day in shown]
    return Chart(
        labels,
        [
            Series("Entered", [by_day[day].entered if day in by_day else 0 for day in labels]),
            Series("Left", [by_day[day].left if day in by_day else 0 for day in labels], tone="warn"),
        ],
        unit="Day",
        ticks=[f"{day.day} {day:%b}" for day in shown],
    )
