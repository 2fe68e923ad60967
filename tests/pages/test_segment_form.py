"""The form of a segment: a saved one comes back unchanged, and each fault is at its field."""

from typing import Any

import msgspec
import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from api.pages.people.segment_drafts import (
    SegmentDraft,
    draft_of,
    new_draft,
    press,
    read_draft,
    suggest_tests,
)
from api.pages.people.segment_form import read_segment
from api.pages.people.segment_lines import read_lines, write_lines
from cohorts.seen_traits import SeenTrait
from cohorts.segments.conditions import (
    Conditions,
    GoalCondition,
    NumberTest,
    PersonaCondition,
)
from cohorts.segments.sentences import ReferenceNames
from cohorts.segments.validation import KnownReferences
from tests.cohorts.segments.strategies import groups

KNOWN = KnownReferences(goals={1, 2}, sources={1, 2}, segments={1: (), 2: (), 3: ()}, custom_data={1, 2})
GOALS = {"1": 1, "2": 2, "Buy": 1}


def form_of(draft: SegmentDraft) -> QueryDict:
    """Return what a browser sends of a draft."""
    form = QueryDict(mutable=True)
    form.setlist("at", [each.at for each in draft.drafts])
    form.update({f"{each.at}.{name}": value for each in draft.drafts for name, value in each.fields.items()})
    return form


def sent(**fields: str) -> SegmentDraft:
    """Return a form with one condition."""
    return read_draft(form_of(SegmentDraft(groups=[[new_draft(0, 0, **fields)]])))


def essence(condition: Any) -> Any:
    """Return a condition without what has no meaning: a second number of most tests, a currency of no revenue."""
    if isinstance(condition, GoalCondition) and condition.revenue is None:
        return msgspec.structs.replace(condition, currency=None)
    test = getattr(condition, "test", None)
    if isinstance(test, NumberTest) and test.how != "between":
        return msgspec.structs.replace(condition, test=msgspec.structs.replace(test, most=None))
    return condition


@given(groups)
def test_conditions__through_the_form__come_back_the_same(conditions: Conditions) -> None:
    wanted = tuple(tuple(essence(each) for each in group) for group in conditions)

    draft = read_draft(form_of(SegmentDraft(groups=draft_of(conditions, ReferenceNames(goals={1: "Buy"})))))
    read = read_segment(draft, KNOWN, GOALS, segment_id=None)

    for fault in draft.named_faults:  # of a second number that is smaller than the first
        assert "second number" in fault[1]
    assert read == wanted


@given(st.lists(st.text(st.sampled_from('ab "\\\r\nnu0\u2028\t'), min_size=1)))
def test_texts__typed_one_per_line__come_back_the_same(texts: list[str]) -> None:
    assert read_lines(write_lines(texts).replace("\n", "\r\n")) == texts  # as a browser sends it


@pytest.mark.parametrize("line", ["plan", '"in quotes"', "C:\\new", '"C:\\new', '"no \\JSON"'])
def test_line__as_people_type_it__is_the_text(line: str) -> None:
    assert read_lines(line) == [line]


@pytest.mark.parametrize(
    ("fields", "name", "sentence"),
    [
        ({"on": "moon"}, "on", "Choose a kind of condition."),
        ({"on": "trait"}, "path", "Enter a trait, for example plan or address.city."),
        (
            {"on": "trait", "path": "a", "test": "text.equals"},
            "texts",
            "Enter a value. Of several, enter one per line.",
        ),
        ({"on": "trait", "path": "a", "test": "moon"}, "test", "Choose a test."),
        (
            {"on": "trait", "path": "a", "test": "number.above", "number": "many"},
            "number",
            "Enter a number, for example 30 or 9.5.",
        ),
        (
            {"on": "trait", "path": "a", "test": "number.between", "number": "2", "most": "1"},
            "most",
            "`between` needs a second number that is not smaller than the first.",
        ),
        (
            {"on": "trait", "path": "a", "test": "date.before", "date": "soon"},
            "date",
            "A date such as 2026-11-22 or 2026-11-22T08:30:00Z is needed.",
        ),
        (
            {"on": "trait", "path": "a", "test": "date.within", "days": "99999"},
            "days",
            "The days must be more than 0 and at most 3,650.",
        ),
        ({"on": "trait", "path": "x" * 501}, "path", "A value has 1 to 500 characters."),
        ({"on": "persona"}, "persona", "Enter a persona."),
        ({"on": "persona", "persona": "x" * 501}, "persona", "A value has 1 to 500 characters."),
        ({"on": "goal"}, "goal", "Enter the name or ID of a goal."),
        ({"on": "goal", "goal": "Sell"}, "goal", "This site has no goal “Sell”. Pick one from the list."),
        ({"on": "goal", "goal": "Buy", "times": "1.5"}, "times", "Enter a whole number, for example 3."),
        ({"on": "goal", "goal": "Buy", "times": "0"}, "times", "The number of conversions is between 1 and 1,000."),
        ({"on": "goal", "goal": "Buy", "revenue": "5"}, "currency", "A revenue needs a currency, for example USD."),
        (
            {"on": "seen", "which": "middle", "test": "date.within", "days": "1"},
            "which",
            "Choose the first or the last time.",
        ),
        ({"on": "seen", "test": "any"}, "test", "Choose a test of a date."),
        ({"on": "visits", "test": "any"}, "test", "Choose a test of a number."),
        (
            {"on": "visits", "test": "number.above", "number": "2", "days": "366"},
            "days",
            "The days must be more than 0 and at most 365.",
        ),
        ({"on": "source"}, "source", "Choose a source."),
        ({"on": "source", "source": "9"}, "source", "The site has no source with the id 9."),
        ({"on": "segment", "segment": "9"}, "segment", "The site has no segment with the id 9."),
        ({"on": "customData", "index": "9"}, "index", "The site has no custom data with the index 9."),
        ({"on": "group", "ids": "x" * 501}, "ids", "A value has 1 to 500 characters."),
    ],
)
def test_condition__that_cannot_be_used__has_a_fault_at_its_field(fields: Any, name: str, sentence: str) -> None:
    draft = sent(**fields)

    read_segment(draft, KNOWN, GOALS, segment_id=None)

    (each,) = draft.drafts
    assert each.faults == {name: sentence}
    ((place, named),) = draft.named_faults
    assert (place, named.startswith("Condition 1 of group 1 (")) == (f"0.0.{name}", True)


def test_faults__of_several_conditions__are_each_at_their_place() -> None:
    draft = SegmentDraft(
        groups=[
            [new_draft(0, 0, on="persona", persona="vip"), new_draft(0, 1, on="persona")],
            [new_draft(3, 7, on="source", source="9")],
        ]
    )

    read_segment(draft, KNOWN, GOALS, segment_id=None)

    assert draft.named_faults == [
        ("0.1.persona", "Condition 2 of group 1 (persona): Enter a persona."),
        ("3.7.source", "Condition 1 of group 2 (source): The site has no source with the id 9."),
    ]


def test_conditions__that_lead_back__are_a_fault_of_the_segment() -> None:
    draft = sent(on="segment", segment="1")

    read_segment(draft, KNOWN, GOALS, segment_id=1)

    assert draft.faults == [
        "The conditions lead back to this segment through other segments. Remove one of these references."
    ]


def test_buttons__add_and_remove_conditions__and_the_others_keep_their_places() -> None:
    draft = SegmentDraft(groups=[[new_draft(0, 0)], [new_draft(1, 0)]])
    for do in ("add:0", "add:0", "drop:0.1", "add:0", "drop:1.0", "add-group", "drop:9.9", "add:9", "moon"):
        press(draft, do)

    assert [each.at for each in draft.drafts] == ["0.0", "0.2", "0.3", "1.0"]
    assert draft.drafts[-1].has_focus


def test_form__with_what_no_browser_sends__is_read() -> None:
    form = QueryDict("at=0.0&at=0.0&at=x&at=1.&at=99999.1&at=1.0&at=0.1&0.0.on=persona")

    assert [[each.at for each in group] for group in read_draft(form).groups] == [["0.0", "0.1"], ["1.0"]]


def test_trait__that_was_picked__begins_with_a_test_of_its_type() -> None:
    draft = sent(on="trait", path="signed", typed="")
    seen = {"trait": [SeenTrait(("signed",), "date"), SeenTrait(("plan",), "text")]}
    suggest_tests(draft, seen)
    assert draft.drafts[0].fields["test"] == "date.within"

    draft.drafts[0].fields["test"] = "any"  # a person chose it
    suggest_tests(draft, seen)
    assert draft.drafts[0].fields["test"] == "any"


def test_kind__that_was_changed__keeps_what_was_typed() -> None:
    (each,) = sent(on="persona", persona="vip", path="plan", test="text.equals", texts="pro").drafts

    assert set(each.hidden) >= {("path", "plan"), ("texts", "pro"), ("test", "text.equals")}
    assert "persona" not in dict(each.hidden)
    assert read_segment(SegmentDraft(groups=[[each]]), KNOWN, GOALS, segment_id=None) == ((PersonaCondition("vip"),),)
