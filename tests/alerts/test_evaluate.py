"""Notifications of an alert: one when it starts firing and one when it resolves."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from api.alerts import conditions, editing, evaluate
from api.alerts.conditions import ConditionResult, explain, show_percent
from api.ingest.provisioning import create_site, create_source
from api.insight import delivery
from api.models import Alert, AlertDelivery, AuditEntry, Message, SourceCount
from tests.world import START, World

HOLDS, HOLDS_NOT = (
    ConditionResult(holds=True, sentence="It is so."),
    ConditionResult(holds=False, sentence="It is not so."),
)


def make_alert(world: World, condition: str = "quota", **fields: Any) -> Alert:
    given = {"name": "Alarm", "emails": ["ada@example.com"], "webhook_url": "https://example.com/hook", **fields}
    return Alert.objects.create(site=world.site, condition=condition, **given)


def sent_events() -> list[str]:
    """Return the events of the e-mails in order."""
    return [
        str(event)
        for event in AlertDelivery.objects.filter(channel="email").order_by("pk").values_list("event", flat=True)
    ]


@pytest.fixture
def settle(world: World) -> Callable[..., None]:
    """Return a function that stores a finding some minutes after the start, like a worker that has just started."""
    alert = make_alert(world)

    def settle(finding: ConditionResult, minutes: float) -> None:
        evaluate.update_state(Alert.objects.get(pk=alert.pk), finding, now=START + timedelta(minutes=minutes))

    return settle


@pytest.mark.parametrize(
    ("fields", "hours", "expected"),
    [
        ({}, 25, ["fired", "reminder"]),
        ({"acknowledged_at": START}, 71, ["fired"]),
        ({"acknowledged_at": START + timedelta(hours=1)}, 72, ["fired"]),
        ({"acknowledged_at": START}, 72, ["fired", "reminder"]),
        ({"snoozed_until": START + timedelta(hours=30)}, 25, ["fired"]),
        ({"snoozed_until": START + timedelta(hours=4)}, 5, ["fired", "reminder"]),
    ],
)
def test_reminder__of_an_acknowledged_or_snoozed_alert__is_late(
    settle: Callable[..., None], fields: dict[str, Any], hours: int, expected: list[str]
) -> None:
    settle(HOLDS, 0)
    Alert.objects.update(**fields)

    settle(HOLDS, hours * 60)
    settle(HOLDS, hours * 60 + 1)

    assert sent_events() == expected


def test_snooze__of_an_acknowledged_alert__ends_in_a_reminder(settle: Callable[..., None]) -> None:
    settle(HOLDS, 0)
    alert = Alert.objects.get()

    editing.acknowledge_or_snooze(alert, for_=None, by="ada", now=START)
    editing.acknowledge_or_snooze(alert, for_=timedelta(hours=1), by="ada", now=START)
    settle(HOLDS, 59)
    early = sent_events()
    settle(HOLDS, 61)

    assert (early, sent_events()) == (["fired"], ["fired", "reminder"])
    assert list(AuditEntry.objects.latest("pk").after or ()) == ["snoozed_until"]


@pytest.mark.parametrize(("changed", "stays"), [("threshold", False), ("name", True)])
def test_acknowledgement__of_an_alert_that_changes__stays_unless_its_threshold_changes(
    world: World, *, changed: str, stays: bool
) -> None:
    quiet = {"acknowledged_at": START, "snoozed_until": START}
    alert = make_alert(world, "lag", threshold=5, firing_since=START, **quiet)
    before = editing.read_values(alert)

    editing.change_alert(alert, [changed], before=before, by="ada")

    alert.refresh_from_db()
    assert ([alert.acknowledged_at, alert.snoozed_until] == [START, START]) is stays
    assert alert.firing_since == START


def test_alert__acknowledged_and_resolved__fires_again_as_a_new_one(settle: Callable[..., None]) -> None:
    settle(HOLDS, 0)
    Alert.objects.update(acknowledged_at=START, snoozed_until=START + timedelta(days=9))

    settle(HOLDS_NOT, 6)
    alert = Alert.objects.get()
    settle(HOLDS, 7)

    assert (alert.acknowledged_at, alert.snoozed_until) == (None, None)
    assert sent_events() == ["fired", "resolved", "fired"]


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], []),
        ([(HOLDS_NOT, 0)], []),
        ([(HOLDS, 0)], ["fired"]),
        ([(HOLDS, 0), (HOLDS, 1), (HOLDS, 2)], ["fired"]),
        ([(HOLDS, 0), (HOLDS_NOT, 4.9)], ["fired"]),  # it comes and goes
        ([(HOLDS, 0), (HOLDS_NOT, 3), (HOLDS, 4), (HOLDS_NOT, 8), (HOLDS, 8.5)], ["fired"]),
        ([(HOLDS, 0), (HOLDS_NOT, 5)], ["fired", "resolved"]),
        ([(HOLDS, 0), (HOLDS_NOT, 6), (HOLDS_NOT, 12)], ["fired", "resolved"]),
        ([(HOLDS, 0), (HOLDS_NOT, 6), (HOLDS, 7)], ["fired", "resolved", "fired"]),
        ([(HOLDS, 0), (HOLDS, 24 * 60 - 1), (HOLDS, 24 * 60), (HOLDS, 24 * 60 + 1)], ["fired", "reminder"]),
        ([(HOLDS, 0), (HOLDS, 24 * 60), (HOLDS, 48 * 60), (HOLDS_NOT, 48 * 60 + 5)], [*"frrd"]),
    ],
)
def test_alert__found_so__is_told_once_each_time(
    settle: Callable[..., None], findings: list[tuple[ConditionResult, float]], expected: list[str]
) -> None:
    for finding, minutes in findings:
        settle(finding, minutes)

    names = {"f": "fired", "r": "reminder", "d": "resolved"}
    assert sent_events() == [names.get(event, event) for event in expected]
    ways = AlertDelivery.objects.values_list("channel", flat=True)
    assert sorted(ways) == ["email"] * len(expected) + ["webhook"] * len(expected)


def test_alert__over__says_since_when_it_held(settle: Callable[..., None]) -> None:
    settle(HOLDS, 0)
    settle(HOLDS_NOT, 6)

    alert, last = Alert.objects.get(), AlertDelivery.objects.order_by("pk").last()
    assert last is not None
    assert (last.firing_since, last.at, last.finding) == (START, START + timedelta(minutes=6), "It is not so.")
    assert (alert.firing_since, alert.held_at, alert.notified_at) == (None, None, None)


def test_alert__not_held_for_a_moment__keeps_what_it_fires_for(settle: Callable[..., None]) -> None:
    """Pages show finding and state together, so they must not contradict each other."""
    settle(HOLDS, 0)
    assert explain(Alert.objects.get()) == "It is so."

    settle(HOLDS_NOT, 3)
    assert explain(Alert.objects.get()) == (
        "It is so. That was at 2026-11-22 03:00:00 UTC. The alert resolves after 5 minutes without it."
    )
    assert Alert.objects.get().checked_at == START + timedelta(minutes=3)

    settle(HOLDS_NOT, 5)
    assert explain(Alert.objects.get()) == "It is not so."


def test_alert__switched_off_meanwhile__is_not_told(world: World) -> None:
    alert = make_alert(world)
    Alert.objects.update(is_enabled=False)

    evaluate.update_state(alert, HOLDS, now=START)

    assert sent_events() == []
    assert Alert.objects.get().firing_since is None


@pytest.mark.parametrize("finding", [HOLDS, HOLDS_NOT])
def test_alert__looked_at_by_many_workers_at_once__is_told_once(world: World, finding: ConditionResult) -> None:
    alert = make_alert(world)
    if finding is HOLDS_NOT:
        evaluate.update_state(alert, HOLDS, now=START)
    now, together = START + timedelta(minutes=10), Barrier(8)

    def work(_: int) -> None:
        try:
            mine = Alert.objects.get(pk=alert.pk)
            together.wait(60)
            evaluate.update_state(mine, finding, now=now)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert sent_events() == (["fired"] if finding is HOLDS else ["fired", "resolved"])


# Scope of the evaluation


def lose_events(world: World) -> None:
    world.send(world.event(), world.event())
    Message.objects.filter(pk=world.last_message().pk).update(status="failed", reason="digest_failed")


def keep_waiting(world: World) -> None:
    world.post(world.event())
    Message.objects.update(received_at=timezone.now() - timedelta(minutes=2))


def be_slow(world: World) -> None:
    world.send(world.event())
    Message.objects.update(received_at=timezone.now() - timedelta(minutes=2))


def use_up_quota(world: World) -> None:
    world.change_site(goals_per_10_seconds=1)
    world.track("One")
    world.track("Two")


def fall_silent(world: World) -> None:
    source = world.site.sources.get(kind="destination")
    last = timezone.now() - timedelta(minutes=40)
    hour = last.replace(minute=0, second=0, microsecond=0)
    SourceCount.objects.create(
        site_id=source.site_id, source=source, hour=hour, received=1, duplicates=0, rejected=0, last_received_at=last
    )


@pytest.mark.parametrize(
    ("condition", "threshold", "go_wrong"),
    [
        ("success", 95, lose_events),
        ("lag", 60, keep_waiting),
        ("lag", 60, be_slow),
        ("quota", None, use_up_quota),
        ("silence", 30, fall_silent),
    ],
)
def test_condition__of_real_figures__holds_where_it_should_only(
    world: World, condition: str, threshold: float | None, go_wrong: Callable[[World], None]
) -> None:
    alert = make_alert(world, condition, threshold=threshold)
    elsewhere = Alert.objects.create(
        site=create_site(name="Other"), name="Elsewhere", condition=condition, threshold=threshold
    )
    switched_off = make_alert(world, condition, threshold=threshold, is_enabled=False)
    evaluate.evaluate(now=timezone.now())
    before = sent_events()

    go_wrong(world)
    evaluate.evaluate(now=timezone.now())

    for row in (alert, elsewhere, switched_off):
        row.refresh_from_db()
    assert (before, sent_events()) == ([], ["fired"]), alert.finding
    assert alert.firing_since is not None
    assert elsewhere.checked_at is not None
    assert (elsewhere.firing_since, switched_off.checked_at) == (None, None)


@pytest.mark.parametrize(("kind", "rate"), [(None, "50 %"), ("destination", "0 %"), ("server", "100 %")])
def test_success__of_a_source__is_that_of_the_delivery_page(world: World, kind: str | None, rate: str) -> None:
    lose_events(world)
    server = create_source(world.site, name="Server", kind="server")
    Message.objects.exclude(status="failed").update(source=server)
    source = world.site.sources.get(kind=kind) if kind else None
    alert = make_alert(world, "success", threshold=95, source=source)

    evaluate.evaluate(now=timezone.now())

    alert.refresh_from_db()
    page = delivery.count_outcomes(
        world.site.pk, delivery.list_last_hours(24, now=timezone.now()), source_id=source.pk if source else None
    )
    assert alert.finding.endswith(f"the success rate is {rate}.")
    assert f"{show_percent(page.success_rate)} %" == rate


def test_lag__of_one_slow_event_long_ago__is_over(world: World) -> None:
    """If few events arrive, the newest 10,000 digested messages may be weeks old."""
    alert = make_alert(world, "lag", threshold=60)
    world.send(world.event())
    Message.objects.update(received_at=START, digested_at=timezone.now() - timedelta(minutes=6))

    evaluate.evaluate(now=timezone.now())

    alert.refresh_from_db()
    assert (alert.firing_since, alert.finding) == (
        None,
        "The queue is empty, and no event was processed in the last 5 minutes.",
    )


def test_evaluate__of_many_alerts__reads_each_figure_once(world: World, django_assert_max_num_queries: Any) -> None:
    sources = [create_source(world.site, name=f"Source {number}", kind="server") for number in range(5)]
    for condition, threshold in (("success", 95), ("lag", 5), ("silence", 5), ("quota", None)):
        for source in sources:
            make_alert(world, condition, threshold=threshold, source=source)

    # The sites and the alerts of one. Each finding takes an UPDATE in a transaction.
    # Alerts that start firing also read the last hour's notifications.
    with django_assert_max_num_queries(2 + 5 + 20 * 4 + 5):
        evaluate.evaluate(now=timezone.now())
    alerts = list(Alert.objects.all())
    with django_assert_max_num_queries(5):
        readings = conditions.Readings(world.site, timezone.now())
        for alert in alerts:
            conditions.check_condition(alert, readings)


def test_evaluate__with_an_alert_in_trouble__looks_at_the_others(world: World) -> None:
    make_alert(world, "nonsense")
    alert = make_alert(world)

    evaluate.evaluate(now=timezone.now())

    alert.refresh_from_db()
    assert alert.checked_at is not None
