"""The laws of registers: any order, any repetition, one result."""

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts import merge

values = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["", "a", "1"])
    | st.lists(st.integers(0, 1), max_size=2)
)
registers = st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(["", "m1", "m2"]), values).map(list)


@given(st.lists(registers, min_size=1, max_size=8), st.randoms())
@pytest.mark.promise("N-10", "K-71", "K-72", "K-64")
def test_latest__in_any_order_and_repetition__is_one(said: list[list[Any]], chooser: random.Random) -> None:
    first: merge.Registers = {}
    for register in said:
        merge.set_latest(first, "x", register)
    again = [*said, *said]
    chooser.shuffle(again)
    second: merge.Registers = {}
    for register in again:
        merge.set_latest(second, "x", register)

    assert merge.canonical(first) == merge.canonical(second)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc")), min_size=1, max_size=8), st.randoms())
@pytest.mark.promise("N-09", "K-51")
def test_first_visitor__in_any_order__is_the_smallest_time_then_bytes(
    links: list[tuple[int, str]], chooser: random.Random
) -> None:
    chooser.shuffle(links)
    found: merge.Registers = {}
    for at, code in links:
        merge.set_first_visitor(found, [at, 0, "", code])

    assert (found["visitor"][0], found["visitor"][3]) == min(links)


@given(st.lists(st.dictionaries(st.sampled_from("ab"), registers, max_size=2), max_size=4), st.randoms())
@pytest.mark.promise("N-10")
def test_join__of_identities__is_the_same_in_any_grouping(
    people: list[dict[str, list[Any]]], chooser: random.Random
) -> None:
    identities: list[merge.Registers] = [{"traits": traits} for traits in people]
    before = copy.deepcopy(identities)
    whole = merge.join(identities)
    chooser.shuffle(identities)
    in_steps: merge.Registers = {}
    for identity in identities:
        in_steps = merge.join([in_steps, identity])

    assert merge.canonical(whole) == merge.canonical(in_steps)
    assert sorted(map(merge.canonical, identities)) == sorted(map(merge.canonical, before))


def test_move__same_value_said_later__changes_no_document() -> None:
    registers: merge.Registers = {}

    moves = [
        merge.set_latest(registers, "x", [at, 0, "", value]) for at, value in ((1, "a"), (2, "a"), (1, "b"), (3, "b"))
    ]

    assert moves == [merge.Move.CHANGED, merge.Move.RESTAMPED, merge.Move.STAYED, merge.Move.CHANGED]


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0), ("1", 1), (None, False), ([], {})])
def test_latest__equal_stamps_with_look_alike_values__still_has_one_winner(one: Any, other: Any) -> None:
    forward: merge.Registers = {}
    backward: merge.Registers = {}
    for value in (one, other):
        merge.set_latest(forward, "x", [1, 0, "", value])
    for value in (other, one):
        merge.set_latest(backward, "x", [1, 0, "", value])

    assert merge.canonical(forward) == merge.canonical(backward)
