"""The home page of a site: what came in, what waits, and what needs a person."""

import html
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from api.alerts import evaluate
from api.alerts.conditions import ConditionResult
from api.http.refused_keys import KeyProblem
from api.ingest.provisioning import create_site, create_source
from api.models import Alert, DuplicateSources, Site, Source, SourceCount
from api.pages import home
from api.pages.attention import PLACES
from api.templatetags.figures import in_zone
from goals import totals as goal_totals
from goals.models import Conversion, Goal, GoalCreation
from goals.reports import site_periods
from goals.visitor_totals import CountedConversion
from tests.support.messages import store_message
from tests.support.pages import Enter, text_of
from tests.world import World

PATH = "/admin/s/1q2w3e4r5t/"


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
        site_id=goal.site_id,
        goal=goal,
        visitor_code="v",
        keyed_by=0,
        occurred_at=at,
        message_key=f"{goal.pk} {at} {uuid4()}",
    )
    goal_totals.count_conversions(goal.site_id, [CountedConversion((goal.pk, "v"), at, None, None)])


def look(person: Client) -> str:
    return html.unescape(text_of(person.get(PATH)))


def test_home__of_a_new_site__says_where_to_begin(viewer: Client) -> None:
    shown = look(viewer)

    assert "No events yet" in shown
    assert ("Top goals" in shown, "data-chart" in shown, "Delivery</a>, last" in shown) == (False, False, False)
    assert 'id="needs"' not in shown
    assert 'data-copy="1q2w3e4r5t"' in shown  # promise K-39


def test_home__figures__add_up_to_what_happened(viewer: Client, site: Site, source: Source) -> None:
    now = timezone.now()
    count(source, hours=0, received=5, rejected=2)
    count(source, hours=12 * 24, received=7)
    goal = Goal.objects.create(site=site, name="Buy")
    for days in (0, 12, 20, 33, 40):
        convert(goal, at=now - timedelta(days=days))
    store(site, "deferred", at=now)
    other = create_site(name="Another")
    count(other.sources.get(), hours=0, received=50)
    convert(Goal.objects.create(site=other, name="Buy"), at=now)
    store(other, "deferred", at=now)

    context = viewer.get(f"{PATH}?range=28d").context

    assert [(card.label, card.value, card.before) for card in context["cards"]] == [
        ("Conversions", "3", "2"),
        ("Converting visitors", "1", "1"),
    ]
    line = context["chart"].series[0].values
    assert (len(line), line[-1], line[-13], sum(line)) == (28, 1, 1, 3)
    assert [(each.goal, each.conversions, each.before) for each in context["top"]] == [(goal, 3, 2)]
    delivery = context["delivery"]
    assert (delivery.received, delivery.rejected, delivery.queued, delivery.failed) == (5, 2, 1, 0)


@pytest.mark.parametrize(
    ("range_", "compare", "age"),
    [
        ("today", "previous", timedelta(weeks=1)),
        ("24h", "previous", timedelta(hours=24)),
        ("24h", "year", timedelta(weeks=52)),
        ("7d", "previous", timedelta(weeks=1)),
        ("28d", "year", timedelta(weeks=52)),
        ("90d", "previous", timedelta(weeks=13)),
        ("90d", "none", timedelta()),
    ],
)
def test_home__chart__has_the_range_and_the_compared_one(
    viewer: Client, site: Site, range_: str, compare: str, age: timedelta
) -> None:
    now = timezone.now()
    goal = Goal.objects.create(site=site, name="Buy")
    for at in (now, now, now - age, now - timedelta(days=500)):
        convert(goal, at=at)

    chart = viewer.get(f"{PATH}?range={range_}&compare={compare}").context["chart"]

    steps = {"24h": 24, "7d": 7, "28d": 28, "90d": 90}.get(range_, len(chart.labels))
    totals = [(len(row.values), row.values[-1], sum(row.values)) for row in chart.series]
    is_compared = compare != "none"
    assert totals == [(steps, 3 - is_compared, 3 - is_compared), (steps, 1, 1)][: 1 + is_compared]


def test_home__chart_of_a_long_range__is_by_week(viewer: Client, site: Site) -> None:
    now = timezone.now()
    goal = Goal.objects.create(site=site, name="Buy")
    for days in (0, 100):
        convert(goal, at=now - timedelta(days=days))

    query = f"from={(now - timedelta(days=100)).date()}&to={now.date()}&compare=none"
    chart = viewer.get(f"{PATH}?{query}").context["chart"]

    values = chart.series[0].values
    assert (len(values) in {15, 16}, values[0], values[-1], sum(values)) == (True, 1, 1, 2)
    assert viewer.get(f"{PATH}?{query}&step=hour").context["chart"] is None  # 2,424 points


def test_home__chart_of_hours_that_are_too_many_to_read__is_by_day(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (site_periods, home):
        monkeypatch.setattr(module, "MOST_READ", 1)
    goal = Goal.objects.create(site=site, name="Buy")
    for _ in range(2):
        convert(goal, at=timezone.now())

    assert viewer.get(f"{PATH}?range=today").context["chart"].series[0].values == [2]
    hours = viewer.get(f"{PATH}?range=24h")
    assert hours.context["chart"] is None
    assert "No chart: too many conversions" in text_of(hours)


@pytest.mark.parametrize("range_", ["today", "24h", "7d", "28d", "90d", "month", "last-month"])
def test_home__of_any_range__has_its_conversions_and_revenue(world: World, viewer: Client, range_: str) -> None:
    at = timezone.now().replace(minute=0) - timedelta(days=40)
    world.track("Buy", timestamp=at.isoformat(), properties={"revenue": 5, "currency": "EUR"})
    world.track("Buy", timestamp=timezone.now().isoformat(), properties={"revenue": 7, "currency": "EUR"})

    context = viewer.get(f"{PATH}?range={range_}").context

    shown = context["range"]
    found = Conversion.objects.filter(occurred_at__gte=shown.begin)
    found = found if shown.is_running else found.filter(occurred_at__lt=shown.end)
    cards = {card.label: card.value for card in context["cards"]}
    assert cards["Conversions"] == str(found.count())
    assert cards["Revenue"] == f"EUR {sum((row.revenue or 0 for row in found), Decimal()):.2f}"


def test_home__goals__are_the_largest_and_those_that_changed_most(viewer: Client, site: Site) -> None:
    now = timezone.now()
    for number in range(7):
        goal = Goal.objects.create(site=site, name=f"Goal {number}")
        for _ in range(10 - number):
            convert(goal, at=now - timedelta(minutes=number))
    for _ in range(8):
        convert(goal, at=now - timedelta(days=9))

    page = viewer.get(f"{PATH}?range=7d")

    assert [each.goal.name for each in page.context["top"]] == [f"Goal {number}" for number in range(5)]
    assert [(each.goal.name, each.change.text) for each in page.context["movers"]] == [
        ("Goal 5", "new"),
        ("Goal 6", "▼ 50 %"),
    ]
    assert "Other big changes" in text_of(page)


def test_home__of_more_conversions_than_are_read__counts_no_visitors(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_periods, "MOST_READ", 1)
    goal = Goal.objects.create(site=site, name="Buy")
    for _ in range(2):
        convert(goal, at=timezone.now())

    assert [card.value for card in viewer.get(PATH).context["cards"]] == ["2", "–"]


def test_home__state__is_counted_worst_first_and_in_the_title(viewer: Client, site: Site, source: Source) -> None:
    count(source, hours=50, received=1)
    assert "All well" not in look(viewer)
    store(site, "failed", at=timezone.now())

    page = viewer.get(PATH)

    needs = page.context["needs"]
    assert [need.is_grave for need in needs] == [True, False]
    assert "failed" in needs[0].sentence
    assert "2 things need attention" in text_of(page)
    assert re.search(r"<title>\s*\(2\) Home", text_of(page))


def test_home__where_nothing_is_wrong__says_so(viewer: Client, source: Source) -> None:
    count(source, hours=1, received=1)

    shown = look(viewer)

    assert "All well" in shown
    assert 'id="needs"' not in shown
    assert re.search(r"<title>\s*Home", shown)


@pytest.mark.parametrize(("limit", "is_shown"), [(2, True), (50, False)])
def test_home__new_goal_limit__is_shown_when_little_is_left(
    world: World, viewer: Client, *, limit: int, is_shown: bool
) -> None:
    world.change_site(goals_per_10_seconds=limit)
    GoalCreation.objects.bulk_create([GoalCreation(site=world.site, created_at=timezone.now()) for _ in range(2)])

    assert ("0 of 2 left" in look(viewer)) == is_shown
    assert ("New-goal limit" in look(viewer)) == is_shown


def test_home__alerts_of_one_condition__are_one_line(enter: Enter, site: Site) -> None:
    now = timezone.now()
    for name, condition in (("Slow", "lag"), ("Slower", "lag"), ("Quiet", "silence")):
        alert = Alert.objects.create(site=site, name=name, condition=condition, threshold=5)
        evaluate.update_state(alert, ConditionResult(holds=True, sentence=f"{name} is so."), now=now)

    needs = [need.sentence for need in enter("owner").get(PATH).context["needs"]]

    assert any(sentence.startswith("Alerts “Slow”, “Slower” have been firing") for sentence in needs)
    assert any(sentence.startswith("Alert “Quiet” has been firing") for sentence in needs)


def test_home__of_many_needs__shows_three_and_folds_the_rest(enter: Enter, site: Site) -> None:
    for condition in ("lag", "silence", "failed", "queue"):
        alert = Alert.objects.create(site=site, name=condition, condition=condition, threshold=5)
        evaluate.update_state(alert, ConditionResult(holds=True, sentence="It is so."), now=timezone.now())

    shown, folded = look(enter("owner")).split("<summary>and 1 more</summary>")

    assert "4 things need attention" in shown
    assert (shown.count("been firing"), folded.count("been firing")) == (3, 1)


def test_home__figures__are_of_now(viewer: Client, site: Site) -> None:
    now = timezone.now()
    store(site, "pending", at=now - timedelta(hours=2))
    store(site, "done", at=now - timedelta(seconds=10), digested_at=now - timedelta(seconds=7))
    GoalCreation.objects.bulk_create(
        [GoalCreation(site=site, created_at=now), GoalCreation(site=site, created_at=now - timedelta(minutes=30))]
    )

    response = viewer.get(PATH)

    context = response.context
    assert (context["delivery"].queued, context["delivery"].lag.p50) == (1, 3.0)
    assert context["rooms"][1].left == 998
    shown = html.unescape(text_of(response))
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
def test_home__of_much__takes_twelve_queries(
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

    with django_assert_max_num_queries(12):
        look(viewer)


@pytest.mark.parametrize(
    ("who", "status"),
    [("viewer", 200), ("editor", 200), ("owner", 200), ("outsider", 404), ("anonymous", 302)],
)
def test_home__whoever_asks__gets_what_is_theirs(enter: Enter, who: str, status: int) -> None:
    assert enter(who).get(PATH).status_code == status


def test_home__key_refused_for_any_reason__names_a_page() -> None:
    assert set(PLACES) == set(KeyProblem)
