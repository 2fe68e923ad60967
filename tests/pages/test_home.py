"""The home page of a site: what came in, what waits, and what needs a person."""

import html
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from api.alerts import evaluate
from api.alerts.conditions import ConditionResult
from api.http.refused_keys import KeyProblem
from api.ingest.provisioning import create_site, create_source
from api.models import Alert, DuplicateSources, Site, Source, SourceCount
from api.pages.home import PLACES
from api.templatetags.figures import in_zone
from goals import totals as goal_totals
from goals.models import Conversion, Goal, GoalCreation
from goals.visitor_totals import CountedConversion
from tests.support.messages import store_message
from tests.support.pages import Enter, text_of
from tests.world import World

PATH = "/admin/s/1q2w3e4r5t/"


@pytest.fixture
def site(world: World) -> Site:
    return world.site


@pytest.fixture
def viewer(enter: Enter) -> Client:
    return enter("viewer")


@pytest.fixture
def source(site: Site) -> Source:
    return create_source(site, name="Shop server", kind="server")


def store(site: Site, status: str, *, at: datetime, digested_at: datetime | None = None) -> None:
    store_message(site=site, type="track", received_at=at, occurred_at=at, status=status, digested_at=digested_at)


def count(source: Source, *, hours: float, received: int, rejected: int = 0) -> None:
    """Insert the count of a source of some hours ago."""
    at = timezone.now() - timedelta(hours=hours)
    SourceCount.objects.create(
        site_id=source.site_id,
        source=source,
        hour=at.replace(minute=0, second=0, microsecond=0),
        received=received,
        duplicates=0,
        rejected=rejected,
        last_received_at=at,
    )


def convert(goal: Goal, *, at: datetime) -> None:
    Conversion.objects.create(
        site_id=goal.site_id, goal=goal, visitor_code="v", keyed_by=0, occurred_at=at, message_key=f"{goal.pk} {at}"
    )
    goal_totals.count_conversions(goal.site_id, [CountedConversion((goal.pk, "v"), at, None, None)])


def look(person: Client) -> str:
    return html.unescape(text_of(person.get(PATH)))


def charts(person: Client) -> dict[str, dict[str, list[float]]]:
    """Return the values of each series of each chart."""
    response = person.get(PATH)
    text_of(response)
    return {
        label: {each.label: list(each.values) for each in chart.series} for label, chart in response.context["charts"]
    }


def test_home__of_a_new_site__says_where_to_begin(viewer: Client) -> None:
    shown = look(viewer)

    assert "No events yet" in shown
    assert "Needs attention" not in shown
    assert 'data-copy="1q2w3e4r5t"' in shown  # promise K-39


def test_home__charts__add_up_to_what_happened(viewer: Client, site: Site, source: Source) -> None:
    now = timezone.now()
    count(source, hours=0, received=5, rejected=2)
    count(source, hours=12 * 24, received=7)
    count(source, hours=20 * 24, received=1_000)
    goal = Goal.objects.create(site=site, name="Buy")
    convert(goal, at=now)
    convert(goal, at=now - timedelta(days=12))
    convert(goal, at=now - timedelta(days=20))
    store(site, "deferred", at=now)
    other = create_site(name="Another")
    count(other.sources.get(), hours=0, received=50)
    convert(Goal.objects.create(site=other, name="Buy"), at=now)
    store(other, "deferred", at=now)

    drawn = charts(viewer)

    totals = {label: {name: sum(values) for name, values in series.items()} for label, series in drawn.items()}
    assert totals == {
        "Last 24 hours": {"Received": 5, "Conversions": 1, "Rejected": 2, "Queued (goal limit)": 1},
        "Last 14 days": {"Received": 12, "Conversions": 2, "Rejected": 2, "Queued (goal limit)": 1},
    }
    assert {len(values) for values in drawn["Last 24 hours"].values()} == {24}
    assert {len(values) for values in drawn["Last 14 days"].values()} == {14}


def test_home__figures__are_of_now(viewer: Client, site: Site) -> None:
    now = timezone.now()
    store(site, "pending", at=now - timedelta(hours=2))
    store(site, "done", at=now - timedelta(seconds=10), digested_at=now - timedelta(seconds=7))
    GoalCreation.objects.bulk_create(
        [GoalCreation(site=site, created_at=now), GoalCreation(site=site, created_at=now - timedelta(minutes=30))]
    )

    response = viewer.get(PATH)

    context = response.context
    assert context["oldest_seconds"] >= 7_200
    assert (context["inbox"].pending, context["lag"].p50) == (1, 3.0)
    assert context["rooms"][1].left == 998
    shown = html.unescape(text_of(response))
    assert "998" in shown
    assert "3 s" in shown
    assert "queued for 2 h" in shown


@pytest.mark.parametrize("trouble", ["failed", "deferred", "twin", "off", "silent", "archived"])
def test_home__trouble__is_told_with_a_link(viewer: Client, site: Site, source: Source, trouble: str) -> None:
    now = timezone.now()
    twin = site.sources.exclude(pk=source.pk).get()
    told = {
        "failed": "1 event failed",
        "deferred": "1 event is queued: the new-goal limit (50 in 10 seconds, 1,000 an hour) is reached",
        "twin": "“Segment destination” and “Shop server” are double-counting: 12 events so far",
        "off": "“Shop server” is disabled",
        "silent": "No events from “Shop server” since",
        "archived": "The archived goal “Old” still counts conversions",
    }
    match trouble:
        case "failed" | "deferred":
            store(site, trouble, at=now)
        case "twin":
            DuplicateSources.objects.create(
                site=site, one=twin, other=source, event_name="Buy", count=12, last_seen_at=now
            )
        case "off":
            count(source, hours=1, received=1)
            Source.objects.filter(pk=source.pk).update(is_enabled=False)
        case "silent":
            count(source, hours=50, received=1)
        case "archived":
            goal = Goal.objects.create(site=site, name="Old", archived_at=now - timedelta(days=1))
            convert(goal, at=now)

    response = viewer.get(PATH)

    (need,) = response.context["needs"]
    assert told[trouble] in need.sentence
    assert all(link.startswith("/admin/") for _, link in need.actions)
    assert in_zone(need.sentence) in text_of(response)


def test_home__alert_that_fires__is_told_with_the_finding_of_its_state(enter: Enter, site: Site) -> None:
    now = timezone.now()
    alert = Alert.objects.create(site=site, name="Slow", condition="lag", threshold=5)
    evaluate.update_state(alert, ConditionResult(holds=True, sentence="It lags."), now=now - timedelta(minutes=2))
    evaluate.update_state(alert, ConditionResult(holds=False, sentence="Nothing lags."), now=now)

    for path in (PATH, f"{PATH}settings/alerts/"):
        shown = html.unescape(text_of(enter("owner").get(path)))
        assert "It lags." in shown
        assert "Nothing lags." not in shown


@pytest.mark.parametrize("rows", [1, 15])
def test_home__of_much__takes_fourteen_queries(
    viewer: Client, site: Site, django_assert_max_num_queries: Any, rows: int
) -> None:
    look(viewer)  # the session learns the site
    now = timezone.now()
    for number in range(rows):
        source = create_source(site, name=f"Source {number}", kind="server")
        count(source, hours=number, received=number)
        convert(Goal.objects.create(site=site, name=f"Goal {number}", archived_at=now - timedelta(days=1)), at=now)
        for status in ("pending", "failed", "deferred"):
            store(site, status, at=now)

    with django_assert_max_num_queries(14):
        look(viewer)


@pytest.mark.parametrize(
    ("who", "status"),
    [("viewer", 200), ("editor", 200), ("owner", 200), ("outsider", 404), ("anonymous", 302)],
)
def test_home__whoever_asks__gets_what_is_theirs(enter: Enter, who: str, status: int) -> None:
    assert enter(who).get(PATH).status_code == status


def test_home__key_refused_for_any_reason__names_a_page() -> None:
    assert set(PLACES) == set(KeyProblem)
