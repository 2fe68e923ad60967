"""The API's figures of a goal, with both sides of its conversion rate."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest

from goals.models import Goal
from tests.support.management_api import Caller, body, refusal
from tests.world import SITECODE, START, World

DAY = {"begin": START.isoformat(), "end": (START + timedelta(days=1)).isoformat()}


@pytest.fixture
def goal(world: World) -> Goal:
    for number in range(5):
        world.track("View", at=number, userId=f"u{number}")
    for number in range(2):
        money = {"revenue": "1.5", "currency": "EUR"}
        world.track("Buy", at=number, userId=f"u{number}", properties=money)
    return Goal.objects.get(name__endswith="Buy")


def address(goal: Goal, kind: str = "figures", **query: str) -> str:
    return f"/api/goals/{goal.pk}/{kind}?{urlencode({**DAY, **query})}"


def test_figures__of_a_period__have_the_rate_of_visitors_seen(owner: Caller, goal: Goal) -> None:
    assert owner.get(address(goal)) == {
        "goalId": goal.pk,
        "begin": "2026-11-22T03:00:00Z",
        "end": "2026-11-23T03:00:00Z",
        "conversions": 2,
        "visits": 2,
        "visitors": 2,
        "revenue": {"EUR": "3.000000"},
        "cancellations": 0,
        "baseGoalId": None,
        "baseVisitors": 5,
        "rate": 0.4,
    }


def test_figures__without_any_visitor__have_no_rate(owner: Caller, goal: Goal) -> None:
    answer = owner.get(address(goal, begin="2026-01-01T00:00:00Z", end="2026-01-02T00:00:00Z"))

    assert (answer["baseVisitors"], answer["rate"]) == (0, None)


def test_figures__without_a_begin__have_one_that_the_cache_finds_again(owner: Caller, goal: Goal) -> None:
    end = {"end": "2026-11-23T03:07:09Z"}

    figures = owner.get(f"/api/goals/{goal.pk}/figures?{urlencode(end)}")
    breakdown = owner.get(f"/api/goals/{goal.pk}/breakdown?{urlencode({'by': 'currency', **end})}")

    assert {answer["begin"] for answer in (figures, breakdown)} == {"2026-10-24T03:05:00Z"}
    assert figures["end"] == end["end"]


def test_base_goal__of_a_site__is_the_base_of_rates(owner: Caller, goal: Goal) -> None:
    view = Goal.objects.get(name__endswith="View")

    site = body(owner.patch(f"/api/sites/{SITECODE}", {"baseGoalId": goal.pk}))
    answer = owner.get(address(view))
    (part,) = owner.get(address(view, "breakdown", by="currency"))["parts"]

    assert site["baseGoalId"] == goal.pk
    assert (answer["baseGoalId"], answer["baseVisitors"], answer["rate"]) == (goal.pk, 2, 2.5)
    assert (part["visitors"], part["rate"]) == (5, 2.5)
    (of_people,) = owner.get(address(view, "breakdown", by="group"))["parts"]
    assert (of_people["visitors"], of_people["rate"]) == (5, None), "the base is not of these people"


def test_base_goal__that_the_site_does_not_have__is_refused(world: World, owner: Caller, goal: Goal) -> None:
    response = owner.patch(f"/api/sites/{SITECODE}", {"baseGoalId": goal.pk + 1})

    assert refusal(response) == (400, "invalid_request")
    assert "The site has no goal with this id." in body(response)["message"]
    world.site.refresh_from_db()
    assert world.site.base_goal_id is None
