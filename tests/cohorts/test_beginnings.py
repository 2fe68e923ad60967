"""Search for ids by their beginning, in any case."""

from collections.abc import Sequence

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from hypothesis import given
from hypothesis import strategies as st

from cohorts.beginnings import begins, find_by_beginning, next_beginning, spell
from cohorts.models import Identity
from tests.world import World

texts = st.text("aAbB-1éÉ\U0001f600", max_size=5)


def add(world: World, *values: str, kind: Identity.Kind = Identity.Kind.USER) -> None:
    Identity.objects.bulk_create(
        Identity(site=world.site, kind=kind, value=value, created_at=now(), updated_at=now()) for value in values
    )


def in_order(value: str) -> tuple[str, str]:
    return value.lower(), value


def found(world: World, text: str, *, limit: int = 50) -> list[str]:
    return [value for _, value in find_by_beginning(world.site.pk, text, limit=limit)]


@given(value=texts, text=texts)
def test_next_beginning__of_any_value__is_the_first_that_follows(value: str, text: str) -> None:
    letters = [spell(letter) for letter in text]
    spellings = [""]
    for letter in letters:
        spellings = [so_far + each for so_far in spellings for each in letter]
    following = [each for each in sorted(spellings) if each > value and not value.startswith(each)]
    assert next_beginning(value, letters) == next(iter(following), None)
    assert begins(value, letters) == any(value.startswith(each) for each in spellings)


@given(values=st.sets(texts, max_size=30), text=texts, limit=st.sampled_from([1, 2, 4, 50]))
def test_find__among_any_ids__has_those_in_any_case(world: World, values: set[str], text: str, limit: int) -> None:
    Identity.objects.all().delete()
    add(world, *values)
    expected = sorted((each for each in values if each.lower().startswith(text.lower())), key=in_order)
    seen = found(world, text, limit=limit)
    assert seen == sorted(set(seen) & set(expected), key=in_order)
    assert len(seen) == min(limit, len(expected))


@pytest.mark.parametrize("text", ["ANON", "anon-1", "Anon-1"])
def test_find__of_several_kinds__has_all(world: World, text: str) -> None:
    add(world, "anon-1")
    add(world, "ANON-1", "Anonymous", kind=Identity.Kind.VISITOR)
    add(world, "aNoN-1", "b", kind=Identity.Kind.ANONYMOUS)
    assert set(found(world, text)) - {"Anonymous"} == {"anon-1", "ANON-1", "aNoN-1"}


@pytest.mark.parametrize(
    "many",
    [
        [f"{number:032x}" for number in range(0, 1 << 128, 1 << 116)],
        [f"user-{number}" for number in range(4_096)],
    ],
    ids=["codes", "numbers"],
)
def test_find__among_many__looks_a_few_times(world: World, many: Sequence[str]) -> None:
    add(world, *many)
    with CaptureQueriesContext(connection) as queries:
        (one,) = found(world, many[2_748].upper())
    assert one == many[2_748]
    assert len(queries) <= 6, len(queries)
