"""`/visit/visitor` over HTTP: what SDKs read back, and who may."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from goals.catalogue import delete_goal
from goals.merging import merge
from goals.models import Goal
from goals.visit_models import VisitActivity, VisitFact
from tests.support.sdk import FLAGS, conversion, custom_data, get_visitor, line, read_visitor, send_lines
from tests.world import CLIENT_ID, SECRET, SITECODE, World


def fetch_token(world: World) -> str:
    form = {"client_id": CLIENT_ID, "client_secret": SECRET, "grant_type": "client_credentials"}
    return str(world.client.post("/oauth/token", data=form).json()["access_token"])


def test_visitor__that_sent_lines__is_read_back(world: World) -> None:
    goal = Goal.objects.create(site=world.site, name="Order")
    send_lines(
        world,
        line("page", href="https://shop.example/", title="Shop"),
        line("staticData", browserIndex=2, browserVersion=128.5),
        custom_data(1, "first"),
        custom_data(1, "last"),
        conversion(goal.pk, revenue=10.25),
        conversion(goal.pk, revenue=2.5, negative=True),
        line("experiment", id=5011, variationId=70111),
        line("geolocation", country="France"),
    )

    visit = read_visitor(world, "visitorCode=v1")["currentVisit"]

    assert (visit["siteCode"], visit["visitorCode"]) == (SITECODE, "v1")
    assert [event["data"] for event in visit["conversionEvents"]] == [
        {"goalId": goal.pk, "revenue": 10.25, "negative": False},
        {"goalId": goal.pk, "revenue": 2.5, "negative": True},
    ]
    assert [event["data"]["valuesCountMap"] for event in visit["customDataEvents"]] == [{"first": 1}, {"last": 1}]
    assert visit["customDataEvents"][0]["data"]["overwrite"] is True
    assert visit["staticDataEvent"]["data"]["browser"] == "FIREFOX"
    assert visit["experimentEvents"][0]["data"] == {"id": 5011, "variationId": 70111}
    assert visit["geolocationEvents"][0]["data"] == {"country": "France"}
    assert visit["pageEvents"][0]["data"]["title"] == "Shop"


def test_visitor__that_cancelled_goals_merged_and_deleted__shows_the_goal_that_counts(world: World) -> None:
    goal, merged, gone = (Goal.objects.create(site=world.site, name=name) for name in ("Order", "Merged", "Gone"))
    send_lines(world, *(conversion(each.pk) for each in (merged, gone)))
    send_lines(world, *(conversion(each.pk, negative=True) for each in (merged, gone)))
    merge(merged, goal)
    delete_goal(gone, now=datetime.now(UTC))

    visit = read_visitor(world, "visitorCode=v1")["currentVisit"]

    assert [event["data"] for event in visit["conversionEvents"]] == [
        {"goalId": goal.pk, "revenue": 0, "negative": False},
        {"goalId": goal.pk, "revenue": 0, "negative": True},
    ]


def test_visitor__that_converted_by_a_segment_event__shows_it_and_no_trait(world: World) -> None:
    now = datetime.now(UTC).isoformat()
    world.track("Order", timestamp=now, properties={"kameleoonVisitorCode": "v1", "revenue": 5})
    world.identify(timestamp=now, traits={"email": "ada@example.com", "kameleoonVisitorCode": "v1"})

    response = get_visitor(world, "visitorCode=v1" + FLAGS)

    (event,) = response.json()["currentVisit"]["conversionEvents"]
    assert event["data"] == {"goalId": Goal.objects.get().pk, "revenue": 5, "negative": False}
    assert "ada@" not in response.text


def test_visitor__unknown__is_an_empty_object(world: World) -> None:
    response = get_visitor(world, "visitorCode=nobody" + FLAGS)

    assert (response.status_code, response.json()) == (200, {})
    assert response.headers["access-control-allow-origin"] == "*"


def test_mapping_value__of_two_devices__reads_the_visits_of_the_first(world: World) -> None:
    world.change_site(identified_visits_require_token=False)
    goal = Goal.objects.create(site=world.site, name="Order")
    send_lines(world, custom_data(3, "known+1", visitor="v1", mappingIdentifier=True))
    send_lines(world, custom_data(3, "known+1", visitor="v2", mappingIdentifier=True))
    send_lines(
        world, conversion(goal.pk, None, mappingValue="known+1"), line("page", None, mappingValue="known+1", href="/")
    )

    mapped, first, second = (
        read_visitor(world, query)["currentVisit"]
        for query in ("mappingValue=known+1", "visitorCode=v1", "visitorCode=v2")
    )

    assert mapped == first
    assert mapped["visitorCode"] == "v1"
    assert (len(first["conversionEvents"]), len(first["pageEvents"]), len(second["pageEvents"])) == (1, 1, 0)
    assert second["visitorCode"] == "v2"
    assert first["customDataEvents"][0]["data"]["mappingIdentifier"] is True


def test_mapping_value__without_a_mapping__is_its_own_visitor_code(world: World) -> None:
    world.change_site(identified_visits_require_token=False)
    send_lines(world, line("page", None, mappingValue="alone", href="/"))

    assert read_visitor(world, "mappingValue=alone")["currentVisit"]["visitorCode"] == "alone"


@pytest.mark.parametrize(("asked", "visits"), [("1", 1), ("2", 2), ("25", 3), ("99", 3), ("0", 1), ("x", 1), ("", 1)])
def test_previous_visits__as_many_as_asked__are_newest_first(world: World, asked: str, visits: int) -> None:
    for hours in (3, 2, 1, 0):
        send_lines(world, line("page", href=f"/{hours}"))
        fact = VisitFact.objects.order_by("-id")[:1].values("pk")
        VisitFact.objects.filter(pk__in=fact).update(occurred_at=F("occurred_at") - timedelta(hours=hours))
    VisitActivity.objects.all().delete()

    document = read_visitor(world, f"visitorCode=v1&maxNumberPreviousVisits={asked}")

    pages = [visit["pageEvents"][0]["data"]["href"] for visit in document["previousVisits"]]
    assert pages == ["/1", "/2", "/3"][:visits]


def test_visits__of_a_site_that_requires_a_token__need_one(world: World) -> None:
    send_lines(world, line("page", href="/"))
    assert get_visitor(world, "visitorCode=v1").status_code == 200

    world.change_site(visits_require_token=True)

    anonymous = get_visitor(world, "visitorCode=v1")
    assert (anonymous.status_code, anonymous.json()) == (401, {})
    assert get_visitor(world, "visitorCode=v1", authorization="Bearer nonsense").status_code == 401
    assert get_visitor(world, "visitorCode=v1", authorization=f"Bearer {fetch_token(world)}").status_code == 200


def test_visits__by_a_unique_identifier__need_a_token_unless_the_site_allows_them(world: World) -> None:
    """A unique identifier is often an e-mail address, which others know, too."""
    asked = "mappingValue=ada@example.com"
    refused = get_visitor(world, asked)
    assert (refused.status_code, refused.json()) == (401, {})
    assert "mappingValue" in refused.headers["goalpost-error"]
    assert get_visitor(world, asked, authorization=f"Bearer {fetch_token(world)}").status_code == 200

    world.change_site(identified_visits_require_token=False)

    assert get_visitor(world, asked).status_code == 200


def test_request__with_a_bad_token_or_site_or_without_a_visitor__is_refused(world: World) -> None:
    assert get_visitor(world, "visitorCode=v1", authorization="Bearer nonsense").status_code == 401
    assert get_visitor(world, "").status_code == 400
    assert world.client.get("/visit/visitor?siteCode=0000000000&visitorCode=v1").status_code == 404
