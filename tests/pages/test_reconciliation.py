"""Events received are conversions and an explained rest, always, to the event."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from api.insight import reconciliation
from api.insight.reconciliation import SourceAccount, days_of, reconcile
from api.models import Message, Rule, Site
from goals import catalogue
from goals.models import Conversion, Goal
from tests.support.clock import Clock
from tests.support.concurrency import in_threads
from tests.support.pages import text_of
from tests.support.random_operations import RandomOperations
from tests.support.source_counts import wait_until_counted
from tests.world import World

PATH = "/admin/s/1q2w3e4r5t/delivery/reconciliation/"


def account_of(site: Site, *, days: int = 30) -> SourceAccount:
    found = reconcile(site, list(site.sources.values_list("pk", flat=True)), days=days, now=timezone.now())
    assert not found.is_cut
    return found.total


@pytest.mark.promise("K-89")
@pytest.mark.parametrize("seed", range(3))
def test_reconciliation__after_any_load__explains_every_event(world: World, clock: Clock, seed: int) -> None:
    world.change_site(goals_per_10_seconds=2, max_waiting_names=4)
    load, received = RandomOperations(world, clock, Random(seed)), 0
    post = world.post

    def count(body: Any, **options: Any) -> Any:
        nonlocal received
        answer = post(body, **options)
        received += len(answer.json()["results"]) if "results" in answer.json() else 1
        return answer

    world.post = count  # type: ignore[method-assign]  # counts what is sent, beside the product
    things = (load.send, load.send, load.send, load.send_again, load.send_again, world.digest, load.tend, load.delete)
    for _ in range(150):
        load.chance.choice(things)()
    wait_until_counted(world.site, received)

    account = account_of(world.site)

    assert account.received == received
    assert account.difference == account.missing == 0
    statuses = Counter(Message.objects.values_list("status", flat=True))
    assert account.of("arrival") + account.of("rejected") == statuses["rejected"]
    for status in ("pending", "deferred", "failed"):
        assert account.of(status) == statuses[status]
    assert account.of("converted") == account.counted + account.deleted
    assert account.counted == Conversion.objects.filter(goal__deleted_at=None).count()
    assert min(account.at_ingest.duplicates, account.counted, statuses["rejected"]) > 0, "hardly anything happened"


def test_page__of_a_few_events__says_where_each_is(viewer: Client, world: World) -> None:
    world.track("Buy", messageId="one")
    world.post(world.event(event="Buy", messageId="one"))
    world.track("Audience Entered", properties={"audience_key": "vip"})
    world.post(world.event(event=None))
    world.track("Gone")
    world.post(b"{")
    Rule.objects.create(site=world.site, event_type="identify", action="drop")
    world.identify(traits={"plan": "pro"})
    world.post(world.event())
    catalogue.delete_goal(Goal.objects.get(name="SegmentIO track – Gone"), now=timezone.now())
    while catalogue.purge_deleted():
        pass
    wait_until_counted(world.site, 8)

    response: Any = viewer.get(PATH, {"days": "7"})

    page = text_of(response)
    assert {(outcome, reason): count for outcome, reason, _, count in response.context["lines"]} == {
        ("Duplicates", ""): 1,
        ("Converted", ""): 2,
        ("Other effect", ""): 1,
        ("Queued", ""): 1,
        ("Rejected", "missing_name"): 1,
        ("Rejected on arrival", "invalid_json"): 1,
        ("Ignored by rule", "dropped_by_rule"): 1,
    }
    account = response.context["account"]
    assert (account.received, account.counted, account.deleted, account.missing) == (8, 1, 1, 0)
    assert "No difference." in page
    source = world.site.sources.get()
    assert viewer.get(PATH, {"source": str(source.pk)}).context["account"].received == 8


@pytest.mark.parametrize("steps", range(4))
def test_reconcile__goal_deleted__counts_none_of_its_conversions_however_far_it_is_purged(
    world: World, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(catalogue, "PURGE_CHUNK", 1)
    for name in ("Buy", "Sell", "Sell"):
        world.track(name)
    catalogue.delete_goal(Goal.objects.get(name="SegmentIO track – Sell"), now=timezone.now())
    for _ in range(steps):
        catalogue.purge_deleted()

    account = account_of(world.site)

    assert (account.of("converted"), account.counted, account.deleted, account.missing) == (3, 1, 2, 0)


def test_page__something_wrong__says_so(viewer: Client, world: World) -> None:
    world.track("Buy")
    world.track("Sell")
    wait_until_counted(world.site, 2)
    Conversion.objects.first().delete()  # type: ignore[union-attr]  # there are two

    assert "Conversions are missing" in text_of(viewer.get(PATH))
    world.last_message().delete()
    assert "1 event was deleted since" in text_of(viewer.get(PATH))


def test_reconcile__while_events_come_in__takes_none_for_deleted(world: World) -> None:
    """The door may have counted what came after the messages were: that must not look like messages that are gone."""
    world.track("Buy")
    wait_until_counted(world.site, 1)
    asked: list[str] = []

    def one_more(_: int) -> None:
        world.post(world.event())
        wait_until_counted(world.site, 1 + len(asked))

    def come_between(execute: Any, sql: str, *rest: Any) -> Any:
        answer = execute(sql, *rest)
        if ("api_message" in sql or "api_sourcetally" in sql) and len(asked) < 3:
            asked.append(sql)
            with ThreadPoolExecutor(1) as other:
                other.submit(in_threads, 1, one_more).result()
        return answer

    with connection.execute_wrapper(come_between):
        account = account_of(world.site)

    assert len(asked) == 3, "the three queries"
    assert account.difference <= 0


def test_page__of_no_events__says_what_to_do(viewer: Client) -> None:
    assert "No events in this period" in text_of(viewer.get(PATH, {"days": "x", "source": "9"}))


def test_range__of_a_site_that_prunes_early__ends_there(world: World) -> None:
    assert days_of(world.site) == [1, 7, 14, 30]
    world.change_site(keeps_done_days=10)
    assert days_of(world.site) == [1, 7]


def test_reconcile__more_messages_than_are_counted__begins_with_a_whole_hour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "MOST_MESSAGES", 3)
    now = timezone.now().replace(minute=30)
    for back in (30, 5, 3, 3, 0):
        world.track("Buy")
        Message.objects.filter(pk=world.last_message().pk).update(received_at=now - timedelta(hours=back))

    found = reconcile(world.site, [], days=7, now=now)

    assert found.is_cut
    assert found.since == (now - timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    assert found.total.received == 1  # source ids were not asked for: of deleted ones
