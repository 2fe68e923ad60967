"""The API's breakdown of a goal has the figures of its page (promise K-87)."""

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from api.http.tokens import make_token
from api.insight.breakdowns import BreakdownBy, break_down
from api.models import Message
from cohorts.models import Persona
from goals import merging
from goals.models import Goal
from tests.support.management_api import Caller, refusal
from tests.support.sdk import conversion, post_lines
from tests.support.segments import make_segment
from tests.world import START, World, owner_of

DAY = {"begin": START.isoformat(), "end": (START + timedelta(days=1)).isoformat()}


@pytest.fixture
def viewer(world: World) -> Caller:
    _, value = make_token([world.site], description="CI", role="viewer", made_by=owner_of(world.site), expires_at=None)
    return Caller(f"Bearer {value}", world.credential)


@pytest.fixture
def goal(world: World) -> Goal:
    for number, plan in enumerate(["pro", "pro", "free"]):
        world.track("Buy", at=number, userId=f"u{number}", properties={"plan": plan, "revenue": "1.5"})
    world.track("Other", userId="u0")
    world.identify(userId="u1", traits={"plan": "now"})
    return Goal.objects.get(name__endswith="Buy")


def address(goal: Goal, **query: str) -> str:
    return f"/api/goals/{goal.pk}/breakdown?{urlencode({**DAY, **query})}"


@pytest.mark.promise("K-87", "K-82")
@pytest.mark.parametrize("by", list(BreakdownBy))
def test_breakdown__by_anything__says_what_its_page_says(
    world: World, goal: Goal, viewer: Caller, by: BreakdownBy
) -> None:
    answer = viewer.get(
        address(goal, by=by, **({"name": "plan"} if by in {BreakdownBy.PROPERTY, BreakdownBy.TRAIT} else {}))
    )

    seen = break_down(world.site, goal, by, name="plan", begin=START, end=START + timedelta(days=1))
    assert [
        (part["value"], part["conversions"], part["visits"], part["visitors"], part["revenue"])
        for part in answer["parts"]
    ] == [
        (part.value, part.conversions, part.visits, part.visitors, {k: f"{v:.6f}" for k, v in part.revenue.items()})
        for part in seen.breakdown.parts
    ]
    assert sum(part["conversions"] for part in answer["parts"]) == 3
    assert (answer["goalId"], answer["isBounded"], answer["other"], answer["whole"]) == (goal.pk, False, None, None)
    assert answer["begin"] == "2026-11-22T03:00:00Z"
    assert answer["values"] == len(answer["parts"])
    assert (answer["cancellations"], answer["cancelledRevenue"]) == (0, {})


def test_breakdown__of_a_goal_with_cancellations__has_them_beside_its_parts(
    world: World, goal: Goal, viewer: Caller
) -> None:
    lines = (conversion(goal.pk, revenue=0.5, negative=True), conversion(goal.pk, "v2", negative=True))
    assert post_lines(world, *lines).status_code == 204
    Message.objects.filter(status="pending").update(occurred_at=START)
    world.digest()

    answer = viewer.get(address(goal, by="currency"))

    assert (answer["cancellations"], answer["cancelledRevenue"]) == (2, {"USD": "0.500000"})
    assert [part["revenue"] for part in answer["parts"]] == [{"USD": "4.500000"}]


@pytest.mark.promise("K-87", "K-82")
@pytest.mark.parametrize(
    ("only", "parts"),
    [
        ({"onlyBy": "trait", "onlyName": "plan", "onlyValue": "now"}, {"pro": 1}),
        ({"onlyBy": "goal", "onlyValue": "SegmentIO track – Other"}, {"pro": 1}),
        ({"onlyBy": "persona", "onlyValue": "vip"}, {}),
        ({"onlyBy": "segment", "onlyValue": "now"}, {"pro": 1}),
    ],
)
def test_breakdown__of_some_visitors__counts_them_alone(
    goal: Goal, viewer: Caller, only: dict[str, str], parts: dict[str, int]
) -> None:
    Persona.objects.create(site=goal.site, name="vip")
    plan = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["now"]}}
    make_segment(goal.site, [plan], name="now")

    answer = viewer.get(address(goal, by="property", name="plan", **only))

    assert {part["value"]: part["conversions"] for part in answer["parts"]} == parts
    assert answer["whole"]["visitors"] == len(parts)


@pytest.mark.parametrize("by", ["persona", "segment"])
def test_breakdown__of_an_audience_that_is_not_there__is_refused_with_the_near_ones(
    goal: Goal, viewer: Caller, by: str
) -> None:
    if by == "persona":
        Persona.objects.create(site=goal.site, name="big_spenders")
    else:
        make_segment(goal.site, [{"on": "group"}], name="big_spenders")

    answer = viewer.ask("GET", address(goal, by="currency", onlyBy=by, onlyValue="big spenders"))

    assert refusal(answer)[0] == 400
    assert json.loads(answer.content)["message"] == f"onlyValue: The site has no such {by}. Did you mean: big_spenders?"


def test_breakdown__of_a_merged_goal__is_that_of_the_other(world: World, goal: Goal, viewer: Caller) -> None:
    other = Goal.objects.get(name__endswith="Other")
    merging.merge(other, goal)

    answer = viewer.get(address(other, by="currency"))

    assert (answer["goalId"], sum(part["conversions"] for part in answer["parts"])) == (goal.pk, 4)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"by": "x"},
        {"by": "trait"},
        {"by": "property"},
        {"by": "group", "begin": DAY["end"], "end": DAY["begin"]},
        {"by": "group", "end": "0001-01-01T00:00:00Z"},
        {"by": "group", "begin": "2126-11-22T00:00:00Z", "end": "2126-11-23T00:00:00Z"},
        {"by": "group", "onlyBy": "persona"},
        {"by": "group", "onlyValue": "vip"},
        {"by": "group", "onlyBy": "trait", "onlyValue": "x"},
        {"by": "group", "onlyBy": "persona", "onlyValue": "x", "onlyName": "x"},
        {"by": "group", "onlyBy": "goal", "onlyValue": "no such goal"},
        {"by": "group", "misspelt": "x"},
    ],
)
def test_breakdown__asked_wrongly__is_refused(goal: Goal, viewer: Caller, query: dict[str, str]) -> None:
    end = {} if "end" in query else DAY
    answer = viewer.ask("GET", f"/api/goals/{goal.pk}/breakdown?{urlencode({**end, **query})}")
    assert refusal(answer)[0] == 400


def test_breakdown__of_others__is_not_there(goal: Goal, outsider: Caller) -> None:
    assert refusal(outsider.ask("GET", address(goal, by="currency")))[0] == 404
