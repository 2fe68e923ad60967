"""Custom data: the same events give the same values in any order and any repetition."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts import merge
from cohorts.custom_values import CustomValues, read_custom_values

EVENTS = st.lists(
    st.tuples(st.integers(1, 2), st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)), st.booleans()), max_size=8
)


def register_of(number: int, event: tuple[int, dict[str, int], bool]) -> merge.Registers:
    index, counts, overwrites = event
    message_id = f"message-{number}"
    key = CustomValues(index, counts, overwrites=overwrites).key(message_id)
    return {"custom_data": {key: [number, 0, message_id, counts]}}


@given(events=EVENTS, data=st.data())
def test_values__of_events_in_any_order__are_those_of_their_times(events: Any, data: st.DataObject) -> None:
    registers: merge.Registers = {}
    numbers = data.draw(st.permutations([*range(len(events)), *range(len(events))]))
    for number in numbers:
        merge.absorb(registers, register_of(number, events[number]))

    expected: dict[int, dict[str, int]] = {}
    for index, counts, overwrites in events:
        values = {} if overwrites else expected.get(index, {})
        expected[index] = {value: values.get(value, 0) + counts.get(value, 0) for value in {*values, *counts}}
    assert read_custom_values(registers) == expected
    halves = [
        {"custom_data": dict(part)}
        for part in (
            list(registers.get("custom_data", {}).items())[::2],
            list(registers.get("custom_data", {}).items())[1::2],
        )
    ]
    assert read_custom_values(merge.join(halves)) == expected


@pytest.mark.parametrize(("size", "is_too_long"), [(256, False), (257, True)])
def test_values__of_an_event__are_left_out_if_they_are_too_many(size: int, is_too_long: bool) -> None:  # noqa: FBT001
    assert CustomValues(1, {str(number): 1 for number in range(size)}).is_too_long is is_too_long
