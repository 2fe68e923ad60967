"""The laws of registers: any order, any repetition, any grouping, one result, and which one."""

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts import merge

values = st.sampled_from(
    [None, True, False, 1, 1.0, 0, -2, 1.5, "", "a", "1", "é", [], [1], [True], {"b": 1, "a": None}]
)
stamps = st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(["", "m1", "m2", "é"]))
registers = st.builds(lambda stamp, value: [*stamp, value], stamps, values)
links = st.builds(lambda stamp, code: [*stamp, code], stamps, st.sampled_from(["v1", "v2", "é", "😀"]))


def order(register: list[Any]) -> tuple[Any, ...]:
    """(occurred_at, position, messageId, canonical JSON), spelled out."""
    return *register[:3], json.dumps(register[3], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given(said=st.lists(registers, min_size=1, max_size=8), chooser=st.randoms())
@pytest.mark.promise("N-10", "K-71", "K-72", "K-64")
def test_latest__in_any_order_and_repetition__is_the_greatest(said: list[list[Any]], chooser: random.Random) -> None:
    known: merge.Registers = {}
    for register in chooser.sample(said * 2, k=len(said) * 2):
        merge.set_latest(known, "x", register)
        known = json.loads(json.dumps(known))  # stored and read again

    assert order(known["x"]) == max(map(order, said))


@given(said=st.lists(links, min_size=1, max_size=8), chooser=st.randoms())
@pytest.mark.promise("N-09", "K-51")
def test_first_visitor__in_any_order_and_repetition__is_the_smallest_time_then_bytes(
    said: list[list[Any]], chooser: random.Random
) -> None:
    known: merge.Registers = {}
    for register in chooser.sample(said * 2, k=len(said) * 2):
        merge.set_earliest(known, "visitor", register)

    assert known["visitor"] == min(said, key=lambda link: (link[0], link[3].encode(), *link[1:3]))


@given(
    identities=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "traits": st.dictionaries(st.sampled_from("ab"), registers, max_size=2),
                "personas": st.dictionaries(st.sampled_from("ab"), registers, max_size=2),
                "group": registers,
            },
        ),
        max_size=4,
    ),
    chooser=st.randoms(),
)
@pytest.mark.promise("N-10", "K-53")
def test_join__of_identities__is_the_same_in_any_grouping(
    identities: list[merge.Registers], chooser: random.Random
) -> None:
    before = copy.deepcopy(identities)
    whole = merge.join(identities)
    in_steps: merge.Registers = {}
    for identity in chooser.sample(identities * 2, k=len(identities) * 2):
        in_steps = merge.join([in_steps, identity])

    assert merge.canonical(whole) == merge.canonical(in_steps)
    assert merge.canonical(identities) == merge.canonical(before)


def test_move__same_value_said_later__changes_no_document() -> None:
    registers: merge.Registers = {}

    moves = [
        merge.set_latest(registers, "x", [at, 0, "", value]) for at, value in ((1, "a"), (2, "a"), (1, "b"), (3, "b"))
    ]

    assert moves == [merge.Move.CHANGED, merge.Move.RESTAMPED, merge.Move.STAYED, merge.Move.CHANGED]


@pytest.mark.promise("K-53")
@pytest.mark.parametrize(
    ("registers", "parent"),
    [
        ({}, None),
        ({"traits": {}, "visitor": [1, 0, "", "v1"]}, None),
        ({"anonymous": [1, 0, "", "a1"]}, ("anonymous", "a1")),
        ({"anonymous": [2, 0, "", "a1"], "user": [1, 0, "", "u1"]}, ("user", "u1")),
    ],
)
def test_parent__of_an_identity__is_its_user_else_its_anonymous_id(
    registers: merge.Registers, parent: tuple[str, str] | None
) -> None:
    assert merge.parent_of(registers) == parent


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0), ("1", 1), (None, False), ([], {})])
def test_latest__equal_stamps_with_look_alike_values__still_has_one_winner(one: Any, other: Any) -> None:
    forward: merge.Registers = {}
    backward: merge.Registers = {}
    for value in (one, other):
        merge.set_latest(forward, "x", [1, 0, "", value])
    for value in (other, one):
        merge.set_latest(backward, "x", [1, 0, "", value])

    assert merge.canonical(forward) == merge.canonical(backward)
