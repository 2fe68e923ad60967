"""Any order, any repetition, any split into requests, any number of workers: the state that tests/model.py predicts.

The law is about the stored messages: distinct (type, messageId) with fixed times, from any source of a site.

- A repetition is the same event again.
- Its time is its timestamp: never in the future, and without a `sentAt` that is a minute off, unless it has an
  `originalTimestamp`.
- Between equal times the position in the request decides, that of the first copy.
- An event without a messageId counts as often as it arrives.

For longer: ORDER_EXAMPLES=1000 .venv/bin/python -m pytest -q tests/flows/test_order.py
"""

import os
import random
from itertools import chain, cycle, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model import read_id
from tests.support.order_plans import (
    EXAMPLES,
    ONE_BY_ONE,
    STEP_BY_STEP,
    Event,
    Plan,
    follow,
    plans,
    several_events,
    split,
    spread,
)
from tests.support.order_scenes import SCENES, Broken, at, hit, link
from tests.world import World


@pytest.mark.promise("N-10", "N-09", "K-31", "K-51", "K-53", "K-54", "K-64", "K-71", "K-72", "W11")
@pytest.mark.parametrize("quota", [50, 2])
# The suite says the same of the same code; a longer run searches.
@settings(derandomize="ORDER_EXAMPLES" not in os.environ, max_examples=EXAMPLES)
@given(
    said=several_events(),
    is_spread=st.booleans(),
    chooser=st.randoms(use_true_random=False),
    three=st.tuples(plans, plans, plans),
)
def test_state__of_messages_in_any_order_repetition_and_split__is_what_the_model_says(
    world: World, quota: int, said: list[Event], *, is_spread: bool, chooser: random.Random, three: list[Plan]
) -> None:
    if is_spread:
        said = [spread(event, microseconds=number) for number, event in enumerate(said)]
    requests = split(said, chooser)
    is_told_apart = [all(read_id(event.get("messageId")) for event in request) for request in requests]
    again = [
        request
        for request, may_repeat in zip(requests, is_told_apart, strict=True)
        if chooser.random() < 0.5 and may_repeat
    ]
    shuffled = chooser.sample(requests + again, k=len(requests + again))
    apart = [event for request in shuffled for event in request]
    regrouped = split(chooser.sample(apart, k=len(apart)), chooser)

    plain, seen = follow(world, requests, three[0], quota=quota)
    assert follow(world, shuffled, three[1], quota=quota) == (plain, seen)
    other, content = follow(world, regrouped, three[2], quota=quota)
    assert other == plain or not is_spread
    assert content[0] == seen[0] or other != plain


@pytest.mark.promise("N-10", "N-09", "K-51", "K-53", "K-54", "K-64", "K-71", "K-72", "W11")
@pytest.mark.parametrize("requests", [requests for requests, _ in SCENES.values()], ids=SCENES)
def test_scene__in_every_order__is_what_the_model_says(world: World, requests: list[list[Event]]) -> None:
    orders = zip(permutations(requests), cycle([ONE_BY_ONE, STEP_BY_STEP]), strict=False)
    first, *others = [follow(world, order, plan) for order, plan in orders]

    assert [other for other in others if other != first] == []


@pytest.mark.parametrize(("requests", "broken"), SCENES.values(), ids=SCENES)
def test_scene__of_a_product_that_is_broken__is_not(
    world: World, monkeypatch: pytest.MonkeyPatch, requests: list[list[Event]], broken: Broken
) -> None:
    monkeypatch.setattr(*broken)

    with pytest.raises(AssertionError, match=r"assert Truth\("):
        _ = [follow(world, order) for order in permutations(requests)]


# Much that meets in one place, for four workers that take it message by message.
CROWDS = {
    "a group": [at(0, type="group", userId=f"u{n}", groupId="g1", traits={f"t{n}": n}) for n in range(40)],
    "a user": [at(0, anonymousId=f"a{n}", traits={f"t{n}": n}) for n in range(40)],
    "a device": [at(n % 7, anonymousId="a1", userId=f"u{n}", traits={"plan": n}) for n in range(40)],
    "a user's conversions between the links of its devices": [
        *(hit() for _ in range(10)),
        *chain.from_iterable(
            (at(0, anonymousId=f"a{n}"), link(15 - n, f"v{n}", userId=None, anonymousId=f"a{n}")) for n in range(15)
        ),
    ],
    "users that are made one between the links of their devices": [
        *(hit(userId=f"u{n}") for n in range(10)),
        *(at(0, type="alias", userId=f"u{n}", previousId=f"u{n + 1}") for n in range(9)),
        *chain.from_iterable(
            (at(0, userId=f"u{n}", anonymousId=f"a{n}"), link(n, f"v{n}", userId=None, anonymousId=f"a{n}"))
            for n in range(10)
        ),
    ],
    "conversions between their users' links and their device's": [
        *(hit(userId=f"u{n}", anonymousId="a1") for n in range(15)),
        *chain.from_iterable(
            (link(15 - n, f"v{n}", userId=None, anonymousId="a1"), link(0, f"é{n}", userId=f"u{n}")) for n in range(15)
        ),
    ],
}


@pytest.mark.promise("N-10", "N-09")
@pytest.mark.parametrize("at_once", [None, 3])
@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
def test_workers__that_meet_at_one_place__lose_nothing(world: World, crowd: list[Event], at_once: int | None) -> None:
    follow(world, [crowd], Plan(digest_after=1, workers=4, batch=1, in_arrays=True, at_once=at_once))
