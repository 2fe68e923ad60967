"""Experiments by people: variations with shares and phases, goals, decisions, states and periods."""

import threading
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from goals.experiments import editing
from goals.experiments.catalogue import MOST_VARIATIONS, SaidVariation, note_variations
from goals.experiments.editing import ExperimentError, VariationFields
from goals.experiments.models import Experiment, ExperimentGoal, ExperimentPhase, Variation
from goals.experiments.numbers import number_of
from goals.experiments.reading import (
    ExperimentState,
    Exposed,
    count_exposed,
    find_experiment,
    find_period,
    find_reference,
    list_experiments,
    state_of,
)
from goals.models import Goal
from tests.support.concurrency import count_lock_waits, in_threads, wait_until
from tests.world import START, World

HOUR = timedelta(hours=1)
HALF = Decimal("0.5")
Role = ExperimentGoal.Role
Decision = Experiment.Decision


def make(world: World, key: str = "checkout-2", **fields: object) -> Experiment:
    """Create an experiment of two variations with half of the visitors each."""
    variations = [VariationFields("a", share=HALF, is_reference=True), VariationFields("b", share=HALF)]
    return editing.create_experiment(
        Experiment(site=world.site, key=key, **fields), variations=variations, goals={}, by="ada", now=START
    )


def load(experiment: Experiment) -> Experiment:
    found = find_experiment(experiment.site_id, experiment.pk)
    assert found is not None
    return found


def test_create__of_a_key_with_variations_and_goals__is_listed(world: World) -> None:
    goals = [Goal.objects.create(site=world.site, name=name) for name in ("Order", "Error")]

    experiment = make(world, name="Checkout 2")
    editing.set_goals(experiment, {goals[1].pk: Role.GUARDRAIL, goals[0].pk: Role.PRIMARY})

    (listed,) = list_experiments(world.site.pk)
    assert (listed.pk, listed.number, str(listed)) == (experiment.pk, number_of("checkout-2"), "Checkout 2")
    assert {each.goal_id: each.role for each in listed.goals.all()} == {
        goals[0].pk: "primary",
        goals[1].pk: "guardrail",
    }
    assert {each.key: each.share for each in listed.variations.all()} == {"a": HALF, "b": HALF}
    assert list_experiments(world.site.pk + 1) == []


def test_create__with_the_key_of_another__says_so(world: World) -> None:
    make(world)

    with pytest.raises(ExperimentError, match="has an experiment with the key “checkout-2”"):
        make(world)


def test_exposure__of_an_experiment_that_a_person_made__finds_it(world: World) -> None:
    experiment = make(world, name="Ours")

    properties = {"experiment_id": "checkout-2", "variation_id": "b", "experiment_name": "Theirs"}
    world.send(world.event(event="Experiment Viewed", properties=properties))

    assert (Experiment.objects.count(), Variation.objects.count()) == (1, 2)
    assert str(load(experiment)) == "Ours"
    exposed = Exposed(visitors=1, is_part=False, first_at=START)
    assert count_exposed(world.site.pk, [experiment.number]) == {experiment.number: exposed}


def test_shares__of_one_that_runs__begin_a_phase_with_a_reason(world: World) -> None:
    experiment = make(world, started_at=START)
    wanted = [VariationFields("a", share=Decimal("0.1"), is_reference=True), VariationFields("b", share=Decimal("0.9"))]

    with pytest.raises(ExperimentError, match="Say why"):
        editing.set_variations(experiment, wanted, reason=" ", by="ada", now=START + HOUR)
    editing.set_variations(experiment, wanted, reason="More of B", by="ada", now=START + HOUR)

    experiment = load(experiment)
    (phase,) = experiment.phases.all()
    assert (phase.reason, phase.made_by) == ("More of B", "ada")
    assert phase.shares == {str(number_of("a")): "0.1", str(number_of("b")): "0.9"}
    assert find_period(experiment) == (START + HOUR, None)


def test_shares__of_one_that_has_not_begun__begin_no_phase(world: World) -> None:
    experiment = make(world, started_at=START + 2 * HOUR)

    wanted = [VariationFields("a", share=Decimal(0)), VariationFields("b", share=Decimal(1))]
    editing.set_variations(experiment, wanted, reason="", by="ada", now=START + HOUR)

    assert list(load(experiment).phases.all()) == []


@pytest.mark.parametrize(
    "ended",
    [{"stopped_at": START + HOUR}, {"decision": "keep"}, {"archived_at": START}],
    ids=["stop", "end", "archive"],
)
def test_shares__of_one_that_ended__are_corrected_without_a_phase(world: World, ended: dict[str, Any]) -> None:
    experiment = make(world, started_at=START)
    Experiment.objects.update(**ended)

    wanted = [VariationFields("a", share=Decimal("0.4")), VariationFields("b", share=Decimal("0.6"))]
    editing.set_variations(experiment, wanted, reason="", by="ada", now=START + 2 * HOUR)

    assert not ExperimentPhase.objects.exists()
    assert set(Variation.objects.values_list("share", flat=True)) == {Decimal("0.4"), Decimal("0.6")}


def test_period__of_one_that_stopped_before_its_last_phase__ignores_that_phase(world: World) -> None:
    experiment = make(world, started_at=START, stopped_at=START + HOUR)
    for hours in (0.5, 2):
        ExperimentPhase.objects.create(site=world.site, experiment=experiment, started_at=START + hours * HOUR)

    assert find_period(load(experiment)) == (START + HOUR / 2, START + HOUR)


@pytest.mark.parametrize(
    "wanted",
    [
        [VariationFields("a"), VariationFields("b"), VariationFields("c")],
        [VariationFields("a", share=Decimal("0.9")), VariationFields("b", share=Decimal("0.1"))],
        [VariationFields("a", share=Decimal("0.9")), VariationFields("b")],
    ],
    ids=["third", "first", "rest"],
)
def test_shares__of_variations_that_were_alike__begin_a_phase_when_they_are_others(
    world: World, wanted: list[VariationFields]
) -> None:
    experiment = editing.create_experiment(
        Experiment(site=world.site, key="menu", started_at=START),
        variations=[VariationFields("a"), VariationFields("b")],
        goals={},
        by="ada",
        now=START,
    )

    with pytest.raises(ExperimentError, match="Say why"):
        editing.set_variations(experiment, wanted, reason="", by="ada", now=START + HOUR)
    assert Variation.objects.count() == 2
    editing.set_variations(experiment, wanted, reason="Other shares", by="ada", now=START + HOUR)

    (phase,) = load(experiment).phases.all()
    assert len(phase.shares) == len(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        [VariationFields("a", share=HALF), VariationFields("b")],
        [VariationFields("a", share=HALF), VariationFields("b", share=HALF), VariationFields("c", share=Decimal(0))],
    ],
    ids=["rest", "unseen"],
)
def test_shares__written_otherwise__begin_no_phase(world: World, wanted: list[VariationFields]) -> None:
    experiment = make(world, started_at=START)

    editing.set_variations(experiment, wanted, reason="", by="ada", now=START + HOUR)

    assert not ExperimentPhase.objects.exists()


def test_variation__whose_key_gives_another_number__is_found_by_its_key(world: World) -> None:
    experiment = make(world)
    Variation.objects.filter(key="a").update(key="-1", number=-1)

    wanted = [VariationFields("-1", "Old", share=HALF), VariationFields("b", share=HALF)]
    editing.set_variations(experiment, wanted, reason="", by="ada", now=START)

    assert Variation.objects.get(number=-1).name == "Old"
    assert Variation.objects.count() == 2


def test_variations__that_are_too_many_with_those_of_exposures__are_refused(world: World) -> None:
    experiment = make(world)

    wanted = [VariationFields(f"c{place}", share=Decimal(0)) for place in range(MOST_VARIATIONS - 1)]
    with pytest.raises(ExperimentError, match="100 variations at most"):
        editing.set_variations(experiment, wanted, reason="", by="ada", now=START)


def say(world: World, experiment: Experiment, key: str) -> None:
    """Note a variation as the digest does."""
    numbers = experiment.number, number_of(key)
    note_variations(world.site.pk, [SaidVariation(*numbers, experiment.key, key, at=START, variation_name="Theirs")])


def test_edit__that_has_not_ended__lets_exposures_make_variations(world: World) -> None:
    experiment = make(world)

    def digest(_: int) -> None:
        with transaction.atomic():
            connection.cursor().execute("SET LOCAL lock_timeout = '5s'")
            say(world, experiment, "c")

    with transaction.atomic():
        editing.set_variations(experiment, [VariationFields("a")], reason="", by="ada", now=START)
        in_threads(1, digest)

    assert Variation.objects.count() == 3


def test_edit__of_a_variation_that_an_exposure_makes_meanwhile__describes_it(world: World) -> None:
    experiment = make(world)
    is_noted = threading.Event()

    def work(thread: int) -> None:
        if thread:
            is_noted.wait(60)
            wanted = [VariationFields("c", "Ours")]
            editing.set_variations(experiment, wanted, reason="", by="ada", now=START)
            return
        with transaction.atomic():
            say(world, experiment, "c")
            is_noted.set()
            wait_until(lambda: count_lock_waits() == 1)

    in_threads(2, work)

    found = Variation.objects.get(key="c")
    assert (found.name, found.event_name) == ("Ours", "Theirs")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ([VariationFields("a", share=HALF), VariationFields("b", share=Decimal("0.6"))], "add up to 1"),
        ([VariationFields("a", share=HALF)], "add up to 1"),
        ([VariationFields("a", share=HALF), VariationFields("c", share=HALF)], "add up to 1"),
        ([VariationFields("a"), VariationFields("a")], "have one key"),
        ([VariationFields("a", is_reference=True), VariationFields("b", is_reference=True)], "are the reference"),
    ],
)
def test_variations__that_contradict_each_other__are_refused(
    world: World, wanted: list[VariationFields], reason: str
) -> None:
    with pytest.raises(ExperimentError, match=reason):
        editing.set_variations(make(world), wanted, reason="", by="ada", now=START)


def test_goals__with_two_primary_ones__are_refused(world: World) -> None:
    goals = [Goal.objects.create(site=world.site, name=name) for name in ("Order", "Error")]

    with pytest.raises(ExperimentError, match="one primary goal"):
        editing.set_goals(make(world), {goal.pk: Role.PRIMARY for goal in goals})


def test_decision__needs_a_reason_and_a_variation_to_ship(world: World) -> None:
    experiment = make(world)

    for reason, variation in (("", number_of("b")), ("It pays", 5)):
        with pytest.raises(ExperimentError):
            editing.decide(experiment, Decision.SHIP, reason=reason, variation=variation, now=START)
    editing.decide(experiment, Decision.SHIP, reason="It pays", variation=number_of("b"), now=START)
    assert (load(experiment).decided_for, load(experiment).decided_at) == (number_of("b"), START)
    editing.decide(experiment, Decision.NONE, reason="", now=START)
    assert (load(experiment).decision, load(experiment).decided_for) == ("", None)


def test_change__that_stops_before_it_starts__is_refused(world: World) -> None:
    experiment = make(world, started_at=START)
    experiment.stopped_at = START - HOUR

    with pytest.raises(ExperimentError, match="stop before it starts"):
        editing.change_experiment(experiment, fields=["stopped_at"])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"started_at": START, "stopped_at": START - HOUR}, "stop before it starts"),
        ({"started_at": datetime.fromisoformat("0001-01-01T00:00Z")}, "from 1990 to 2200"),
        ({"stopped_at": datetime.fromisoformat("9999-12-31T23:59Z")}, "from 1990 to 2200"),
    ],
    ids=["stop", "early", "late"],
)
def test_create__with_times_that_cannot_be__is_refused(world: World, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExperimentError, match=reason):
        make(world, **fields)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, ExperimentState.DRAFT),
        ({"origin": "event"}, ExperimentState.RUNNING),
        ({"started_at": START + HOUR}, ExperimentState.DRAFT),
        ({"started_at": START}, ExperimentState.RUNNING),
        ({"started_at": START, "stopped_at": START}, ExperimentState.STOPPED),
        ({"started_at": START, "stopped_at": START, "decision": "keep"}, ExperimentState.DECIDED),
        ({"archived_at": START}, ExperimentState.ARCHIVED),
    ],
)
def test_state__by_times_and_decision__is_one_of_five(fields: dict[str, object], state: ExperimentState) -> None:
    assert state_of(Experiment(**fields), now=START) == state


@pytest.mark.parametrize(
    ("variations", "expected"),
    [
        ([("x", False), ("Control", False)], "Control"),
        ([("control", False), ("x", True)], "x"),
        ([("z", False), ("y", False)], "z"),
        ([], None),
    ],
)
def test_reference__of_variations__is_the_chosen_or_a_usual_one(
    variations: list[tuple[str, bool]], expected: str | None
) -> None:
    rows = [Variation(key=key, number=place, is_reference=is_it) for place, (key, is_it) in enumerate(variations)]

    found = find_reference(rows)

    assert (found.key if found else None) == expected


def test_shares__of_an_automatic_experiment__begin_no_phase_when_they_are_first_described(world: World) -> None:
    world.send(world.event(event="Experiment Viewed", properties={"experiment_id": "menu", "variation_id": "a"}))
    experiment = Experiment.objects.get()

    editing.set_variations(experiment, [VariationFields("a", share=Decimal(1))], reason="", by="ada", now=START)

    assert list(load(experiment).phases.all()) == []
