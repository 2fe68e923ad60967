"""With the guide's source middleware the visitor code arrives with events of every type."""

from pathlib import Path
from typing import Any

import pytest

from api.pages.guide import read_code
from tests.contract.node import needs_node, run_node

SCRIPT = Path(__file__).with_name("middleware.mjs")
CODE = read_code("visitor_code")


@needs_node
@pytest.mark.promise("K-46", "K-47", "K-48")
@pytest.mark.parametrize(
    ("cookie", "code"),
    [
        ("kameleoonVisitorCode=vc1", "vc1"),
        ("a=b; kameleoonVisitorCode=v%20c1; c=d", "v c1"),
        ("kameleoonVisitorCode=%zz", "%zz"),
        ("xkameleoonVisitorCode=vc1", None),
        ("", None),
    ],
)
def test_middleware__for_events_of_every_type__adds_the_cookies_code_where_it_is_read(
    cookie: str, code: str | None
) -> None:
    bare = [{"type": type_} for type_ in ("track", "page", "screen", "identify", "group", "alias")]
    events: list[dict[str, Any]] = [
        *bare,
        {"type": "track", "properties": {"a": 1}},
        {"type": "identify", "traits": {"plan": "x"}},
    ]

    passed = run_node(SCRIPT, {"code": CODE, "cookie": cookie, "events": events})

    assert [event["type"] for event in passed] == [event["type"] for event in events]
    for sent, got in zip(events, passed, strict=True):
        place = "traits" if sent["type"] in {"identify", "group"} else "properties"
        kept = dict(sent.get(place, {}))
        expected = {**kept, **({"kameleoonVisitorCode": code} if code else {})}
        assert got.get(place, {}) == expected
