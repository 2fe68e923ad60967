"""The figures that are kept are those of a recount, whatever came in which order."""

from datetime import timedelta
from itertools import permutations

import pytest
from django.db import transaction

from api.models import Message
from goals import totals
from goals.models import Conversion
from goals.visitor_totals import CountedConversion
from goals.visits import list_visit_starts
from tests.goals.recount import assert_exact, kept, visits_of
from tests.world import START, World


@pytest.mark.promise("I-09", "N-09")
@pytest.mark.parametrize("together", [True, False])
def test_visits__of_events_in_any_order__are_those_of_a_recount(world: World, *, together: bool) -> None:
    """Two visits, that a late event joins; and one that stays apart by exactly half an hour."""
    minutes = (0, 29, 58, 58 + 30)
    for number, order in enumerate(permutations(minutes)):
        events = [
            world.event(event="Buy", at=60 * minute, userId=f"u{number}", properties={"revenue": "0.1"})
            for minute in order
        ]
        for each in [events[:2], events[2:]] if together else [[event] for event in events]:
            assert world.post(each).status_code == 200
            world.digest()
        assert_exact()
    visits = kept()[0].values()
    assert {its[1] for its in visits} == {2}


@pytest.mark.promise("N-09")
def test_figures__after_late_links__follow_the_visitor(world: World) -> None:
    world.track("Buy", at=0, properties={"kameleoonVisitorCode": "v1", "revenue": 1})
    world.track("Buy", at=3_000, userId=None, anonymousId="a1", properties={"revenue": 2, "currency": "EUR"})
    world.track("Buy", at=1_500, userId="u1")
    assert_exact()
    assert {key[1] for key in kept()[0]} == {"v1", "a1", "u1"}

    # Three visits become one.
    world.identify(at=9_000, userId="u1", anonymousId="a1", kameleoonVisitorCode="v1")
    assert_exact()
    ((its),) = kept()[0].values()
    assert its[:2] == (3, 1)

    world.identify(at=10, userId="u1", kameleoonVisitorCode="v2")  # an earlier link
    assert_exact()


def test_figures__of_a_visit_that_begins_on_another_day_now__are_of_that_day(world: World) -> None:
    """The goal has as many visits and visitors as before, so that only its days change."""
    midnight = 21 * 3_600  # seconds after the start
    for minute, code in ((-15, "v1"), (-10, "v2"), (10, "v2")):
        world.track("Buy", at=midnight + 60 * minute, kameleoonVisitorCode=code)
    moved = Conversion.objects.order_by("occurred_at")[1]
    with transaction.atomic():
        Conversion.objects.filter(pk=moved.pk).update(visitor_code="v1")
        happened = CountedConversion((moved.goal_id, "v1"), moved.occurred_at, None, None)
        totals.count_conversions(world.site.pk, [], [totals.MovedConversion(happened, (moved.goal_id, "v2"))])

    assert_exact()


def test_figures__of_what_is_sent_and_digested_again__count_once(world: World) -> None:
    world.track("Buy", messageId="one", properties={"revenue": 1})
    before = kept()
    Message.objects.update(status="pending", reason="", digested_at=None)
    world.digest()
    assert kept() == before
    assert_exact()


def test_visit_starts__of_times__ignore_their_order() -> None:
    times = [START + timedelta(minutes=minute) for minute in (0, 10, 40, 69)]
    assert list_visit_starts(times) == list_visit_starts(reversed(times)) == visits_of(times) == times[0:3:2]
    assert list_visit_starts([]) == []
