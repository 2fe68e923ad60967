"""The largest event that is taken stays bounded in bytes and in memory, whatever it holds."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from api.digest.readings import NEWEST_READING
from api.events.body import read_body
from api.events.envelope import MAX_GROWTH_BYTES, MAX_NUMBER_LENGTH, written_length
from api.ingest.accept import EVENT_BYTES
from api.models import Message
from goals.models import Conversion
from tests.support.messages import body_of
from tests.world import World


def filled(item: str, *, size: int = 900_000, event: dict[str, Any] | None = None) -> bytes:
    """Return an event whose properties hold an item so often that it has about this many bytes."""
    items = ",".join([item] * (size // (len(item) + 1)))
    head = json.dumps({"type": "track", "event": "Buy", "userId": "user-1", **(event or {})})[:-1]
    return f'{head},"properties":{{"list":[{items}]}}}}'.encode()


def stored_bytes() -> int:
    """Return the size of the only conversion's properties as JSON."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT octet_length(properties::text) FROM goals_conversion")
        ((size,),) = cursor.fetchall()
        return int(size)


@pytest.mark.promise("K-24")
@pytest.mark.parametrize(
    "item", ["1e308", "-1E+308", "1e-300", "1e39", "1e-37", "1e15", "1E2", "1e400", "7", '"\\ud800"', "[]"]
)
def test_conversion__of_an_event_that_could_grow__has_at_most_twice_its_bytes(world: World, item: str) -> None:
    body = filled(item)

    assert world.post(body).status_code == 200
    world.digest()

    assert world.statuses() == [("done", "")]
    assert stored_bytes() < 1.6 * len(body) + MAX_GROWTH_BYTES < 2 * EVENT_BYTES
    assert len(Conversion.objects.get().properties["list"]) == body.count(b",") - 2  # nothing is left out


@pytest.mark.parametrize(
    ("sent", "kept", "is_odd"),
    [
        ("1e308", "1e308", True),
        ("-1.5E+300", "-1.5E+300", True),
        ("1e-300", "1e-300", True),
        ("1e40", "1e40", True),
        ("1e39", 10**39, False),
        ("1e21", 10**21, False),
        ("5.551115123125783e-17", 5.551115123125783e-17, False),  # result of 0.1 + 0.2 - 0.3
        ("-0.0", 0, False),
        ("19.99", 19.99, False),
        ("9" * 400, int("9" * 400), False),
        ("1." + "1" * 4_000, 1.1111111111111112, False),
    ],
)
def test_number__that_is_long_when_written_out__is_kept_as_its_text(
    world: World, sent: str, kept: Any, *, is_odd: bool
) -> None:
    assert world.post(b'{"type":"track","event":"Buy","userId":"u","properties":{"n":%s}}' % sent.encode()).is_success
    assert world.post(b'{"type":"identify","userId":"u","traits":{"n":[{"m":%s}]}}' % sent.encode()).is_success
    world.digest()

    assert Conversion.objects.get().properties == {"n": kept}
    assert world.traits("u") == {"n": [{"m": kept}]}
    warnings = ["number_out_of_range"] if is_odd else []
    assert list(Message.objects.values_list("warnings", flat=True)) == [warnings, warnings]


def test_numbers__that_grow_too_much_together__are_all_kept_as_texts(world: World) -> None:
    """None is kept as a number because it came first: the event alone decides."""
    count = MAX_GROWTH_BYTES // 36 + 1
    few, many = ["1e39"] * (count - 2), ["1e39"] * count
    for numbers in (few, many):
        world.post(
            b'{"type":"track","event":"Buy","userId":"u","properties":{"a":7e0,"n":[%s]}}' % ",".join(numbers).encode()
        )
    world.digest()

    first, second = Conversion.objects.order_by("pk").values_list("properties", flat=True)
    assert first == {"a": 7, "n": [10**39] * len(few)}
    assert second == {"a": "7e0", "n": many}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_written_length__of_a_number__is_that_of_its_digits(number: float) -> None:
    plain = f"{Decimal(repr(number)):f}"
    assert written_length(number) == len(plain)


@given(st.lists(st.from_regex(r"-?[1-9](\.[0-9]{1,5})?[eE][+-]?[0-9]{1,3}", fullmatch=True), max_size=20))
def test_event__read_again__is_the_same(numbers: list[str]) -> None:
    """The stored value, read again, must compare like the value that is read now (promise K-71)."""
    read = read_body(b'{"n":[%s]}' % ",".join(numbers).encode(), set())

    assert read_body(json.dumps(read).encode(), set()) == read
    assert all(len(f"{Decimal(repr(each)):f}") <= MAX_NUMBER_LENGTH for each in read["n"] if not isinstance(each, str))


def test_long_numbers__of_an_event_that_was_redacted__are_told_in_a_warning(world: World) -> None:
    source = world.site.sources.get()
    world.site.rules.create(source=source, action="drop_field", argument="properties.secret")
    world.change_site()

    world.post(b'{"type":"track","event":"Buy","userId":"u","properties":{"secret":1,"n":1e308}}')
    world.digest()

    message = Message.objects.get()
    assert json.loads(body_of(message))["properties"] == {"n": "1e308"}
    assert (message.warnings, message.reading) == (["number_out_of_range"], NEWEST_READING)
