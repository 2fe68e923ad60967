"""The pages of one goal: figures, breakdown and conversions."""

import html
import re
from typing import Any

import pytest
from django.utils import timezone

from goals import catalogue
from goals.matching import EventName
from goals.models import Goal
from goals.naming import TEMPLATE
from tests.support.ada import ENTERED
from tests.support.goal_pages import BASE, make, page_of
from tests.support.pages import Enter, text_of
from tests.support.segments import make_segment
from tests.world import SITECODE, World


@pytest.mark.promise("K-21")
def test_goal__made_by_an_event__says_what_converts_it_and_when_last(world: World, goal: Goal, enter: Enter) -> None:
    catalogue.bind_event(goal, EventName("page", "Thank <you>"), template=TEMPLATE)

    page = text_of(enter("viewer").get(page_of(goal)))

    assert "Events that count" in page
    assert '<span class="gp-badge">track</span> <code>Buy</code>' in page
    assert '<span class="gp-badge">page</span> <code>Thank &lt;you&gt;</code>' in page
    assert 'Last event: <time datetime="2026-11-22T03:00:01Z">22 Nov 2026, 03:00:01</time>' in page
    assert "Unlink" not in page


@pytest.mark.promise("K-21")
def test_goal__made_by_hand__says_which_events_would_convert_it(world: World, enter: Enter) -> None:
    page = text_of(enter("viewer").get(page_of(make(world, "Purchase"))))

    assert page.count("<code>Purchase</code>") == 3  # track, page, screen
    assert "No events yet" in page


def test_goal__with_conversions__shows_their_curve(world: World, goal: Goal, enter: Enter) -> None:
    page = text_of(enter("viewer").get(f"{page_of(goal)}?from=2026-11-20&to=2026-11-22&step=hour"))

    assert "EUR 1,234.50" in page
    assert '<td class="gp-name">2026-11-22 03:00</td>' in page  # the chart's table
    assert page.count('<td class="gp-name">2026-11-2') == 2 * 72  # conversions and revenue by hour


@pytest.mark.parametrize("tab", ["", "breakdown/"])
@pytest.mark.parametrize(
    ("query", "says", "is_drawn"),
    [
        ("from=2026-11-29&to=2026-11-26", "From (2026-11-29) is after To (2026-11-26)", False),
        ("from=2126-11-29", "From (2126-11-29) is in the future", False),
        ("from=2026-11-20&to=2126-11-26", "To (2126-11-26) is in the future. Showing days up to today", True),
        ("from=2026-13-40", "From (“2026-13-40”) is not a date", False),
        ("to=tomorrow", "To (“tomorrow”) is not a date", False),
        ("from=0001-01-01&to=9999-12-31", "From (“0001-01-01”) and To (“9999-12-31”) are not dates", False),
    ],
)
def test_goal__of_a_span_that_cannot_be__says_so_and_swaps_nothing(
    world: World, goal: Goal, enter: Enter, *, tab: str, query: str, says: str, is_drawn: bool
) -> None:
    page = text_of(enter("viewer").get(f"{page_of(goal)}{tab}?by=source&{query}"))

    assert says in page
    assert ("<table" in page) == is_drawn


@pytest.mark.parametrize("step", ["hour", "day", "week"])
def test_goal__today__has_no_figures_of_the_hours_to_come(world: World, goal: Goal, enter: Enter, step: str) -> None:
    now = timezone.now()

    page: Any = enter("viewer").get(f"{page_of(goal)}?from={now:%Y-%m-%d}&to={now:%Y-%m-%d}&step={step}")

    drawn = page.context["chart"].labels
    assert len(drawn) == (now.hour + 1 if step == "hour" else 1)


@pytest.mark.promise("K-87")
@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("by=property&path=plan", ["&lt;b&gt;free&lt;/b&gt;", "pro"]),
        ("by=property&path=plan.deeper", None),
        ("by=currency", ["(none)", "EUR"]),
        ("by=source", ["Segment destination"]),
        ("by=trait&path=plan", ["(none)", "now"]),
        ("by=group", ["(none)", "acme"]),
        ("by=persona", ["(none)", "vip"]),
        ("by=segment", ["(none)", "Vips"]),
        ("by=goal", ["(none)", "track Other"]),
        ("by=property", ["&lt;b&gt;free&lt;/b&gt;", "pro"]),  # the most useful one
        ("", ["&lt;b&gt;free&lt;/b&gt;", "pro"]),
        ("by=trait", None),
        ("by=trait:plan", ["(none)", "now"]),
        ("by=x&path=plan", ["&lt;b&gt;free&lt;/b&gt;", "pro"]),
    ],
)
def test_goal__broken_down__shows_the_parts(
    world: World, goal: Goal, enter: Enter, query: str, parts: list[str] | None
) -> None:
    world.identify(userId="u1", traits={"plan": "now"})
    world.send(world.event("group", userId="u1", groupId="acme"), world.event("track", userId="u1", **ENTERED))
    world.track("Other", userId="u2")
    make_segment(world.site, [{"on": "persona", "name": "vip"}], name="Vips")

    page = text_of(enter("viewer").get(f"{page_of(goal)}breakdown/?from=2026-11-20&to=2026-11-22&{query}"))

    table = page.partition('aria-label="Breakdown"')[2].partition("</table>")[0]
    names = re.findall(r'<td class="gp-name"><span [^>]*>(.*?)</span>', table)
    assert sorted(re.sub("</?a.*?>", "", name) for name in names) == (parts or [])


@pytest.mark.promise("K-87")
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("only=persona&value=vip", "Filtered: 1 conversion"),
        ("only=trait&trait=plan&value=now", "Filtered: 1 conversion"),
        ("only=goal&value=SegmentIO track – Other", "1 conversion, 1 visit, 1 visitor."),
        ("only=goal&value=9", "No other goal has the ID or name “9”."),
        ("only=goal&value=segmentio+track - other", ">track Other</a>"),
        ("only=persona&value=VI P", "This site has no persona “VI P”."),
        ("only=persona&value=VI P", "only=persona%3Avip"),
        ("only=persona&value=left", "Filtered: 0 conversions"),
        ("only=segment&value=Vips", "Filtered: 1 conversion"),
        ("only=segment&value=vip", "This site has no segment “vip”."),
        ("only=segment&value=vip", "only=segment%3AVips"),
        ("only=group&value=acne", "This site has no group “acne”."),
        ("only=group&value=acne", "only=group%3Aacme"),
        ("only=trait&trait=plna&value=now", "None of these visitors has a trait “plna”."),
        ("only=trait&trait=plna&value=now", "only=trait%3Aplan%3Anow"),
        ("only=trait&trait=plan&value=Now", "None of these visitors has the value “Now” of this trait."),
        ("only=trait&trait=plan&value=Now", "only=trait%3Aplan%3Anow"),
        ("by=property&path=paln", "None of these conversions has a property “paln”."),
        ("by=property&path=paln", "path=plan"),
        ("by=trait&path=paln", "None of these visitors has a trait “paln”."),
        ("by=trait&path=paln", "path=plan"),
        ("only=persona:vip", "Filtered: 1 conversion"),
        ("only=persona:VI P", "This site has no persona “VI P”."),
        ("only=trait:plan:now", "Filtered: 1 conversion"),
        ("only=trait&value=now", "Enter the value to filter by"),
        ("only=x&value=now", "There is no filter “x”."),
    ],
)
def test_goal__broken_down_of_some_visitors__says_whose(
    world: World, goal: Goal, enter: Enter, query: str, says: str
) -> None:
    world.identify(userId="u1", traits={"plan": "now"})
    left: dict[str, Any] = {"event": "Audience Exited", "properties": {"audience_key": "left", "left": False}}
    world.send(
        world.event("track", userId="u1", **ENTERED),
        world.event("track", userId="u1", **left),
        world.event("group", userId="u1", groupId="acme"),
    )
    world.track("Other", userId="u2")
    make_segment(world.site, [{"on": "persona", "name": "vip"}], name="Vips")

    page = text_of(enter("viewer").get(f"{page_of(goal)}breakdown/?from=2026-11-20&to=2026-11-22&by=currency&{query}"))

    assert says in page


@pytest.mark.parametrize(
    "query",
    ["from=1990-01-01&step=hour", "from=x&to=9999-12-31&step=x", "from=2026-11-22&to=2026-01-01", "from=0001-01-01"],
)
def test_goal__with_an_odd_time__still_opens(world: World, goal: Goal, enter: Enter, query: str) -> None:
    page = text_of(enter("viewer").get(f"{page_of(goal)}?{query}&by=currency"))

    assert ("Too many points for one chart" in page) == ("1990" in query)


def test_conversions__of_a_goal__come_in_pages_with_their_messages(world: World, goal: Goal, enter: Enter) -> None:
    world.send(*(world.event("track", event="Buy", at=-number, messageId=None) for number in range(50)))
    viewer = enter("viewer")

    first = viewer.get(f"{page_of(goal, 'conversions/')}?from=2026-11-20&to=2026-11-22")
    (older,) = re.findall(r'href="(\?before=.*?)"', text_of(first))
    second = viewer.get(page_of(goal, "conversions/") + html.unescape(older))

    shown = [*first.context["rows"], *second.context["rows"]]
    times = [each.conversion.occurred_at for each in shown]
    assert (len(first.context["rows"]), len({row.message_id for row in shown}), times) == (
        50,
        52,
        sorted(times, reverse=True),
    )
    assert viewer.get(f"/admin/s/{SITECODE}/events/{shown[-1].message_id}/").status_code == 200
    assert f"/events/{shown[-1].message_id}/" in text_of(second)
    assert "EUR 1,234.50" in text_of(first)
    assert 'href="?before' not in text_of(second)


@pytest.mark.parametrize(
    "query", ["before=x&id=1", "before=2026-11-22&id=1", "before=2026-11-22T03:00:00Z&id=x", "id=1"]
)
def test_conversions__from_an_odd_place__begin_with_the_newest(
    world: World, goal: Goal, enter: Enter, query: str
) -> None:
    assert (
        len(enter("viewer").get(f"{page_of(goal)}conversions/?from=2026-11-20&to=2026-11-22&{query}").context["rows"])
        == 2
    )


@pytest.mark.parametrize("path", ["", "breakdown/", "conversions/", "edit/", "delete/"])
def test_goal__of_another_site_or_deleted__is_not_there(world: World, goal: Goal, enter: Enter, path: str) -> None:
    from api.ingest.provisioning import create_site

    elsewhere = catalogue.create_goal(Goal(site=create_site(name="Elsewhere"), name="X"), template=TEMPLATE)
    catalogue.delete_goal(goal, now=timezone.now())

    for each in (goal.pk, elsewhere.pk, 10**17, 10**30):
        assert enter("editor").get(f"{BASE}{each}/{path}").status_code == 404
