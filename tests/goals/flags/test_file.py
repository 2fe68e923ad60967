"""Files of Kameleoon's SDKs: each trap in them is found at its place, and the rest is read as every SDK reads it."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goals.flags import problems
from goals.flags.file import SiteParts, read_file
from tests.support.sdk_file import ABSENT, CONDITION, FILE, change

FLAG = ("featureFlags", 0)
RULE = (*FLAG, "rules", 0)
SHARE = (*RULE, "variationByExposition", 0)
VARIABLE = (*FLAG, "variations", 0, "variables", 0)
CONDITIONS = ("segments", 0, "conditionsData")
GROUP = (*CONDITIONS, "firstLevel", 0)
FIRST = (*GROUP, "conditions", 0)
RANGE = {**CONDITION, "valueMatchType": "RANGE"}


def problems_of(file: Any, known: SiteParts | None = None) -> list[str]:
    return [problem.place for problem in read_file(json.dumps(file), known).problems]


def place(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path).removeprefix(".")


def test_file__that_every_sdk_takes__is_read_as_it_is() -> None:
    file = read_file(json.dumps(FILE))

    assert file.problems == []
    assert list(file.flags) == FILE["featureFlags"]
    assert list(file.segments) == FILE["segments"]
    assert [entry.index for entry in file.custom_data] == [1, 3, 4]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        # A segment that holds everybody, or fails
        (CONDITIONS, None),
        (CONDITIONS, ABSENT),
        ((*CONDITIONS, "firstLevel"), []),
        ((*GROUP, "conditions"), []),
        (("segments", 0, "id"), None),
        (("segments", 0, "id"), True),
        # Operators: too few fail in Python, mixed ones differ
        (("segments", 1, "conditionsData", "firstLevelOrOperators"), []),
        (("segments", 1, "conditionsData", "firstLevel", 0, "orOperators"), [True, False]),
        (("segments", 1, "conditionsData", "firstLevelOrOperators"), [None]),
        # Conditions
        ((*FIRST, "targetingType"), "CARRIER_PIGEON"),
        ((*FIRST, "targetingType"), None),
        ((*FIRST, "isInclude"), "yes"),
        ((*FIRST, "customDataIndex"), "0"),
        ((*FIRST, "customDataIndex"), "first"),
        ((*FIRST, "valueMatchType"), "RANGE"),
        ((*FIRST, "valueMatchType"), None),
        ((*FIRST, "value"), None),
        (("segments", 1, "conditionsData", "firstLevel", 0, "conditions", 0, "goalId"), ABSENT),
        (("segments", 1, "conditionsData", "firstLevel", 0, "conditions", 0, "goalId"), -1),
        (("segments", 1, "conditionsData", "firstLevel", 0, "conditions", 1, "value"), "startup"),
        (("segments", 1, "conditionsData", "firstLevel", 0, "conditions", 1, "value"), "[1]"),
        # Flags
        ((*FLAG, "featureKey"), ""),
        ((*FLAG, "id"), "one"),
        ((*FLAG, "environmentEnabled"), "true"),
        ((*FLAG, "defaultVariationKey"), "none"),
        ((*FLAG, "mutuallyExclusiveGroup"), 1),
        ((*FLAG, "bucketingCustomDataId"), 12),
        ((*FLAG, "rules"), "none"),
        ((*RULE, "id"), ABSENT),
        ((*RULE, "type"), "HOLDOUT"),
        ((*RULE, "exposition"), 1.5),
        ((*RULE, "exposition"), ABSENT),
        ((*RULE, "experimentId"), None),
        ((*RULE, "respoolTime"), "now"),
        ((*RULE, "segmentId"), 8),
        ((*SHARE, "variationKey"), "blue"),
        ((*SHARE, "variationId"), "x"),
        ((*VARIABLE, "type"), "DATE"),
        ((*VARIABLE, "value"), "1"),
        (("customData", 0, "index"), 0),
        (("customData", 0, "scope"), "WORLD"),
        (("holdout",), {"experimentId": 1}),
    ],
)
def test_file__with_a_trap__has_a_problem_at_its_place(path: tuple[str | int, ...], value: Any) -> None:
    assert place(path) in problems_of(change(*path, to=value))


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        (("segments", 1, "id"), 7, "segments[1].id"),
        (("featureFlags", 1, "featureKey"), "persona_flag", "featureFlags[1].featureKey"),
        (("featureFlags", 1, "id"), 101, "featureFlags[1].id"),
        (("featureFlags", 1, "rules", 0, "id"), 1011, "featureFlags[1].rules[0].id"),
        (("featureFlags", 1, "rules", 0, "experimentId"), 5011, "featureFlags[1].rules[0].experimentId"),
        (
            ("featureFlags", 1, "rules", 0, "variationByExposition", 0, "variationId"),
            70111,
            "featureFlags[1].rules[0].variationByExposition[0].variationId",
        ),
        (("customData", 1, "index"), 1, "customData[1].index"),
        (("featureFlags", 0, "variations", 1, "key"), "off", "featureFlags[0].variations[1].key"),
    ],
)
def test_file__with_an_id_twice__has_a_problem(path: tuple[str | int, ...], value: Any, at: str) -> None:
    assert at in problems_of(change(*path, to=value))


@pytest.mark.parametrize(
    "pattern",
    [
        *("big.*", "^big|small$", "^(?:big", "^(?:(big)$", "^(?:a)|(?:b)$"),
        *(
            f"^(?:{inner})$"
            for inner in ("(?P<x>b)", r"a\Z", r"\Ab", "(?i)b", "(?i:b)", "(?=b)b", r"(a)\1", "a*+", "[]a]")
        ),
    ],
)
def test_pattern__that_python_and_javascript_read_differently__is_a_problem(pattern: str) -> None:
    regular = {**CONDITION, "valueMatchType": "REGULAR_EXPRESSION"}

    assert problems_of(change(*FIRST, to={**regular, "value": pattern})) == [place((*FIRST, "value"))]


@pytest.mark.parametrize("inner", ["big|small", r"(a)|(?:b)+", r"\(\?P\+\\A", "[(?P*+]+", r"[^\]]*?", r"\d{2,}"])
def test_pattern__that_every_sdk_reads_alike__is_read(inner: str) -> None:
    regular = {**CONDITION, "valueMatchType": "REGULAR_EXPRESSION"}

    assert problems_of(change(*FIRST, to={**regular, "value": f"^(?:{inner})$"})) == []


@pytest.mark.parametrize("test", ["EQUAL", "GREATER", "LOWER"])
def test_number__as_text__is_needed_to_compare(test: str) -> None:
    assert problems_of(change(*FIRST, to={**CONDITION, "valueMatchType": test, "value": "ten"})) == [
        place((*FIRST, "value"))
    ]
    read = read_file(json.dumps(change(*FIRST, to={**CONDITION, "valueMatchType": test, "value": 10})))
    assert read.problems == []
    assert read.segments[0]["conditionsData"]["firstLevel"][0]["conditions"][0]["value"] == "10"


def test_shares__of_more_than_everybody_or_two_of_a_delivery__are_a_problem() -> None:
    half = {"variationKey": "on", "exposition": 0.5}

    assert problems_of(change(*RULE, "variationByExposition", to=[half, half])) == []
    at = place((*RULE, "variationByExposition"))
    assert problems_of(change(*RULE, "variationByExposition", to=[half, half, half])) == [at]
    delivery = "featureFlags[1].rules[0].variationByExposition"
    assert problems_of(change("featureFlags", 1, "rules", 0, "variationByExposition", to=[half, half])) == [delivery]


def test_segments__that_lead_to_none_or_to_themselves__are_problems() -> None:
    to = ("segments", 1, "conditionsData", "firstLevel", 1, "conditions", 0, "segmentId")

    assert problems_of(change(*to, to=9)) == ["segments[1]"]
    assert problems_of(change(*to, to=12)) == ["segments[1]"]
    stored = SiteParts(segments={12: {**FILE["segments"][0], "id": 12}})
    assert problems_of(change(*to, to=12), stored) == []
    assert problems_of(FILE, SiteParts(own_segments={7: None})) == ["segments[0].id"]
    assert problems_of(FILE, SiteParts(own_segments={7: {"conditionsData": {"firstLevel": ()}}})) == ["segments[0].id"]
    assert problems_of(FILE, SiteParts(own_segments={7: FILE["segments"][0]})) == []


def chain(length: int, first: int = 1, *, to: int = 0) -> Any:
    """Return a file in which each segment leads to the next one, and the last one to the segment `to`, if any."""
    segments = [copy.deepcopy(FILE["segments"][0]) for _ in range(length)]
    for number, segment in enumerate(segments, first):
        segment["id"] = number
        if leads_to := number + 1 if number < first + length - 1 else to:
            lead = {"targetingType": "SEGMENT", "isInclude": True, "segmentId": leads_to}
            segment["conditionsData"]["firstLevel"][0]["conditions"] = [lead]
    return {"featureFlags": [], "segments": segments}


def stored(file: Any) -> SiteParts:
    return SiteParts(segments={segment["id"]: segment for segment in file["segments"]})


def test_segments__that_lead_through_stored_ones_to_themselves__are_problems() -> None:
    assert problems_of(chain(1, 1, to=2), stored(chain(1, 2))) == []
    assert problems_of(chain(1, 1, to=2), stored(chain(1, 2, to=1))) == ["segments[0]"]
    assert problems_of(chain(1, 1), stored(chain(1, 2, to=1))) == []


def test_segments__that_lead_with_stored_ones_through_too_many__are_problems() -> None:
    assert problems_of(chain(10, 1, to=11), stored(chain(10, 11))) == []
    assert problems_of(chain(11, 1, to=12), stored(chain(10, 12))) == ["segments[0]"]
    assert problems_of(chain(10, 11), stored(chain(11, 1))) == []
    assert problems_of(chain(11, 11), stored(chain(11, 1))) == ["segments"]
    assert problems_of(chain(1, 50), stored(chain(21, 1))) == []  # as it was before


def test_segments__that_lead_through_too_many__are_problems_and_take_no_time() -> None:
    assert problems_of(chain(20)) == []
    assert problems_of(chain(21)) == ["segments[0]"]
    assert len(problems_of(chain(500))) == 480
    assert problems_of(chain(501)) == ["file"]


@pytest.mark.parametrize("number", [10**400, -(10**400), 2**63])
def test_number__that_no_sdk_can_keep__is_a_problem(number: int) -> None:
    assert problems_of(change(*RULE, "respoolTime", to=number)) == ["file"]
    assert problems_of(change("dateModified", to=number)) == ["file"]
    assert problems.ProblemList().read_number(number, "") == 0


def test_flag__beside_those_of_the_site__may_replace_one_but_not_take_its_ids() -> None:
    (other,) = read_file(json.dumps({"featureFlags": [FILE["featureFlags"][0]], "segments": FILE["segments"]})).flags

    assert problems_of(FILE, SiteParts(flags=[other])) == []
    assert problems_of(FILE, SiteParts(flags=[{**other, "featureKey": "another"}])) == [
        "featureFlags[0].id",
        "featureFlags[0].rules[0].variationByExposition[0].variationId",
        "featureFlags[0].rules[0].id",
        "featureFlags[0].rules[0].experimentId",
    ]


def test_values__that_only_some_sdks_take__become_those_that_all_take() -> None:
    """Python refuses a file with an index as a number or with null, JavaScript one without the lists."""
    file = change(*FIRST, "customDataIndex", to=1)
    del file["segments"][0]["conditionsData"]["firstLevelOrOperators"]
    del file["segments"][0]["conditionsData"]["firstLevel"][0]["orOperators"]
    del file["segments"][0]["conditionsData"]["firstLevel"][0]["conditions"][0]["isInclude"]
    del file["featureFlags"][1]["variations"][0]["variables"]
    file["featureFlags"][0] |= {"dateModified": None, "mutuallyExclusiveGroup": None}
    file["featureFlags"][0]["rules"][0] |= {"respoolTime": None, "id": "1011", "segmentId": "7"}
    file["featureFlags"][1]["rules"] = None

    read = read_file(json.dumps(file))

    assert read.problems == []
    assert read.segments[0] == FILE["segments"][0]
    assert read.flags[0] == FILE["featureFlags"][0]
    assert read.flags[1] == {**FILE["featureFlags"][1], "rules": []}


def test_bucketing__by_custom_data__names_its_index() -> None:
    read = read_file(json.dumps(change(*FLAG, "bucketingCustomDataId", to=13)))

    assert read.problems == []
    assert (read.flags[0]["bucketingCustomDataId"], read.flags[0]["bucketingCustomDataIndex"]) == (3, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"featureFlags": {}}',
        '{"featureFlags": [], "a": NaN}',
        '{"featureFlags": [], "a": 1e999}',
        '{"featureFlags": [], "a": ["\\u0000"]}',
        '{"featureFlags": [], "\\ud800": 1}',
        "[" * 100_000,
        '{"featureFlags": [' + "{}," * 2_000 + "{}]}",
        '{"featureFlags": [], "a": ' + "9" * 5_000 + "}",
    ],
)
def test_file__that_is_none__is_one_problem(text: str) -> None:
    assert [problem.place for problem in read_file(text).problems] == ["file"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PLACES = [*(RULE[:-1], RULE, FLAG, SHARE, VARIABLE, CONDITIONS, GROUP, FIRST), ("segments",), ("customData",)]
PLACES += [(*RULE, name) for name in FILE["featureFlags"][0]["rules"][0]]
PLACES += [(*FLAG, name) for name in FILE["featureFlags"][0]]
PLACES += [(*FIRST, name) for name in CONDITION]


@given(st.sampled_from(PLACES), JSON)
def test_file__with_anything_anywhere__is_read_or_has_problems(path: tuple[str | int, ...], value: Any) -> None:
    read = read_file(json.dumps(change(*path, to=value)))

    assert len(read.problems) + len(read.flags) > 0
    if not read.problems:  # Python refuses a file with null, and JavaScript one without these lists
        assert None not in list(values_of([read.segments, read.flags]))
        assert all(isinstance(flag["rules"], list) for flag in read.flags)
        assert all(isinstance(rule["variationByExposition"], list) for flag in read.flags for rule in flag["rules"])


def values_of(part: Any) -> Iterator[Any]:
    """Yield each value in a part of a file, but for what an application itself puts into variables."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part):
        if isinstance(value, dict | list | tuple) and name != "variables":
            yield from values_of(value)
        else:
            yield value
