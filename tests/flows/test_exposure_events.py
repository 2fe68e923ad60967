"""Exposures from track events: they make experiments by themselves, and late links and erasures move them."""

import itertools
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api.erasure.erase import erase
from api.insight.person_visits import export_visits
from api.models import Message
from cohorts.queries import find_person
from goals.experiments import catalogue
from goals.experiments.models import Experiment, Variation
from goals.experiments.numbers import number_of
from goals.models import Conversion
from goals.visit_models import Exposure
from tests.support.sdk import line, send_lines
from tests.support.traces import last, step
from tests.support.verifying import found_by_verify
from tests.world import START, World

CHECKOUT: dict[str, Any] = {
    "experiment_id": "checkout-2",
    "experiment_name": "Checkout 2",
    "variation_id": "b",
    "variation_name": "B",
}


def view(world: World, *, at: float = 0, properties: Any = None, name: str = "Experiment Viewed", **ids: Any) -> Any:
    return world.event(event=name, at=at, properties=CHECKOUT if properties is None else properties, **ids)


def counted() -> set[str]:
    """Return for whom the exposures count."""
    return {row.counts_for for row in Exposure.objects.all()}


def test_experiment_viewed__of_an_unknown_experiment__makes_it_with_its_variation(world: World) -> None:
    world.send(view(world, at=5))
    world.send(view(world, at=60, properties={**CHECKOUT, "variation_id": "a", "variation_name": "A"}, userId="u2"))

    experiment = Experiment.objects.get()
    assert (str(experiment), experiment.key, experiment.origin) == ("Checkout 2", "checkout-2", "event")
    assert (experiment.tags, experiment.window_days) == (["segment.io"], 7)
    assert {(str(each), each.key) for each in Variation.objects.all()} == {("A", "a"), ("B", "b")}
    assert Exposure.objects.filter(experiment_id=experiment.number).count() == 2
    assert world.goals() == {"SegmentIO track – Experiment Viewed": 2}
    assert found_by_verify() == []


def test_experiment_viewed__again__is_the_same_exposure_at_its_first_time(world: World) -> None:
    world.send(view(world, at=60), view(world, at=5), view(world, at=70))

    exposure = Exposure.objects.get()
    assert (exposure.first_at - START).total_seconds() == 5
    assert [
        ("recorded" in effects) for effects in Message.objects.order_by("pk").values_list("effects", flat=True)
    ] == [
        True,
        False,
        False,
    ]


def test_trace__of_an_exposure__names_variation_and_experiment(world: World) -> None:
    world.send(view(world))

    assert step(last(world), "Visit").text == "Exposure of variation B of Checkout 2: the first time."


@pytest.mark.parametrize(
    ("name", "properties", "expected"),
    [
        ("Experiment Viewed", {"experimentId": "e", "variationId": "v"}, ("e", "v", "segment.io")),
        ("Experiment Viewed", {"experiment_name": "E", "variation_name": "V"}, ("E", "V", "segment.io")),
        ("Experiment Viewed", {"experiment_id": 5011, "variation_id": 2}, ("5011", "2", "segment.io")),
        (
            "$feature_flag_called",
            {"$feature_flag": "new-menu", "$feature_flag_response": True},
            ("new-menu", "true", "posthog"),
        ),
        (
            "statsig::experiment_exposure",
            {"statsig::config": "menu", "statsig::rule_id": "r1"},
            ("menu", "r1", "statsig"),
        ),
        ("LD", {"flagKey": "menu", "variationIndex": 0}, ("menu", "0", "launchdarkly")),
        ("$experiment_started", {"Experiment name": "menu", "Variant name": "on"}, ("menu", "on", "mixpanel")),
    ],
)
def test_events__of_other_tools__are_read_by_their_properties(
    world: World, name: str, properties: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    world.change_site(
        exposure_event_names=[
            *("Experiment Viewed", "$feature_flag_called", "statsig::experiment_exposure", "LD", "$experiment_started")
        ]
    )

    world.send(view(world, name=name, properties=properties))

    experiment = Experiment.objects.get()
    assert (experiment.key, Variation.objects.get().key, *experiment.tags) == expected


def test_event__that_names_no_variation__warns_and_still_converts(world: World) -> None:
    world.send(view(world, properties={"experiment_id": "checkout-2"}))

    message = Message.objects.get()
    assert (message.status, message.warnings, Exposure.objects.count()) == ("done", ["odd_exposure"], 0)
    assert world.goals() == {"SegmentIO track – Experiment Viewed": 1}


def test_event__that_the_site_does_not_name__is_no_exposure(world: World) -> None:
    world.change_site(exposure_event_names=[])

    world.send(view(world))

    assert (Exposure.objects.count(), Experiment.objects.count()) == (0, 0)


def test_sdk_and_event__with_one_number__mean_one_experiment(world: World) -> None:
    send_lines(world, line("experiment", id=5011, variationId=70111))
    world.send(view(world, properties={"experiment_id": "5011", "variation_id": "70112", "experiment_name": "Menu"}))

    experiment = Experiment.objects.get()
    assert (experiment.number, str(experiment), experiment.tags) == (5011, "Menu", ["kameleoon", "segment.io"])
    assert set(Variation.objects.values_list("number", flat=True)) == {70111, 70112}
    assert found_by_verify() == []


def test_names__of_events_in_any_order__are_the_earliest(world: World) -> None:
    names = ["First", "Second", "Third"]
    found = set()
    for order in itertools.permutations(range(3)):
        Experiment.objects.all().delete()
        Exposure.objects.all().delete()
        for place in order:
            said = {**CHECKOUT, "experiment_name": names[place], "variation_name": names[place]}
            world.send(view(world, at=place, properties=said))
        found.add((str(Experiment.objects.get()), str(Variation.objects.get())))
    assert found == {("First", "First")}


def test_names__that_a_person_chose__stay(world: World) -> None:
    world.send(view(world, at=9))
    Experiment.objects.update(name="Ours")

    world.send(view(world, at=1, properties={**CHECKOUT, "experiment_name": "Earlier"}))

    assert (str(Experiment.objects.get()), Experiment.objects.get().event_name) == ("Ours", "Earlier")


@pytest.mark.promise("N-09")
def test_exposures__with_links_in_any_order__count_for_the_visitor_of_their_conversions(world: World) -> None:
    def events(run: int) -> list[dict[str, Any]]:
        user, device, code = f"u{run}", f"d{run}", f"v{run}"
        return [
            view(world, at=1, userId=None, anonymousId=device),
            view(world, at=2, userId=user),
            view(world, at=3, userId=user, anonymousId=device),
            world.event(at=4, userId=None, anonymousId=device, properties={"kameleoonVisitorCode": code}),
            world.event("identify", at=5, userId=user, anonymousId=device),
        ]

    for run, order in enumerate(itertools.permutations(range(5))):
        stream = events(run)
        world.send(*(stream[place] for place in order))
        by_ids = {
            (row.user_id, row.anonymous_id or ""): row.visitor_code
            for row in Conversion.objects.filter(goal__name__contains="Experiment Viewed")
        }
        exposures = {(row.visitor_code or None, row.anonymous_id): row.linked_code for row in Exposure.objects.all()}
        assert exposures == by_ids
        assert set(exposures.values()) == {f"v{run}"}, order
        Exposure.objects.all().delete()
        Conversion.objects.all().delete()


def test_exposures__of_an_sdk_for_a_user__count_for_the_code_that_a_later_link_gives(world: World) -> None:
    send_lines(world, line("experiment", None, id=5011, variationId=1, mappingValue="ann"))
    assert counted() == {"ann"}

    world.send(world.event(userId="ann", properties={"kameleoonVisitorCode": "v1"}))

    assert counted() == {"v1"}


@pytest.mark.promise("N-13")
def test_export__of_a_person__has_the_exposures_of_its_devices(world: World) -> None:
    world.send(view(world, userId=None, anonymousId="phone"), view(world, at=5, userId="ann", anonymousId="laptop"))
    world.send(world.event("identify", userId="ann", anonymousId="phone"))

    exported = [msgspec.json.decode(raw) for raw in export_visits(world.site, find_person(world.site.pk, ["ann"]))]

    assert {each["visitorCode"] for each in exported} == {"phone", "ann"}


@pytest.mark.promise("N-13")
def test_exposures__of_an_erased_person__stay_under_its_marker(world: World) -> None:
    world.send(
        view(world, userId="ann", anonymousId="phone"), view(world, at=5, userId="ann"), view(world, userId="bob")
    )
    erasure = erase(world.site, "ann", by="ada", now=START)

    assert erasure is not None
    texts = {
        text for row in Exposure.objects.all() for text in (row.visitor_code, row.anonymous_id, row.linked_code) if text
    }
    assert texts == {erasure.marker, "bob"}
    marked = Exposure.objects.get(visitor_code=erasure.marker)
    assert marked.first_at == START
    assert Conversion.objects.filter(visitor_code=erasure.marker).count() == 2


def test_experiments__beyond_the_room_of_a_site__are_made_once_there_is_some(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MOST_EXPERIMENTS", 2)
    for number in range(3):
        world.send(view(world, userId=f"u{number}", properties={**CHECKOUT, "experiment_id": f"e{number}"}))

    assert (Experiment.objects.count(), Exposure.objects.count()) == (2, 3)
    assert Message.objects.latest("pk").warnings == ["many_experiments"]
    Experiment.objects.filter(key="e0").update(archived_at=START)

    world.send(view(world, userId="u9", properties={**CHECKOUT, "experiment_id": "e2"}))

    assert set(Experiment.objects.values_list("key", flat=True)) == {"e0", "e1", "e2"}


def test_variations__beyond_the_room_of_an_experiment__are_not_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MOST_VARIATIONS", 2)
    for number in range(3):
        world.send(view(world, userId=f"u{number}", properties={**CHECKOUT, "variation_id": f"v{number}"}))

    assert (Variation.objects.count(), Exposure.objects.count()) == (2, 3)
    assert Message.objects.latest("pk").warnings == ["many_experiments"]


def test_experiments__that_are_new_beside_renamed_ones__fill_the_room_that_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that exist already take no room again."""
    experiments, variations = (sorted((f"{kind}{n}" for n in range(4)), key=number_of) for kind in "ev")

    def batch(size: int, *, at: float, name: str) -> list[Any]:
        named = {"experiment_name": name, "variation_name": name}
        pairs = [*((key, "v") for key in experiments[:size]), *(("one", key) for key in variations[:size])]
        return [
            view(world, at=at, properties={**named, "experiment_id": experiment, "variation_id": variation})
            for experiment, variation in pairs
        ]

    world.send(*batch(3, at=60, name="Late"))
    monkeypatch.setattr(catalogue, "MOST_EXPERIMENTS", 5)
    monkeypatch.setattr(catalogue, "MOST_VARIATIONS", 4)

    world.send(*batch(4, at=5, name="Early"))

    assert Experiment.objects.filter(event_name="Early").count() == 5
    assert Variation.objects.filter(experiment__key="one", event_name="Early").count() == 4


def test_batch__without_exposures__asks_for_no_experiment(world: World) -> None:
    world.post(world.event())

    with CaptureQueriesContext(connection) as queries:
        world.digest()

    tables = ("goals_experiment", "goals_variation", "INTO goals_exposure")
    assert [query["sql"] for query in queries if any(table in query["sql"] for table in tables)] == []
