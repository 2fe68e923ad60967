"""Days of figures in the zone of the site, before, while and after a worker counts them again."""

from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta, tzinfo
from threading import Event

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from api import tasks
from api.digest import recounts
from api.models import Site, validate_time_zone
from goals import day_zones, totals
from goals.list_order import GoalOrder, find_goal_ids
from goals.models import Goal, GoalDay
from goals.queries import GoalFilter
from goals.reports.periods import load_period
from goals.reports.series import SeriesStep, list_step_starts, load_series
from goals.reports.site_periods import ChartSpan, load_site_periods
from goals.reports.summaries import summarise_goals
from goals.visitor_totals import CountedConversion
from tests.goals.recount import assert_exact
from tests.support.concurrency import count_lock_waits, in_threads, wait_until
from tests.support.verifying import found_by_verify
from tests.world import World
from zones import day_of, end_of, find_zone, list_zones, start_of, start_of_minute

ZURICH, KOLKATA, HAVANA = "Europe/Zurich", "Asia/Kolkata", "America/Havana"
LATE = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)  # the 21st in Zurich and in Kolkata, the 20th in Havana
NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def track(world: World, at: datetime, name: str = "Buy", *, user: str = "u1") -> None:
    world.track(name, timestamp=at.isoformat(), userId=user)


def days_of(name: str = "Buy") -> dict[str, int]:
    rows = GoalDay.objects.filter(goal__name__endswith=name, conversions__gt=0)
    return {str(row.day): row.conversions for row in rows}


def test_days__after_a_change_of_zone__are_counted_again_goal_by_goal(world: World) -> None:
    for name in ("Buy", "Order"):
        track(world, LATE, name)
    assert days_of() == days_of("Order") == {"2026-11-20": 1}
    assert tasks.recount_days.run() is None
    assert days_of() == {"2026-11-20": 1}

    world.change_site(time_zone=KOLKATA)
    assert day_zones.list_sites_to_recount() == [(world.site.pk, KOLKATA)]
    assert not found_by_verify()

    assert day_zones.recount_next(world.site.pk, KOLKATA)
    assert (days_of(), days_of("Order")) == ({"2026-11-21": 1}, {"2026-11-20": 1})
    assert not found_by_verify()
    for name in ("Buy", "Order"):  # each counts by its own zone meanwhile
        track(world, LATE, name, user="u2")
    assert (days_of(), days_of("Order")) == ({"2026-11-21": 2}, {"2026-11-20": 2})

    tasks.recount_days.run()
    assert days_of() == days_of("Order") == {"2026-11-21": 2}
    assert set(Goal.objects.values_list("day_zone", flat=True)) == {KOLKATA}
    assert day_zones.list_sites_to_recount() == []
    assert not found_by_verify()
    assert_exact()


def test_goal__of_a_site__begins_with_the_zone_of_the_site(world: World) -> None:
    world.change_site(time_zone=ZURICH)
    track(world, LATE)
    Goal.objects.create(site=world.site, name="By hand")

    assert set(Goal.objects.values_list("day_zone", flat=True)) == {ZURICH}
    assert days_of() == {"2026-11-21": 1}


def test_recount__of_a_site_with_many_goals__delays_no_other(world: World) -> None:
    for name in ("A", "B", "C"):
        track(world, LATE, name)
    other = Site.objects.create(name="Other", sitecode="abcdefghij")
    Goal.objects.create(site=other, name="D")
    Site.objects.update(time_zone=ZURICH)

    assert recounts.recount_next_of_each()

    assert sorted(Goal.objects.filter(day_zone=ZURICH).values_list("name", flat=True)) == [
        "D",
        "SegmentIO track – A",
    ]
    assert day_zones.count_goals_to_recount(world.site.pk, ZURICH) == 2


def test_recount__of_a_site_in_trouble__delays_no_other(world: World) -> None:
    track(world, LATE)
    other = Site.objects.create(name="Other", sitecode="abcdefghij", time_zone=ZURICH)
    goal = Goal.objects.create(site=other, name="D", day_zone=KOLKATA)
    world.change_site(time_zone="Mars/Olympus")  # this machine knows it, and the database does not

    tasks.recount_days.run()

    goal.refresh_from_db()
    assert goal.day_zone == ZURICH
    assert days_of() == {"2026-11-20": 1}
    assert day_zones.list_sites_to_recount() == [(world.site.pk, "Mars/Olympus")]


def test_recount__of_deleted_goals__is_left_out(world: World) -> None:
    track(world, LATE)
    Goal.objects.update(deleted_at=NOW)
    world.change_site(time_zone=ZURICH)

    assert day_zones.list_sites_to_recount() == []


@pytest.mark.parametrize(("zone", "line"), [("UTC", (1, 0, 0)), (KOLKATA, (0, 1, 0)), (HAVANA, (1, 0, 0))])
def test_reports__of_a_site__are_by_its_days(world: World, zone: str, line: tuple[int, ...]) -> None:
    world.change_site(time_zone=zone)
    track(world, LATE)
    goal = Goal.objects.get()

    assert summarise_goals(goal.site_id, [goal], now=NOW)[goal.pk].line[-3:] == line
    points = load_series(
        goal, begin=start_of(date(2026, 11, 20), find_zone(zone)), end=NOW, step=SeriesStep.DAY, zone=find_zone(zone)
    )
    assert tuple(point.conversions for point in points) == line
    for day, conversions in zip((20, 21, 22), line, strict=True):
        begin, end = (edge(date(2026, 11, day), find_zone(zone)) for edge in (start_of, end_of))
        assert load_period(goal.site_id, [goal], begin=begin, end=end)[goal.pk].conversions == conversions
        days = ChartSpan(date(2026, 11, 20), date(2026, 11, 22), begin, end)
        seen = load_site_periods(goal.site_id, [(begin, end)], line=[days], zone=zone)
        assert seen.totals[0].conversions == conversions
        assert sum(seen.days.values()) == 1


def test_month__of_a_goal__begins_in_its_zone(world: World) -> None:
    world.change_site(time_zone=KOLKATA)
    now = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)  # the 22nd there, whose month begins on 24 October
    for hour, name in ((18, "Before"), (19, "Within")):  # midnight there is at 18:30
        track(world, datetime(2026, 10, 23, hour, 0, tzinfo=UTC), name)
    before, within = Goal.objects.order_by("name")

    seen = summarise_goals(world.site.pk, [before, within], now=now)

    assert [seen[goal.pk].last_30_days.visitors for goal in (before, within)] == [0, 1]
    assert [seen[goal.pk].last_30_days.conversions for goal in (before, within)] == [0, 1]
    order = GoalOrder("conversions30d", is_descending=True)
    assert find_goal_ids([world.site.pk], GoalFilter(), now=now, order=order) == [within.pk, before.pk]


@pytest.mark.parametrize("zone", [ZURICH, KOLKATA, HAVANA, "Asia/Beirut", "Pacific/Apia", "Australia/Lord_Howe"])
@pytest.mark.django_db
def test_start_of_a_day__in_the_database__is_the_one_of_pages(zone: str) -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]

    with connection.cursor() as cursor:
        cursor.execute("SELECT goalpost_day_start(day, %s) FROM unnest(%s::date[]) AS day", [zone, days])
        found = [row[0] for row in cursor.fetchall()]

    assert found == [start_of(day, find_zone(zone)) for day in days]


def test_zones__since_1973__change_at_whole_minutes() -> None:
    times = [datetime(1973, 1, 1, tzinfo=UTC) + timedelta(days=20 * number) for number in range(1_000)]
    for zone in map(find_zone, list_zones()):
        offsets = [time.astimezone(zone).utcoffset() or timedelta() for time in times]
        assert not any(offset % MINUTE for offset in set(offsets))
        for time, before, after in zip(times, offsets, offsets[1:], strict=False):
            if before != after:
                assert find_change(time, zone).second == 0


def find_change(since: datetime, zone: tzinfo) -> datetime:
    """Return the second at which the offset of a zone changes within 20 days."""
    before = since.astimezone(zone).utcoffset()
    seconds = bisect_left(
        range(20 * 24 * 3600),
        1,
        key=lambda second: int((since + timedelta(seconds=second)).astimezone(zone).utcoffset() != before),
    )
    return since + timedelta(seconds=seconds)


def test_minute__of_a_time_before_1973__may_be_of_two_days() -> None:
    zone = find_zone("Africa/Monrovia")  # 44 minutes and 30 seconds behind UTC
    times = [datetime(1971, 5, 1, 0, 44, second, tzinfo=UTC) for second in (29, 30)]

    assert [day_of(start_of_minute(at), zone).day for at in times] == [30, 1]


def test_days__of_times_within_a_minute__are_counted_together(world: World) -> None:
    world.change_site(time_zone=KOLKATA)
    midnight = datetime(2026, 11, 20, 18, 30, tzinfo=UTC)
    for second in (-31, -30, -1, 0, 29, 59):
        for money in ({"revenue": 1.25}, {"revenue": 2, "currency": "EUR"}, {}):
            at = (midnight + timedelta(seconds=second)).isoformat()
            world.post(world.event(event="Buy", timestamp=at, userId=f"u{second}", properties=money))
    world.digest()

    assert days_of() == {"2026-11-20": 9, "2026-11-21": 9}
    assert_exact()


def test_steps__of_hours__begin_with_the_hours_of_the_zone() -> None:
    (first, *_, last) = list_step_starts(LATE, LATE + timedelta(hours=3), SeriesStep.HOUR, zone=find_zone(KOLKATA))

    assert (first, last) == (LATE, LATE + timedelta(hours=2))
    assert list_step_starts(LATE, LATE + timedelta(hours=1), SeriesStep.HOUR, zone=UTC)[0] == LATE.replace(minute=0)


def test_steps__of_days_with_23_and_25_hours__begin_at_midnight() -> None:
    zone = find_zone(ZURICH)
    starts = list_step_starts(
        start_of(date(2026, 10, 24), zone), start_of(date(2026, 10, 27), zone), SeriesStep.DAY, zone=zone
    )

    assert [at.hour for at in starts] == [22, 22, 23]


def test_zone__that_the_database_does_not_know__is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zones.list_zones", lambda: ("UTC", "Mars/Olympus"))

    validate_time_zone("UTC")
    with pytest.raises(ValidationError):
        validate_time_zone("Mars/Olympus")


def test_recount__while_a_worker_counts__waits_for_it(world: World) -> None:
    """The worker has counted its conversion in the zone before, and has not committed yet."""
    track(world, LATE)
    goal = Goal.objects.get()
    world.change_site(time_zone=ZURICH)
    is_counting = Event()

    def work(number: int) -> None:
        if number:
            is_counting.wait()
            day_zones.recount_next(world.site.pk, ZURICH)
            return
        with transaction.atomic():
            found = goal.conversions.get()
            moved = totals.MovedConversion(
                CountedConversion((goal.pk, "v2"), found.occurred_at, None, None), (goal.pk, found.visitor_code)
            )
            goal.conversions.update(visitor_code="v2")
            totals.count_conversions(world.site.pk, [], [moved])
            is_counting.set()
            wait_until(lambda: count_lock_waits() == 1)

    in_threads(2, work)

    assert_exact()
    assert days_of() == {"2026-11-21": 1}
