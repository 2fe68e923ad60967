"""Whatever is sent and whatever people do: nothing is lost, doubled or invented, and `manage.py verify` says so."""

import re
import threading
from datetime import UTC, datetime
from random import Random

import pytest

from api.checks.run import verify
from api.digest import run
from api.digest.claims import Claims
from api.models import Message
from goals import catalogue
from goals.models import Conversion, Goal
from tests.support.clock import Clock
from tests.support.concurrency import in_threads
from tests.support.outages import poison
from tests.support.random_operations import RandomOperations
from tests.world import World


def verified() -> dict[str, list[int]]:
    """Return the figures of every law. Require that no law is broken and the figures add up."""
    reports = list(verify())
    assert not {report.check: report.found for report in reports if report.found}
    figures = {report.check: [int(number) for number in re.findall(r"\b\d+\b", report.line)] for report in reports}
    messages, *statuses = figures["inbox"]
    assert messages == sum(statuses)
    conversions, converted, deleted, unrecorded, pruned, resent = figures["conversions"]
    assert conversions == converted - deleted - unrecorded + pruned + resent
    return figures


@pytest.mark.promise("K-89", "N-01")
@pytest.mark.parametrize("seed", range(3))
def test_verify__after_any_load__finds_nothing(world: World, clock: Clock, seed: int) -> None:
    world.change_site(goals_per_10_seconds=2, max_waiting_names=4)
    load = RandomOperations(world, clock, Random(seed))

    with poison("EXISTS (SELECT 1 FROM goals_goal g WHERE g.id = NEW.goal_id AND g.name LIKE '%Poison')"):
        for number in range(500):
            load.happen()
            if number % 100 == 99:
                verified()
        load.settle()

    figures = verified()
    messages, done, _, rejected, failed, _ = figures["inbox"]
    assert messages == Message.objects.count()
    assert figures["conversions"][0] == Conversion.objects.count()
    assert min(done, rejected, failed, *figures["conversions"][:2]) > 0, "hardly anything happened"


@pytest.mark.promise("K-89", "N-02")
def test_verify__while_everybody_works__finds_nothing(world: World, clock: Clock) -> None:
    world.change_site(goals_per_10_seconds=2)
    load, is_over = RandomOperations(world, clock, Random(7)), threading.Event()

    def work(number: int) -> None:
        """One does anything, two digest, one verifies."""
        claims = Claims()
        try:
            if number == 0:
                for _ in range(200):
                    load.happen()
            while number > 0 and not is_over.is_set():
                if number == 1:
                    verified()
                else:
                    run.digest_all(claims, seconds=1)
                    run.tend_queues(claims)
        finally:
            is_over.set()
            claims.close()

    in_threads(4, work)
    verified()


def test_verify__of_a_database_that_changes_meanwhile__tells_of_one_moment(world: World) -> None:
    for name in ("Stays", "Goes"):
        world.track(name)

    def change(_: int) -> None:
        for name in ("Stays", "Goes", "Comes"):
            world.track(name)
        catalogue.delete_goal(Goal.objects.get(name="SegmentIO track – Goes"), now=datetime.now(UTC))
        while catalogue.purge_deleted():
            pass

    reports = verify()
    lines = {report.check: report.line for report in (next(reports), next(reports))}
    in_threads(1, change)
    lines |= {report.check: report.line for report in reports}

    assert lines["inbox"].startswith("2 messages = 2 done")
    assert lines["conversions"].startswith("2 conversions = 2 messages converted - 0")
    assert lines["recount"].startswith("2 messages")
    assert lines["quota"].startswith("2 goals made by events, 2 creations")
    assert verified()["conversions"][:3] == [3, 5, 2]
