"""Experiments by people: variations with shares and phases, goals, decisions, states and periods."""

from datetime import timedelta
from decimal import Decimal

import pytest

from goals.experiments import editing
from goals.experiments.editing import ExperimentError, VariationFields
from goals.experiments.models import Experiment, ExperimentGoal, Variation
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
    assert editing.list_goal_ids(listed) == [goals[0].pk, goals[1].pk]
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
    assert count_exposed(world.site.pk, [experiment.number]) == {experiment.number: Exposed(1, START, START)}


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
    ("wanted", "reason"),
    [
        ([VariationFields("a", share=HALF), VariationFields("b", share=Decimal("0.6"))], "add up to 1"),
        ([VariationFields("a", share=HALF)], "add up to 1"),
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
