"""Order of properties by their use for a breakdown."""

from datetime import timedelta

import pytest

from goals.models import Goal
from goals.reports import property_use
from goals.reports.property_use import PropertyUse, load_property_use, order_by_use
from tests.world import START, World


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (PropertyUse("b", 100, 2), PropertyUse("a", 100, 3)),  # fewer values
        (PropertyUse("b", 100, 20), PropertyUse("a", 50, 2)),  # fuller
        (PropertyUse("b", 99, 2), PropertyUse("a", 91, 3)),  # as full, to a tenth
        (PropertyUse("b", 20, 2), PropertyUse("a", 100, 21)),  # all values are rows
        (PropertyUse("b", 100, 50), PropertyUse("a", 100, 1)),  # a constant says nothing
        (PropertyUse("b", 100, 50), PropertyUse("a", 100, 51)),  # neither does an id
        (PropertyUse("b", 20, 2), PropertyUse("currency", 100, 2)),
        (PropertyUse("a", 100, 2), PropertyUse("b", 100, 2)),
    ],
)
def test_order__of_two_properties__begins_with_the_more_useful(better: PropertyUse, worse: PropertyUse) -> None:
    assert order_by_use([worse, better], read=100) == [better, worse]


def test_property_use__of_conversions__counts_values_and_looks_into_objects(world: World) -> None:
    many = {"address": {"city": "Zug", "deep": {"x": 1}}, "a.b": 1, "none": None, "tags": ["x"], "n": 1}
    world.send(
        world.event("track", event="Buy", userId="u1", properties=many),
        world.event(
            "track", event="Buy", at=1, userId="u2", properties={**many, "address": {"city": "Bern"}, "n": 1.0}
        ),
        world.event("track", event="Buy", at=90_000, userId="u2", properties={"late": 1}),
    )

    found = load_property_use(Goal.objects.get(), begin=START, end=START + timedelta(days=1))

    assert {use.path: (use.conversions, use.values) for use in found} == {
        "address.city": (2, 2),
        "tags": (2, 1),
        "n": (2, 1),
    }


def test_property_use__of_large_conversions__reads_a_bounded_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(property_use, "BYTES_EACH", 200)
    monkeypatch.setattr(property_use, "BYTES", 150)
    text = "".join(f"{number:07x}" for number in range(100))
    world.send(
        world.event("track", event="Buy", at=0, userId="u1", properties={"old": "x" * 60}),
        world.event("track", event="Buy", at=1, userId="u1", properties={"new": "y" * 60}),
        world.event("track", event="Buy", at=2, userId="u1", properties={"large": text}),
    )

    found = load_property_use(Goal.objects.get(), begin=START, end=START + timedelta(days=1))

    assert [use.path for use in found] == ["new"]
