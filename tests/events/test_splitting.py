"""Arrays and objects are split into their parts, whatever these contain."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.events.splitting import MOST_SEPARATORS, split_array, split_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES), st.booleans())
def test_split_array__of_json__gives_its_items(items: list[object], ascii_only: bool) -> None:  # noqa: FBT001
    text = json.dumps(items, ensure_ascii=ascii_only).encode(errors="surrogatepass")

    assert [json.loads(part) for part in split_array(text)] == items


@given(st.dictionaries(st.text(), VALUES))
def test_split_object__of_json__gives_its_fields(fields: dict[str, object]) -> None:
    parts = split_object(json.dumps(fields, indent=1).encode())

    assert {name: json.loads(part) for name, part in parts.items()} == fields


@pytest.mark.parametrize(
    "part",
    [
        b"NaN",
        b"-Infinity",
        b"undefined",
        b"tru",
        b"{'a': None}",
        b'{"a":NaN}',
        b'{"a":1,}',
        b'{"a":"\xff"}',
        b'{"a":"\\x"}',
        b'{"a":"line\nbreak"}',
        b'{"a":1e999,"b":007}',
        b'{"a":"\\ud800"}',
        b"[" * 5_000 + b"]" * 5_000,
        b"",
    ],
)
def test_split_array__around_what_is_no_json__finds_the_neighbours(part: bytes) -> None:
    first, last = b'{"a":"],[{\\"}"}', b'{"b":["]"]}'

    assert split_array(b" [ " + first + b" ,\n" + part + b"," + last + b" ] ") == [first, part, last]
    assert split_object(b'{"x":' + first + b', "y" : ' + part + b',"z":' + last + b"}") == {
        "x": first,
        "y": part,
        "z": last,
    }


def test_split_array__with_a_comma_at_its_end__has_no_item_after_it() -> None:
    assert split_array(b'[{"a":1}, ]') == [b'{"a":1}']
    assert split_array(b" [ ] ") == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1",
        b"[",
        b'[{"a":1}',
        b'[{"a":1},{"b":',
        b'[{"a":"x},{"b":1}]',
        b"[1]]",
        b"[1] 2",
        b"[{]",
        b"[1}",
        b"[" * 200_000,
        b"[" + b"," * (MOST_SEPARATORS + 1) + b"]",
    ],
)
def test_split_array__whose_quotes_or_brackets_do_not_add_up__is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        split_array(text)


@pytest.mark.parametrize("text", [b"[]", b'{"a"}', b"{a:1}", b"{:1}", b'{"a":1]', b'{"a\xff":1}', b'{"a" 1:2}'])
def test_split_object__without_names__is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        split_object(text)
