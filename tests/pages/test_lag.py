"""One lag: the same on Home, on Delivery and in an alert, of a stated time, without what waited for quota."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from api.alerts import evaluate
from api.digest.replay import replay
from api.ingest.provisioning import note_rules_changed
from api.insight import delivery
from api.models import Alert, Message
from tests.support.pages import Enter
from tests.world import SITECODE, World

HOME, DELIVERY = f"/admin/s/{SITECODE}/", f"/admin/s/{SITECODE}/delivery/"


def age(hours: float, **chosen: object) -> None:
    """Let messages be received and digested earlier."""
    by = timedelta(hours=hours)
    Message.objects.filter(**chosen).update(received_at=F("received_at") - by, digested_at=F("digested_at") - by)


def receive_earlier(seconds: float, **chosen: object) -> None:
    Message.objects.filter(**chosen).update(received_at=F("received_at") - timedelta(seconds=seconds))


def lag(world: World, **span: float) -> delivery.Lag:
    return delivery.measure_lag(world.site.pk, since=timezone.now() - timedelta(**span))


@pytest.mark.parametrize("rejoins", [False, True])
def test_lag__of_what_waited_for_quota__is_left_out(world: World, *, rejoins: bool) -> None:
    world.change_site(goals_per_10_seconds=1)
    for name in "ABB":
        world.track(name)
    receive_earlier(1000, status="deferred")
    if rejoins:
        note_rules_changed(world.site.pk, now=timezone.now())
        world.tend()
    assert lag(world, minutes=5).messages == 1

    world.pass_time(11)
    world.tend()
    world.tend()

    assert set(Message.objects.values_list("status", flat=True)) == {"done"}
    found = lag(world, minutes=5)
    assert found.messages == 1
    assert found.p99 < 900


def test_lag__of_what_was_retried__is_left_out(world: World) -> None:
    world.send(world.event(), world.event(userId=None))
    world.send(world.event(event="Another"))
    failed = Message.objects.filter(pk=world.last_message().pk)
    failed.update(status="failed", reason="digest_failed")
    receive_earlier(1000, status="failed")
    receive_earlier(1000, status="rejected")

    for reason in ("digest_failed", "no_identity"):
        assert replay(world.site.pk, reason, who="test").messages == 1
    world.digest()

    assert lag(world, minutes=5).messages == 1


@pytest.mark.promise("N-03")
def test_lag__of_home_delivery_and_an_alert__is_the_same(world: World, enter: Enter) -> None:
    alert = Alert.objects.create(site=world.site, name="Slow", condition="lag", threshold=1)
    world.send(*(world.event() for _ in range(20)))
    receive_earlier(7)
    found = delivery.measure_lag(world.site.pk, since=timezone.now() - timedelta(minutes=5))

    evaluate.evaluate(now=timezone.now())
    alert.refresh_from_db()
    home = enter("viewer").get(HOME).context["delivery"].lag
    page = enter("viewer").get(DELIVERY).context["lag"]

    assert home == page == found
    assert f"{found.p95:,.1f} s" in alert.finding
    assert "the last 5 minutes" in alert.finding


@pytest.mark.parametrize(("preset", "messages"), [("24h", 1), ("7d", 2), ("30d", 2)])
def test_delivery__lag__is_of_the_range(world: World, enter: Enter, preset: str, messages: int) -> None:
    world.send(world.event())
    age(30 * 24)
    world.send(world.event())
    age(3 * 24, digested_at__gte=timezone.now() - timedelta(hours=1))
    world.send(world.event())

    assert enter("viewer").get(DELIVERY, {"range": preset}).context["lag"].messages == messages
