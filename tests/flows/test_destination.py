"""The requests of Segment's Kameleoon destination, as captured from the genuine one, and what becomes of them."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from goals.models import Conversion, Goal
from tests.world import World

CAPTURED = json.loads((Path(__file__).parent.parent / "fixtures" / "kameleoon-destination.json").read_text())


def replay(client: httpx.Client) -> list[httpx.Response]:
    """Send each captured request as it was."""
    return [
        client.request(
            request["method"],
            request["path"],
            headers={name: value for name, value in request["headers"].items() if name != "Content-Length"},
            content=json.dumps(request["body"]).encode() if "body" in request else None,
        )
        for request in CAPTURED
    ]


def remote_data(world: World) -> dict[str, bytes]:
    keys = [
        f"{prefix}{id_}" for prefix in ("IDENTIFY_", "COHORTS_") for id_ in ("user-1", "anon-1", "vc0123456789abcd")
    ]
    return {key: world.get(key).content for key in [*keys, "common"]}


@pytest.mark.promise(
    "K-01",
    "K-03",
    "K-05",
    "K-06",
    "K-08",
    "K-11",
    "K-22",
    "K-43",
    "K-51",
    "K-53",
    "K-67",
    "K-69",
    "W1",
    "W2",
    "W4",
    "W7",
)
def test_destination__captured_requests__make_goals_conversions_and_remote_data(world: World) -> None:
    answers = replay(world.client)
    world.digest()

    assert {answer.status_code for answer in answers} == {200}
    answer = answers[1].json()
    assert (answer["messageId"], answer["status"]) == (CAPTURED[1]["body"]["messageId"], "accepted")
    assert world.goals() == {
        "SegmentIO page – Checkout": 1,
        "SegmentIO screen – Cart": 1,
        "SegmentIO track – Clicked on Checkout": 2,
    }
    assert "SegmentIO track – Clicked on Checkout".encode() in {name.encode() for name in world.goals()}
    assert {tuple(goal.tags.values_list("name", flat=True)) for goal in Goal.objects.all()} == {("segment.io",)}
    assert set(world.visitors()) == {"vc0123456789abcd"}
    conversion = Conversion.objects.get(currency="EUR")
    assert str(conversion.revenue) == "25.500000"
    documents = remote_data(world)
    traits: dict[str, Any] = {
        "age": 42,
        "beta": True,
        "big_spenders": True,
        "email": "u@example.com",
        "plan": "enterprise",
    }
    for id_ in ("user-1", "anon-1", "vc0123456789abcd"):
        assert documents[f"IDENTIFY_{id_}"] == documents["IDENTIFY_user-1"]
        assert json.loads(documents[f"IDENTIFY_{id_}"]) == {"traits": traits, "groupId": "group-1"}
        assert json.loads(documents[f"COHORTS_{id_}"]) == {"big_spenders": False}
    assert json.loads(documents["common"]) == {"cohorts": ["big_spenders"]}


@pytest.mark.promise("N-02", "B-05")
def test_destination__captured_requests_again__change_nothing(world: World) -> None:
    replay(world.client)
    world.digest()
    goals, documents = world.goals(), remote_data(world)

    answers = replay(world.client)
    world.digest()

    assert {answer.json()["status"] for answer in answers[1:]} == {"duplicate"}
    assert world.goals() == goals
    assert remote_data(world) == documents
