"""Pseudonyms replace an erased id where it is a value, and within texts where it is unambiguous."""

import json
from typing import Any

import pytest

from api.erasure.pseudonyms import Pseudonyms

IDS = ["ada@example.com", "ada-king", "1234567", "7", "id/é"]
PSEUDONYMS = Pseudonyms.make(IDS, "gone")
ADA, KING, NUMBER, SEVEN, ODD = "gone", "gone:1", "gone:2", "gone:3", "gone:4"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ada-king", KING),
        (" ada-king\n", f" {KING}\n"),
        ("Ada-King", "Ada-King"),
        ("we met ada-king", "we met ada-king"),
        ("7", SEVEN),
        ("we met ada@example.com.", f"we met {ADA}."),
        ("https://x.example/?email=ada%40example.com&a=7", f"https://x.example/?email={ADA}&a=7"),
        ("lada@example.com", "lada@example.com"),
        ("ada@example.com.au", "ada@example.com.au"),
        ("", ""),
    ],
)
def test_text__with_an_id__has_the_pseudonym(before: str, after: str) -> None:
    assert PSEUDONYMS.text(before) == after
    assert json.loads(PSEUDONYMS.json(json.dumps([before, {before: 1}]).encode())) == [after, {after: 1}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            b"[1234567, 1234567.0, -1234567, 12345678, 1234567.5, 7]",
            ["gone:2", "gone:2", -1234567, 12345678, 1234567.5, 7],
        ),
        (b'{"a": "1234567", "1234567": "x1234567"}', {"a": NUMBER, NUMBER: "x1234567"}),
        (b'["id/\\u00e9", "id\\/\xc3\xa9", "id/e"]', [ODD, ODD, "id/e"]),
        (b'["\\ud800", "a\\"b", "\\\\", "ada-king"]', ["\ud800", 'a"b', "\\", KING]),
    ],
)
def test_json__with_ids__keeps_all_else(before: bytes, after: Any) -> None:
    assert json.loads(PSEUDONYMS.json(before)) == after


def test_json__that_is_broken__is_read_as_far_as_it_goes() -> None:
    assert PSEUDONYMS.json(b'{"a": "ada-king", "b": ') == b'{"a": "gone:1", "b": '
    assert PSEUDONYMS.json(b'{"a": "ada-ki') == b'{"a": "ada-ki'


def test_strict__keeps_numbers_and_longer_texts() -> None:
    assert PSEUDONYMS.strict.json(b'[1234567, "1234567", "to ada@example.com"]') == (
        b'[1234567, "gone:2", "to ada@example.com"]'
    )


def test_prose__is_free_of_every_id_but_the_shortest() -> None:
    assert PSEUDONYMS.prose("KeyError: 'ada-king' at 7") == "KeyError: 'gone:1' at 7"
