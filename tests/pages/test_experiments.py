"""Pages of experiments: the list, a result, and what people change."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from api.models import AuditEntry
from goals.experiments import reading
from goals.experiments.models import Experiment, ExperimentGoal, ExperimentPhase
from goals.merging import merge
from goals.models import Goal
from tests.support.pages import Enter, address, text_of
from tests.world import World

NAMES = {"experiment_id": "checkout-2", "experiment_name": "Checkout 2"}


def views(world: World, visitors: int, *, converting: dict[str, int]) -> Iterator[Any]:
    """Yield exposures of as many visitors to each variation, and an order of some of them a minute later."""
    for variation, buyers in converting.items():
        for place in range(visitors):
            code = f"{variation}{place}"
            properties = {**NAMES, "variation_id": variation, "variation_name": variation.title()}
            ids: dict[str, Any] = {"userId": code}
            yield world.event(
                event="Experiment Viewed", at=place, properties={**properties, "kameleoonVisitorCode": code}, **ids
            )
            if place < buyers:
                yield world.event(event="Order", at=60 + place, properties={"kameleoonVisitorCode": code}, **ids)


def run(world: World, visitors: int, **converting: int) -> Experiment:
    """Return an experiment that ran, with the goal of orders as the primary one."""
    world.send(*views(world, visitors, converting=converting))
    experiment = Experiment.objects.get()
    goal = Goal.objects.get(name__endswith="Order")
    ExperimentGoal.objects.create(site=world.site, experiment=experiment, goal=goal, role="primary")
    return experiment


def shown(client: Client, experiment: Experiment, part: str = "") -> str:
    return html.unescape(text_of(client.get(address(f"experiments/{experiment.pk}/{part}"))))


@pytest.mark.promise("N-12")
def test_experiment__with_a_difference__says_it_in_one_sentence_with_its_interval(world: World, enter: Enter) -> None:
    experiment = run(world, 400, control=60, treatment=280)

    page = shown(enter("viewer"), experiment)

    assert re.search(r"Treatment raises track Order by 366\.7 % \([\d.,]+ to [\d.,]+\)\.", page)
    assert "gp-claims-higher" in page
    assert "15 %" in page
    assert "70 %" in page
    assert "Difference of Treatment by day" in page
    (sentence,) = re.findall(r"Treatment raises .*?\)\.", shown(enter("viewer"), experiment, "sentence/"))
    assert sentence in page


def test_experiment__of_few_visitors__claims_nothing(world: World, enter: Enter) -> None:
    experiment = run(world, 5, control=1, treatment=3)

    assert "Too few visitors converted on track Order to say anything about Treatment yet." in shown(
        enter("viewer"), experiment
    )


def test_experiment__without_a_goal__asks_for_one_and_shows_visitors(world: World, enter: Enter) -> None:
    world.send(*views(world, 3, converting={"control": 0, "treatment": 0}))

    page = shown(enter("editor"), Experiment.objects.get())

    assert "Choose the goal that decides" in page
    assert "No goal is chosen." in page
    assert page.count("50 %") == 2  # shares that exposures made are what they are


@pytest.mark.promise("N-12")
def test_experiment__whose_visitors_are_not_shared_as_they_should__claims_nothing(world: World, enter: Enter) -> None:
    experiment = run(world, 400, control=60, treatment=280)
    experiment.variations.filter(key="control").update(share="0.9")
    experiment.variations.filter(key="treatment").update(share="0.1")

    page = shown(enter("viewer"), experiment)

    assert "Visitors are not shared as configured, so nothing is claimed" in page
    assert "beginning on 22 Nov 2026" in page
    assert "gp-claims-higher" not in page


def test_experiment__that_exposures_made__has_any_shares_until_they_are_described(world: World, enter: Enter) -> None:
    experiment = run(world, 400, control=60, treatment=280)
    world.send(*views(world, 20, converting={"typo": 0}))

    assert "Treatment raises track Order" in shown(enter("viewer"), experiment)

    experiment.variations.filter(key__in=["control", "treatment"]).update(share="0.5")
    assert "Treatment raises track Order" in shown(enter("viewer"), experiment)  # the other one should have nothing


def test_experiment__without_its_primary_goal__lets_no_other_goal_decide(world: World, enter: Enter) -> None:
    experiment = run(world, 400, control=60, treatment=280)
    experiment.goals.update(role="guardrail")

    page = shown(enter("viewer"), experiment)

    assert "Choose the goal that decides" in page
    assert "guardrail" in page
    assert "by day" not in page


def test_experiment__with_a_variation_that_came_to_no_visitor__compares_as_its_curve_does(
    world: World, enter: Enter
) -> None:
    experiment = run(world, 400, control=60, treatment=280)
    page = shown(enter("viewer"), experiment)
    (before,) = re.findall(r"Treatment raises track Order by 366\.7 % \(.*?\)\.", page)[:1]

    experiment.variations.create(site=world.site, number=99, key="later")

    assert before in shown(enter("viewer"), experiment)


def test_list__of_experiments__has_state_and_visitors_and_the_archive_apart(world: World, enter: Enter) -> None:
    experiment = run(world, 3, control=1, treatment=2)
    viewer, editor = enter("viewer"), enter("editor")

    page = text_of(viewer.get(address("experiments/")))
    assert "Checkout 2" in page
    assert "running" in page
    assert re.search(r">6<span class=.gp-unit.> visitors<", page)
    assert "New experiment" not in page

    editor.post(address(f"experiments/{experiment.pk}/archive/"), {"to": "on"})
    assert "Checkout 2" not in text_of(viewer.get(address("experiments/"))).replace("Experiment Checkout 2", "")
    assert "Checkout 2" in text_of(viewer.get(address("experiments/?archived=1")))


def test_list__of_more_exposures_than_it_counts__says_at_least(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world, 3, control=1, treatment=2)
    monkeypatch.setattr(reading, "MOST_COUNTED", 4)

    page = text_of(enter("viewer").get(address("experiments/")))

    assert re.search(r">at least 4<span class=.gp-unit.> visitors<", page)


def form(**changes: str) -> dict[str, str]:
    rows = {
        "variations-TOTAL_FORMS": "3",
        "variations-INITIAL_FORMS": "0",
        "variations-0-key": "a",
        "variations-0-is_reference": "on",
        "variations-1-key": "b",
        "variations-1-name": "New",
        "variations-2-key": "",
    }
    return {"name": "Search", "window_days": "14", "hypothesis": "More is found.", **rows, **changes}


def test_experiment__made_by_a_person__is_described_before_its_first_exposure(world: World, enter: Enter) -> None:
    world.track("Order")
    goal = Goal.objects.get()
    editor = enter("editor")

    made = editor.post(address("experiments/new/"), form(key="search-1", primary=str(goal.pk)))

    experiment = Experiment.objects.get()
    assert made.headers["Location"] == address(f"experiments/{experiment.pk}/")
    assert (str(experiment), experiment.window_days, experiment.origin) == ("Search", 14, "person")
    assert [(each.key, each.is_reference) for each in experiment.variations.order_by("key")] == [
        ("a", True),
        ("b", False),
    ]
    assert [(each.goal, each.role) for each in experiment.goals.all()] == [(goal, "primary")]
    assert "No visitor has seen it yet." in shown(editor, experiment)
    again = text_of(editor.post(address("experiments/new/"), form(key="search-1")))
    assert "The site has an experiment with the key “search-1”." in again


def test_experiment__that_runs__needs_a_reason_for_other_shares(world: World, enter: Enter) -> None:
    experiment = run(world, 3, control=1, treatment=2)
    editor = enter("editor")
    keys = {"variations-0-key": "control", "variations-1-key": "treatment"}
    first = form(**keys, **{"variations-0-share": "50", "variations-1-share": "50"})
    other = form(**keys, **{"variations-0-share": "90", "variations-1-share": "10"})
    assert editor.post(address(f"experiments/{experiment.pk}/edit/"), first).status_code == 302

    refused = text_of(editor.post(address(f"experiments/{experiment.pk}/edit/"), other))
    assert "Say why." in refused
    assert not ExperimentPhase.objects.exists()

    editor.post(address(f"experiments/{experiment.pk}/edit/"), {**other, "reason": "Safer"})
    assert "Safer" in shown(editor, experiment)
    assert "Only visitors since the last change of shares count." in shown(editor, experiment)


def untouched(editor: Client, experiment: Experiment) -> dict[str, Any]:
    """Return what the edit page sends if no field is changed."""
    page: Any = editor.get(address(f"experiments/{experiment.pk}/edit/"))
    fields = [*page.context["form"], *(field for row in page.context["rows"] for field in row)]
    sent = {field.html_name: field.value() for field in fields if field.value() not in (None, False)}
    return {**sent, "variations-TOTAL_FORMS": "4", "variations-INITIAL_FORMS": "2"}


def test_form__untouched__changes_nothing(world: World, enter: Enter) -> None:
    experiment = run(world, 3, control=1, treatment=2)
    Experiment.objects.update(started_at=world.site.created_at + timedelta(seconds=7.5))
    editor = enter("editor")
    assert editor.post(address(f"experiments/{experiment.pk}/edit/"), untouched(editor, experiment)).status_code == 302

    assert not AuditEntry.objects.filter(what__startswith="Changed the experiment").exists()
    experiment.refresh_from_db()
    assert experiment.started_at == world.site.created_at + timedelta(seconds=7.5)


def test_form__with_a_merged_goal__keeps_it(world: World, enter: Enter) -> None:
    experiment = run(world, 3, control=1, treatment=2)
    chosen = experiment.goals.get().goal
    merge(chosen, Goal.objects.create(site=world.site, name="All orders"))
    editor = enter("editor")

    sent = untouched(editor, experiment) | {"name": "Basket"}

    assert editor.post(address(f"experiments/{experiment.pk}/edit/"), sent).status_code == 302
    experiment.refresh_from_db()
    assert (experiment.name, experiment.goals.get().goal) == ("Basket", chosen)


def test_form__of_variations_of_an_sdk__makes_no_others(world: World, enter: Enter) -> None:
    experiment = run(world, 3, control=1, treatment=2)
    for number, old in ((-1, "control"), (1234567890123456, "treatment")):
        experiment.variations.filter(key=old).update(key=str(number), number=number)
    editor = enter("editor")

    editor.post(address(f"experiments/{experiment.pk}/edit/"), untouched(editor, experiment) | {"name": "Basket"})

    assert set(experiment.variations.values_list("number", flat=True)) == {-1, 1234567890123456}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("reason", "a" * 501, "at most 500 characters"),
        ("started_at", "0001-01-01T00:00", "from 1990 to 2200"),
        ("stopped_at", "9999-12-31T23:59", "from 1990 to 2200"),
    ],
    ids=["reason", "early", "late"],
)
def test_form__with_a_value_that_cannot_be_kept__says_so(
    world: World, enter: Enter, field: str, value: str, said: str
) -> None:
    experiment = run(world, 3, control=1, treatment=2)
    experiment.variations.update(share="0.5")
    editor = enter("editor")
    sent = untouched(editor, experiment) | {"variations-0-share": "40", "variations-1-share": "60", field: value}

    assert said in text_of(editor.post(address(f"experiments/{experiment.pk}/edit/"), sent))

    assert not ExperimentPhase.objects.exists()


def test_form__of_long_texts_of_the_api__is_saved(world: World, enter: Enter) -> None:
    experiment = run(world, 3, control=1, treatment=2)
    Experiment.objects.update(hypothesis="a" * 10_000)
    editor, decision = enter("editor"), {"decision": "keep", "reason": "a" * 5_000}

    sent = untouched(editor, experiment) | {"name": "Basket"}

    assert editor.post(address(f"experiments/{experiment.pk}/edit/"), sent).status_code == 302
    assert editor.post(address(f"experiments/{experiment.pk}/decide/"), decision).status_code == 302


def test_decision__without_a_reason__is_refused(world: World, enter: Enter) -> None:
    experiment = run(world, 3, control=1, treatment=2)
    editor, page = enter("editor"), address(f"experiments/{experiment.pk}/decide/")
    number = str(experiment.variations.get(key="treatment").number)

    assert "Say why" in text_of(editor.post(page, {"decision": "ship", "variation": number}))
    editor.post(page, {"decision": "ship", "variation": number, "reason": "It raises orders."})

    assert "It raises orders." in shown(editor, experiment)
    assert "decided" in text_of(editor.get(address("experiments/")))
