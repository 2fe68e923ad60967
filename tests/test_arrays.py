"""Arrays of texts and integers, dumped faster than by psycopg, arrive as they were sent."""

from typing import Any

import pytest
from django.db import connection
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.array import ListBinaryDumper

import arrays

TEXTS = st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
INTEGERS = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))
LONG = "é" * len(arrays.LENGTHS)


def dump(values: list[Any], dumper: type[ListBinaryDumper]) -> Any:
    """Return the bytes of a list as this dumper sends it."""
    connection.ensure_connection()
    session = connection.connection
    session.adapters.register_dumper(list, dumper)
    try:
        return Transformer.from_context(session).get_dumper(values, PyFormat.BINARY).dump(values)
    finally:
        arrays.dump_arrays_fast(session)


@pytest.mark.django_db
@given(values=TEXTS | INTEGERS)
@example(values=["", None, LONG])
@example(values=[None, None])
@example(values=[-(2**15), 2**15 - 1])
@example(values=[2**31 - 1, None, -(2**31)])
def test_dump__of_texts_or_integers__has_the_bytes_of_psycopg(values: list[Any]) -> None:
    assert bytes(dump(values, arrays.ColumnDumper)) == bytes(dump(values, ListBinaryDumper))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("text", ["a", None, "", '{"b", \\', LONG]),
        ("smallint", [1, -2]),
        ("bigint", [1, None, 2**40]),
        ("bool", [True, None]),
        ("bytea", [b"\0", b""]),
        ("text[]", [["a", "b"], ["c", "d"]]),
        ("bigint", []),
    ],
)
@pytest.mark.parametrize("placeholder", ["%s", "%b"])
def test_array__of_any_type__is_read_as_it_was_sent(type_: str, values: list[Any], placeholder: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {placeholder}::{type_}[]", [values])
        (read,) = cursor.fetchone()
    assert read == values


@pytest.mark.django_db
def test_array__of_a_digest__is_dumped_by_the_fast_dumper() -> None:
    connection.ensure_connection()
    transformer = Transformer.from_context(connection.connection)
    assert isinstance(transformer.get_dumper(["a"], PyFormat.BINARY), arrays.ColumnDumper)
