"""Lines of SDKs as they were seen on the wire, and laws of their parser."""

import json
import tracemalloc
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.events.body import read_body
from api.events.sdk_facts import (
    ActivityFact,
    ConversionFact,
    CustomDataFact,
    ExposureFact,
    GeolocationFact,
    PageFact,
    SdkFact,
    StaticDataFact,
)
from api.events.sdk_lines import MOST_LINES, BadLine, SdkLine, list_lines, read_line, read_lines

KEY = b"a key of the site"
PYTHON = "nonce=D99735650F2CE93C&"
USER_AGENT = "Mozilla/5.0 (X11; Linux; rv:128.0) +https://x.example/?a=b&c=d&revenue=1000 100%"
CONVERSION = "eventType=conversion&goalId=1&revenue=2.5&negative=false&nonce=A70F0000A70F0000&visitorCode=73c4"


def read(text: str) -> SdkLine:
    line = read_line(text.encode(), number=1)
    assert isinstance(line, SdkLine), line
    return line


def refuse(text: str) -> str:
    line = read_line(text.encode(), number=3)
    assert isinstance(line, BadLine)
    return line.reason


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("eventType=staticData&deviceType=TABLET&visitorCode=v", StaticDataFact(device_type="TABLET")),
        (
            "eventType=staticData&browserIndex=2&browserVersion=128.5&visitorCode=v",
            StaticDataFact(browser_index=2, browser_version=128.5),
        ),
        (
            "eventType=staticData&browser=FIREFOX&browserIndex=2&browserVersion=128.5&visitorCode=v",
            StaticDataFact(browser_index=2, browser_version=128.5),
        ),
        ("eventType=staticData&browser=IE&visitorCode=v", StaticDataFact(browser_index=1)),
        ("eventType=staticData&os=LINUX&osIndex=3&visitorCode=v", StaticDataFact(os_index=3)),
        ("eventType=staticData&os=MAC&visitorCode=v", StaticDataFact(os_index=1)),
        ("eventType=staticData&os=IE&visitorCode=v", ActivityFact()),
        ("eventType=staticData&visitNumber=2&timeSincePreviousVisit=3600000&visitorCode=v", ActivityFact()),
        (
            (
                "eventType=geolocation&country=France&region=%C3%8Ele-de-France&city=Paris&postalCode=75001&latitude=48.85"
                "&longitude=2.35&visitorCode=v"
            ),
            GeolocationFact("France", "Île-de-France", "Paris", "75001", 48.85, 2.35),
        ),
        (
            (
                "eventType=customData&index=2&valuesCountMap=%7B%22alpha%22%3A1%2C%22be%20ta%26%3D%5Cu00e9%2B%25%22%3A1%7D"
                "&overwrite=true&visitorCode=v"
            ),
            CustomDataFact(2, {"alpha": 1, "be ta&=é+%": 1}, overwrite=True),
        ),
        (
            "eventType=customData&index=1&valuesCountMap=%7B%22second%22%3A1%7D&overwrite=false&visitorCode=v",
            CustomDataFact(1, {"second": 1}, overwrite=False),
        ),
        (
            'eventType=CUSTOMDATA&index=1&valuesCountMap={"a+b":2}&visitorCode=v',
            CustomDataFact(1, {"a+b": 2}, overwrite=True),
        ),
        (
            (
                "eventType=customData&index=3&valuesCountMap=%7B%22known-1%22%3A1%7D&overwrite=true&mappingIdentifier=true"
                "&visitorCode=v"
            ),
            CustomDataFact(3, {"known-1": 1}, overwrite=True, mapping_identifier=True),
        ),
        (
            (
                "eventType=page&href=https%3A%2F%2Fshop.example%2Fcheckout%3Fa%3D1%26b%3D2%23x&title=Check%20out%20%C3%A9"
                "&referrersIndices=%5B1%2C2%5D&visitorCode=v"
            ),
            PageFact("https://shop.example/checkout?a=1&b=2#x", "Check out é", (1, 2)),
        ),
        (
            "eventType=page&href=https%3A%2F%2Fshop.example%2F&referrersIndices=[1,2]&visitorCode=v",
            PageFact("https://shop.example/", "", (1, 2)),
        ),
        (
            (
                "eventType=conversion&goalId=1001&revenue=10.25&negative=true&metadata=%7B%221%22%3A%5B%22m1%22%5D%7D"
                "&visitorCode=v"
            ),
            ConversionFact(1001, msgspec.Raw(b"10.25"), negative=True, metadata={"1": ["m1"]}),
        ),
        ("eventType=conversion&goalId=1&revenue=1e+21&visitorCode=q", ConversionFact(1, msgspec.Raw(b"1e+21"))),
        ("eventType=conversion&goalId=1&revenue=NaN&visitorCode=q", ConversionFact(1, "NaN")),
        ("eventType=experiment&id=5011&variationId=70111&visitorCode=v", ExposureFact(5011, 70111)),
        ("eventType=targetingSegment&id=7&visitorCode=v", ActivityFact()),
        ("eventType=activity&visitorCode=v", ActivityFact()),
    ],
)
def test_line__as_an_sdk_sends_it__is_a_fact(line: str, fact: SdkFact) -> None:
    for text in (PYTHON + line, f"{line}&nonce=D99735650F2CE93C"):
        parsed = read(text)

        assert parsed.fact == fact
        assert parsed.nonce == "D99735650F2CE93C"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("visitorCode=v", "has no eventType"),
        ("eventType=heartbeat&visitorCode=v", "has the eventType 'heartbeat'"),
        ("eventType=activity", "names no visitor"),
        ("eventType=activity&visitorCode=null", "is a placeholder"),
        (f"eventType=activity&visitorCode={'v' * 256}", "longer than 255"),
        ("eventType=conversion&goalId=one&visitorCode=v&nonce=A", "has a goalId that is no whole number"),
        ("eventType=conversion&visitorCode=v&nonce=A", "has no goalId"),
        ("eventType=conversion&goalId=1&visitorCode=v", "has no nonce"),
        ("eventType=customData&index=1&valuesCountMap=null&visitorCode=v&nonce=A", "has no valuesCountMap"),
        ("eventType=customData&index=1&valuesCountMap={&visitorCode=v&nonce=A", "has no valuesCountMap"),
        ("eventType=customData&index=-1&valuesCountMap={}&visitorCode=v&nonce=A", "has the index -1"),
        ("eventType=experiment&id=1&variationId=null&visitorCode=v&nonce=A", "variationId"),
        ("eventType=page&visitorCode=v&nonce=A", "has no href"),
        ("eventType=geolocation&visitorCode=v&nonce=A", "has no country"),
        ("x" * 1_048_577, "is longer than"),
    ],
)
def test_line__that_means_nothing__says_its_number_and_why(line: str, words: str) -> None:
    reason = refuse(line)

    assert reason.startswith("Line 3 ")
    assert words in reason


def test_user_agent__that_holds_parameters__changes_nothing_else() -> None:
    plain, with_agent = read(CONVERSION), read(f"{CONVERSION}&userAgent={USER_AGENT}")

    assert (with_agent.fact, with_agent.visitor_code, with_agent.nonce) == (plain.fact, "73c4", plain.nonce)
    assert with_agent.user_agent == USER_AGENT
    assert read_body(with_agent.body(message_id="m1"), set())["properties"] == {"goalId": 1, "revenue": 2.5}


@given(user_agent=st.text(st.characters(exclude_characters="\n")))
def test_user_agent__of_any_characters__changes_nothing_else(user_agent: str) -> None:
    text = f"{CONVERSION}&userAgent={user_agent}".encode("utf-8", "replace")
    line = read_line(text, number=1)

    assert isinstance(line, SdkLine)
    assert msgspec.structs.replace(line, user_agent="") == read(CONVERSION)


@given(
    parameters=st.permutations(
        [
            ("nonce", "A1"),
            ("eventType", "conversion"),
            ("goalId", "7"),
            ("visitorCode", "a+b %c"),
            ("metadata", '{"1":["x&y=+"]}'),
            ("revenue", "1e-7"),
        ]
    ),
    later=st.lists(st.tuples(st.sampled_from(["goalId", "revenue", "visitorCode"]), st.text())),
)
def test_parameters__in_any_order__mean_the_same_and_the_first_wins(
    parameters: list[tuple[str, str]], later: list[tuple[str, str]]
) -> None:
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in [*parameters, *later])

    line = read(text)

    assert line.visitor_code == "a+b %c"
    assert line.fact == ConversionFact(7, msgspec.Raw(b"1e-7"), metadata={"1": ["x&y=+"]})


@given(body=st.one_of(st.binary(), st.text().map(lambda text: f"[{text}]".encode("utf-8", "replace"))))
def test_body__of_any_bytes__raises_nothing(body: bytes) -> None:
    lines = list(read_lines(body))

    for line in lines:
        if isinstance(line, SdkLine):
            read_body(line.body(message_id="m1"), set())


@given(
    values=st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none(), st.floats())),
    metadata=st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5),
)
def test_values__of_any_json__can_be_stored(values: Any, metadata: Any) -> None:
    for name, value in (("valuesCountMap", values), ("metadata", metadata)):
        type_ = "customData&index=1" if name == "valuesCountMap" else "conversion&goalId=1"
        text = f"nonce=A&eventType={type_}&visitorCode=v&{name}={quote(json.dumps(value), safe='')}"

        event = read_body(read(text).body(message_id="m1"), set())

        assert event["kameleoonVisitorCode"] == "v"


def test_lines__of_a_visitor_that_maps_to_itself__are_those_of_a_user() -> None:
    mapping = "eventType=customData&index=3&valuesCountMap=%7B%22{}%22%3A1%7D&mappingIdentifier=true&nonce={}"
    body = "\n".join(
        [
            "eventType=conversion&goalId=7&nonce=A1&visitorCode=ann",
            f"{mapping.format('ann', 'A2')}&visitorCode=ann",
            f"{mapping.format('bob', 'A3')}&visitorCode=device-b",
            "eventType=conversion&goalId=7&nonce=A4&visitorCode=device-b",
        ]
    )

    lines = list_lines(body.encode())

    holders = [(line.visitor_code, line.user) for line in lines if isinstance(line, SdkLine)]
    assert holders == [(None, "ann"), (None, "ann"), ("device-b", "bob"), ("device-b", None)]


def test_json__of_the_same_names__means_the_same() -> None:
    items = [
        {"nonce": "A1", "eventType": "CONVERSION", "goalId": 7, "revenue": 2.5, "negative": True, "visitorCode": "v"},
        {"nonce": "A2", "eventType": "CUSTOMDATA", "index": 1, "valuesCountMap": {"a": 2}, "mappingValue": "u"},
        {"nonce": "A3", "eventType": "PAGE", "href": "/", "visitorCode": "v", "userAgent": USER_AGENT},
        "no object",
    ]

    first, second, third, bad = read_lines(json.dumps(items).encode(), is_json=True)

    assert isinstance(first, SdkLine)
    assert first.fact == ConversionFact(7, msgspec.Raw(b"2.5"), negative=True)
    assert isinstance(second, SdkLine)
    assert (second.fact, second.visitor_code, second.user) == (CustomDataFact(1, {"a": 2}, overwrite=True), None, "u")
    assert isinstance(third, SdkLine)
    assert third.user_agent == USER_AGENT
    assert bad == BadLine(4, b'"no object"', "Line 4 is not an object. Send an array of objects.")


def test_lines__with_blank_ones_and_a_code_in_the_address__are_numbered_as_sent() -> None:
    body = b"\n" + CONVERSION.encode() + b"\r\n\n  \nnonsense\n"

    conversion, bad = read_lines(body, visitor_code="of-the-address")

    assert isinstance(conversion, SdkLine)
    assert (conversion.number, conversion.visitor_code) == (2, "of-the-address")
    assert isinstance(bad, BadLine)
    assert (bad.number, bad.raw, bad.reason) == (5, b"nonsense", "Line 5 has no eventType.")


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"x\n" * 1_500_000, MOST_LINES + 1),
        (b"\n" * 3_000_000, 0),
        (b"[" + b"1," * 1_500_000 + b"1]", 1),
        (b"[[" + b"{}," * 500_000 + b"1]]", 1),
    ],
)
def test_body__of_more_lines_than_an_sdk_sends__costs_little(body: bytes, count: int) -> None:
    tracemalloc.start()
    try:
        lines = list(read_lines(body))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(lines) == count
    assert peak < 8 * len(body)
    if count > 1:
        assert isinstance(lines[-1], BadLine)
        assert lines[-1].reason == "Lines from 30,001 on are not read. Send 30,000 at most at once."


def test_json__with_an_item_that_is_none__spoils_no_other() -> None:
    body = (
        b'[{"nonce": "A", "eventType": "PAGE", "href": "/", "visitorCode": "v"}, {x}, {"a": "' + b"x" * 2**20 + b'"}]'
    )

    page, bad, long = read_lines(body)

    assert isinstance(page, SdkLine)
    assert isinstance(bad, BadLine)
    assert bad.reason.startswith("Line 2 is not JSON")
    assert isinstance(long, BadLine)
    assert long.reason.startswith("Line 3 is longer")


def test_bad_line__that_names_a_visitor__is_stored_with_its_ids() -> None:
    bad = read_line(b"eventType=what&visitorCode=v%20w&mappingValue=u", number=1)

    assert isinstance(bad, BadLine)
    assert read_body(bad.body(), set()) == {
        "kameleoonVisitorCode": "v w",
        "userId": "u",
        "line": "eventType=what&visitorCode=v%20w&mappingValue=u",
    }


def test_message_id__of_a_nonce__differs_by_visitor_and_hides_it() -> None:
    ids = {read(CONVERSION.replace("=73c4", f"={code}")).message_id(key=KEY) for code in ("one", "two")}

    assert len(ids) == 2
    assert all("one" not in id_ and id_.startswith("A70F0000A70F0000-") for id_ in ids)


def test_message_id__of_a_visitor__differs_by_site_and_is_the_same_each_time() -> None:
    ids = [read(CONVERSION).message_id(key=key) for key in (KEY, KEY, b"a key of another site")]

    assert ids[0] == ids[1] != ids[2]
